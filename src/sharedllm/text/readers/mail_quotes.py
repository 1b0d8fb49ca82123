"""What of a mail its writer wrote: without quoted and forwarded mail, signatures and what programs add.

Rules for lines, since the libraries that there are lose what was written between quotes, and lists that begin with a
dash (`docs/text.md` has the figures). Languages matter to few of them: a quote begins with ``>``, what leads it in ends
with a colon and holds a date and an address or a verb, and headers in the text are three lines of ``Word: something``.
"""

import re
from collections import Counter

QUOTED = "quoted mail"
FORWARDED = "forwarded text"
SIGNATURES = "signatures"

_WROTE = (
    r"wrote|writes|schrieb|a écrit|écrit|escribió|ha scritto|scrisse|escreveu|schreef|skrev|napisał|napisał\(a\)"
    r"|написал|пише|yazdı|kirjoitti|napsal|írta|έγραψε|\bpisze(?=[:：])|写道|写到|:写道|さんは書きました|作成|님이 작성"
)
_LEAD_IN = re.compile(rf"(?:{_WROTE})[^\n]{{0,60}}[:：]?\s*$", re.IGNORECASE)
_DATED = re.compile(r"\d{1,4}[./\-年 ]\s?(?:\d|\w{3,9}[. ])|\d{1,2}:\d\d|[\w.+-]+@[\w-]+\.\w")
_ADDRESSED = re.compile(r"<\s*[^<>\s@]+@[^<>\s@]+>")
_DATE_FIRST = re.compile(r"\W{0,2}(?:[^\W\d]{1,4}[.,]? ){0,3}\d{1,4}[./\-年, ]")
_HEADER = re.compile(r"\*?([^\W\d_][\w \-’'\u0300-\u036f\u0900-\u0dff\u0e30-\u0e4e]{0,24}?)\*?\s?[:：]\*?\s+\S")
"""Vowels and tones of the scripts of India and of Thai are signs of their own."""

_SEPARATOR = re.compile(
    r"\s*(?:[-_=*]{2,}\s?[^\W_][^\n]{2,50}?\s?[-_=*]{2,}|_{10,}|-{10,}"
    r"|(?:Begin forwarded message|Début du message réexpédié|Anfang der weitergeleiteten Nachricht"
    r"|Inizio messaggio inoltrato|Inicio del mensaje reenviado|Início da mensagem re?encaminhada"
    r"|Begin doorgestuurd bericht)\s?:)\s*$"
)
_ORIGINAL = re.compile(
    r"original|m[eo]s+ag|nachricht|mensa[jg]|bericht|wiadomo|сообщен|meddelande|forward", re.IGNORECASE
)
_FORWARD = re.compile(
    r"forward|weitergeleitet|transfér|transmis|reenviad|inoltrat|encaminhad|doorgestuurd|vidarebefordra|videresend"
    r"|réexpédi|reencaminhad|przekazan|пересылаем|iletilen|転送|转发|fwd",
    re.IGNORECASE,
)
_DELIMITER = re.compile(r"--\s?$")
_FOOTER = re.compile(r"_{30,}\s*$|-{30,}\s*$")
_DEVICE = re.compile(
    r"\s*(?:Sent (?:from|via|with) (?:my |the )?|Get Outlook for|Von meinem .{2,40} gesendet|Gesendet (?:von|mit|über)"
    r" |Diese Nachricht wurde von meinem|Envoyé (?:de|depuis|à partir d)|Enviado (?:desde|do|de) (?:mi|meu) "
    r"|Inviato da|Verzonden (?:vanaf|met|via) |Skickat från (?:min|mitt) |Sendt fra min |Wysłane z "
    r"|Отправлено (?:с|из) |Lähetetty |Odesláno z "
    r"|iPhoneから送信|从我的 ?.{2,20}发送|나의 iPhone에서 보냄|发自我的|發自我的|從我的 ?.{2,20}傳送"
    r"|(?:Verstuurd vanaf|Στάλθηκε από|נשלח מה|تم الإرسال من|أُ?رسلت من|Надіслано з|Trimis de pe|Poslano s|Enviat des d"
    r"|Đã gửi từ|ส่งจาก|Dikirim dari) ?[^\n]{0,20}(?:iPhone|iPad|Android|Samsung|Galaxy|Huawei|Xiaomi)"
    r"|(?:Holen Sie sich|Obtenir|Obtener|Obter|Obter o|Ottieni|Scarica|Hämta|Hent|Pobierz|Download) Outlook "
    r"(?:for|für|para|pour|per|för|til|dla) (?:iOS|Android|Mac|Windows)|(?:iPhone|iPad)['’]\w{2,8} gönderildi"
    r"|Outlook für \w+ beziehen|(?:Mit|Von) (?:Proton|Yahoo) ?Mail .{2,40}gesendet)[^\n]{0,60}$",
    re.IGNORECASE,
)
_SIGNED = re.compile(r"-----BEGIN PGP SIGNATURE-----.*?(?:-----END PGP SIGNATURE-----|\Z)", re.DOTALL)
_SIGNED_HEAD = re.compile(r"^-----BEGIN PGP SIGNED MESSAGE-----\n(?:[A-Za-z]+: .*\n)*\n?", re.MULTILINE)
_LEAD_LINES, _LONGEST_LEAD_IN = 3, 300
_EDGES = " \t\r\u00a0\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def own_words(text: str, *, forwarded: bool = False) -> tuple[str, Counter[str]]:
    """The writer's own lines of a mail, and how many characters of what else were left out.

    Args:
        text: the body, lines ended by a line feed.
        forwarded: whether its subject says that it was forwarded.
    """
    left_out: Counter[str] = Counter()
    for pattern in (_SIGNED, _SIGNED_HEAD):
        shorter = pattern.sub("", text)
        left_out[SIGNATURES] += len(text) - len(shorter)
        text = shorter
    lines = text.split("\n")
    kept: list[str] = []
    place = 0
    while place < len(lines):
        line = lines[place]
        if line.lstrip().startswith(">"):
            left_out[QUOTED] += _drop_lead_in(kept) + len(line) + 1
        elif _DELIMITER.match(line) and kept:
            end = _signature_end(lines, place)
            left_out[SIGNATURES] += _length(lines[place:end])
            place = end
            continue
        elif _DEVICE.match(line):
            left_out[SIGNATURES] += len(line) + 1
        elif (why := _begins_another(lines, place, forwarded)) is not None:
            left_out[why] += _length(lines[place:])
            break
        elif _FOOTER.match(line) and kept and _is_list_footer(lines[place + 1 : place + 7]):
            left_out[SIGNATURES] += _length(lines[place:])
            break
        else:
            kept.append(line)
        place += 1
    return "\n".join(kept).strip("\n"), +left_out


