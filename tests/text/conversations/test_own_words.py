"""Words that look like a program's and are hers, and others' that look like hers: each was once mistaken."""

import json
import time

import pytest

from sharedllm.text.conversations import recognise


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
    assert time.process_time() - began < 2


def imessage(*lines):
    return "Mar 13, 2024  9:00:00 PM\nMe\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize("said", ["Drop by my house tomorrow", "Hit by a car", "Sent with love from Paris"])
def test_what_is_worded_like_a_reaction_is_hers_where_none_is_told_of(said):
    assert turns(imessage(said, "ok?")) == [("Me", f"{said}\nok?")]


def test_reactions_of_any_emoji_stand_below_their_heading_and_are_nobodys():
    told = ["Tapbacks:", "Loved by Bob", "\N{THUMBS UP SIGN} by Ann Lee", "Sticker from Bob: a.heic", "", "said after"]
    assert turns(imessage("hello", *told, "Sent with Invisible Ink")) == [("Me", "hello\n\nsaid after")]
