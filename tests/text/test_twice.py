"""What is given twice is learned once, whichever forms it is given in."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.text.readers.made_files import as_docx, zipped

from sharedllm.text.choices import Choices
from sharedllm.text.documents import Document, Turn
from sharedllm.text.reading import look_at
from sharedllm.text.twice import TWICE, each_once

MORNING = datetime(2024, 3, 1, 9)


def chat(*turns, kind="WhatsApp chat", source="chat"):
    said = [Turn(text, author, None if at is None else MORNING + timedelta(minutes=at)) for at, author, text in turns]
    return Document(source, kind, tuple(said))


def texts(document):
    return [turn.text for turn in document.turns]


LONG = "I shall be there at nine, if the train is on time."
TALK = [
    (0, "Bob", "Tea?"),
    (1, "Alice", "Yes."),
    (1, "Alice", "ok"),
    (3, "Bob", LONG),
    (900, "Alice", "ok"),
    (901, "Bob", "ok"),
]


def whatsapp(days, clock="{day:02d}/03/2024, {hour:02d}:{minute:02d} - "):
    lines = []
    for day in days:
        for number in range(8):
            at = clock.format(day=day, hour=9 + number, minute=number)
            lines.append(
                f"{at}{('Bob', 'Alice M.')[number % 2]}: {'ok' if number % 4 == 1 else f'word {day} and {number}'}"
            )
    return "\n".join(lines) + "\n"


def learned(*sources):
    return look_at("alice", sources, choices=Choices(me=("Alice M.",)))


@pytest.mark.slow
def test_a_chat_in_a_folder_and_in_an_archive_is_learned_once_and_how_much_is_left_out_for_it_is_told(tmp_path):
    (tmp_path / "talk.txt").write_text(whatsapp(range(14, 20)))
    once = learned(tmp_path)
    (tmp_path / "talk.zip").write_bytes(zipped([("_chat.txt", whatsapp(range(14, 20)).encode())]))
    (tmp_path / "again").mkdir()
    ios = whatsapp(range(14, 20), "[{day:02d}/03/2024, {hour:02d}:{minute:02d}:42] ")
    (tmp_path / "again" / "talk of a telephone.txt").write_text(ios)
    twice = learned(tmp_path)
    assert twice.text == once.text
    assert [(each.role, each.text) for each in twice.passages] == [(each.role, each.text) for each in once.passages]
    messages = [line.split(": ", 1)[1] for line in ios.splitlines()]
    assert twice.left_out[TWICE] == 2 * sum(map(len, messages))


def test_exports_of_one_chat_that_overlap_are_learned_as_one(tmp_path):
    (tmp_path / "whole.txt").write_text(whatsapp(range(1, 28)))
    whole = learned(tmp_path / "whole.txt")
    (tmp_path / "begin.txt").write_text(whatsapp(range(1, 20)))
    (tmp_path / "end.txt").write_text(whatsapp(range(14, 28)))
    parts = learned(tmp_path / "begin.txt", tmp_path / "end.txt")
    assert parts.text == whole.text


def test_a_text_in_two_kinds_of_file_is_learned_once(tmp_path):
    words = ["The river was high that spring.", "Nobody crossed it."]
    (tmp_path / "a.docx").write_bytes(as_docx(words))
    (tmp_path / "b.txt").write_text("\n".join(words))
    found = look_at("alice", [tmp_path])
    assert found.text.split() == " ".join(words).split()
    assert found.left_out[TWICE] == len("\n".join(words))


def test_the_longest_keeps_what_it_has_whatever_the_order():
    for documents in ([chat(*TALK), chat(*TALK[:4])], [chat(*TALK[:4]), chat(*TALK)]):
        found = each_once(documents)
        assert sorted(map(texts, found)) == [[], [text for _, _, text in TALK]]


def test_what_somebody_wrote_twice_themselves_stays_twice():
    (found,) = each_once([chat((0, "Alice", "ok"), (0, "Alice", "ok"), (0, "Bob", LONG), (0, "Bob", LONG))])
    assert len(found.turns) == 4
    _, again = each_once([found, chat(*[(0, "Alice", "ok")] * 3, (0, "Bob", LONG))])
    assert texts(again) == ["ok"]


def test_short_messages_that_were_only_written_in_the_same_minute_are_others():
    other = chat((0, "Carol", "Are you at home?"), (1, "Alice", "Yes."), (2, "Carol", "Good."), (900, "Carol", "Hello"))
    assert [len(each.turns) for each in each_once([chat(*TALK), other])] == [len(TALK), 4]


def test_a_long_message_in_the_same_minute_is_one_whoever_else_wrote_there():
    sent = chat((3, "Alice M.", LONG), kind="mail")
    inbox = chat((0, "Bob", LONG + "!"), (3, "Alice", LONG), (4, "Bob", "Thank you, dear."), kind="mailbox")
    assert [texts(each) for each in each_once([sent, inbox])] == [[], texts(inbox)]


def test_what_one_wrote_does_not_hide_that_another_wrote_the_same_in_that_minute():
    wish = "A happy new year to all of you, my dears!"
    family = chat((0, "Bob", wish), (1, "Bob", LONG), (2, "Alice", "Thank you."))
    friends = chat((0, "Alice", wish), (1, "Carol", "And to you!"))
    assert [len(each.turns) for each in each_once([family, friends])] == [3, 2]
    # Nor does an export in which names are swapped, however much of the other it holds.
    other = {"Alice": "Bob", "Bob": "Alice"}
    forged = chat(*[(at, other[who], said) for at, who, said in TALK], (902, "Bob", LONG))
    assert [len(each.turns) for each in each_once([forged, chat(*TALK)])] == [len(TALK) + 1, len(TALK)]
    # While of a chat in which somebody is only called otherwise all is there already.
    called = chat(*[(at, "Alice M." if who == "Alice" else who, said) for at, who, said in TALK], (902, "Bob", LONG))
    assert [len(each.turns) for each in each_once([called, chat(*TALK)])] == [len(TALK) + 1, 0]


@pytest.mark.parametrize("elsewhere", [0, 100_000])
def test_many_who_say_the_same_in_one_minute_cost_no_more(elsewhere):
    documents = [chat(*[(0, f"{number + first}", "ok") for number in range(20_000)]) for first in (0, elsewhere)]
    began = time.process_time()
    each_once(documents)
    assert time.process_time() - began < 30


def test_without_times_a_conversation_that_another_begins_with_is_left_out_and_no_part_of_any_other():
    begun = [(None, "user", "hi"), (None, "assistant", "Hello!")]
    longer = [*begun, (None, "user", "Why?"), (None, "assistant", "Because.")]
    elsewhere = [*begun, (None, "user", "When?"), (None, "assistant", "Now.")]
    swapped = [(None, "assistant", "hi"), (None, "user", "Hello!")]
    found = each_once([chat(*each) for each in (begun, longer, elsewhere, swapped, begun)])
    assert [len(each.turns) for each in found] == [0, 4, 4, 2, 0]


def test_time_zones_are_minded():
    one, other = (
        Document("a", "mail", (Turn(LONG, "A", when),))
        for when in (MORNING.replace(tzinfo=UTC), datetime.fromisoformat("2024-03-01T11:00:30+02:00"))
    )
    assert [len(each.turns) for each in each_once([one, other])] == [1, 0]


@pytest.mark.slow
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.sampled_from([None, 0, 1, 900]), st.sampled_from(["A", "B"]), st.sampled_from(["ok", "no", LONG])
            )
        )
    )
)
def test_every_character_is_kept_or_counted_and_nothing_is_lost_whole(given_turns):
    documents = [chat(*turns) for turns in given_turns]
    found = each_once(documents)
    for before, after in zip(documents, found, strict=True):
        assert sum(map(len, texts(before))) == sum(map(len, texts(after))) + after.left_out.get(TWICE, 0)
    assert {text for each in documents for text in texts(each)} == {text for each in found for text in texts(each)}


@pytest.mark.slow
@pytest.mark.parametrize("same", [True, False])
def test_it_takes_time_in_proportion(same):
    documents = [
        chat(*[(minute if same else 100 * number + minute, "A", "ok") for minute in range(100)])
        for number in range(300)
    ]
    began = time.process_time()
    each_once(documents)
    assert time.process_time() - began < 30