def _length(lines: list[str]) -> int:
    return sum(len(line) + 1 for line in lines)


def _drop_lead_in(kept: list[str]) -> int:
    """Take away the lines that lead in a quote, which were kept last; how many characters they have."""
    end = len(kept)
    while end and not kept[end - 1].strip():
        end -= 1
    # The most lines that make a lead-in, from one that begins with its date, or else a paragraph, if there is such.
    for first in ("date", "paragraph", "any"):
        for count in range(_LEAD_LINES, 0, -1):
            begin = end - count
            if begin < 0 or not all(line.strip() for line in kept[begin:end]):
                continue
            lead = " ".join(line.strip(_EDGES) for line in kept[begin:end])
            if not (
                lead.endswith((":", "："))
                and len(lead) < _LONGEST_LEAD_IN
                and (_LEAD_IN.search(lead) or _DATED.search(lead))
            ):
                continue
            begins = begin == 0 or not kept[begin - 1].strip()
            found = {
                "date": _DATE_FIRST.match(kept[begin].strip(_EDGES)),
                "paragraph": begins,
                "any": _DATED.search(kept[begin]),
            }
            if found[first]:
                above = next((at for at in range(begin - 1, -1, -1) if kept[at].strip()), begin)
                if _SEPARATOR.match(kept[above]) and _ORIGINAL.search(kept[above]):
                    begin = above
                removed = _length(kept[begin:])
                del kept[begin:]
                return removed
    return 0


def _signature_end(lines: list[str], begin: int) -> int:
    """Where a signature ends that begins there: at the end, or where a quote or another mail begins."""
    for place in range(begin + 1, len(lines)):
        if lines[place].lstrip().startswith(">") or _begins_another(lines, place, forwarded=False) is not None:
            return place
    return len(lines)


def _begins_another(lines: list[str], place: int, forwarded: bool) -> str | None:
    """Whether the rest from there on is somebody else's mail, quoted without signs: as what it is left out."""
    line = lines[place].strip(_EDGES)
    if not line:
        return None
    if _SEPARATOR.match(line):
        following = next((at for at, each in enumerate(lines[place + 1 : place + 4], place + 1) if each.strip()), 0)
        if following and (_headers(lines, place + 1) or _leads_in(lines, following)):
            return FORWARDED if forwarded or _FORWARD.search(line) else QUOTED
        return None
    if _headers(lines, place):
        return FORWARDED if forwarded else QUOTED
    if _leads_in(lines, place):
        return FORWARDED if forwarded else QUOTED
    return None


def _leads_in(lines: list[str], place: int) -> bool:
    """Whether that line, alone or with the next one, leads in a quote without signs."""
    return any(
        _is_lead_in(lines[place : place + count]) and not _quote_follows(lines[place + count :]) for count in (1, 2)
    )


def _is_lead_in(lines: list[str]) -> bool:
    lead = " ".join(each.strip(_EDGES) for each in lines)
    if len(lead) >= _LONGEST_LEAD_IN or not lead.endswith((":", "：")):
        return False
    return bool((_ADDRESSED.search(lead) or _LEAD_IN.search(lead)) and _DATED.search(lead))


def _quote_follows(lines: list[str]) -> bool:
    first = next((line for line in lines if line.strip()), "")
    return first.lstrip().startswith(">")


def _headers(lines: list[str], place: int) -> bool:
    """Whether headers of a mail stand there: three and more in a row, with an address or a date among them."""
    while place < len(lines) and not lines[place].strip():
        place += 1
    found = []
    for line in lines[place : place + 8]:
        if not line.strip():
            break
        if _HEADER.match(line.strip()):
            found.append(line)
        elif not found:
            break
    return (
        len(found) >= 3
        and sum(bool(_DATED.search(line)) for line in found) >= 1
        and "@" in " ".join(found) + "@" * (len(found) >= 4)
    )


def _is_list_footer(lines: list[str]) -> bool:
    return any("http" in line or "@" in line or "list" in line.lower() for line in lines)
