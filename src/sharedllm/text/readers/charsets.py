"""Which encoding bytes are in that are not UTF-8."""

import codecs

from sharedllm.extras import need
from sharedllm.text.readers.file_kinds import utf_16_without_mark
from sharedllm.text.readers.found import Unreadable

need("text")

import chardet  # noqa: E402

_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
# What people's files are in. Not EBCDIC and others of machines, which any short text of Western signs may seem to be.
_ENCODINGS = (
    *(
        "utf-8",
        "utf-16-le",
        "utf-16-be",
        "shift_jis_2004",
        "cp932",
        "euc_jis_2004",
        "iso2022_jp_2",
        "gb18030",
        "big5hkscs",
    ),
    *(
        "cp949",
        "euc_kr",
        "johab",
        "koi8-r",
        "koi8-u",
        "cp866",
        "cp855",
        "mac-cyrillic",
        "mac-roman",
        "cp850",
        "cp437",
        "cp852",
    ),
    *(f"cp{number}" for number in (874, *range(1250, 1259))),
    *(f"iso8859-{number}" for number in (1, 2, 5, 6, 7, 8, 9, 13, 15)),
    "tis-620",
)
_FEW = 3
_LONG = 200
_COMMON = "‘’“”–—…•€£§°«»¿¡äöüßéèêëàâçñáíóúîïôûùåæøœÄÖÜÉ"


def decode(data: bytes, error: UnicodeDecodeError) -> tuple[str, str]:
    """Bytes that are not UTF-8 as text, and the name of their encoding.

    Args:
        error: what UTF-8 said of them.

    Raises:
        Unreadable: they can be told for none.
    """
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    encoding = marked or utf_16_without_mark(data) or _guess(data)
    if encoding is not None:
        try:
            return data.decode(encoding), codecs.lookup(encoding).name
        except (UnicodeDecodeError, LookupError):
            pass
    nul = data.find(b"\0")
    if nul >= 0:
        raise Unreadable(f"is binary, not text: NUL byte at offset {nul:,}", remedy="Give plain text.")
    raise Unreadable(
        f"is not UTF-8 text: byte 0x{data[error.start]:02x} at offset {error.start:,}",
        remedy="Save it as UTF-8, for instance with iconv -f latin1 -t utf-8.",
    )


def _guess(data: bytes) -> str | None:
    foreign = [byte for byte in data if byte > 127]
    if b"\0" not in data and len(foreign) < _FEW:
        plain = len(data) >= _LONG and all(bytes([byte]).decode("cp1252", "replace") in _COMMON for byte in foreign)
        return "cp1252" if plain else None
    return chardet.detect(data, include_encodings=_ENCODINGS, no_match_encoding="utf-8")["encoding"]
