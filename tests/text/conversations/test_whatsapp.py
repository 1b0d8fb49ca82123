import re
from collections import Counter
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedllm.text.conversations import recognise

EVENING = {
    "iOS, British": "[13/03/2024, 21:05:33] {}: {}",
    "iOS, American": "[3/13/24, 9:05:33\u202fPM] {}: {}",
    "iOS, German": "[13.03.24, 21:05:33] {}: {}",
    "iOS, Japanese": "[2024/03/13 21:05:33] {}: {}",
    "iOS, Korean": "[2024. 3. 13. 오후 9:05:33] {}: {}",
    "Android, British": "13/03/2024, 21:05 - {}: {}",
    "Android, American": "3/13/24, 9:05\u202fPM - {}: {}",
    "Android, German": "13.03.24, 21:05 - {}: {}",
    "Android, Spanish": "13/3/2024, 9:05 p.\u00a0m. - {}: {}",
    "Android, Canadian": "2024-03-13, 9:05 p.m. - {}: {}",
    "Android, South African": "2024/03/13, 21:05 - {}: {}",
    "Android, Chinese": "2024/3/13 下午9:05 - {}: {}",
    "Android, Finnish": "13.3.2024 klo 21.05 - {}: {}",
    "Android, Danish": "13.03.2024 21.05 - {}: {}",
    "Android, Egyptian": "١٣\u200f/٣\u200f/٢٠٢٤، ٩:٠٥ م - {}: {}",
    "Android, Hindi": "१३/०३/२४, ९:०५ pm - {}: {}",
    "Android, Vietnamese": "21:05, 13/03/2024 - {}: {}",
    "Android, Portuguese": "13/03/24 às 21:05 - {}: {}",
    "Android, Bulgarian": "13.03.2024 г., 21:05 - {}: {}",
    "Android, Greek": "13/3/2024, 9:05 μ.μ. - {}: {}",
    "Android, Hungarian": "2024. 03. 13. 21:05 - {}: {}",
    "Android, Croatian": "13.03.2024. 21:05 - {}: {}",
    "Android, Dutch": "13-03-2024 21:05 - {}: {}",
    "Android, Thai": "13/3/2567 21:05 - {}: {}",
    "Android, Canadian French": "2024-03-13 21 h 05 - {}: {}",
    "iOS, Canadian French": "[2024-03-13, 21\u202fh\u202f05\u202fmin\u202f33\u202fs] {}: {}",
    "old Android": "13 Mar 2024, 21:05 - {}: {}",
    "old Android, American": "Mar 13, 2024, 9:05 PM - {}: {}",
    "old iOS": "13/03/24 21:05:33: {}: {}",
}


@pytest.mark.parametrize("spelling", EVENING.values(), ids=EVENING.keys())
def test_authors_texts_and_times_are_read_in_the_spelling_of_any_phone(spelling):
    said = [("Alice", "hello"), ("+49 151 2345678", "well: hi\n\n13/03 or 14/03?"), ("Alice", "14.03. it is")]
    text = "\ufeff" + "\n".join(spelling.format(author, words) for author, words in said)
    (document,) = recognise("anything", text.encode())
    assert [(turn.author, turn.text) for turn in document.turns] == said
    assert {turn.when.replace(second=0) for turn in document.turns} == {datetime(2024, 3, 13, 21, 5)}
    assert document.kind == "WhatsApp chat" and not document.doubts


def read(text, name="chat.txt"):
    (document,) = recognise(name, text.encode())
    return document


def turns(document):
    return [(turn.author, turn.text) for turn in document.turns]


NAMES = [
    "Alice",
    "Bob",
    "Dr. Who",
    "+49 151 23456789",
    "Zoë 🌸",
    "Müller-Lüdenscheidt (work)",
    "محمد",
    "山田",
    "Bob - work",
]
IN_NAMES = st.sampled_from(NAMES)
WORDS = [
    "hello",
    "13/03",
    "13/03/2024",
    "21:05",
    "12.03.2024, 10:00",
    "[ok]",
    "a: b",
    "- no",
    "<3",
    "https://x.org/?q=1:2",
]
LINE = st.lists(
    st.sampled_from(WORDS) | st.text("abcé ñ:,.-/[]<>0159👋ب", min_size=1, max_size=12), min_size=1, max_size=6
)
TEXT = st.lists(LINE.map(" ".join), min_size=1, max_size=3).map("\n".join)


