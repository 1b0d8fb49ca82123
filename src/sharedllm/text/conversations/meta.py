"""Messenger and Instagram, *Download your information* as JSON, and what Messenger saves of encrypted chats.

The first two write each byte of UTF-8 as a character of Latin-1, and the newest message first.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sharedllm.text.conversations.gathering import (
    ATTACHMENTS,
    DELETED,
    FORWARDED,
    SYSTEM,
    Gathering,
    broken,
    fields,
    moment,
    objects,
    shown_name,
    words,
)
from sharedllm.text.documents import Document

KIND = "Messenger or Instagram export"
SIGNS = (('"sender_name"', '"timestamp_ms"'), ('"senderName"', '"isUnsent"'))
_CHAT = "Messenger or Instagram chat"

_PROGRAM = re.compile(
    r"(?:(?P<who>.{1,80}) )?(?:sent (?:an attachment|a photo|a video|a sticker|a voice message|a GIF|a link"
    r"|a live location)"
    r"|reacted .{1,20} to (?:your|their|a) message|liked a message|unsent a message|shared a (?:story|post|reel)"
    r"|created the group|named the group .{1,80}|left the group|added .{1,80} to the group"
    r"|removed .{1,80} from the group"
    r"|set (?:the|your|his|her|their|\w+'s|own) (?:own )?(?:nickname|emoji|quick reaction"
    r"|chat theme).{0,80}|waved at .{1,80}"
    r"|changed the (?:chat theme|theme|group photo|chat name).{0,80}|pinned a message|voted .{1,200}"
    r"|created a poll.{0,200}"
    r"|(?:started|ended|missed|joined) (?:a|an|the|your) (?:\w+ )?(?:call|chat|video chat)|missed (?:a|"
    r"your) .{0,20}call"
    r"|hat (?:einen Anhang|ein Foto|ein Video|einen Sticker|eine Sprachnachricht) gesendet"
    r"|hat mit .{1,20} auf (?:deine|eine) Nachricht reagiert|gefällt eine Nachricht"
    r"|a envoyé (?:une pièce jointe|une photo|une vidéo)|a réagi .{1,40} message|a aimé un message"
    r"|envió (?:un archivo adjunto|una foto|un video)|reaccionó con .{1,20} mensaje|le gusta un mensaje"
    r"|enviou (?:um anexo|uma foto|um vídeo)|reagiu com .{1,20} mensagem|curtiu uma mensagem"
    r"|ha inviato (?:un allegato|una foto|un video)|ha aggiunto la reazione .{1,60}|ha messo Mi piace a un messaggio"
    r"|zareagował(?:a|\(a\))? .{1,20} na .{1,20}wiadomość"
    r"|heeft (?:een bijlage|een foto|een video) verzonden|heeft .{1,20} gereageerd op .{1,20}bericht)"
    r"(?: to your message)?\.?\s*",
    re.IGNORECASE,
)
_OF_THE_OWNER = re.compile(
    r"(?:(?:Du hast|Sie haben) (?:ein(?:e|en)? (?:Anhang|Bild|Foto|Video|Sticker|GIF|Link|Standort|Sprachnachricht)"
    r" (?:gesendet|geteilt)|.{1,80} (?:zur Gruppe|als (?:Gruppen)?admin) hinzugefügt|.{1,80} aus der Gruppe entfernt"
    r"|die Gruppe .{0,80}(?:verlassen|genannt|erstellt)|(?:den Gruppennamen|das Gruppenfoto|das (?:Chat-)?Thema"
    r"|das Design|das Emoji|den Spitznamen) .{0,90}(?:geändert|festgelegt|gesetzt|entfernt)"
    r"|einen .{0,30}(?:[Aa]nruf|[Cc]hat) .{0,80}(?:gestartet|beendet|verpasst))"
    r"|(?:Vous avez|Tu as) (?:envoyé (?:une? (?:pièce jointe|photo|vidéo|sticker|GIF|lien|message vocal))"
    r"|(?:nommé|quitté|créé) le groupe.{0,80}|(?:ajouté|supprimé|retiré) .{1,80} (?:au|du) groupe"
    r"|(?:modifié|changé|défini) (?:la photo du groupe|le thème|le nom du groupe|l.emoji|le pseudo).{0,80}"
    r"|(?:démarré|manqué) un .{0,20}appel.{0,80})"
    r"|(?:Enviaste una? (?:archivo adjunto|foto|video|sticker|GIF|enlace|mensaje de voz)"
    r"|Nombraste (?:al|el) grupo .{1,80}"
    r"|(?:Agregaste|Añadiste|Eliminaste) a .{1,80} (?:al|del) grupo|(?:Saliste del|Abandonaste el) grupo"
    r"|(?:Cambiaste|Estableciste) (?:la foto del grupo|el tema|el nombre del grupo|el emoji|el apodo).{0,80}"
    r"|Iniciaste una? .{0,20}(?:llamada|chat).{0,20})"
    r"|Você (?:enviou uma? (?:anexo|foto|vídeo|figurinha|GIF|link|mensagem de voz)|deu ao grupo o nome .{1,80}"
    r"|(?:adicionou|removeu) .{1,80} (?:ao|do) grupo|saiu do grupo"
    r"|(?:mudou|alterou|definiu) (?:a foto do grupo|o tema|o nome do grupo|o emoji|o apelido).{0,80}"
    r"|iniciou uma .{0,20}(?:ligação|chamada).{0,20})"
    r"|Hai (?:inviato una? (?:allegato|foto|video|sticker|GIF|link|messaggio vocale)|chiamato il gruppo .{1,80}"
    r"|(?:aggiunto|rimosso) .{1,80} (?:al|dal) gruppo|abbandonato il gruppo"
    r"|(?:cambiato|modificato|impostato) (?:la foto del gruppo|il tema|il nome del gruppo|l.emoji|il soprannome).{0,80}"
    r"|avviato una .{0,20}chiamata.{0,20})"
    r"|(?:Je|U) hebt (?:een (?:bijlage|foto|video|sticker|gif|link|spraakbericht) verzonden|de groep .{1,80} genoemd"
    r"|.{1,80} (?:aan|uit) de groep (?:toegevoegd|verwijderd)|de groep verlaten))\.\s*"
    r"|(?:Du hast eine Umfrage erstellt|(?:Vous avez|Tu as) créé un sondage|Creaste una encuesta|Você criou uma enquete"
    r"|Hai creato un sondaggio)\b.{0,200}",
    re.IGNORECASE,
)
"""What the program tells the owner of what they did; of others it begins with their names."""

_NAMED = re.compile(
    r"(?:voted|missed|left|changed|created|named|added|removed|set|waved|pinned|started|ended|joined)\b", re.IGNORECASE
)
"""What the program tells only of somebody whom it names: without a name people word it so themselves."""

_EMOJI = re.compile("[\u2600-\u27bf\u2b50\U0001f000-\U0001faff][\ufe0f\u200d\u2600-\u27bf\U0001f000-\U0001faff]*")
_FEWEST_TOLD, _FEWEST_WORDS, _LONGEST_TOLD = 3, 4, 80
_LONGEST_OF_NAMED = 200
_OWNER = ("you", "du", "sie", "vous", "tu", "tú", "usted", "você", "je", "u")
_NOTES = ("call_duration", "users", "missed", "ip")


def holds(value: Any) -> bool:
    """Whether parsed JSON is such an export of one chat, or of a piece of it."""
    if not isinstance(value, dict) or not isinstance(value.get("messages"), list):
        return False
    messages = objects(value["messages"])
    if not messages:
        return "participants" in value and ("thread_path" in value or "threadName" in value)
    return any("sender_name" in each and "timestamp_ms" in each for each in messages[:3]) or any(
        "senderName" in each and "timestamp" in each for each in messages[:3]
    )


def documents(source: str, value: Any) -> list[Document]:
    """One document."""
    return [joined(source, [value])]


def joined(source: str, pieces: Sequence[Mapping[str, Any]], owners: Sequence[str] = ()) -> Document:
    """A chat of which the export has several files, the newest first.

    Args:
        source: how it is shown.
        pieces: the parsed files.
        owners: names of the owner, where another file of the export gives them.

    Raises:
        TextError: one of the files has no list of messages.
    """
    read = Gathering()
    people = set()
    for piece in pieces:
        if not isinstance(piece.get("messages"), list):
            raise broken(source, KIND, "it has no list of messages")
        right = _reading(piece)
        for each in read.understood(piece["messages"]):
            _take(read, each, right)
        for each in piece.get("participants") or ():
            people.add(shown_name(right(each if isinstance(each, str) else words(fields(each).get("name")))))
    people |= {turn.author for turn in read.turns if turn.author}
    _without_reactions(read)
    me = next((name for name in owners if name in people), None)
    return read.document(source, _CHAT, me=me, in_order=False)


def _without_reactions(read: Gathering) -> None:
    """Take away what tells of reactions, in any language: one wording about an emoji, several times, of several."""
    wordings = [_about_an_emoji(turn.text) for turn in read.turns]
    authors: defaultdict[str, list[str | None]] = defaultdict(list)
    for turn, wording in zip(read.turns, wordings, strict=True):
        authors[wording].append(turn.author)
    told = {each for each, who in authors.items() if each and len(who) >= _FEWEST_TOLD and len(set(who)) > 1}
    for turn, wording in zip(read.turns, wordings, strict=True):
        read.leave_out(SYSTEM, turn.text if wording in told else "")
    read.turns = [turn for turn, wording in zip(read.turns, wordings, strict=True) if wording not in told]


def _about_an_emoji(text: str) -> str:
    """A short text without the one emoji that it goes on after; empty where it is no such."""
    parts = _EMOJI.split(text) if len(text) <= _LONGEST_TOLD and "\n" not in text else []
    if len(parts) != 2 or not parts[1].strip() or len(text.split()) < _FEWEST_WORDS:
        return ""
    return "\N{HEAVY BLACK HEART}".join(part.strip() for part in parts)


def owner(value: Any) -> list[str]:
    """The names of whose export it is, by a file of their profile; none where a file is none."""
    found = []
    profile = fields(fields(value).get("profile_v2")) or fields(fields(value).get("profile"))
    found.append(words(fields(profile.get("name")).get("full_name")))
    for each in objects(fields(value).get("profile_user")):
        strings = fields(each.get("string_map_data"))
        found += [words(fields(strings.get(key)).get("value")) for key in ("Name", "Username", "Nome", "Nombre")]
    return [shown_name(mended(each)) for each in found if each]


def mended(text: str) -> str:
    """A text whose bytes of UTF-8 were taken for characters of Latin-1; one that was not stays as it is."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _reading(piece: Mapping[str, Any]) -> Any:
    """How a piece's texts are read: mended, unless one of them has a character that no byte is."""
    texts = [words(each.get("content")) + words(each.get("text")) for each in objects(piece.get("messages"))]
    return mended if all(ord(max(text, default=" ")) < 256 for text in texts) else str


