"""Whose words a document holds, and which of them are learned."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedllm.errors import InvalidInput, TextError
from sharedllm.text.choices import Choices, choices_from, chosen_in
from sharedllm.text.documents import Document, Turn
from sharedllm.text.passages import own_words
from sharedllm.text.whose_words import whose_words

MORNING = datetime(2024, 3, 1, 9)


def chat(*turns, source="chat.txt", me=None, kind="WhatsApp chat"):
    said = [Turn(text, author, MORNING + timedelta(minutes=minute)) for minute, author, text in turns]
    return Document(source, kind, tuple(said), me)


TWO = chat((0, "Bob", "Tea?"), (1, "Alice M.", "Yes."), (2, "Alice M.", "Green."), (900, "Bob", "Where are you?"))


def reading(document, **choices):
    (found,) = whose_words([document], Choices(**choices))
    return found


def test_her_turns_are_learned_with_what_came_before_them_and_conversations_without_her_are_left_out():
    found = reading(TWO, me=("alice m",))
    assert [(each.role, each.text, each.begins) for each in found.passages] == [
        ("other", "Tea?", True),
        ("own", "Yes.\nGreen.", False),
    ]
    assert (found.me, found.why) == ("Alice M.", "you said so")
    assert found.left_out == {"words of others": len("Where are you?")}
    assert (found.learned, found.context) == (len("Yes.\nGreen."), len("Tea?"))


def test_of_several_authors_whom_nothing_tells_apart_nothing_is_learned():
    found = reading(TWO)
    assert found.unknown
    assert (found.me, found.passages) == (None, ())


def test_the_export_or_its_name_or_its_only_author_says_who_is_meant():
    assert reading(chat((0, "Bob", "Hi"), (1, "Eve", "Hi"), me="Eve")).why == "the export says so"
    named = chat((0, "Bob", "Hi"), (1, "Alice", "Hi"), source="WhatsApp Chat with Bob.txt")
    assert reading(named).me == "Alice"
    alone = reading(chat((0, "Eve", "One"), (1, "Eve", "Two"), kind="mailbox"))
    assert (alone.me, [each.role for each in alone.passages]) == ("Eve", ["text", "text"])


def test_mails_are_running_text_since_none_answers_the_one_before_it():
    mails = chat((0, "Bob", "Tea?"), (1, "Eve", "Dear Carol,"), me="Eve", kind="mailbox")
    assert [(each.role, each.text) for each in reading(mails).passages] == [("text", "Dear Carol,")]


@pytest.mark.parametrize("people", [("Bob",), ("Bob", "Carol")])
def test_of_a_mailbox_whose_owner_wrote_nothing_in_it_nobody_is_the_person_unless_chosen(people):
    said = [(number, who, f"by {who}") for number, who in enumerate(people)]
    mails = chat(*said, me="alice@x.org", kind="mailbox")
    for found in whose_words([mails] * 3, Choices()):
        assert (found.me, found.passages, found.unknown) == (None, (), False)
        assert found.why == "it is of alice@x.org, who wrote nothing in it; say whose words are meant (--me)"
        assert found.left_out == {"words of others": sum(len(text) for _, _, text in said)}
    assert own_words(reading(mails, me=("Bob",)).passages) == "by Bob"


def test_where_somebody_was_chosen_nobody_else_is_guessed():
    other = chat((0, "Bob", "Hi"), (1, "Carol", "Hi"), source="WhatsApp Chat with Bob.txt")
    found = whose_words([TWO, other], Choices(me=("Alice M.",)))
    assert [each.me for each in found] == ["Alice M.", None]
    assert found[1].why == "nobody in it is called Alice M.; give every name by which you go in it (--me)"
    with pytest.raises(TextError, match="Zoe"):
        whose_words([TWO], Choices(me=("Zoe",)))


@pytest.mark.parametrize("kinds", [("mail", "mail"), ("mailbox", "mail"), ("Slack channel", "Slack channel")])
def test_of_documents_of_one_author_each_those_of_others_are_not_hers(kinds):
    hers, his = (chat((0, who, f"by {who}"), kind=kind) for who, kind in zip(("Eve", "Bob"), kinds, strict=True))
    assert [each.unknown for each in whose_words([hers, his], Choices())] == [True, True]
    chosen = whose_words([hers, his], Choices(me=("Eve",)))
    assert [own_words(each.passages) for each in chosen] == ["by Eve", ""]
    assert [each.me for each in whose_words([hers, hers], Choices())] == ["Eve", "Eve"]


def test_an_assistant_that_occurs_in_every_chat_is_not_the_person():
    asked = [chat((0, "user", "Why?"), (1, "assistant", "So."), kind="conversation in messages")] * 3
    greeting = chat((0, "assistant", "Welcome."), kind="conversation in messages")
    assert {each.me for each in whose_words([*asked, greeting], Choices())} == {None}
    assert reading(greeting).me is None


def test_answers_are_those_of_an_assistant_alone():
    asked = chat((0, "user", "Why?"), (1, "assistant", "Because."), me="user", kind="ChatGPT export")
    found = whose_words([asked, TWO], Choices(learn="answers"))
    assert own_words(found[0].passages) == "Because."
    assert (found[1].passages, found[1].me) == ((), None)
    assert own_words(reading(asked).passages) == "Why?"


def test_words_without_an_author_are_running_text_as_they_stand():
    found = reading(Document("a.md", "plain text", (Turn("one  \n"), Turn(" "), Turn("two"))))
    assert [(each.role, each.text) for each in found.passages] == [("text", "one  \n\n\ntwo")]
    assert found.left_out == {}


@pytest.mark.parametrize("choices", [Choices(), Choices(("Alice M.", "+49 170 1"), "answers", True)])
def test_a_release_remembers_how_its_text_was_read(choices):
    assert chosen_in([*choices.as_source(), "notes"]) == (choices, ["notes"])


@pytest.mark.parametrize("given", [{"me": 3}, {"me": [""]}, {"learn": "both"}, {"mask": "yes"}, {"who": "me"}, []])
def test_choices_that_are_none_are_refused(given):
    with pytest.raises(InvalidInput):
        choices_from(given)


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 900]), st.sampled_from(["Alice", "Bob", "assistant", None]), st.text())),
    st.sampled_from([Choices(), Choices(learn="answers"), Choices(me=("Alice",))]),
    st.sampled_from(["WhatsApp chat", "mailbox", "plain text"]),
    st.sampled_from([None, "Alice", "Carol"]),
    st.dictionaries(st.sampled_from(["system lines", "words of others"]), st.integers(0, 99)),
)
def test_every_character_of_a_document_is_learned_or_read_before_it_or_left_out(said, choices, kind, me, left_out):
    minutes, turns = 0, []
    for pause, author, text in said:
        minutes += pause
        turns.append(Turn(text, author, MORNING + timedelta(minutes=minutes)))
    document = Document("a", kind, tuple(turns), me, left_out)
    try:
        (found,) = whose_words([document], choices)
    except TextError:
        return
    there = sum(len(turn.text) for turn in turns)
    assert found.read == there + sum(left_out.values())
    blank = sum(len(turn.text) for turn in turns if not turn.text.strip())
    for counted, whether in ((found.own, True), (found.others, False)):
        taken = [each.text for each in found.passages if each.learned is whether]
        assert sum(len("".join(text.split())) for text in taken) <= counted <= sum(map(len, taken)) + blank
    assert min(found.own, found.others, *found.left_out.values(), 0) == 0
