"""Exports of chats as text for `benchmarks.exports`: WhatsApp in six more languages, and programs of telephones.

WhatsApp's own words are as its telephones spell them there, its marks too; the others' shapes are those of LINE,
KakaoTalk, imessage-exporter and iMazing.
"""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from benchmarks.exports_chats import Said, by, said

LEFT, RIGHT = "\u200e", "\u200f"


@dataclass(frozen=True)
class Phone:
    """How WhatsApp spells on a telephone.

    Attributes:
        stamp: of a message's time, up to its author.
        mark: before what WhatsApp wrote itself; empty on Android.
        encrypted: what it says first.
        media: of a file that the export lacks.
        deleted: of a message that somebody deleted.
        deleted_own: the same of the owner's.
        edited: after a message that was edited.
        attached: after the name of a file that the export has, or around it.
        added: of somebody who came.
        missed: of a call that nobody took.
        poll: its first words, and those of an option.
    """

    stamp: Callable[[datetime], str]
    mark: str
    encrypted: str
    media: str
    deleted: str
    deleted_own: str
    edited: str
    attached: str
    added: str
    missed: str
    poll: tuple[str, str]


_INDIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")


def _twelve(at: datetime) -> str:
    return f"{at.hour % 12 or 12}:{at:%M}"


def _arabic(at: datetime) -> str:
    day = f"{at.day}{RIGHT}/{at.month}{RIGHT}/{at.year}"
    return f"{day}، {_twelve(at)} {'ص' if at.hour < 12 else 'م'} - ".translate(_INDIC)


def _arabic_ios(at: datetime) -> str:
    half = "ص" if at.hour < 12 else "م"
    return f"{RIGHT}[{at:%d/%m/%Y}، {_twelve(at)}:{at:%S} {half}] ".translate(_INDIC)


PHONES = {
    "Android, Dutch": Phone(
        lambda at: f"{at:%d-%m-%Y %H:%M} - ",
        "",
        "Berichten en gesprekken worden end-to-end versleuteld. Alleen personen in deze chat kunnen ze lezen,"
        " beluisteren of delen. Meer informatie",
        "<Media weggelaten>",
        "Dit bericht is verwijderd",
        "Je hebt dit bericht verwijderd",
        "<Dit bericht is bewerkt>",
        "{} (bestand bijgevoegd)",
        "Bob heeft +31 6 12345678 toegevoegd",
        "Gemiste spraakoproep",
        ("PEILING:", "OPTIE:"),
    ),
    "Android, Turkish": Phone(
        lambda at: f"{at:%d.%m.%Y %H:%M} - ",
        "",
        "Mesajlar ve aramalar uçtan uca şifrelidir. Bu sohbetin dışında hiç kimse bunları okuyamaz veya dinleyemez."
        " Daha fazla bilgi edinmek için dokunun.",
        "<Medya dahil edilmedi>",
        "Bu mesaj silindi",
        "Bu mesajı sildiniz",
        "<Bu mesaj düzenlendi>",
        "{} (dosya ekli)",
        "Bob, +90 532 123 45 67 kişisini ekledi",
        "Cevapsız sesli arama",
        ("ANKET:", "SEÇENEK:"),
    ),
    "Android, Polish": Phone(
        lambda at: f"{at:%d.%m.%Y, %H:%M} - ",
        "",
        "Wiadomości i połączenia są w pełni szyfrowane. Tylko osoby uczestniczące w tym czacie mogą je czytać,"
        " odsłuchiwać i udostępniać. Dowiedz się więcej",
        "<Pominięto multimedia>",
        "Wiadomość została usunięta.",
        "Wiadomość usunięta przez Ciebie.",
        "<Wiadomość została zmieniona>",
        "{} (załączono plik)",
        "Użytkownik Bob dodał numer +48 601 234 567",
        "Nieodebrane połączenie głosowe",
        ("ANKIETA:", "OPCJA:"),
    ),
    "Android, Arabic with its digits": Phone(
        _arabic,
        "",
        "الرسائل والمكالمات مشفرة تمامًا بين الطرفين. لا يمكن لأي شخص خارج هذه الدردشة قراءتها أو الاستماع إليها.",
        "<تم استبعاد الوسائط>",
        "تم حذف هذه الرسالة",
        "حذفت هذه الرسالة",
        "<تم تعديل هذه الرسالة>",
        "{} (الملف مرفق)",
        "أضاف Bob \u2066+20 100 123 4567\u2069",
        "مكالمة صوتية فائتة",
        ("استطلاع:", "خيار:"),
    ),
    "iOS, Arabic with its digits": Phone(
        _arabic_ios,
        RIGHT,
        "الرسائل والمكالمات مشفّرة بالكامل: لا أحد خارج هذه الدردشة يستطيع قراءتها.",
        "تم استبعاد الصورة",
        "تم حذف هذه الرسالة.",
        "لقد حذفت هذه الرسالة.",
        "<تم تعديل هذه الرسالة>",
        "<مرفق: {}>",
        "أضاف Bob \u2066+20 100 123 4567\u2069",
        "مكالمة صوتية فائتة",
        ("استطلاع:", "خيار:"),
    ),
    "iOS, Hebrew with marks": Phone(
        lambda at: f"{RIGHT}[{at.day}.{at.month}.{at.year}, {at.hour}:{at:%M:%S}] ",
        RIGHT,
        "ההודעות והשיחות מוצפנות מקצה לקצה: רק המשתתפים בצ'אט הזה יכולים לקרוא אותן.",
        "התמונה הושמטה",
        "ההודעה נמחקה.",
        "מחקת את ההודעה.",
        "<ההודעה נערכה>",
        "<מצורף: {}>",
        "Bob הוסיף/ה את \u2066+972 50-123-4567\u2069",
        "שיחה קולית שלא נענתה",
        ("סקר:", "אפשרות:"),
    ),
    "iOS, Japanese": Phone(
        lambda at: f"[{at:%Y/%m/%d} {'午前' if at.hour < 12 else '午後'}{at.hour % 12}:{at:%M:%S}] ",
        LEFT,
        "メッセージと通話はエンドツーエンドで暗号化されています。このチャットの参加者のみが内容を読んだり聞いたりできます。",
        "画像は含まれていません",
        "このメッセージは削除されました。",
        "このメッセージを削除しました。",
        "<このメッセージは編集されました>",
        "<添付ファイル: {}>",
        "Bobが+81 90-1234-5678を追加しました",
        "音声通話に不在着信がありました",
        ("アンケート:", "選択肢:"),
    ),
}