def written(when, spelling):
    """A time as a phone of one spelling writes it."""
    hour = when.hour % 12 or 12
    half = ("AM", "PM")[when.hour // 12]
    return (
        spelling.format(
            y=when.year, yy=when.year % 100, m=when.month, d=when.day, H=when.hour, h=hour, M=when.minute, S=when.second
        )
        .replace("am", {"AM": "am", "PM": "pm"}[half])
        .replace("½", half)
    )


SPELLINGS = [
    "[{d:02}/{m:02}/{y}, {H:02}:{M:02}:{S:02}] ",
    "[{m}/{d}/{yy:02}, {h}:{M:02}:{S:02}\u202f½] ",
    "[{d:02}.{m:02}.{yy:02}, {H:02}:{M:02}:{S:02}] ",
    "[{y}-{m:02}-{d:02} {H:02}:{M:02}:{S:02}] ",
    "{d:02}/{m:02}/{y}, {H:02}:{M:02} - ",
    "{m}/{d}/{yy:02}, {h}:{M:02} ½ - ",
    "{d:02}.{m:02}.{yy:02}, {H:02}:{M:02} - ",
    "{y}/{m:02}/{d:02}, {h}:{M:02} am - ",
    "{y}-{m:02}-{d:02} {H:02}:{M:02} - ",
    "{d}.{m}.{y} klo {H}.{M:02} - ",
    "{d:02}-{m:02}-{y} {H:02}:{M:02} - ",
    "{H:02}:{M:02}, {d:02}/{m:02}/{y} - ",
]


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    spelling=st.sampled_from(SPELLINGS),
    said=st.lists(st.tuples(IN_NAMES, TEXT, st.integers(0, 200_000)), min_size=30, max_size=60),
    data=st.data(),
)
def test_what_any_people_say_comes_back_with_its_author_and_time(spelling, said, data):
    when = datetime(2023, 1, 14, 9, 30)
    lines, expected = [], []
    for author, text, pause in said:
        when += timedelta(seconds=pause)
        lines.append(f"{written(when, spelling)}{author}: {text}")
        expected.append((author, text, when.replace(second=when.second if "{S" in spelling else 0)))
    document = read("\r\n".join(lines).replace("\n", "\r\n"))
    found = [(turn.author, turn.text, turn.when) for turn in document.turns]
    whole = [(author, plain(text), when) for author, text, when in expected if plain(text)]
    # Of somebody called "Alice: a" it might be: left out where it is in doubt, and never another's.
    assert [each for each in found if not begins_like_a_name(each[1])] == [
        each for each in whole if not begins_like_a_name(each[1])
    ]
    assert Counter(found) <= Counter(whole)


def begins_like_a_name(text):
    return re.match(r"[^\n]{1,99}?:(?:\s|$)", text) is not None


def plain(text):
    """As a careful reader copies it."""
    return text.strip()


ANDROID = """\
13/03/2024, 20:55 - Messages and calls are end-to-end encrypted. Tap to learn more.
13/03/2024, 20:55 - Alice created group "Trip: 2024"
13/03/2024, 20:55 - Alice added you
13/03/2024, 20:56 - Alice: here is the plan:
14/03/2024, 10:00 - leave
14/03/2024, 12:30 - museum: opens at nine
15/03/2024 back

bring: coats
13/03/2024, 20:57 - Alice changed the subject from "Trip: 2024" to "Trip"
13/03/2024, 20:57 - Bob: \u200eIMG-20240313-WA0001.jpg (file attached)
what a view
13/03/2024, 20:58 - Bob: <Media omitted>
13/03/2024, 20:58 - Alice: PTT-20240313-WA0002.opus (Datei angehängt)
13/03/2024, 20:58 - Bob: report.pdf (file attached)
report.pdf
13/03/2024, 20:59 - Bob: This message was deleted
13/03/2024, 20:59 - Alice: You deleted this message
13/03/2024, 21:00 - Alice: see you at eight <This message was edited>
13/03/2024, 21:00 - +49 151 2345678: null
13/03/2024, 21:01 - Bob: POLL:
Pizza?
OPTION: yes (2 votes)
OPTION: no (0 votes)

13/03/2024, 21:02 - Bob: location: https://maps.google.com/?q=1.0,2.0
13/03/2024, 21:02 - Missed voice call
13/03/2024, 21:03 - Work: Eve: hello
13/03/2024, 21:03 - Work: Eve: are you
13/03/2024, 21:03 - Work: Eve: there
13/03/2024, 21:04 - Alice: bob wrote
[13/03, 20:57] Bob: what a view
and more
13/03/2024, 21:05 - Bob: yes: I did <3
13/03/2024, 21:06 - Alice left
"""


