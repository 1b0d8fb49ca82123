import time
from datetime import UTC, datetime, timedelta

from sharedllm.text.conversations.cutting import GAP, conversations_of
from sharedllm.text.documents import Document, Turn

START = datetime(2024, 3, 13, 9, 0)


def chat(*turns):
    at = START
    said = []
    for author, text, pause in turns:
        at += pause
        said.append(Turn(text, author, at))
    return Document("chat", "WhatsApp chat", tuple(said))


def texts(conversations):
    return [[(turn.author, turn.text) for turn in turns] for turns in conversations]


def test_silence_ends_a_conversation():
    minute, night = timedelta(minutes=1), GAP + timedelta(minutes=1)
    document = chat(("Alice", "a", minute), ("Bob", "b", GAP), ("Alice", "c", night), ("Bob", "d", minute))
    assert texts(conversations_of(document)) == [[("Alice", "a"), ("Bob", "b")], [("Alice", "c"), ("Bob", "d")]]


def test_what_one_writes_in_a_row_is_one_turn_with_the_time_of_its_first_message():
    minute = timedelta(minutes=1)
    document = chat(("Alice", "a", minute), ("Alice", "b", minute), ("Bob", "c", minute), ("Bob", "d", GAP * 2))
    first, second = conversations_of(document)
    assert texts([first, second]) == [[("Alice", "a\nb"), ("Bob", "c")], [("Bob", "d")]]
    assert first[0].when == START + minute


def test_nothing_is_cut_without_times_nor_in_a_chat_with_a_model():
    turns = (Turn("a", "user", START), Turn("b", "assistant", START), Turn("c", "user", START + GAP * 9))
    assert len(conversations_of(Document("a", "ChatGPT conversation", turns))) == 1
    without = (
        Turn("a", "Alice"),
        Turn("b", "Bob"),
        Turn("c", "Alice", START),
        Turn("d", "Bob", START.replace(tzinfo=UTC)),
    )
    assert len(conversations_of(Document("a", "WhatsApp chat", without))) == 1


def test_running_text_is_one_conversation_and_no_text_none():
    assert conversations_of(Document("a", "text", (Turn("a"), Turn("b")))) == [(Turn("a"), Turn("b"))]
    assert conversations_of(Document("a", "text", ())) == []


def test_many_messages_in_a_row_are_joined_in_time_that_grows_as_they_do():
    document = Document("a", "WhatsApp chat", tuple(Turn("x" * 1_000, "Alice") for _ in range(20_000)))
    began = time.process_time()
    ((turn,),) = conversations_of(document)
    assert len(turn.text) == 20_000 * 1_001 - 1
    assert time.process_time() - began < 30
