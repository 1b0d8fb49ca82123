"""Words that look like a program's and are hers, and others' that look like hers: each was once mistaken."""

import json
import time
from functools import partial

import pytest

from sharedllm.text.choices import Choices
from sharedllm.text.conversations import recognise, recognise_folder
from sharedllm.text.whose_words import whose_words


def turns(text):
    (document,) = recognise("export", text.encode())
    return [(turn.author, turn.text) for turn in document.turns]


def skype(*contents):
    messages = [
        {"id": str(at), "from": "8:me", "messagetype": "RichText", "content": each} for at, each in enumerate(contents)
    ]
    chat = {"id": "8:bob", "displayName": "Bob", "MessageList": messages}
    return json.dumps({"userId": "8:me", "exportDate": "2024-03-14T09:12", "conversations": [chat]})


@pytest.mark.parametrize(
    "quoted",
    [
        '<quote author="bob"><quote author="ann">hers</quote>his</quote>',
        "<blockquote><quote>hers</quote>his</blockquote>",
        "</quote><QUOTE>his</QUOTE>",
    ],
)
def test_nothing_of_quotes_in_quotes_is_of_who_quotes_them(quoted):
    assert turns(skype(f"{quoted}my reply")) == [("8:me", "my reply")]


def test_a_quote_that_does_not_end_goes_to_the_messages_end():
    assert turns(skype("mine <quote author='x'>cut off")) == [("8:me", "mine")]


@pytest.mark.parametrize("tag", ["<quote ", "<quote>", "<e_m ", "<e_m x>", "<br ", "</p> "])
def test_tags_that_do_not_end_cost_no_more_than_their_length(tag):
    began = time.process_time()
    recognise("export", skype(tag * 30_000, "hello").encode())
    assert time.process_time() - began < 20


def imessage(*lines):
    return "Mar 13, 2024  9:00:00 PM\nMe\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize("said", ["Drop by my house tomorrow", "Hit by a car", "Sent with love from Paris"])
def test_what_is_worded_like_a_reaction_is_hers_where_none_is_told_of(said):
    assert turns(imessage(said, "ok?")) == [("Me", f"{said}\nok?")]


def test_reactions_of_any_emoji_stand_below_their_heading_and_are_nobodys():
    told = ["Tapbacks:", "Loved by Bob", "\N{THUMBS UP SIGN} by Ann Lee", "Sticker from Bob: a.heic", "", "said after"]
    assert turns(imessage("hello", *told, "Sent with Invisible Ink")) == [("Me", "hello\n\nsaid after")]


def kakaotalk(*lines):
    return "\n".join(["Bob 님과 카카오톡 대화", "저장한 날짜 : 2024-03-14 09:12:11", "", *lines, ""])


@pytest.mark.parametrize("name", ["Ann [x]", "[회사] 김철수", "Ann] [Bob", "🎉]"])
def test_a_name_with_brackets_ends_before_the_time_in_kakaotalk(name):
    told = kakaotalk("[Me] [오전 8:04] mine", f"[{name}] [오전 8:05] theirs [오전 8:06] so", "[Me] [오전 8:07] [x] y")
    assert turns(told) == [("Me", "mine"), (name, "theirs [오전 8:06] so"), ("Me", "[x] y")]


def line(*said):
    heads = ["[LINE] Chat history with Bob", "Saved on: 2024/03/14 09:12", "", "2024/03/13(Wed)"]
    return "\n".join([*heads, *(f"21:0{at}\tAnn\t{each}" for at, each in enumerate(said))])


@pytest.mark.parametrize(
    "said", ["(laughs)", "(笑)", "(or so)", "(^_^)", "(?)", "No answer", "Missed call", "so No answer"]
)
def test_what_stands_in_round_brackets_and_is_worded_like_a_call_is_hers_in_line(said):
    told = ["[Sticker]", "[スタンプ]", "(emoji)", "(絵文字)", "☎ Missed call", "☎ 通話時間 1:23"]
    assert turns(line("hello", said, *told)) == [("Ann", "hello"), ("Ann", said)]


OF_OTHERS = {
    "iMessage": imessage("his words").replace("Me", "Bob"),
    "sigexport": "[2024-01-01 10:00] Bob: his words  \n[2024-01-01 10:01] Bob: more  \n",
    "sigexport, JSON": json.dumps([{"date": "2024-01-01", "sender": "Bob", "body": "his words"}]),
    "Skype": skype("his words").replace('"from": "8:me"', '"from": "8:bob"'),
}


@pytest.mark.parametrize("export", OF_OTHERS.values(), ids=OF_OTHERS)
def test_a_chat_in_which_the_owner_wrote_nothing_is_not_the_only_authors(export):
    (document,) = whose_words(recognise("export", export.encode()), Choices())
    assert not any(passage.learned for passage in document.passages)
    assert document.left_out["words of others"] >= len("his words")


def test_google_says_whose_its_export_is_also_of_a_chat_in_which_the_owner_wrote_nothing():
    message = {
        "creator": {"name": "Bob", "email": "b@x", "user_type": "Human"},
        "created_date": "",
        "text": "his words",
    }
    files = {
        "Google Chat/Groups/DM 1/messages.json": {"messages": [message]},
        "Google Chat/Users/User 1/user_info.json": {"user": {"name": "Ann", "email": "a@x"}},
    }
    members = {path: partial(json.dumps(value).encode) for path, value in files.items()}
    (document,) = whose_words(recognise_folder(members).documents, Choices())
    assert (document.me, document.passages) == ("a@x", ())


@pytest.mark.parametrize(
    "said", ["voted for the greens", "missed your call", "left the group", "changed the theme song"]
)
def test_what_messenger_tells_of_somebody_by_name_is_hers_without_one(said):
    told = [("Ann", f"Ann {said}"), ("Ann", said), ("Bob", "Liked a message")]
    messages = [{"sender_name": name, "timestamp_ms": at, "content": text} for at, (name, text) in enumerate(told)]
    export = {"participants": [], "messages": messages, "title": "Bob", "thread_path": "inbox/bob"}
    assert turns(json.dumps(export)) == [("Ann", said)]