def test_what_whatsapp_writes_on_android_is_left_out_and_counted():
    document = read(ANDROID)
    assert turns(document) == [
        ("Alice", "here is the plan:\n14/03/2024, 10:00 - leave\n14/03/2024, 12:30 - museum: opens at nine\n"
         "15/03/2024 back\n\nbring: coats"),
        ("Bob", "what a view"),
        ("Alice", "see you at eight"),
        ("Work: Eve", "hello"),
        ("Work: Eve", "are you"),
        ("Work: Eve", "there"),
        ("Alice", "bob wrote"),
        ("Bob", "yes: I did <3"),
    ]  # fmt: skip
    assert set(document.left_out) == {"system lines", "attachments", "deleted messages", "polls", "pasted chats"}
    assert document.me == "Alice", "it is she who deleted a message of her own"


IOS = """\
[3/13/24, 8:55:01\u202fPM] Trip: \u200eMessages and calls are end-to-end encrypted. Only people in it can.
[3/13/24, 8:55:02\u202fPM] Trip: \u200eAlice created this group
\u200e[3/13/24, 8:56:00\u202fPM] ~\u202fBob: \u200e<attached: 00000012-PHOTO-2024-03-13-20-56-00.jpg>
\u200e[3/13/24, 8:56:10\u202fPM] Alice: the harbour \u200e<attached: 00000013-PHOTO-2024-03-13-20-56-00.jpg>
\u200e[3/13/24, 8:56:20\u202fPM] Alice: a.pdf • \u200e2 pages \u200e<attached: 00000014-a.pdf>
\u200e[3/13/24, 8:56:30\u202fPM] Alice: \u200eimage omitted
\u200e[3/13/24, 8:56:40\u202fPM] Alice: \u200eThis message was deleted.
[3/13/24, 8:57:00\u202fPM] Alice: @\u2068Bob\u2069 see you at eight \u200e<This message was edited>
[3/13/24, 8:57:10\u202fPM] \u202a+49\u00a0151\u00a02345678\u202c: fine

[3/13/24, 8:00:00 PM] is when I come
\u200e[3/13/24, 8:57:30\u202fPM] Alice: \u200ePOLL:
Pizza?
\u200eOPTION: yes (\u200e1 vote)
\u200e[3/13/24, 8:58:00\u202fPM] ~\u202fBob: \u200eMissed voice call, \u200eTap to call back
[3/13/24, 8:59:00\u202fPM] ~\u202fBob: image omitted
[3/13/24, 9:00:00\u202fPM] Alice: ok
"""


def test_what_whatsapp_writes_on_ios_is_left_out_and_counted():
    document = read(IOS)
    assert turns(document) == [
        ("Alice", "the harbour"),
        ("Alice", "@Bob see you at eight"),
        ("+49 151 2345678", "fine\n\n[3/13/24, 8:00:00 PM] is when I come"),
        ("Alice", "ok"),
    ]


