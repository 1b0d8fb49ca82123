"""Plain text stays what it is; text in other encodings is told; what no person wrote is left out and counted."""

import base64
import json
import random

import pytest
from tests.text.readers.made_files import as_ipynb, as_mbox, zipped

from sharedllm.errors import MissingExtra
from sharedllm.extras import EXTRAS, Extra
from sharedllm.text.readers import read_documents

TEXTS = {
    "cp1252": "I didn’t go to the café yesterday — it was “closed”. My résumé isn’t finished, so I stayed home.",
    "iso8859-15": "Gestern habe ich mit Jürgen über das Büro gesprochen; er möchte größere Fenster für 20 Leute.",
    "mac-roman": "Gestern habe ich mit Jürgen über das Büro gesprochen; er möchte größere Fenster für 20 Leute.",
    "iso8859-2": "Wczoraj poszedłem do sklepu i kupiłem chleb, masło oraz trochę śliwek. Później wróciłem do domu.",
    "cp1251": "Вчера я ходил в магазин и купил хлеб, масло и немного слив. Потом вернулся домой и сварил суп.",
    "koi8-r": "Вчера я ходил в магазин и купил хлеб, масло и немного слив. Потом вернулся домой и сварил суп.",
    "shift_jis": "昨日は友達と一緒に映画を見に行きました。とても面白かったので、また見たいと思います。",
    "iso2022_jp": "昨日は友達と一緒に映画を見に行きました。とても面白かったので、また見たいと思います。",
    "gb18030": "昨天我和朋友一起去看电影，非常有意思，我还想再看一次。晚上我们吃了饺子。",
    "cp949": "어제 친구와 함께 영화를 보러 갔습니다. 아주 재미있어서 또 보고 싶습니다.",
    "utf-16": "Any text at all — also this one.",
    "utf-32": "Any text at all — also this one.",
}


def read(*sources):
    unread = []
    return list(read_documents(sources, unread=unread.append)), unread


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.rst", "a.tex", "a.py", "a.json", "a.xml", "a"])
def test_plain_text_in_utf_8_is_what_it_was_to_the_byte(name, tmp_path):
    text = '{"a": "\u00e4\u200b \x1b[0m <b>&amp;</b>"}\n\n  12:30 - a\t\n\\section{x} % \U0001f469\u200d\U0001f467 '
    (tmp_path / name).write_bytes(text.encode())
    (document,), unread = read(tmp_path / name)
    assert (document.turns[0].text, document.turns[0].author, document.kind) == (text, None, "plain text")
    assert (document.left_out, document.doubts, unread) == ({}, (), [])


@pytest.mark.parametrize("encoding", TEXTS)
def test_a_text_in_another_encoding_is_read_and_which_it_was_taken_for_is_said(encoding, tmp_path):
    (tmp_path / "a.txt").write_bytes(TEXTS[encoding].encode(encoding))
    (document,), unread = read(tmp_path / "a.txt")
    assert (document.turns[0].text, unread) == (TEXTS[encoding], [])
    assert document.doubts or encoding == "iso2022_jp"


def test_text_once_read_in_a_wrong_encoding_is_mended_and_a_few_examples_of_such_are_not(tmp_path):
    right = "Grüße aus Köln – „schöne“ Tage für Jürgen und Änne."
    (tmp_path / "a.txt").write_text(right.encode().decode("cp1252"))
    examples = "Where ü is read as Ã¼, an encoding was mixed up. " + "And so on, and on. " * 200
    (tmp_path / "b.txt").write_text(examples)
    (first, second), _ = read(tmp_path)
    assert first.turns[0].text == right and "mended" in first.doubts[0]
    assert second.turns[0].text == examples and second.doubts == ()