def _is_of_the_program(text: str, author: str) -> bool:
    """Whether it tells what somebody did, and begins with their name, or with a word for the owner."""
    told = text.rstrip()
    if " " in author and told.startswith(f"{author} ") and told.endswith(".") and len(told) <= _LONGEST_OF_NAMED:
        # In any language: of oneself nobody speaks by one's whole name.
        return "\n" not in told
    if _OF_THE_OWNER.fullmatch(text):
        return True
    found = _PROGRAM.fullmatch(text)
    if found is None or (not found["who"] and _NAMED.match(text)):
        return False
    return not found["who"] or author.startswith(found["who"]) or found["who"].casefold() in _OWNER


def _take(read: Gathering, message: Mapping[str, Any], right: Any) -> None:
    author = shown_name(right(words(message.get("sender_name")) or words(message.get("senderName"))))
    text = right(words(message.get("content")) or words(message.get("text")))
    when = moment(message.get("timestamp_ms", message.get("timestamp")), unit=0.001)
    kind = str(message.get("type", "Generic")).lower()
    share = fields(message.get("share"))
    read.leave_out(FORWARDED, right(words(share.get("share_text"))))
    if message.get("is_unsent") or message.get("isUnsent"):
        read.leave_out(DELETED, text)
    elif any(message.get(each) for each in _NOTES) or kind not in ("generic", "share", "text", "link", "media"):
        read.leave_out(SYSTEM, text)
    elif _is_of_the_program(text, author):
        read.leave_out(ATTACHMENTS if "photos" in message or "videos" in message or share else SYSTEM, text)
    elif text and text == right(words(share.get("link"))):
        read.leave_out(ATTACHMENTS, text)
    elif author:
        read.say(author, text, when)
    else:
        read.leave_out(SYSTEM, text)