LOCAL = {
    "German": (
        "Datei angehängt",
        "<Medien ausgeschlossen>",
        "Diese Nachricht wurde gelöscht.",
        "Du hast diese Nachricht gelöscht.",
        "<Diese Nachricht wurde bearbeitet.>",
    ),
    "French": (
        "fichier joint",
        "<Médias omis>",
        "Ce message a été supprimé",
        "Vous avez supprimé ce message",
        "<Ce message a été modifié>",
    ),
    "Spanish": (
        "archivo adjunto",
        "<Multimedia omitido>",
        "Se eliminó este mensaje.",
        "Eliminaste este mensaje.",
        "<Se editó este mensaje.>",
    ),
    "Portuguese": (
        "arquivo anexado",
        "<Mídia oculta>",
        "Mensagem apagada",
        "Você apagou esta mensagem",
        "<Mensagem editada>",
    ),
    "Italian": (
        "file allegato",
        "<Media omessi>",
        "Questo messaggio è stato eliminato",
        "Hai eliminato questo messaggio",
        "<Questo messaggio è stato modificato>",
    ),
    "Dutch": (
        "bestand bijgevoegd",
        "<Media weggelaten>",
        "Dit bericht is verwijderd",
        "Je hebt dit bericht verwijderd",
        "<Dit bericht is bewerkt>",
    ),
    "Russian": (
        "файл добавлен",
        "<Без медиафайлов>",
        "Данное сообщение удалено",
        "Вы удалили данное сообщение",
        "<Сообщение изменено>",
    ),
    "Turkish": (
        "dosya ekli",
        "<Medya dahil edilmedi>",
        "Bu mesaj silindi",
        "Bu mesajı sildiniz",
        "<Bu mesaj düzenlendi>",
    ),
    "Hindi": (
        "फ़ाइल अटैच की गई",
        "<मीडिया छोड़ा गया>",
        "यह मैसेज मिटाया गया",
        "आपने यह मैसेज मिटाया",
        "<यह मैसेज एडिट किया गया>",
    ),
    "Swedish": (
        "bifogad fil",
        "<Media har utelämnats>",
        "Det här meddelandet har tagits bort",
        "Du tog bort det här meddelandet",
        "<Det här meddelandet har redigerats>",
    ),
}


@pytest.mark.parametrize("language", LOCAL)
def test_what_whatsapp_writes_is_known_in_other_languages(language):
    attached, omitted, deleted, deleted_by_owner, edited = LOCAL[language]
    said = [f"IMG.1.jpg ({attached})", omitted, deleted, f"hello {edited}", "well"]
    text = "\n".join(f"13.03.24, 21:05 - Bob: {each}" for each in said)
    text += f"\n13.03.24, 21:05 - Alice: {deleted_by_owner}\n13.03.24, 21:06 - Alice: ok"
    document = read(text)
    assert turns(document) == [("Bob", "hello"), ("Bob", "well"), ("Alice", "ok")]
    assert document.me == "Alice"


def test_whether_days_or_months_come_first_is_decided_from_the_whole_file():
    def dates(*dates):
        document = read("\n".join(f"{date}, 21:05 - {who}: hi" for date in dates for who in ("Alice", "Bob")))
        return [turn.when.strftime("%d %b") for turn in document.turns[::2]], document.doubts

    assert dates("03/04/2024", "13/04/2024") == (["03 Apr", "13 Apr"], ())
    assert dates("03/04/2024", "04/13/2024") == (["04 Mar", "13 Apr"], ()), "a number above twelve decides"
    assert dates("01/12/2024", "02/01/2024", "01/02/2025")[0] == ["12 Jan", "01 Feb", "02 Jan"], "order decides"
    assert dates("05/04/2024", "06/04/2024", "07/04/2024", "08/04/2024") == (
        ["05 Apr", "06 Apr", "07 Apr", "08 Apr"],
        (),
    ), "nobody writes on the fourth of each month alone"
    found, doubts = dates("03/04/2024", "04/04/2024")
    assert found == ["03 Apr", "04 Apr"]
    assert "03/04/2024 is 3 April 2024 or 4 March 2024 cannot be decided" in doubts[0]
    assert dates("03.04.2024") == (["03 Apr"], ()), "with dots days come first everywhere"
    assert dates("04/04/2024")[1] == (), "where both are one day nothing is in doubt"


def test_a_message_that_came_late_is_a_message_and_a_pasted_one_is_none():
    lines = [f"13.03.24, 21:{minute:02} - {('Alice', 'Bob')[minute % 2]}: m{minute}" for minute in range(40)]
    late = [*lines[:20], "13.03.24, 19:00 - Bob: sorry, no signal", *lines[20:]]
    assert ("Bob", "sorry, no signal") in turns(read("\n".join(late)))
    pasted = [*lines[:20], "you wrote", "01.02.23, 10:00 - Bob: I will", "never do that", *lines[20:]]
    document = read("\n".join(pasted))
    assert ("Bob", "m19\nyou wrote") in turns(document)
    assert "never do that" not in str(turns(document)) and document.left_out["pasted chats"]


