"""Parts of zip archives, read within bounds: what an archive says of their sizes is not believed."""

from typing import Any
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


def local(tag: Any) -> str:
    """A tag without its namespace; nothing of what is no element."""
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""
