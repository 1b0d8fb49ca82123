"""What a peer library makes of a file: run by `benchmarks.exports` in an environment that has it.

python exports_peers.py FILE          # prints JSON: the library, and the texts it read; null where there is none
"""

import json
import mailbox
import sys
from email import message_from_bytes
from email.utils import parseaddr
from pathlib import Path
from typing import Any

OWNER = "alice@example.org"


def main() -> None:
    path = Path(sys.argv[1])
    reader = _READERS.get(path.suffix) if path.name != "Maildir" else _mails
    print(json.dumps(None if reader is None else reader(path)))


def _markitdown(path: Path) -> dict[str, Any]:
    from markitdown import MarkItDown

    return {"name": "markitdown", "texts": [MarkItDown().convert(str(path)).text_content]}


def _pdfplumber(path: Path) -> dict[str, Any]:
    import pdfplumber

    with pdfplumber.open(path) as document:
        return {"name": "pdfplumber", "texts": [page.extract_text() or "" for page in document.pages]}


def _odfpy(path: Path) -> dict[str, Any]:
    from odf import teletype, text
    from odf.opendocument import load

    document = load(path)
    found = [each for kind in (text.H, text.P) for each in document.text.getElementsByType(kind)]
    return {"name": "odfpy", "texts": [teletype.extractText(each) for each in found]}


def _striprtf(path: Path) -> dict[str, Any]:
    from striprtf.striprtf import rtf_to_text

    return {"name": "striprtf", "texts": [rtf_to_text(path.read_text(errors="replace"))]}


def _mails(path: Path) -> dict[str, Any]:
    from mailparser_reply import EmailReplyParser

    parser = EmailReplyParser(languages=["en"])
    texts = []
    for mail in mailbox.Maildir(path) if path.is_dir() else mailbox.mbox(path):
        if parseaddr(str(mail["From"]))[1] == OWNER:
            part = next(each for each in mail.walk() if each.get_content_type() == "text/plain")
            body: Any = part.get_payload(decode=True)
            texts.append(parser.parse_reply(text=body.decode()) or "")
    return {"name": "mail-parser-reply", "texts": texts}


def _mail(path: Path) -> dict[str, Any]:
    from mailparser_reply import EmailReplyParser

    mail = message_from_bytes(path.read_bytes())
    part = next((each for each in mail.walk() if each.get_content_type() == "text/plain"), None)
    body: Any = b"" if part is None else part.get_payload(decode=True)
    said = EmailReplyParser(languages=["en"]).parse_reply(text=body.decode(errors="replace")) or ""
    return {"name": "mail-parser-reply", "texts": [said]}


_READERS = {
    **dict.fromkeys((".docx", ".xlsx", ".pptx", ".html", ".epub", ".ipynb"), _markitdown),
    ".pdf": _pdfplumber,
    ".odt": _odfpy,
    ".rtf": _striprtf,
    ".mbox": _mails,
    ".eml": _mail,
}

if __name__ == "__main__":
    main()