def test_words_that_only_sound_like_whatsapps_stay():
    said = [
        "missed call from mum, call her",
        "video call tonight?",
        "is that end-to-end encrypted?",
        "this message was deleted by mistake, sorry",
        "<3",
        "a <b> c",
        "see report.pdf (the new one)",
        "poll: who comes?",
        "image omitted on purpose",
    ]
    text = "\n".join(
        f"13.03.24, 21:05 - {who}: {each}" for each in ["hi", "ok", "well", *said] for who in ("Alice", "Bob")
    )
    assert [text for author, text in turns(read(text)) if author == "Alice"][3:] == said


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    spelling=st.sampled_from(SPELLINGS),
    said=st.lists(
        st.tuples(
            st.sampled_from("ABCDEFGH"),
            st.integers(0, 90_000),
            st.sampled_from(["", "copied", "pasted", "list", "late"]),
        ),
        min_size=2,
        max_size=40,
    ),
    copied=st.sampled_from(
        ["[{d}/{m}, {H:02}:{M:02}] ", "[{H:02}:{M:02}, {d}/{m}/{y}] ", "[{d:02}.{m:02}.{yy:02}, {H:02}:{M:02}:{S:02}] "]
    ),
)
def test_nobodys_words_are_taken_for_another_persons(spelling, said, copied):
    when = datetime(2023, 1, 14, 9, 30)
    lines = []
    for number, (author, pause, what) in enumerate(said):
        when += timedelta(seconds=pause)
        other = "ABCDEFGH"[number % 8]
        at = when - timedelta(minutes=50) if what == "late" else when
        lines.append(f"{written(at, spelling)}{author}: word{author}{number} word{author}x")
        before = when - timedelta(days=40, hours=3)
        if what == "copied":
            lines.append(f"{written(before, copied)}{other}: word{other}{number}\nword{other}")
        elif what == "pasted" and number > 8:
            lines.append(f"{written(before, spelling)}{said[0][0]}: word{said[0][0]}{number}")
        elif what == "list":
            lines.append(f"{before:%d/%m/%Y} word{author}\n{before:%d.%m.%y} - word{author}: word{author}")
    for turn in read("\n".join(lines)).turns:
        assert {each[4] for each in re.findall(r"word\w", turn.text)} == {turn.author}


@pytest.mark.parametrize(
    "left_out",
    [
        "rent-contract.pdf • \u200e3 pages \u200edocument omitted",
        "rent contract (2).pdf • \u200e1 page \u200edocument omitted",
        "notes.docx \u200edocument omitted",
        "Ben Carter.vcf • \u200econtact card omitted",
        "Miete.pdf • \u200e3 Seiten \u200eDokument weggelassen",
    ],
)
def test_a_document_that_an_export_without_media_only_names_is_nobodys_words(left_out):
    lines = [
        ("Alice", "hello"),
        ("Bob", left_out),
        ("Bob", "that.md is the plan, document omitted or not"),
        ("Alice", "ok"),
    ]
    text = "\n".join(f"[13/03/2024, 21:05:3{n}] {who}: {said}" for n, (who, said) in enumerate(lines))
    (document,) = recognise("_chat.txt", text.encode())
    said = [(turn.author, turn.text) for turn in document.turns]
    assert said == [line for line in lines if line[1] != left_out]
    assert document.left_out["attachments"] == len(left_out)


@pytest.mark.parametrize(
    "copied",
    [
        "[13/03, 20:57] Bob: his words",
        "[13/03, 20:57] Eve: her words",
        "13/03/2024, 20:57 - Bob: his words\nand more of his",
        "Bob, [13.03.2024 20:57]\nhis words",
        "see: [13/03, 20:57] Bob: his words",
        "[13.3., 20:57] Eve: her words",
        "[2024/3/13 下午8:57] Eve: her words",
        "[오후 8:57, 2024. 3. 13.] Eve: her words",
        "[13/3/2024 8:57 μ.μ.] Eve: her words",
        "[13.3.2024 klo 20.57] Eve: her words",
        "\u200e[13/03, 20:57] Bob: his words",
    ],
)
def test_a_message_that_is_all_pasted_is_not_of_who_pasted_it(copied):
    lines = [("Alice", "hello"), ("Bob", "hi"), ("Alice", copied), ("Alice", "13/03/2024, 20:57 - at ten: the museum")]
    document = read("\n".join(f"13/03/2024, 21:0{at} - {who}: {text}" for at, (who, text) in enumerate(lines)))
    assert turns(document) == [lines[0], lines[1], lines[3]]
    assert document.left_out["pasted chats"] == len(copied)


