"""What a file is, by its first bytes and by its name: which reader it is for, or the true way to text."""

import re
from dataclasses import dataclass
from pathlib import PurePath

from sharedllm.text.readers.column_names import is_table


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Attributes:
        name: with its article.
        remedy: how its text is had where it is not read.
        reader: the module of this folder that reads it; None if none does.
    """

    name: str
    remedy: str
    reader: str | None = None

    @property
    def plain_name(self) -> str:
        """Its name without the article."""
        return self.name.partition(" ")[2] if self.name.startswith(("a ", "an ")) else self.name


_LEAVE_OUT = "Leave it out, or write what stands in it into plain text and save it as UTF-8."
_NOBODYS = "Leave it out: what is in it is no text that somebody wrote."
_OFFICE = "Open it and export it as text (Save as: plain text, UTF-8), and give that."
_OLD = "Open it and save it as docx, xlsx or pptx, or export it as text, and give that."
_UNPACK = "Unpack it, and give the text files in it."
_PDF = "Export its text, for instance with pdftotext FILE.pdf FILE.txt, and give that."
_UTF_8 = "Save it as UTF-8, for instance with iconv -f utf-16 -t utf-8."
WHOLE = "See whether it is whole and opens elsewhere, or leave it out."

ENCODED = FileKind(
    "text in another encoding", "Save it as UTF-8, for instance with iconv -f latin1 -t utf-8.", "encoded"
)
EXPORT = FileKind("an export of a chat", WHOLE, "exports")
"""Which a text or a JSON file may be: its content alone says."""

ZIP = FileKind("a zip archive", _UNPACK, "zipped")
MAILBOX = FileKind("a mailbox", WHOLE, "mailboxes")
MAIL = FileKind("a mail", WHOLE, "mailboxes")

_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_LOCKED = FileKind("an Office document that is locked with a password", "Save it without one, or leave it out.")
_SETTINGS = FileKind("a list of settings of a Mac", _NOBODYS)

_BEGINNINGS = (
    (b"%PDF-", FileKind("a PDF document", _PDF, "pdf")),
    (b"{\\rtf", FileKind("an RTF document", _OFFICE, "rich_text")),
    (_OLD_OFFICE, FileKind("an old Office document", _OLD)),
    (b"BEGIN:VCARD", FileKind("an address book", _NOBODYS)),
    (b"BEGIN:VCALENDAR", FileKind("a calendar", _NOBODYS)),
    (b"window.YTD.", FileKind("a part of an archive of Twitter or X", "Give what you wrote in it, as plain text.")),
    (b"window.__THAR_CONFIG", FileKind("a part of an archive of Twitter or X", _NOBODYS)),
    (b"bplist00", FileKind("a list of settings or a web archive of a Mac", _NOBODYS)),
    (b"\x89PNG", FileKind("a PNG image", _LEAVE_OUT)),
    (b"GIF8", FileKind("a GIF image", _LEAVE_OUT)),
    (b"\xff\xd8\xff", FileKind("a JPEG image", _LEAVE_OUT)),
    (b"II*\0", FileKind("a TIFF image", _LEAVE_OUT)),
    (b"MM\0*", FileKind("a TIFF image", _LEAVE_OUT)),
    (b"OggS", FileKind("a sound or a film", _LEAVE_OUT)),
    (b"ID3\x02", FileKind("a sound", _LEAVE_OUT)),
    (b"ID3\x03", FileKind("a sound", _LEAVE_OUT)),
    (b"ID3\x04", FileKind("a sound", _LEAVE_OUT)),
    (b"fLaC", FileKind("a sound", _LEAVE_OUT)),
    (b"\x1aE\xdf\xa3", FileKind("a film", _LEAVE_OUT)),
    (b"\x1f\x8b", FileKind("a gzip archive", _UNPACK)),
    (b"BZh9", FileKind("a bzip2 archive", _UNPACK)),
    (b"\xfd7zXZ", FileKind("an xz archive", _UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", FileKind("a 7z archive", _UNPACK)),
    (b"Rar!\x1a\x07", FileKind("a RAR archive", _UNPACK)),
    (b"\x28\xb5\x2f\xfd", FileKind("a zstd archive", _UNPACK)),
    (b"\x7fELF", FileKind("a program", "Leave it out, or give plain text.")),
    (b"SQLite format 3\0", FileKind("an SQLite database", "Export the text in it, and give that.")),
    (b"\xff\xfe", FileKind("text in UTF-16", _UTF_8, "encoded")),
    (b"\xfe\xff", FileKind("text in UTF-16", _UTF_8, "encoded")),
    (b"\0\0\xfe\xff", FileKind("text in UTF-32", _UTF_8, "encoded")),
)
_ZIPPED = (
    (b"word/", ".docx", FileKind("a Word document (docx)", _OFFICE, "zipped")),
    (b"opendocument.text", ".odt", FileKind("an OpenDocument text (odt)", _OFFICE, "zipped")),
    (b"opendocument.spreadsheet", ".ods", FileKind("an OpenDocument spreadsheet (ods)", _OFFICE, "zipped")),
    (b"opendocument.presentation", ".odp", FileKind("an OpenDocument presentation (odp)", _OFFICE, "zipped")),
    (b"application/epub+zip", ".epub", FileKind("an EPUB book", "Convert it to plain text, and give that.", "zipped")),
    (b"xl/", ".xlsx", FileKind("an Excel workbook (xlsx)", _OFFICE, "zipped")),
    (b"Index/Document.iwa", ".pages", FileKind("a Pages document of a Mac", "Export it as Word, and give that.")),
    (b"ppt/", ".pptx", FileKind("a PowerPoint presentation (pptx)", _OFFICE, "zipped")),
)
"""By what is among the first names in them, or where too little is left of one for that by how it is called."""

_HTML = FileKind("an HTML page", "Open it in a browser, and save what stands there as plain text.", "web_pages")
_SUBTITLES = FileKind("a transcript or subtitles", "Leave it out, or give what you said in it as plain text.")
_SMS = FileKind("a backup of text messages", WHOLE, "sms_backups")
TABLE = FileKind("a table", "Give a table with a column named text, or the text itself.", "tables")
_ENDINGS = {
    **dict.fromkeys((".html", ".htm", ".xhtml"), _HTML),
    **dict.fromkeys((".csv", ".tsv", ".jsonl", ".ndjson"), TABLE),
    ".ipynb": FileKind("a notebook", WHOLE, "notebooks"),
    ".eml": MAIL,
    ".mbox": MAILBOX,
}
_COMMENT = rb"<!--(?:(?!-->).)*-->\s*"
"""It ends where it first can: were there several ways to part the same bytes into comments, all would be tried."""

_IS_HTML = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*|" + _COMMENT + rb")*<(?:!doctype html|html)[\s>]", re.IGNORECASE | re.DOTALL
)
_IS_SETTINGS = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!DOCTYPE plist[^>]*>\s*)?<plist[\s>]")
_BACKUP = rb"\s*(?:<\?xml[^>]*>\s*)?(?:" + _COMMENT + rb")*(?:<\?xml-stylesheet[^>]*>\s*)?"
_IS_SMS = re.compile(_BACKUP + rb"<smses[\s>]", re.DOTALL)
_IS_CALLS = re.compile(_BACKUP + rb"<calls[\s>]", re.DOTALL)
_IS_SUBTITLES = re.compile(rb"WEBVTT\b|\s*\d+\r?\n\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}")
_IS_JAPANESE = re.compile(rb"\x1b\$[@B][!-~]+\x1b\([BJ]")
"""ISO-2022-JP, whose bytes are all ASCII."""

_MAY_BE_EXPORT = re.compile(r"^[^\n]{0,70}?\d(?:[:.]|\s?h\s?)\d\d|\A\s*[\[{]", re.MULTILINE)
_EXPORT_ENDINGS = {".txt", ".json", ".text", ".md", ".log", ""}
_LOOKED_AT = 65_536
_FEWEST_NUL = 0.1
_IS_MAILBOX = re.compile(rb"From [^\n]{1,200}\b\d\d:\d\d\b[^\n]{0,60}\n>?[A-Za-z][A-Za-z0-9-]{1,60}:")


def kind_of(head: bytes, name: str = "") -> FileKind | None:
    """The kind of a file whose first bytes these are; None if they are none that is known, as of any text.

    What its bytes say goes before its name.

    Args:
        head: some tens of thousands of bytes: what a zip archive holds is said by the names in it.
        name: of the file; where it is not given, whatever looks like text is plain text.
    """
    ending = PurePath(name).suffix.lower()
    if head.startswith(b"PK\x03\x04"):
        named = [kind for _, usual, kind in _ZIPPED if usual == ending]
        return next((kind for sign, _, kind in _ZIPPED if sign in head), named[0] if named else ZIP)
    if head.startswith(b"PK\x05\x06"):
        return ZIP
    if head[4:8] == b"ftyp":
        return FileKind("a film or a photograph", _LEAVE_OUT)
    if head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"WAVE", b"AVI "):
        return FileKind("an image, a sound or a film", _LEAVE_OUT)
    plain = head.removeprefix(b"\xef\xbb\xbf")
    known = next((kind for beginning, kind in _BEGINNINGS if plain.startswith(beginning)), None)
    if known is not None or b"\0" in head:
        if head.startswith(_OLD_OFFICE) and _ENCRYPTED in head:
            return _LOCKED
        return ENCODED if known is None and utf_16_without_mark(head) is not None else known
    if _IS_SETTINGS.match(plain):
        return _SETTINGS
    if _IS_SMS.match(plain):
        return _SMS
    if _IS_CALLS.match(plain):
        return FileKind("a list of telephone calls", _NOBODYS)
    if _IS_SUBTITLES.match(plain):
        return _SUBTITLES
    if _IS_HTML.match(plain):
        return _HTML
    if _IS_MAILBOX.match(plain.replace(b"\r\n", b"\n")):
        return MAILBOX
    usual = _ENDINGS.get(ending)
    return ENCODED if usual is None and _IS_JAPANESE.search(plain) else usual


def utf_16_without_mark(data: bytes) -> str | None:
    """Which byte comes first of each two of a text in UTF-16 that does not say it; None where bytes are no such text.

    Of each two it is NUL in spaces, line ends and Latin letters, and no sign is one that only programs write.
    """
    head = data[: min(len(data), _LOOKED_AT) & ~1]
    nul = [head[at::2].count(0) for at in (0, 1)]
    encoding = "utf-16-be" if nul[0] > nul[1] else "utf-16-le"
    if min(nul) > max(nul) * _FEWEST_NUL or max(nul) < len(head) * _FEWEST_NUL:
        return None
    text = head.decode(encoding, "replace")
    return None if any(sign < " " and sign not in "\t\n\r\f" for sign in text) else encoding


def may_be_table(name: str, text: str) -> bool:
    """Whether a text is a table all the same, as a spreadsheet saves one as text.

    Args:
        name: of the file.
        text: all of it.
    """
    return PurePath(name).suffix.lower() in _EXPORT_ENDINGS and is_table(text)


def may_be_export(name: str, text: str) -> bool:
    """Whether a text may be an export of a chat, so that its readers are asked: it has a time near its top, or is JSON.

    Args:
        name: of the file: programs and TeX are none.
        text: all of it.
    """
    return PurePath(name).suffix.lower() in _EXPORT_ENDINGS and _MAY_BE_EXPORT.search(text, 0, _LOOKED_AT) is not None


_OF_PROGRAMS = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "archive_browser.html"}


def is_hidden(name: str) -> bool:
    """Whether a file or a folder of this name is there for programs: hidden, or what they leave beside others."""
    return name.startswith((".", "~$")) or name.casefold() in _OF_PROGRAMS
