"""Parts of zip archives, read within bounds: what an archive says of their sizes is not believed."""

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from urllib.parse import unquote
from zipfile import ZipFile

from sharedllm.extras import need
from sharedllm.text.readers.found import LARGEST_FILE, Unreadable

need("text")

from lxml import etree  # noqa: E402


def part(archive: ZipFile, name: str, most: int = LARGEST_FILE) -> bytes:
    """A member of an archive.

    Raises:
        KeyError: there is none of that name.
        Unreadable: it is larger than ``most`` once it is unpacked.
    """
    with archive.open(name) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise Unreadable(
            f"holds a part of more than {most / 1e6:g} MB ({name!r})", remedy="Leave it out, or give its text."
        )
    return data


def xml(data: bytes) -> Any:
    """The root of an XML document: nothing is loaded that it names, and no entity of its own is put in.

    Raises:
        lxml.etree.XMLSyntaxError: it is none, or nested more than 256 deep.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)
    return etree.fromstring(data, parser)


def elements(data: bytes, *names: str, long_values: bool = False) -> Iterator[Any]:
    """Elements of these names in an XML document, one at a time: it need not be in memory as a whole.

    Args:
        data: the document.
        names: without their namespace.
        long_values: whether an attribute may be longer than 10 MB; only where no entities can be declared.

    Raises:
        lxml.etree.XMLSyntaxError: as for `xml`.
    """
    reading = etree.iterparse(
        BytesIO(data),
        tag=[f"{{*}}{name}" for name in names],
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        huge_tree=long_values,
    )
    for _, element in reading:
        yield element
        element.clear()
        while element.getprevious() is not None:
            del element.getparent()[0]


def local(tag: Any) -> str:
    """A tag without its namespace; nothing of what is no element."""
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


@dataclass(frozen=True)
class Related:
    """What a part of an Office document refers to.

    Attributes:
        kind: the last word of its type, like ``styles``.
        path: in the archive; empty of what is outside of it.
    """

    kind: str
    path: str


def related(archive: ZipFile, name: str = "") -> dict[str, Related]:
    """What a part of an Office document refers to, by the ids that it calls them by (ECMA-376, part 2, clause 9).

    Args:
        archive: the document.
        name: of the part; by default the document as a whole.
    """
    folder, base = posixpath.split(name)
    path = posixpath.join(folder, "_rels", f"{base}.rels")
    if path not in archive.namelist():
        return {}
    found = {}
    for each in xml(part(archive, path)):
        target = unquote(each.get("Target") or "")
        inside = each.get("TargetMode") != "External" and target
        to = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/") if inside else ""
        found[each.get("Id") or ""] = Related((each.get("Type") or "").rpartition("/")[2], to)
    return found


def referred(element: Any, parts: Mapping[str, Related]) -> str:
    """The part that an element of an Office document refers to by an id; empty where it refers to none."""
    ids = (value for name, value in element.attrib.items() if name.partition("}")[0].endswith("/relationships"))
    return next((parts[value].path for value in ids if value in parts), "")


def main_part(archive: ZipFile) -> str:
    """The part of an Office document that its others hang on; empty where there is none."""
    if "[Content_Types].xml" not in archive.namelist():
        return ""
    whole = related(archive).values()
    return next((each.path for each in whole if each.kind == "officeDocument" and each.path in archive.namelist()), "")


def content_type(archive: ZipFile, name: str) -> str:
    """What a part of an Office document is, as the document says; empty where it does not."""
    types = list(xml(part(archive, "[Content_Types].xml")))
    own = next((each for each in types if (each.get("PartName") or "").lstrip("/") == name), None)
    ending = name.rpartition(".")[2].casefold()
    usual = next((each for each in types if (each.get("Extension") or "").casefold() == ending), None)
    said = own if own is not None else usual
    return "" if said is None else said.get("ContentType") or ""