def whatsapp(phone: Phone, chat: Said) -> tuple[str, list[str], list[str]]:
    """The file, what Alice wrote in it, and what else is in it."""
    ios = phone.mark != ""
    lines: list[str] = []
    own: list[str] = []
    others: list[str] = [phone.encrypted]
    begin = phone.stamp(chat[0][0])
    lines.append(f"{begin}{'Friends: ' if ios else ''}{phone.mark}{phone.encrypted}")
    for number, (at, author, text) in enumerate(chat):
        stamp = phone.stamp(at)
        edited = f" {phone.mark}{phone.edited}" if number % 23 == 7 else ""
        lines.append(f"{stamp}{author}: {text}{edited}")
        (own if author == "Alice M." else others).append(text)
        if edited:
            others.append(phone.edited)
        asides = (
            (number % 29 == 3, author, phone.media),
            (number % 31 == 4, "Bob", phone.deleted),
            (number % 97 == 5, "Alice M.", phone.deleted_own),
            (number % 37 == 6, author, phone.attached.format(f"IMG-20240301-WA{number:04}.jpg")),
            (number % 61 == 9, author if ios else None, phone.missed),
            (number % 61 == 8, "Friends" if ios else None, phone.added),
        )
        for happens, who, what in asides:
            if happens:
                lines.append(f"{phone.mark}{stamp}{f'{who}: ' if who else ''}{phone.mark}{what}")
                others.append(what)
        if number % 83 == 11:
            first, option = phone.poll
            asked = f"{first}\nWhere?\n{option} Here (2)\n{option} There (1)"
            lines.append(f"{stamp}{author}: {phone.mark}{asked}")
            others.append(asked)
    ends = "\r\n" if ios else "\n"
    return ends.join(lines) + ends, own, others


def line(chat: Said) -> tuple[str, list[str]]:
    """A chat as LINE saves it, and what it writes itself."""
    lines = ["[LINE] Chat history with Friends", "Saved on: 2024/03/30 09:12"]
    extra = list(lines)
    day = None
    for number, (at, author, text) in enumerate(chat):
        if day != at.date():
            day = at.date()
            lines += ["", f"{at:%a, %m/%d/%Y}"]
            extra.append(lines[-1])
        # What has several lines stands in quotes.
        said = f'"{text}\nand so on"' if number % 17 == 5 else text
        lines.append(f"{at:%H:%M}\t{author}\t{said}")
        if number % 29 == 3:
            lines.append(f"{at:%H:%M}\t{author}\t[Photo]")
            extra.append("[Photo]")
        if number % 61 == 8:
            lines.append(f"{at:%H:%M}\tBob unsent a message.")
            extra.append("Bob unsent a message.")
    return "\r\n".join(lines) + "\r\n", extra


