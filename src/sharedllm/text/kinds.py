"""What a file is that is not plain text, by its first bytes, and the true way to text."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
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
    (b"%PDF-", Kind("a PDF document", _PDF)),
    (b"{\\rtf", Kind("an RTF document", _OFFICE)),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Kind("an old Office document", _OFFICE)),
    (b"\x89PNG", Kind("a PNG image", _LEAVE_OUT)),
    (b"GIF8", Kind("a GIF image", _LEAVE_OUT)),
    (b"\xff\xd8\xff", Kind("a JPEG image", _LEAVE_OUT)),
    (b"II*\0", Kind("a TIFF image", _LEAVE_OUT)),
    (b"MM\0*", Kind("a TIFF image", _LEAVE_OUT)),
    (b"OggS", Kind("a sound or a film", _LEAVE_OUT)),
    (b"ID3\x02", Kind("a sound", _LEAVE_OUT)),
    (b"ID3\x03", Kind("a sound", _LEAVE_OUT)),
    (b"ID3\x04", Kind("a sound", _LEAVE_OUT)),
    (b"fLaC", Kind("a sound", _LEAVE_OUT)),
    (b"\x1aE\xdf\xa3", Kind("a film", _LEAVE_OUT)),
    (b"\x1f\x8b", Kind("a gzip archive", _UNPACK)),
    (b"BZh9", Kind("a bzip2 archive", _UNPACK)),
    (b"\xfd7zXZ", Kind("an xz archive", _UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", _UNPACK)),
    (b"Rar!\x1a\x07", Kind("a RAR archive", _UNPACK)),
    (b"\x28\xb5\x2f\xfd", Kind("a zstd archive", _UNPACK)),
    (b"\x7fELF", Kind("a program", "Leave it out, or give plain text.")),
    (b"SQLite format 3\0", Kind("an SQLite database", "Export the text in it, and give that.")),
    (b"\xff\xfe", Kind("text in UTF-16", "Save it as UTF-8, for instance with iconv -f utf-16 -t utf-8.")),
    (b"\xfe\xff", Kind("text in UTF-16", "Save it as UTF-8, for instance with iconv -f utf-16 -t utf-8.")),
)
_ZIPPED = (
    (b"word/", Kind("a Word document (docx)", _OFFICE)),
    (b"opendocument.text", Kind("an OpenDocument text (odt)", _OFFICE)),
    (b"application/epub+zip", Kind("an EPUB book", "Convert it to plain text, and give that.")),
    (b"xl/", Kind("an Excel workbook (xlsx)", _OFFICE)),
    (b"ppt/", Kind("a PowerPoint presentation (pptx)", _OFFICE)),
)
_ZIP = Kind("a zip archive", _UNPACK)


def kind_of(head: bytes) -> Kind | None:
    """The kind of a file whose first bytes these are; None if they are none that is known, as of any text.

    Args:
        head: some tens of thousands of bytes: what a zip archive holds is said by the names in it.
    """
    if head.startswith(b"PK\x03\x04"):
        return next((kind for name, kind in _ZIPPED if name in head), _ZIP)
    if head[4:8] == b"ftyp":
        return Kind("a film or a photograph", _LEAVE_OUT)
    if head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"WAVE", b"AVI "):
        return Kind("an image, a sound or a film", _LEAVE_OUT)
    return next((kind for beginning, kind in _BEGINNINGS if head.startswith(beginning)), None)
