"""Mailboxes for `benchmarks.exports`: replies as Outlook, Apple Mail and Gmail write them in two dozen languages.

Programs lead in what is answered with words of their language. Outlook puts headers before it and no sign at its lines;
others one line, and signs, or, as telephones and converted pages do, none.
"""

import mailbox
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

from benchmarks.exports_documents import Made
from benchmarks.exports_words import OTHERS, OWN, messages

HEADERS = {
    "English": ("From", "Sent", "To", "Subject", "Monday, February 26, 2024 8:04 AM"),
    "German": ("Von", "Gesendet", "An", "Betreff", "Montag, 26. Februar 2024 08:04"),
    "French": ("De", "Envoyé", "À", "Objet", "lundi 26 février 2024 08:04"),
    "Spanish": ("De", "Enviado", "Para", "Asunto", "lunes, 26 de febrero de 2024 8:04"),
    "Italian": ("Da", "Inviato", "A", "Oggetto", "lunedì 26 febbraio 2024 08:04"),
    "Portuguese": ("De", "Enviado", "Para", "Assunto", "segunda-feira, 26 de fevereiro de 2024 08:04"),
    "Dutch": ("Van", "Verzonden", "Aan", "Onderwerp", "maandag 26 februari 2024 08:04"),
    "Swedish": ("Från", "Skickat", "Till", "Ämne", "den 26 februari 2024 08:04"),
    "Danish": ("Fra", "Sendt", "Til", "Emne", "26. februar 2024 08:04"),
    "Finnish": ("Lähettäjä", "Lähetetty", "Vastaanottaja", "Aihe", "maanantai 26. helmikuuta 2024 8.04"),
    "Polish": ("Od", "Wysłano", "Do", "Temat", "poniedziałek, 26 lutego 2024 08:04"),
    "Czech": ("Od", "Odesláno", "Komu", "Předmět", "pondělí 26. února 2024 8:04"),
    "Hungarian": ("Feladó", "Elküldve", "Címzett", "Tárgy", "2024. február 26., hétfő 8:04"),
    "Turkish": ("Kimden", "Gönderildi", "Kime", "Konu", "26 Şubat 2024 Pazartesi 08:04"),
    "Greek": ("Από", "Στάλθηκε", "Προς", "Θέμα", "Δευτέρα, 26 Φεβρουαρίου 2024 8:04 πμ"),
    "Russian": ("От", "Отправлено", "Кому", "Тема", "26 февраля 2024 г. 8:04"),
    "Ukrainian": ("Від", "Надіслано", "Кому", "Тема", "26 лютого 2024 р. 8:04"),
    "Hebrew": ("מאת", "נשלח", "אל", "נושא", "יום שני 26 פברואר 2024 08:04"),
    "Arabic": ("من", "تم الإرسال", "إلى", "الموضوع", "٢٦ فبراير ٢٠٢٤ ٠٨:٠٤ ص"),
    "Hindi": ("प्रेषक", "भेजा गया", "प्रति", "विषय", "26 फ़रवरी 2024 08:04"),
    "Thai": ("จาก", "ส่ง", "ถึง", "ชื่อเรื่อง", "26 กุมภาพันธ์ 2567 8:04"),
    "Japanese": ("差出人", "送信日時", "宛先", "件名", "2024年2月26日 8:04"),
    "Chinese": ("发件人", "发送时间", "收件人", "主题", "2024年2月26日 8:04"),
    "Korean": ("보낸 사람", "보낸 날짜", "받는 사람", "제목", "2024년 2월 26일 월요일 오전 8:04"),
}
"""What Outlook puts before the mail that is answered: its four headers, and a date."""

