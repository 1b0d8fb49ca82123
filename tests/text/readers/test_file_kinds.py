import gzip
import io
import time
from zipfile import ZipFile

import pytest

from sharedllm.text.readers.file_kinds import kind_of


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("head", "name", "remedy"),
    [
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF document", "pdftotext"),
        (zipped("[Content_Types].xml", "word/document.xml"), "a Word document (docx)", "export it as text"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook (xlsx)", "export it as text"),
        (zipped("notes.txt"), "a zip archive", "Unpack it"),
        (gzip.compress(b"notes", mtime=0), "a gzip archive", "Unpack it"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image", "Leave it out"),
        (b"\xff\xd8\xff\xe0", "a JPEG image", "Leave it out"),
        (b"\0\0\0\x18ftypmp42", "a film or a photograph", "Leave it out"),
        (b"RIFF\0\0\0\0WAVE", "an image, a sound or a film", "Leave it out"),
        (b"{\\rtf1\\ansi", "an RTF document", "export it as text"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", "an old Office document", "export it as text"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
            "an Office document that is locked with a password",
            "without one",
        ),
        (b"\xef\xbb\xbfBEGIN:VCARD\r\nVERSION:3.0\r\n", "an address book", "no text that somebody wrote"),
        (b"BEGIN:VCALENDAR\nBEGIN:VEVENT\n", "a calendar", "no text that somebody wrote"),
        (b'<?xml version="1.0"?>\n<plist version="1.0"><dict>', "a list of settings of a Mac", "Leave it out"),
        (zipped("Index/Document.iwa"), "a Pages document of a Mac", "Export it as Word"),
        ("\ufeffnotes".encode("utf-16-le"), "text in UTF-16", "iconv -f utf-16"),
    ],
)
def test_a_kind_is_known_by_its_first_bytes_and_says_how_to_get_at_its_text(head, name, remedy):
    kind = kind_of(head)
    assert kind.name == name
    assert remedy in kind.remedy


@pytest.mark.parametrize("head", [b"", b"P", b"Plain words.", b"RIFF-raff", b"naive \xef", b"\xef\xbb\xbfwords"])
def test_text_is_no_kind(head):
    assert kind_of(head) is None


@pytest.mark.parametrize(
    ("ending", "name"),
    [
        (".docx", "a Word document (docx)"),
        (".odt", "an OpenDocument text (odt)"),
        (".epub", "an EPUB book"),
        (".xlsx", "an Excel workbook (xlsx)"),
        (".PPTX", "a PowerPoint presentation (pptx)"),
        (".zip", "a zip archive"),
        ("", "a zip archive"),
    ],
)
def test_of_a_zip_file_cut_off_before_its_parts_are_named_the_name_tells_the_kind(ending, name):
    assert kind_of(zipped("[Content_Types].xml")[:40], f"mine{ending}").name == name
    assert kind_of(zipped("word/document.xml"), f"mine{ending}").name == "a Word document (docx)"


@pytest.mark.parametrize(
    ("end", "reader"), [(b"words", None), (b"<smses count='1'>", "sms_backups"), (b"<!DOCTYPE html>", "web_pages")]
)
def test_comments_at_a_files_beginning_cost_no_more_than_their_length(end, reader):
    # Where a comment may be read as part of the one before it as well, 24 of them take ten seconds, and 40 a week.
    began = time.process_time()
    kind = kind_of(b"<!---->" * 24 + end)
    assert time.process_time() - began < 5
    assert (kind.reader if kind else None) == reader


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b'window.YTD.direct_messages.part0 = [\n  {"dmConversation": {}}]', "archive of Twitter"),
        (b"<?xml version='1.0' encoding='UTF-8'?>\n<!--File Created By-->\n<calls count=\"1\">", "telephone calls"),
    ],
)
def test_what_holds_others_words_or_none_is_named(head, what):
    kind = kind_of(head, "tweets.js")
    assert what in kind.name and kind.reader is None and kind.remedy