def kakao(chat: Said) -> tuple[str, list[str]]:
    """A chat as KakaoTalk saves it on Windows, and what it writes itself."""
    lines = ["Friends 님과 카카오톡 대화", "저장한 날짜 : 2024-03-30 09:12:11", ""]
    extra = list(lines)
    day = None
    for number, (at, author, text) in enumerate(chat):
        if day != at.date():
            day = at.date()
            lines.append(f"--------------- {at.year}년 {at.month}월 {at.day}일 월요일 ---------------")
            extra.append(lines[-1])
        clock = f"{'오전' if at.hour < 12 else '오후'} {_twelve(at)}"
        lines.append(f"[{author}] [{clock}] {text}")
        if number % 29 == 3:
            lines.append(f"[{author}] [{clock}] 사진")
            extra.append("사진")
        if number % 61 == 8:
            lines.append("Bob님이 Eve님을 초대했습니다.")
            extra.append(lines[-1])
    return "\r\n".join(lines) + "\r\n", extra


def imessage(chat: Said) -> tuple[str, list[str]]:
    """A chat as imessage-exporter writes it as text, and what it writes itself."""
    pieces = []
    extra = []
    for number, (at, author, text) in enumerate(chat):
        stamp = f"{at:%b %d, %Y} {at.hour % 12 or 12:2}:{at:%M:%S %p}"
        read = " (Read by you after 1 minute, 3 seconds)" if author != "Alice M." and number % 3 == 0 else ""
        lines = [f"{stamp}{read}", "Me" if author == "Alice M." else author, text]
        if number % 13 == 4:
            lines += ["Tapbacks:", "Loved by Bob", ""]
        if number % 19 == 6:
            lines.append("This message responded to an earlier message.")
        if number % 29 == 3:
            lines.insert(2, "/Users/alice/Library/Messages/Attachments/4c/12/IMG_0815.heic")
        extra += lines[:2] + [each for each in lines[2:] if each != text]
        pieces.append("\n".join(lines))
        if number % 61 == 8:
            pieces.append(f"{stamp} Bob renamed the conversation to Friends of tea")
            extra.append(pieces[-1])
    return "\n\n".join(pieces) + "\n", extra


def imazing(chat: Said) -> bytes:
    """A chat as iMazing writes it: the owner's messages name nobody."""
    file = io.StringIO()
    table = csv.writer(file)
    table.writerow(
        (
            *(
                "Chat Session",
                "Message Date",
                "Delivered Date",
                "Read Date",
                "Edited Date",
                "Service",
                "Type",
                "Sender ID",
            ),
            *("Sender Name", "Status", "Replying to", "Subject", "Text", "Attachment", "Attachment type"),
        )
    )
    for number, (at, author, text) in enumerate(chat):
        own = author == "Alice M."
        times = (f"{at:%Y-%m-%d %H:%M:%S}",) * 3
        who = ("Outgoing", "", "") if own else ("Incoming", f"+4915{ord(author[0])}", author)
        table.writerow(("Friends", *times, "", "iMessage", *who, "Read", "", "", text, "", ""))
        if number % 29 == 3:
            table.writerow(("Friends", *times, "", "iMessage", *who, "Read", "", "", "", "IMG_0815.HEIC", "Image"))
    return file.getvalue().encode("utf-8-sig")


def phone_chats() -> Iterator[tuple[str, str, str, bytes, str, list[str], list[str]]]:
    """As `benchmarks.exports_chats.chats`."""
    for number, (name, phone) in enumerate(PHONES.items()):
        text, own, others = whatsapp(phone, said(500 + 10 * number))
        file = "_chat.txt" if phone.mark else "WhatsApp Chat with Friends.txt"
        yield "WhatsApp", name, file, text.encode(), "Alice M.", own, others
    texts: tuple[tuple[str, str, Callable[[Said], tuple[str, list[str]]], str], ...] = (
        ("LINE", "[LINE] Chat with Friends.txt", line, "Alice M."),
        ("KakaoTalk", "KakaoTalk_20240330.txt", kakao, "Alice M."),
        ("imessage-exporter", "Friends.txt", imessage, "Me"),
    )
    for number, (name, file, write, me) in enumerate(texts):
        chat = said(600 + 10 * number)
        data, extra = write(chat)
        own = by(chat, "Alice M.")
        if name == "LINE":
            own = [
                text + "\nand so on" if at % 17 == 5 else text
                for at, (_, who, text) in enumerate(chat)
                if who == "Alice M."
            ]
        others = [text for _, who, text in chat if who != "Alice M."]
        yield "chats of telephones", name, file, data.encode(), me, own, others + extra
    chat = said(640)
    others = [text for _, who, text in chat if who != "Alice M."]
    yield "chats of telephones", "iMazing", "Messages - Friends.csv", imazing(chat), "", by(chat, "Alice M."), others
