"""Signatures that no line sets apart are told by all mails of a person: they recur, and what she writes does not."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedllm.text.documents import Document, Turn
from sharedllm.text.signatures import without_signatures

BODIES = [f"On day {number} we walked {number} miles.\n\nThen came {word}." for number, word in enumerate("abcdefgh")]
SIGNATURE = "Alice Miller\nZebra Lane 7, 50667 Köln\n+49 221 4567890"


def mailbox(*bodies, author="Alice Miller", kind="mailbox"):
    at = datetime(2024, 3, 1, 9, tzinfo=UTC)
    turns = (Turn(body, author, at + timedelta(hours=number)) for number, body in enumerate(bodies))
    return Document("box", kind, tuple(turns))


def texts(*documents):
    return [turn.text for document in without_signatures(documents) for turn in document.turns]


@pytest.mark.parametrize("gap", ["\n", "\n\n", "\n \n\n"])
def test_a_block_that_ends_many_mails_is_left_out_and_counted(gap):
    document = mailbox(*(f"{body}{gap}{SIGNATURE}\n" for body in BODIES))
    (found,) = without_signatures([document])
    assert [turn.text for turn in found.turns] == BODIES
    assert found.left_out == {"signatures": sum(len(turn.text) for turn in document.turns) - sum(map(len, BODIES))}


def test_closing_words_before_it_are_kept_where_they_differ():
    closings = ["See you!", "Thanks,", "LG", "Gruß", "Thanks,", "LG", "Yours", "Love"]
    bodies = [f"{body}\n\n{closing}" for body, closing in zip(BODIES, closings, strict=True)]
    assert texts(mailbox(*(f"{body}\n{SIGNATURE}" for body in bodies))) == bodies


def test_short_closing_words_are_hers_also_where_they_recur():
    for closing in ("Thanks!", "Best,\nAlice", "Viele Grüße\nDeine\nAlice"):
        bodies = [f"{body}\n\n{closing}" for body in BODIES]
        assert texts(mailbox(*bodies)) == bodies


def test_a_signature_without_a_number_is_one_if_it_is_long():
    titled = "Dr. Alice Miller\nHead of Zebra Studies\nFaculty of Stripes"
    small_print = "This message is for its addressee alone; whoever else has it is asked to delete it and to say so."
    for signature in (titled, small_print, f"{titled}\n\n{small_print}"):
        assert texts(mailbox(*(f"{body}\n\n{signature}" for body in BODIES))) == BODIES


def test_somebody_may_have_had_several_and_mails_without_one_stay_as_they_are():
    home, work = "Alice\n0171 2345678", "Alice Miller\nOkapi Ltd\n+44 20 7946 0018\nwww.okapi.example"
    later = work.replace("0018", "0099")
    bodies = [*BODIES, *(f"Later.\n{body}" for body in BODIES)]
    signed = [f"{body}\n\n{each}" for body, each in zip(bodies, [home, work, later, ""] * 4, strict=True)]
    assert [text.rstrip() for text in texts(mailbox(*signed))] == bodies


def test_a_mail_of_nothing_but_a_signature_is_gone():
    document = mailbox(*(f"{body}\n{SIGNATURE}" for body in BODIES), SIGNATURE)
    assert texts(document) == BODIES


def test_it_is_told_of_mails_in_files_of_their_own_together_and_of_each_author_by_themselves():
    signed = [mailbox(f"{body}\n{SIGNATURE}", kind="mail") for body in BODIES]
    assert texts(*signed) == BODIES
    once = mailbox(f"Hello\n{SIGNATURE}", author="Bob", kind="mail")
    assert texts(*signed, once) == [*BODIES, f"Hello\n{SIGNATURE}"]


def test_what_few_mails_end_with_stays_and_so_does_a_mail_that_was_sent_to_many():
    assert texts(mailbox(*BODIES, *(f"{body}!\n{SIGNATURE}" for body in BODIES[:2])))[-1].endswith(SIGNATURE)
    letter = f"Dear all, the garden party is on Sunday.\nBring cake, and chairs.\n{SIGNATURE}"
    assert texts(mailbox(*BODIES, *[letter] * 5)) == [*BODIES, *[letter] * 5]


def test_of_what_is_no_mail_nothing_is_left_out():
    chat = mailbox(*(f"{body}\n{SIGNATURE}" for body in BODIES), kind="WhatsApp chat")
    assert without_signatures([chat]) == [chat]


@given(st.lists(st.text("ab1@ \n", max_size=30), max_size=12))
def test_whatever_mails_say_only_their_ends_go_and_every_character_is_counted(bodies):
    document = mailbox(*bodies)
    (found,) = without_signatures([document])
    before, after = (sum(len(turn.text) for turn in each.turns) for each in (document, found))
    assert before - after == sum(found.left_out.values())
    left = {turn.when: turn.text for turn in found.turns}
    assert all(turn.text.startswith(left.get(turn.when, "")) for turn in document.turns)