def test_pasted_base64_is_left_out_of_whatever_it_was_pasted_into_and_nothing_that_looks_like_it(tmp_path):
    blob = base64.encodebytes(random.Random(0).randbytes(3_000)).decode()
    address = f"![x](data:image/png;base64,{blob.replace(chr(10), '')})"
    long_words = "\n".join(
        ["Donaudampfschifffahrtselektrizitaetenhauptbetriebswerkbauunterbeamtengesellschaft" * 4] * 4
    )
    hashes = "\n".join("https://example.org/" + "0123456789abcdef" * 4 for _ in range(5))
    (tmp_path / "a.md").write_text(f"Before.\n{blob}\nBetween {address} them.\n{long_words}\n{hashes}\n{'=' * 500}\n")
    (document,), _ = read(tmp_path / "a.md")
    assert document.turns[0].text == f"Before.\n\nBetween ![x]() them.\n{long_words}\n{hashes}\n{'=' * 500}\n"
    assert document.left_out["base64"] > 8_000


def test_what_is_left_out_of_a_mailbox_and_a_notebook_is_counted(tmp_path):
    (tmp_path / "a.ipynb").write_bytes(as_ipynb())
    (tmp_path / "b.mbox").write_bytes(as_mbox())
    (notebook, mailbox), _ = read(tmp_path)
    assert notebook.left_out["images"] > 5 * 27_000
    assert mailbox.left_out["attachments"] > 6 * 50_000
    assert {"quoted mail", "signatures", "mail headers"} <= mailbox.left_out.keys()


def test_a_table_is_read_by_the_column_that_says_so_or_that_alone_holds_sentences(tmp_path):
    (tmp_path / "a.csv").write_text("id;when;user;comment\n1;2024-01-01T10:00:00;alice;Well, that was fun.\n")
    (tmp_path / "b.tsv").write_text("id\tfoo\n1\tA sentence of some length, which nobody called a text.\n")
    (tmp_path / "c.csv").write_text("id,price\n1,2.50\n2,3.00\n")
    (tmp_path / "d.jsonl").write_text(json.dumps({"body": "Words.", "created_utc": 1704103200, "author": "bob"}) + "\n")
    (first, second, third), (unread,) = read(tmp_path)
    turn = first.turns[0]
    assert (turn.text, turn.author, turn.when.isoformat()) == ("Well, that was fun.", "alice", "2024-01-01T10:00:00")
    assert second.turns[0].text.startswith("A sentence")
    assert third.turns[0].when.isoformat() == "2024-01-01T10:00:00+00:00"
    assert "has no text: none of its columns holds text: 'id', 'price'" in unread.error.message


def test_a_chat_in_a_text_an_archive_or_a_folder_is_read_by_the_readers_of_conversations(tmp_path):
    chat = "".join(
        f"[0{day}/05/24, 10:0{day}:00] {who}: Message {day}\n" for day, who in enumerate(["Al", "Bo"] * 4, 1)
    )
    (tmp_path / "_chat.txt").write_text(chat)
    (tmp_path / "z.zip").write_bytes(zipped([("_chat.txt", chat.encode()), ("photo.jpg", b"\xff\xd8\xff\xe0\0")]))
    (first, second), (photo,) = read(tmp_path)
    assert first.authors.keys() == second.authors.keys() == {"Al", "Bo"}
    assert second.source.startswith(str(tmp_path / "z.zip")) and "JPEG" in photo.error.message


def test_without_the_extra_plain_text_is_read_and_the_rest_is_named_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(EXTRAS, "text", Extra("Reading it", ("not_there",)))
    (tmp_path / "a.txt").write_text("plain")
    (tmp_path / "b.html").write_text("<p>page")
    (document,), (unread,) = read(tmp_path)
    assert document.turns[0].text == "plain"
    assert isinstance(unread.error, MissingExtra) and "pip install 'sharedllm[text]'" in str(unread.error)


def test_no_column_of_a_table_is_lost_uncounted_for_want_of_a_name_of_its_own(tmp_path):
    (tmp_path / "a.csv").write_text("comment,comment,,\nWell that was fun and no mistake.,twice,third,fourth,fifth\n")
    (document,), unread = read(tmp_path / "a.csv")
    assert unread == []
    assert [turn.text for turn in document.turns] == ["Well that was fun and no mistake."]
    assert document.left_out["other columns"] == len("twicethirdfourthfifth")
