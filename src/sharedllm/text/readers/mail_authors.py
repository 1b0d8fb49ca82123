"""Who wrote the mails of a mailbox: one name for a person, whichever way their mails spell it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parseaddr

from sharedllm.text.documents import Document, Turn


def one_mailbox(source: str, mails: Sequence[Document]) -> Document:
    """The mails of all documents in one, in the order in which they were written, an author to an address.

    Args:
        source: of what comes of it.
        mails: documents whose turns have for authors what stands in ``From``: a name and an address, or one of them.
    """
    turns = [turn for mail in mails for turn in mail.turns]
    called: dict[str, Counter[str]] = {}
    for turn in turns:
        name, address = _parts(turn.author)
        called.setdefault(address, Counter()).update([name] if name else [])
    labels = {address: (names.most_common(1)[0][0] if names else address) for address, names in called.items()}
    named = [replace(turn, author=labels[_parts(turn.author)[1]] or None) for turn in turns]
    left_out: Counter[str] = Counter()
    for mail in mails:
        left_out.update(mail.left_out)
    # Also who wrote nothing in it: then those who did are not meant.
    owners = Counter(labels.get(owner, owner) for mail in mails if mail.me and (owner := _parts(mail.me)[1]))
    doubts = tuple(dict.fromkeys(doubt for mail in mails for doubt in mail.doubts))
    kind = "mailbox" if len(turns) > 1 else "mail"
    me = owners.most_common(1)[0][0] if owners else None
    return Document(source, kind, tuple(_in_order(named)), me, left_out, doubts)


def _parts(author: str | None) -> tuple[str, str]:
    name, address = parseaddr(author or "")
    return " ".join(name.split()), (address or author or "").strip().lower()


def _in_order(turns: Sequence[Turn]) -> list[Turn]:
    """By when they were written; what has no date stays behind what it came after."""
    moments = []
    last = datetime.min.replace(tzinfo=UTC)
    for turn in turns:
        last = turn.when or last
        moments.append(last if last.tzinfo else last.replace(tzinfo=UTC))
    return [turns[place] for place in sorted(range(len(turns)), key=lambda place: moments[place])]
