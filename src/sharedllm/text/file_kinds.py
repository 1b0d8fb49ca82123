"""What a file is that is not plain text, by its first bytes, and the true way to text."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Attributes:
        name: with its article.
        remedy: how its text is had.
    """

    name: str
    remedy: str


_LEAVE_OUT = "Leave it out, or write what stands in it into plain text and save it as UTF-8."
_OFFICE = "Open it and export it as text (Save as: plain text, UTF-8), and give that."
_UNPACK = "Unpack it, and give the text files in it."
_PDF = "Export its text, for instance with pdftotext FILE.pdf FILE.txt, and give that."

_BEGINNINGS = (
    (b"%PDF-", FileKind("a PDF document", _PDF)),
    (b"{\\rtf", FileKind("an RTF document", _OFFICE)),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", FileKind("an old Office document", _OFFICE)),
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
    (b"\xff\xfe", FileKind("text in UTF-16", "Save it as UTF-8, for instance with iconv -f utf-16 -t utf-8.")),
    (b"\xfe\xff", FileKind("text in UTF-16", "Save it as UTF-8, for instance with iconv -f utf-16 -t utf-8.")),
)
_ZIPPED = (
    (b"word/", FileKind("a Word document (docx)", _OFFICE)),
    (b"opendocument.text", FileKind("an OpenDocument text (odt)", _OFFICE)),
    (b"application/epub+zip", FileKind("an EPUB book", "Convert it to plain text, and give that.")),
    (b"xl/", FileKind("an Excel workbook (xlsx)", _OFFICE)),
    (b"ppt/", FileKind("a PowerPoint presentation (pptx)", _OFFICE)),
)
_ZIP = FileKind("a zip archive", _UNPACK)


def kind_of(head: bytes) -> FileKind | None:
    """The kind of a file whose first bytes these are; None if they are none that is known, as of any text.

    Args:
        head: some tens of thousands of bytes: what a zip archive holds is said by the names in it.
    """
    if head.startswith(b"PK\x03\x04"):
        return next((kind for name, kind in _ZIPPED if name in head), _ZIP)
    if head[4:8] == b"ftyp":
        return FileKind("a film or a photograph", _LEAVE_OUT)
    if head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"WAVE", b"AVI "):
        return FileKind("an image, a sound or a film", _LEAVE_OUT)
    return next((kind for beginning, kind in _BEGINNINGS if head.startswith(beginning)), None)
