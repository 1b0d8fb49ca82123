"""An export of a chat, whatever encoding it was saved in: known by its content, as any is."""

import json

import pytest

from sharedllm.text.readers import read_documents

SAID = [
    ("Jürgen", "Grüß dich, schöne Tage für alle."),
    ("Zoë", "Schön, dich zu hören! Können wir später reden?"),
    ("Jürgen", "Natürlich, nach dem Frühstück."),
]
WHATSAPP = "\n".join(f"13.03.24, 21:0{at} - {who}: {text}" for at, (who, text) in enumerate(SAID))
LINE = "\n".join(
    ["[LINE] Chat history with Zoë", "Saved on: 2024/03/14 09:12", "", "2024/03/13(Wed)"]
    + [f"21:0{at}\t{who}\t{text}" for at, (who, text) in enumerate(SAID)]
)
KAKAOTALK = "\n".join(
    [
        "Zoë 님과 카카오톡 대화",
        "저장한 날짜 : 2024-03-14 09:12:11",
        "",
        "--------------- 2024년 3월 13일 수요일 ---------------",
    ]
    + [f"[{who}] [오후 9:0{at}] {text}" for at, (who, text) in enumerate(SAID)]
)
TELEGRAM = json.dumps(
    {"name": "Zoë", "type": "personal_chat", "id": 7}
    | {
        "messages": [
            {"id": at, "type": "message", "date": f"2024-03-13T21:0{at}:00", "from": who, "from_id": who, "text": text}
            for at, (who, text) in enumerate(SAID)
        ]
    },
    ensure_ascii=False,
)
CHATS = {"WhatsApp": WHATSAPP, "LINE": LINE, "KakaoTalk": KAKAOTALK, "Telegram": TELEGRAM}
WAYS = [
    *((name, encoding) for name in ("WhatsApp", "LINE", "Telegram") for encoding in ("cp1252", "latin-1")),
    *((name, encoding) for name in CHATS for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")),
]


def read(path):
    unread = []
    return list(read_documents([path], unread=unread.append)), unread


@pytest.mark.parametrize(("name", "encoding"), WAYS)
def test_a_chat_in_another_encoding_is_a_chat_and_which_it_was_taken_for_is_said(name, encoding, tmp_path):
    path = tmp_path / ("chat.json" if name == "Telegram" else "chat.txt")
    path.write_bytes(CHATS[name].replace("\n", "\r\n").encode(encoding))
    (document,), unread = read(path)
    assert unread == [] and [(turn.author, turn.text) for turn in document.turns] == SAID
    assert "it is not in UTF-8; it was read as" in document.doubts[0]


def test_a_chat_once_read_in_a_wrong_encoding_is_mended_before_it_is_read(tmp_path):
    (tmp_path / "chat.txt").write_text(WHATSAPP.encode().decode("cp1252"))
    (document,), unread = read(tmp_path / "chat.txt")
    assert unread == [] and [(turn.author, turn.text) for turn in document.turns] == SAID
    assert "mended" in document.doubts[0]


def test_json_of_another_kind_and_a_chat_that_is_not_known_are_named_in_any_encoding(tmp_path):
    (tmp_path / "a.json").write_bytes(
        json.dumps({"a": {"b": "Größe, Höhe und Länge"}}, ensure_ascii=False).encode("cp1252")
    )
    chat = "".join(f"[08:0{at}] <{who}> {text}\n" for at, (who, text) in enumerate(SAID * 3))
    (tmp_path / "b.txt").write_bytes(chat.encode("utf-16"))
    documents, unread = read(tmp_path)
    assert documents == [] and "JSON of a kind that is not known" in unread[0].error.message
    assert "a chat of a program that is not known here" in unread[1].error.message


def test_numbers_of_two_bytes_are_no_text_in_utf_16(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"".join(number.to_bytes(2, "little") for number in range(1, 250)) * 4)
    documents, (unread,) = read(tmp_path)
    assert documents == [] and "is binary, not text" in unread.error.message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_plain_letters_in_utf_16_are_a_chat_and_its_encoding_is_said(encoding, tmp_path):
    (tmp_path / "chat.txt").write_bytes("13.03.24, 21:01 - Ann: hello\n13.03.24, 21:02 - Bob: hi".encode(encoding))
    (document,), unread = read(tmp_path / "chat.txt")
    assert unread == [] and [turn.author for turn in document.turns] == ["Ann", "Bob"]
    assert "read as utf-16" in document.doubts[0]


OTHERS = {
    "a.csv": "Author,Text\nAnn,hello\nBob,hi\n",
    "a.jsonl": '{"author": "Ann", "text": "hello"}\n{"author": "Bob", "text": "hi"}\n',
}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("name", OTHERS)
def test_a_table_in_another_encoding_is_a_table(name, encoding, tmp_path):
    (tmp_path / name).write_bytes(OTHERS[name].encode(encoding))
    (document,), unread = read(tmp_path / name)
    assert unread == [] and [(turn.author, turn.text) for turn in document.turns] == [("Ann", "hello"), ("Bob", "hi")]


def test_subtitles_in_another_encoding_are_named(tmp_path):
    (tmp_path / "a.vtt").write_bytes("WEBVTT\n\n00:01.000 --> 00:02.000\nhis words\n".encode("utf-16"))
    documents, (unread,) = read(tmp_path / "a.vtt")
    assert documents == [] and "it is a transcript or subtitles" in unread.error.message


def test_what_xml_says_of_its_encoding_was_true_before_it_was_read(tmp_path):
    said = '<sms address="1" date="1710363300000" type="2" body="hi"/>'
    sms = f'<?xml version="1.0" encoding="UTF-16"?><smses count="1">{said}</smses>'
    (tmp_path / "sms.xml").write_bytes(sms.encode("utf-16"))
    (document,), unread = read(tmp_path / "sms.xml")
    assert unread == [] and [turn.text for turn in document.turns] == ["hi"]
