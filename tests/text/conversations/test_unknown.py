"""A chat of a program that is not known is refused by name: taken for one person's, others' words would be learned."""

import html
import itertools

import pytest
from tests.text.readers.made_files import as_docx

from sharedllm.text.conversations import people_in
from sharedllm.text.readers import read_documents

SAID = [
    ("Alice M.", "did you see the boat"),
    ("Bob", "no, which one?"),
    ("Alice M.", "the blue one, at 10:30 it was still there: moored"),
    ("Carol K.", "It left at noon and nobody waved, as usual."),
    ("Bob", "ok"),
    ("Carol K.", "tomorrow then"),
]


def told(way):
    return "".join(way(number, name, text) for number, (name, text) in enumerate(SAID * 2))


CHATS = {
    "IRC": told(lambda at, name, text: f"[08:{at:02}] <{name.split()[0]}> {text}\n"),
    "WeeChat": told(lambda at, name, text: f"2024-02-26 08:{at:02}:11\t{name.split()[0]}\t{text}\n"),
    "Teams, copied": told(lambda at, name, text: f"[26/02/2024 08:{at:02}] {name}\n{text}\n\n"),
    "Slack, copied": told(lambda at, name, text: f"{name}  8:{at:02} AM\n{text}\n\n"),
    "Discord, copied": told(lambda at, name, text: f"{name} — 26/02/2024 08:{at:02}\n{text}\n"),
    "Discord, as text": "Guild: Friends\nChannel: Text / tea\n\n"
    + told(lambda at, name, text: f"[26-Feb-24 08:{at:02} AM] {name.split()[0].lower()}#0000\n{text}\n\n"),
    "Telegram, copied": told(lambda at, name, text: f"{name}, [26.02.2024 08:{at:02}]\n{text}\n\n"),
    "Zoom": told(lambda at, name, text: f"08:{at:02}:11 From {name} to Everyone:\n\t{text}\n"),
    "Viber": told(lambda at, name, text: f"[26/02/2024, 08:{at:02}:11] {name}: {text}\n"),
    "Threema": told(lambda at, name, text: f"[26.2.2024, 08:{at:02}] {name}: {text}\n"),
    "Element": told(lambda at, name, text: f"Mon, 26 Feb 2024, 08:{at:02} - {name}: {text}\n"),
    "dots in times": told(lambda at, name, text: f"{name}, [26.02.2024 08.{at:02}]\n{text}\n\n"),
    "dots in times, Finnish": told(lambda at, name, text: f"{name} 26.2.2024 klo 8.{at:02}: {text}\n"),
    "hours in French": told(lambda at, name, text: f"[26/02/2024 08h{at:02}] {name}: {text}\n"),
    "days first": told(lambda at, name, text: f"Monday 26 February 2024 08:{at:02}: {name}: {text}\n"),
}


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
def test_who_writes_in_a_chat_is_told_by_the_heads_of_its_lines(chat):
    told = " ".join(people_in(chat)).casefold()
    assert all(name in told for name in ("alice", "bob", "carol"))


@pytest.mark.parametrize("name", ["chat.txt", "chat.md", "chat.rst", "chat"])
@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
def test_no_word_of_a_chat_that_is_not_known_is_taken_for_running_text(chat, name, tmp_path):
    (tmp_path / name).write_text(chat)
    unread = []
    documents = list(read_documents([tmp_path], unread=unread.append))
    assert all(turn.author for document in documents for turn in document.turns)
    if not documents:
        (error,) = (each.error for each in unread)
        assert "a chat of a program that is not known here, between '" in error.message
        assert "your own messages alone" in error.remedy


