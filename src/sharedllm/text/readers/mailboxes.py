"""Mails: a mailbox (mbox) or a single one (eml), each a turn of who sent it, without what they did not write."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.errors import MissingHeaderBodySeparatorDefect
from email.header import decode_header
from email.message import Message
from email.utils import parseaddr, parsedate_to_datetime
from typing import BinaryIO

from sharedllm.text.documents import Document, Turn, normalise_newlines
from sharedllm.text.readers.charsets import decode
from sharedllm.text.readers.found import Unreadable
from sharedllm.text.readers.mail_quotes import FORWARDED, own_words
from sharedllm.text.readers.web_pages import words_of

LARGEST_MAIL = 64_000_000
_HEADERS = "mail headers"
_ATTACHMENTS = "attachments"
_OTHER_FORM = "the same mail in another form"
_BEGINNING = re.compile(rb"From [^\n]{1,300}\b\d\d?:\d\d\b[^\n]{0,60}\n?")
_STUFFED = re.compile(rb"^>(>*From )", re.MULTILINE)
_OF_ONE_BYTE = {"us-ascii", "ascii", "iso-8859-1", "iso-8859-15", "latin-1", "latin1", "windows-1252", "cp1252"}
_HEADER_LINE = re.compile(rb"[!-9;-~]+:|[ \t]")
_USUAL_HEADER = re.compile(
    rb"(?:Content-Type|Content-Transfer-Encoding|MIME-Version|Message-ID|Date|To):", re.IGNORECASE
)
_FORWARDED_SUBJECT = re.compile(r"\s*(?:fwd?|wg|tr|rv|enc|i|doorst|vs|pd|ynt|转发|転送)\s*:", re.IGNORECASE)
_QUOTES = (
    "//blockquote[@type='cite' or @cite or contains(@class,'gmail_quote')]"
    "|//*[contains(concat(' ',@class,' '),' gmail_quote ') or contains(@class,'gmail_quote_container')"
    " or contains(@class,'moz-cite-prefix') or contains(@class,'yahoo_quoted') or contains(@class,'protonmail_quote')]"
)
"""Elements that mail programs put around quoted mail. Outlook puts headers before it, which lines tell."""


def read(file: BinaryIO, source: str) -> Iterator[Document]:
    """One document, a turn a mail, authors as they stand in ``From``: `one_mailbox` makes people of them."""
    left_out: Counter[str] = Counter()
    turns: list[Turn] = []
    doubts: list[str] = []
    owners: Counter[str] = Counter()
    for data in _mails(file):
        try:
            turn, owner = _turn(data, left_out)
        except Exception as error:
            # One mail of thousands that a parser cannot take is no reason to lose the others.
            left_out["damaged mails"] += len(data)
            doubts.append(f"a mail could not be read: {type(error).__name__}")
            continue
        owners.update([owner] if owner else [])
        if turn is not None:
            turns.append(turn)
    me = owners.most_common(1)[0][0] if owners else None
    yield Document(source, "mail", tuple(turns), me, +left_out, tuple(dict.fromkeys(doubts)))


def _mails(file: BinaryIO) -> Iterator[bytes]:
    """The bytes of each mail, as far as `LARGEST_MAIL`."""
    head = file.read(5)
    file.seek(0)
    is_box = head == b"From "
    pieces: list[bytes] = []
    size = 0
    blank = True
    for line in iter(lambda: file.readline(1 << 20), b""):
        if is_box and blank and _BEGINNING.fullmatch(line.rstrip(b"\r\n")):
            if pieces:
                yield _STUFFED.sub(rb"\1", b"".join(pieces))
            pieces, size = [], 0
            continue
        blank = not line.strip()
        size += len(line)
        if size <= LARGEST_MAIL:
            pieces.append(line)
    if pieces:
        data = b"".join(pieces)
        yield _STUFFED.sub(rb"\1", data) if is_box else data


def _turn(data: bytes, left_out: Counter[str]) -> tuple[Turn | None, str | None]:
    """The turn that a mail is, and whose mailbox it lies in, if it says so."""
    mail = _parsed(data)
    name, address = parseaddr(str(mail.get("From") or ""))
    name = _decoded(name).replace('"', "").replace("\\", "")
    if not address and not mail.keys():
        raise Unreadable("is no mail", remedy="Give it as a text.")
    author = f'"{name}" <{address}>' if name and address else address or name
    subject = _header(mail, "Subject")
    left_out[_HEADERS] += sum(len(key) + len(str(value)) + 3 for key, value in mail.items())
    body = _body(mail, left_out)
    words, aside = own_words(body, forwarded=bool(_FORWARDED_SUBJECT.match(subject)))
    left_out.update(aside)
    sent = "sent" in _header(mail, "X-Gmail-Labels").casefold().split(",")
    owner = author if sent else None
    if owner is None and (delivered := parseaddr(_header(mail, "Delivered-To"))[1]):
        owner = delivered
    return Turn(words, author or None, _when(mail)) if words.strip() else None, owner


def _parsed(data: bytes) -> Message:
    """A mail, also where a line among its headers is none: the parser takes it and all below it for the text."""
    mail = message_from_bytes(data, policy=policy.compat32)
    if not any(isinstance(defect, MissingHeaderBodySeparatorDefect) for defect in mail.defects):
        return mail
    head, blank, body = data.replace(b"\r\n", b"\n").partition(b"\n\n")
    lines = head.split(b"\n")
    broken = next((place for place, line in enumerate(lines) if not _HEADER_LINE.match(line)), len(lines))
    if not any(_USUAL_HEADER.match(line) for line in lines[broken:]):
        return mail
    kept = b"\n".join(filter(_HEADER_LINE.match, lines))
    return message_from_bytes(kept + blank + body, policy=policy.compat32)


def _header(mail: Message, name: str) -> str:
    return _decoded(str(mail.get(name) or ""))


def _decoded(value: str) -> str:
    """A header as it is read, of one in which words are encoded (RFC 2047)."""
    try:
        parts = [
            part.decode(encoding or "utf-8", "replace") if isinstance(part, bytes) else part
            for part, encoding in decode_header(value)
        ]
    except (LookupError, ValueError):
        return value
    return " ".join("".join(parts).split())


def _when(mail: Message) -> datetime | None:
    try:
        when = parsedate_to_datetime(str(mail.get("Date")))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _body(mail: Message, left_out: Counter[str]) -> str:
    """What is to be read of a mail: its plain text, or where there is none its page."""
    plain: list[str] = []
    pages: list[str] = []
    stack = [mail]
    while stack:
        part = stack.pop()
        kind = part.get_content_type()
        if kind == "message/rfc822":
            left_out[FORWARDED] += len(part.as_bytes())
        elif part.is_multipart():
            stack += [each for each in reversed(list(part.get_payload())) if isinstance(each, Message)]
        elif (
            kind not in ("text/plain", "text/html")
            or part.get_content_disposition() == "attachment"
            or part.get_filename()
        ):
            left_out[_ATTACHMENTS] += len(str(part.get_payload()))
        else:
            (plain if kind == "text/plain" else pages).append(_text(part))
    if any(text.strip() for text in plain):
        left_out[_OTHER_FORM] += sum(map(len, pages))
        return "\n".join(plain)
    texts = []
    for page in pages:
        words, aside = words_of(page, quotes=_QUOTES)
        left_out.update(aside)
        texts.append(words)
    return "\n".join(texts)


def _text(part: Message) -> str:
    data = part.get_payload(decode=True)
    data = data if isinstance(data, bytes) else b""
    charset = part.get_content_charset("utf-8")
    try:
        # Bytes beyond ASCII that are UTF-8 are nothing else, also where a mail says that they are of one byte each.
        text = data.decode("utf-8" if charset in _OF_ONE_BYTE and _is_utf8(data) else charset)
    except (LookupError, UnicodeDecodeError):
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            try:
                text = decode(data, error)[0]
            except Unreadable:
                text = data.decode("utf-8", "replace")
    text = normalise_newlines(text)
    if str(part.get_param("format", "")).lower() == "flowed":
        text = _unflowed(text, delete=str(part.get_param("delsp", "")).lower() == "yes")
    return text


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _unflowed(text: str, *, delete: bool) -> str:
    """Lines that only a width had broken, joined (RFC 3676, section 4)."""
    lines: list[str] = []
    flows = False
    for line in text.split("\n"):
        bare = line[1:] if line.startswith(" ") else line
        depth = len(bare) - len(bare.lstrip(">"))
        if flows and depth == 0 and bare != "-- ":
            lines[-1] += bare
        else:
            lines.append(bare)
        flows = bare.endswith(" ") and bare != "-- " and depth == 0
        if flows and delete:
            lines[-1] = lines[-1][:-1]
    return "\n".join(lines)
