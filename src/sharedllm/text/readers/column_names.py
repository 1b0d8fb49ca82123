"""What a table's header says: which column is the text, who wrote a row, and when."""

import csv
import re
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Any

TEXT = (
    *("text", "body", "content", "message", "comment", "post", "selftext", "full_text", "tweet", "caption", "entry"),
    *("review", "reply", "answer", "note", "notes", "description", "nachricht", "inhalt", "kommentar", "texto"),
    *("mensaje", "comentario", "texte", "contenu", "commentaire", "testo", "messaggio", "commento", "tekst"),
    *("antwort", "beitrag", "bericht", "inhoud", "mensagem", "conteúdo", "contenido", "réponse", "respuesta"),
    *("treść", "wiadomość", "текст", "сообщение", "本文", "メッセージ", "内容", "消息", "내용", "메시지"),
)
_AUTHORS = ("author", "sender", "from", "from_name", "user", "username", "user_name", "screen_name", "name")
_WHO = {
    *("author", "sender", "from", "user", "u", "username", "nickname", "speaker", "writer", "creator", "by"),
    *("contact", "participant", "member", "person", "who", "role", "nick", "handle", "kontakt", "teilnehmer", "wer"),
    *("von", "absender", "autor", "autorin", "verfasser", "expéditeur", "auteur", "remitente", "autora", "mittente"),
    *("autore", "remetente", "afzender", "nadawca", "отправитель", "автор", "送信者", "发件人", "보낸사람"),
    *("account", "poster", "player", "pseudo", "benutzer", "nutzer", "utilisateur", "usuario", "usuário", "utente"),
    *("gebruiker", "użytkownik", "пользователь", "ユーザー", "用户", "사용자"),
}
"""Words in the name of a column that says who wrote; of several columns those that hold names go before addresses."""

_NAMES = ({"first", "name"}, {"full", "name"}, {"display", "name"})
_NO_NAMES = {"id", "url", "link", "email", "mail", "phone", "number", "avatar", "type", "count"}
_MINE = {"me", "mine", "outgoing"}
TIMES = (
    *("date", "datetime", "time", "timestamp", "created_at", "created_utc", "created", "when", "sent", "sent_at"),
    *("datum", "zeit", "fecha", "дата", "日付", "날짜"),
)
"""Columns' names in small letters: of what was written, of who wrote it, of when."""

_GLOSSARY = {"note", "notes", "description", "caption", "entry"}, {"name", "person", "contact", "member", "role", "who"}
"""Whoever explains names has such columns, too: of the text, and beside it."""

_LEAD = re.compile(r"\A(?:sep=.\r?\n)?(?:[ ]*[\r\n])*")
"""Excel says so which sign parts cells; and what is empty above the header is none of it."""

_MOST_WORDS = 3
_NEARLY_ALL = 0.9
_UNCLOSED = "unexpected end of data"


def cells_of(text: str, sign: str | None = None) -> Iterator[list[str]]:
    """The rows of a table, its header first.

    A quotation mark that is never closed parts nothing, as no program writes it.

    Args:
        text: of the table.
        sign: that parts its cells; None for the one that its header has most of.
    """
    text = _LEAD.sub("", text)
    sign = sign or _sign_of(text)
    try:
        for _ in _reader(text, sign, strict=True):
            pass
    except csv.Error as error:
        if _UNCLOSED in str(error):
            return _reader(text, sign, quoting=csv.QUOTE_NONE)
    return _reader(text, sign)


def _sign_of(text: str) -> str:
    return max(",;\t|", key=_first_line(text).count)


def _first_line(text: str) -> str:
    return re.split(r"[\r\n]", text, maxsplit=1)[0]


def _reader(text: str, sign: str, **how: Any) -> Iterator[list[str]]:
    # It is everybody's in a process, so it never becomes less.
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    return csv.reader(StringIO(text, newline=""), delimiter=sign, skipinitialspace=sign != "\t", **how)


def is_table(text: str) -> bool:
    """Whether a text is a table that says whose its rows are: a column is the text's, and one of who wrote or sent it.

    Nearly all of its rows have as many cells as its header, which nobody's prose has under such a line.
    """
    text = _LEAD.sub("", text)
    sign, first = _sign_of(text), _first_line(text)
    header = next(_reader(first, sign), [])
    # Behind a comma of a sentence there is a space.
    if not _is_header([name.strip() for name in header if name.strip()]) or (sign == "," and ", " in first):
        return False
    rows = [row for row in cells_of(text, sign) if any(cell.strip() for cell in row)][1:]
    # A line under the header, as Markdown has one, is of no program that keeps tables.
    if not rows or all(set(cell.strip()) <= set("-:") for cell in rows[0]):
        return False
    return sum(_is_even(row, header) for row in rows) >= _NEARLY_ALL * len(rows)


def _is_header(names: Sequence[str]) -> bool:
    beside = [name for name in names if name.casefold() not in TEXT]
    texts, who = _GLOSSARY
    explains = {name.casefold() for name in names} <= texts | who
    is_short = all(may_be_a_name(name) and len(name.split()) <= _MOST_WORDS for name in names)
    return is_short and not explains and len(beside) < len(names) and any(map(_tells_whose, beside))


def _is_even(row: Sequence[str], header: Sequence[str]) -> bool:
    """Whether a row has a cell for each column that has a name, and none beyond the last one."""
    named = max(place for place, name in enumerate(header) if name.strip())
    filled = max(place for place, cell in enumerate(row) if cell.strip())
    return named < len(row) and filled < len(header)


def _tells_whose(name: str) -> bool:
    """Whether a column is called as one that says who wrote a row, or whether it was sent."""
    return names_author(name) or words_of(name) in _NAMES or says_direction(name)


def says_direction(name: str) -> bool:
    """Whether a column is called as one that says of each row whether it was sent or received."""
    return says_whose(name) or name.casefold() in ("direction", "richtung", "sens", "dirección", "direzione")


def names_author(name: str) -> bool:
    """Whether a column may say who wrote a row."""
    return name.casefold() in _AUTHORS or bool(_WHO & words_of(name))


def author_column(names: Sequence[str]) -> str | None:
    """The column that says who wrote a row: called so, or else with such a word in its name."""
    by_name = {name.casefold(): name for name in names}
    called = next((by_name[name] for name in _AUTHORS if name in by_name), None)
    if called is not None:
        return called
    some = [name for name in names if names_author(name) or words_of(name) in _NAMES]
    return min(some, key=lambda name: bool(_NO_NAMES & words_of(name)), default=None)


def may_be_a_name(cell: str) -> bool:
    """Whether a cell is short enough to name its column, and begins as no date or number does."""
    return 0 < len(cell) <= 30 and not any(character.isdigit() for character in cell[:1])


def words_of(name: str) -> set[str]:
    """The words of a column's name, parted by signs, spaces or capitals."""
    return {word.casefold() for word in re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))}


def says_whose(name: str) -> bool:
    """Whether a column is called as one that says of each row whether it is the owner's, like ``is_from_me``."""
    words = words_of(name)
    return bool(words & _MINE) or words in ({"is", "sender"}, {"is", "sent"})