@pytest.mark.slow
@pytest.mark.parametrize("way", ["IRC", "Teams, copied", "Telegram, copied", "Zoom"])
def test_nor_is_it_of_a_chat_in_a_document_or_a_page(way, tmp_path):
    lines = CHATS[way].split("\n")
    (tmp_path / "chat.docx").write_bytes(as_docx(["A talk", "of Monday", *lines]))
    (tmp_path / "chat.html").write_text(
        f"<html><body>{''.join(f'<p>{html.escape(line)}</p>' for line in lines)}</body>"
    )
    unread = []
    assert list(read_documents([tmp_path], unread=unread.append)) == []
    assert ["not known here, between" in each.error.message for each in unread] == [True, True]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("meeting.vtt", "WEBVTT\n\n00:00:01.000 --> 00:00:04.000\n<v Bob>did you see the boat</v>\n"),
        ("film.srt", "1\n00:00:01,000 --> 00:00:04,000\nDid you see the boat?\n"),
    ],
)
def test_what_was_said_in_a_meeting_or_a_film_is_named(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    unread = []
    assert list(read_documents([tmp_path], unread=unread.append)) == []
    assert "it is a transcript or subtitles" in unread[0].error.message


WITHOUT_TIMES = {
    "IRC": "".join(f"<{name}> {text}\n" for name, text in [("alice", "hello"), ("bob|away", "hi there")] * 4),
    "IRC with a heart": "".join(f"<{name}> {text}\n" for name, text in [("alice", "hello </3"), ("bob", "hi")] * 4),
    "long answers": ("You said:\nwhat is tea\nChatGPT said:\n" + "Tea is a drink made of leaves.\n" * 70) * 3,
    "one answer": "You said:\nwhat is tea\nChatGPT said:\nTea is a drink.\n",
    "a version": "**You:** what\n\n**Claude 3.5 Sonnet:** Tea.\n\n" * 3,
    "headings": "## User\nwhat\n## Assistant\nTea.\n" * 3,
    "German": "Du hast gesagt:\nwas ist Tee\nChatGPT hat gesagt:\nEin Getränk.\n\n" * 3,
    "French": "Vous avez dit :\nquoi\nChatGPT a dit :\nLe thé.\n" * 3,
    "Chinese": "用户：什么\nAI：茶\n" * 4,
    "IRC, who comes and goes": "*** Joins: a\n<a> hello </3\n*** Quits: a\n*** Joins: bob\n<bob> hi\n* bob waves\n" * 4,
    "all of a page": "Skip to content\nChatGPT\nYou said:\nwhat is tea\nChatGPT said:\nTea is a drink.\n",
    "Italian": "Hai detto:\nche cosa\nChatGPT ha detto:\nIl tè.\n",
    "Portuguese": "Você disse:\no que\nO ChatGPT disse:\nChá.\n",
    "Polish": "Powiedziałeś(-aś):\nco\nChatGPT powiedział:\nHerbata.\n",
    "Korean": "나의 말:\n차\nChatGPT의 말:\n음료\n",
    "bare names": "You\nwhat is tea\nChatGPT\nTea is a drink.\n" * 3,
    "a model that is not known": "You: hi\nTeaBot 3000: a cup?\n" * 3,
    "a letter below": "Human: hi\n\nAssistant: Tea.\n",
    "two versions": "Ann: hi\nGPT-4: Tea\nAnn: and\nGPT-4o: Coffee\n",
    "what she asks about": "Ann: see\nTitle: x\nChatGPT: fine\nAnn: and\nBody: y\nChatGPT: fine\n",
    "two by turns": "Ann: hi\nClaude: Hello.\nAnn: tea?\nClaude: A drink.\n",
    "names from a Mac": "Zoe\u0308: hi\nChatGPT: Tea\n" * 2,
    "brackets": "[user]: hi\n[assistant]: Tea\n" * 2,
    "spaces without breaks": "You\xa0said:\nwhat\nChatGPT\xa0said:\u200b\nTea\n",
    "far to the right": " " * 13 + "User: what is tea?\n" + " " * 13 + "Assistant: A drink, I think.\n",
    "DeepSeek": "<｜User｜>hi<｜Assistant｜>Tea\n" * 2,
    "an instruction": "Below is an instruction.\n\n### Instruction:\nwhat\n\n### Response:\nTea.\n",
    "by a name": "Ann: what is tea\nChatGPT: A drink\nNote: it is hot\nAnn: thanks\nChatGPT: Gladly\n",
    "ChatML": "<|im_start|>user\nwhat<|im_end|>\n<|im_start|>assistant\nTea.<|im_end|>\n" * 2,
    "Llama 3": "<|start_header_id|>user<|end_header_id|>\n\nwhat<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nTea.<|eot_id|>\n" * 2,
    "Gemma": "<start_of_turn>user\nwhat<end_of_turn>\n<start_of_turn>model\nTea.<end_of_turn>\n" * 2,
    "Phi": "<|user|>\nwhat<|end|>\n<|assistant|>\nTea.<|end|>\n" * 2,
    "Mistral": "<s>[INST] what is tea [/INST] A drink of leaves.</s>\n" * 2,
    "Alpaca": "### Human: what\n### Assistant: Tea.\n" * 2,
    "ChatGPT, copied": "You said:\nwhat is tea\nChatGPT said:\nTea is a drink made of leaves.\n\n" * 3,
    "a chat with a model": "**User:** what is tea\n\n**Assistant:** A drink made of leaves.\n\n" * 3,
}


@pytest.mark.parametrize("chat", WITHOUT_TIMES.values(), ids=WITHOUT_TIMES)
def test_a_chat_that_was_copied_without_times_is_no_one_persons(chat, tmp_path):
    (tmp_path / "chat.txt").write_text(chat)
    unread = []
    assert list(read_documents([tmp_path], unread=unread.append)) == []
    assert "not known here, between" in unread[0].error.message


def test_names_with_signs_in_them_are_names():
    said = [("Ann (Work)", "hi"), ("Bob | Sales", "yes"), ("Ann (Work)", "well"), ("Bob | Sales", "bye")] * 2
    chat = "".join(f"{who}, [12.03.2024 21:0{at}]\n{text} it is\n\n" for at, (who, text) in enumerate(said))
    assert people_in(chat) == ["Ann (Work", "Bob | Sales"]


LEVELS = ("INFO", "ERROR", "WARN")
PROSE = {
    "diary": "".join(f"{1 + day}.03.2024, 21:0{day} - rain again\nAll day: rain.\n\n" for day in range(9)),
    "meals and their hours": "".join(
        f"Breakfast\n08:0{day}\ntoast, jam {day}\n\nDinner\n19:0{day}\nsoup again {day}\n\n" for day in range(6)
    ),
    "a diary of hours below weekdays": "".join(
        f"{day}\n8:00\nran along river {at}\n\n" for at, day in enumerate(["Monday", "Dienstag", "mercredi"] * 4)
    ),
    "diary by weekdays": "".join(
        f"{name}, {number} March 2024, 21:05\nRain again, and no letter.\n\n"
        for number, name in zip(range(1, 22), itertools.cycle(("Monday", "Tuesday", "Friday")), strict=False)
    ),
    "log": "".join(f"2024-03-13 21:05:{at:02} {LEVELS[at % 3]}: it fell\n" for at in range(50)),
    "letter": "Dear Bob,\n\nAt 10:30 I was there, at 11:15 too: nobody came.\nAt 12:00 I left: hungry.\n\nAlice\n",
    "prose": "It was the best of times.\nAt 12:30 on 12/03/2020 he said: go.\nAt 12:31 she said: no.\n" * 20,
    "recipe": "0:10 chop: onions\n0:25 fry: the onions\n0:40 stir\n1:10 serve: with bread\n",
    "results": "Bayern - Ajax 3:1\nAjax - Bayern 0:2\nBayern - Porto 1:1\nPorto - Ajax 2:0\n",
    "verses": "\n".join(f"Gen 1:{verse} And the {verse}. word: it was so" for verse in range(1, 30)),
    "program": 'if now.strftime("%H:%M") == "08:04":\n    name: str = "Bob"\n' * 20,
    "releases": "".join(f"version 1.{at:02}: mended\nadded: v2.{at:02}\n" for at in range(20)),
    "changes": "".join(f"## 2.{at}.1\n12.03.2024, 1.{at:02} and 2.{at:02}\nadded: more\n" for at in range(20)),
    "trains": "".join(f"{day} March: the 8h{day} was late.\nAnd the 9h{day} too: snow.\n" for day in range(10, 30)),
    "prices": "".join(f"bread: 1.{at:02}\nbutter: 2.{at:02}\n" for at in range(20)),
    "a table of results": "".join(f"| library | 1:{at:02} | MIT |\n| book | 1:{at:02} | MIT |\n" for at in range(20)),
    "a page's source": "<p> one\n<p> two</p>\n<li> three\n<li> four\n" * 4,
    "thoughts": "Trigger: a loud party\nThought: they laugh at me\nResponse: I went home\n\n" * 5,
    "horoscope": "Aries: a good week\nTaurus: rest\nGemini: travel\nCancer: home\n" * 2,
    "what is to be done": "Topic: budget\nAI: Bob sends the table\n" * 2,
    "a poem": "Du\nim Wind\nDu\nim Regen\nBot\nmir die Hand\nBot\nmir den Mut\n",
    "another": "You\n\nI wait for a\nresponse\n",
    "a list": "- Ann\n- me\n- AI\n" * 3,
    "what was asked in a course": "Prompt: what made you smile?\nResponse: the dog\n" * 4,
    "an interface": "## User\nhas a name\n### Response\na page\n" * 4,
    "fields": "class A:\n    user: str\n    assistant: str\n\ndef f(\n    user: str,\n    assistant: str,\n)\n" * 2,
    "a long diary": ("It rained all day.\n" * 90 + "Me:\ntired\nAI:\nnever again\n") * 2 + "And on.\n" * 900,
    "an essay that quotes": "They err.\n" * 200 + "User: hi\nAssistant: Tea\n" * 2 + "So it is.\n" * 200,
    "an essay on templates": "They err.\n" * 200 + "<|im_start|>user\nhello<|im_end|>\n" * 2 + "So it is.\n" * 200,
    "opinions of models": "Claude:\nPlus: kind\nMinus: slow\n\nGPT-5:\nPlus: fast\nMinus: short\n\n" * 3,
    "a shopping list": "AI:\nBread: two\nMilk: one\n",
    "a template in a program": 'begin = "<|im_start|>user"\nend = "[INST] [/INST]"\n',
    "a play": "ANN: Are you there?\n\nBOB: I am.\n\n" * 9,
    "questions": "Q: What is tea?\nA: A drink.\n\n" * 9,
    "empty": "",
}


@pytest.mark.parametrize("text", PROSE.values(), ids=PROSE)
def test_what_one_person_wrote_with_times_in_it_is_no_chat(text):
    assert people_in(text) == []


def test_a_long_line_and_many_lines_cost_no_more_than_their_length():
    assert people_in("08:04 " * 300_000) == []
    assert people_in("1" * 1_000_000 + "\n" + "12:" * 300_000) == []
    assert people_in("\n".join(["08:04 x"] * 100_000)) == []


@pytest.mark.parametrize("head", ["", "[LINE] Chat history with Bob\nSaved on: 2024/02/26 21:00\n\n"])
@pytest.mark.parametrize("day", ["2024.02.26 Monday", "2024.02.26 月曜日", "2024/02/26(Mon)"])
def test_a_chat_of_line_in_which_no_sign_ends_a_name_is_refused_by_name(head, day, tmp_path):
    (tmp_path / "[LINE] Bob.txt").write_text(
        f"{head}{day}\n" + told(lambda at, name, text: f"08:{at:02} {name} {text}\n")
    )
    unread = []
    assert list(read_documents([tmp_path], unread=unread.append)) == []
    assert "is a LINE chat of a computer" in unread[0].error.message and "telephone" in unread[0].error.remedy


def test_a_day_in_hours_is_no_chat_of_line(tmp_path):
    did = ("Got up", "We had breakfast", "Walked along the river", "Mother came", "Read on", "To bed at last")
    text = "2024.02.26 Monday\n" + "".join(f"{7 + at:02}:30 {each} and so on.\n" for at, each in enumerate(did))
    (tmp_path / "day.txt").write_text(text)
    (document,) = read_documents([tmp_path], unread=pytest.fail)
    assert document.turns[0].text == text


@pytest.mark.parametrize("time", ["8:0{} AM", "Yesterday at 8:0{} AM", "3/9/24, 8:0{} AM", "09.03.2024 08:0{}"])
def test_names_above_times_are_of_a_chat(time):
    said = [("Alice M.", "hello"), ("Bob", "the ladder is back"), ("Alice M.", "thanks\nreally"), ("Bob", "bye")]
    text = "\n".join(f"{who}\n{time.format(at)}\n{words}" for at, (who, words) in enumerate(said))
    assert people_in(text) == ["Alice M", "Bob"]
