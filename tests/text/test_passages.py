"""Whose words are learned."""

from datetime import datetime

from sharedllm.text.documents import Document, Turn
from sharedllm.text.passages import ASSISTANT, Passage, own_words, passages_of, plain

WHEN = datetime(2024, 3, 4, 12, 0)


def _chat(*turns: Turn) -> Document:
    return Document("chat.txt", "chat", turns)


def test_a_plain_file_is_running_text() -> None:
    assert passages_of(Document("a.txt", "text", (Turn("One.\nTwo."),)), own=()) == plain("One.\nTwo.")


def test_of_a_conversation_only_her_turns_are_learned() -> None:
    chat = _chat(Turn("Hi", "Bob", WHEN), Turn("Hello", "Alice", WHEN), Turn("How?", "Eve"), Turn("Well", "Alice M."))
    found = passages_of(chat, own={"Alice", "Alice M."})
    assert found == (
        Passage("Hi", "other", WHEN, begins=True),
        Passage("Hello", "own", WHEN),
        Passage("How?", "other"),
        Passage("Well", "own"),
    )
    assert own_words(found) == "Hello\nWell"


def test_where_answers_are_learned_the_assistant_is_the_target_and_she_is_context() -> None:
    chat = _chat(Turn("Be brief.", "system"), Turn("Why?", "user"), Turn("Because.", "assistant"))
    roles = [passage.role for passage in passages_of(chat, own={ASSISTANT})]
    assert roles == ["system", "other", "own"]
    assert [passage.role for passage in passages_of(chat, own={"user"})] == ["system", "own", "other"]


def test_a_turn_without_words_is_left_out_and_the_next_one_begins_the_conversation() -> None:
    found = passages_of(_chat(Turn(" \n", "Bob"), Turn("Hello", "Alice")), own={"Alice"})
    assert found == (Passage("Hello", "own", begins=True),)