LEADS = {
    "English": "On Feb 26, 2024, at 8:04 AM, Bob Builder <bob@example.org> wrote:",
    "German": "Am 26.02.2024 um 08:04 schrieb Bob Builder <bob@example.org>:",
    "French": "Le 26 févr. 2024 à 08:04, Bob Builder <bob@example.org> a écrit :",
    "Spanish": "El 26 feb 2024, a las 8:04, Bob Builder <bob@example.org> escribió:",
    "Italian": "Il giorno 26 feb 2024, alle ore 08:04, Bob Builder <bob@example.org> ha scritto:",
    "Portuguese": "No dia 26/02/2024, às 08:04, Bob Builder <bob@example.org> escreveu:",
    "Dutch": "Op 26 feb 2024, om 08:04 heeft Bob Builder <bob@example.org> het volgende geschreven:",
    "Swedish": "26 feb. 2024 kl. 08:04 skrev Bob Builder <bob@example.org>:",
    "Danish": "Den 26. feb. 2024 kl. 08.04 skrev Bob Builder <bob@example.org>:",
    "Finnish": "Bob Builder <bob@example.org> kirjoitti 26.2.2024 kello 8.04:",
    "Polish": "Wiadomość napisana przez Bob Builder <bob@example.org> w dniu 26 lut 2024, o godz. 08:04:",
    "Czech": "26. 2. 2024 v 8:04, Bob Builder <bob@example.org>:",
    "Hungarian": "2024. febr. 26. dátummal, 8:04 időpontban Bob Builder <bob@example.org> írta:",
    "Turkish": "Bob Builder <bob@example.org> şunları yazdı (26 Şub 2024 08:04):",
    "Greek": "Στις 26 Φεβ 2024, στις 8:04 π.μ., ο χρήστης Bob Builder <bob@example.org> έγραψε:",
    "Romanian": "Pe 26 feb. 2024, la 08:04, Bob Builder <bob@example.org> a scris:",
    "Russian": "26 февр. 2024 г., в 08:04, Bob Builder <bob@example.org> написал(а):",
    "Ukrainian": "26 лют. 2024 р. о 08:04 Bob Builder <bob@example.org> пише:",
    "Hebrew": "\u200fב-26 בפבר׳ 2024, בשעה 8:04, \u200fBob Builder <bob@example.org>\u200f כתב/ה:\u200f",
    "Arabic": "في ٢٦ فبراير ٢٠٢٤، الساعة ٨:٠٤ ص، كتب/كتبت Bob Builder <bob@example.org>:",
    "Hindi": "26 फ़र॰ 2024 को 8:04 am बजे, Bob Builder <bob@example.org> ने लिखा:",
    "Thai": "เมื่อวันที่ 26 ก.พ. 2024 เวลา 08:04 น. Bob Builder <bob@example.org> เขียนว่า:",
    "Vietnamese": "Vào 08:04 26 thg 2, 2024, Bob Builder <bob@example.org> đã viết:",
    "Japanese": "2024/02/26 8:04、Bob Builder <bob@example.org>のメール:",
    "Chinese": "在 2024年2月26日，08:04，Bob Builder <bob@example.org> 写道：",
    "Korean": "2024. 2. 26. 오전 8:04, Bob Builder <bob@example.org> 작성:",
}
"""How Apple Mail and Gmail lead in the mail that is answered."""

LABELS = ("Sent,Opened", "Gesendet,Geöffnet", "Messages envoyés,Ouvert", "送信済み", "Wysłane,Otwarte")


def letters(folder: Path) -> Iterator[Made]:
    """Mailboxes in which Alice answers Bob, in every language of each program."""
    headed = [_headed(name, each) for name, each in HEADERS.items()]
    yield _box(folder / "outlook.mbox", "Outlook, replies in 24 languages", headed, 40)
    signed = [(each, "> {}") for each in LEADS.values()]
    yield _box(folder / "apple.mbox", "Apple Mail, replies in 26 languages", signed, 50)
    bare = [(each, "{}") for each in LEADS.values()]
    yield _box(folder / "telephone.mbox", "replies without signs, in 26 languages", bare, 60)
    yield _box(folder / "takeout.mbox", "Gmail, of Takeout, with labels", signed[:5], 70, LABELS)


def _headed(language: str, words: Sequence[str]) -> tuple[str, str]:
    who, sent, to, subject, when = words
    # An address stands there only where the address book has none of that name.
    sender = "Bob Builder <bob@example.org>" if len(language) % 2 else "Bob Builder"
    colon = " :" if language == "French" else ":"
    lines = (f"{who}{colon} {sender}", f"{sent}{colon} {when}", f"{to}{colon} Alice Miller", f"{subject}{colon} Okapi")
    return "\n".join(lines) + "\n", "{}"


def _box(path: Path, name: str, ways: Sequence[tuple[str, str]], seed: int, labels: Sequence[str] = ()) -> Made:
    own, others = messages(OWN, len(ways) * 3, seed), messages(OTHERS, len(ways) * 6, seed + 1)
    rest: list[str] = []
    box = mailbox.mbox(path)
    for number, text in enumerate(own):
        lead, sign = ways[number % len(ways)]
        quoted = "\n".join(sign.format(line) for line in (others[2 * number], "", others[2 * number + 1]))
        body = f"{text}\n\n{lead}\n\n{quoted}\n" if sign == "> {}" or not labels else f"{text}\n\n{lead}\n{quoted}\n"
        at = datetime(2024, 2, 26, 8, 4, tzinfo=UTC) + timedelta(hours=7 * number)
        box.add(_mail("Alice Miller <alice@example.org>", "bob@example.org", body, at, labels, number).as_bytes())
        at += timedelta(hours=2)
        received = _mail("Bob Builder <bob@example.org>", "alice@example.org", others[2 * number], at, (), number)
        received["Delivered-To"] = "alice@example.org"
        box.add(received.as_bytes())
        rest += [lead, others[2 * number], others[2 * number + 1], others[2 * number]]
    box.close()
    return Made("mails", name, path, own, rest, me="" if labels else "Alice Miller")


def _mail(sender: str, to: str, body: str, at: datetime, labels: Sequence[str], number: int) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, to, f"Re: okapi {number}"
    mail["Date"], mail["Message-ID"] = format_datetime(at), f"<{number}.{at:%H%M}@example.org>"
    if labels:
        mail["X-GM-THRID"], mail["X-Gmail-Labels"] = str(1_700_000_000 + number), labels[number % len(labels)]
    mail.set_content(body)
    return mail