def test_a_place_raises_no_doubt_and_a_missed_call_at_the_end_is_nobodys():
    said = ["Bob: hi", "Bob: Standort: https://maps.google.com/?q=1,2", "Bob: canlı konum paylaşıldı", "Alice: ok"]
    document = read("\n".join(f"13/03/2024, 21:05 - {each}" for each in [*said, "Missed voice call"]))
    assert turns(document) == [("Bob", "hi"), ("Alice", "ok")] and not document.doubts


@pytest.mark.parametrize("place", ["lokasi", "localisation ", "लोकेशन", "LOKALIZACJA"])
def test_a_place_is_nobodys_words_in_any_language(place):
    said = ["Bob: hi", f"Bob: {place}: https://maps.google.com/?q=-6.2,106.8", "Alice: ok"]
    document = read("\n".join(f"13/03/2024, 21:05 - {each}" for each in said))
    assert turns(document) == [("Bob", "hi"), ("Alice", "ok")] and not document.doubts


def test_a_poll_is_nobodys_words_in_any_language_and_a_list_with_a_heading_is_somebodys():
    poll = "POLLING:\nKapan?\nOPSI: Senin (1 suara)\nOPSI: Selasa (0 suara)"
    listed = "Who comes:\nall of us\nBob: Monday\nEve: Tuesday (2)"
    said = [f"Bob: {poll}", f"Alice: {listed}", "Bob: ok", "Alice: well"]
    document = read("\n".join(f"13/03/2024, 21:05 - {each}" for each in said))
    assert turns(document) == [("Alice", listed), ("Bob", "ok"), ("Alice", "well")]
    assert document.left_out["polls"] == len(poll)


def test_a_list_with_numbers_in_brackets_is_no_poll():
    listed = "Einkauf:\nFür Samstag\nMilch: fettarm (2 Liter)\nEier: bio (10 Stück)"
    document = read(f"13/03/2024, 21:05 - Alice: {listed}\n13/03/2024, 21:06 - Bob: ok")
    assert turns(document) == [("Alice", listed), ("Bob", "ok")]


def test_a_line_whose_time_is_spelled_with_an_h_begins_no_message_where_none_else_does():
    quoted = "look:\n13/03/2024, 15h30 - Ann: brings the cake"
    document = read(f"13/03/2024, 21:05 - Bob: {quoted}\n13/03/2024, 21:06 - Alice: ok\n13/03/2024, 21:07 - Bob: well")
    assert "Ann" not in {author for author, _ in turns(document)}


def test_what_is_said_of_edits_is_known_in_any_language_by_what_ends_several_messages():
    mark = "<এই মেসেজটি এডিট করা হয়েছে>"
    said = [f"Alice: one {mark}", f"Alice: two {mark}", "Bob: three <once only>", "Alice: a <b>", "Bob: a <b>"]
    document = read("\n".join(f"13/03/2024, 21:05 - {each}" for each in said))
    assert turns(document) == [
        *(("Alice", "one"), ("Alice", "two"), ("Bob", "three <once only>"), ("Alice", "a <b>"), ("Bob", "a <b>"))
    ]


def test_many_attachments_whose_word_no_list_knows_are_no_names():
    sent = [f"<załączono: {at:08}-PHOTO.jpg>" for at in range(4)]
    said = [*(f"Żaneta: \u200e{each}" for each in sent), "Bob: hi", "Żaneta: ok", "Eve: no"]
    document = read("\n".join(f"[13.03.2024, 21:05:0{at}] {each}" for at, each in enumerate(said)))
    assert turns(document) == [("Bob", "hi"), ("Żaneta", "ok"), ("Eve", "no")] and not document.doubts
    assert document.left_out["attachments"]


@pytest.mark.parametrize(
    "told", ["This message was deleted by admin Eve.", "Diese Nachricht wurde von Admin Eve gelöscht"]
)
def test_what_an_admin_deleted_is_nobodys_words(told):
    document = read(f"13/03/2024, 21:05 - Bob: {told}\n13/03/2024, 21:06 - Alice: who deleted it?")
    assert turns(document) == [("Alice", "who deleted it?")] and document.left_out["deleted messages"]
