"""What is nearly there twice is found, in any script."""

import random

import pytest

from sharedllm.text.contents.near_repeats import near_repeats

WORDS = ("the", "river", "stone", "gave", "morning", "under", "light", "house", "walked", "slowly", "bridge", "never")


def paragraph(seed, length=60):
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def test_a_paragraph_with_a_word_changed_is_a_near_repeat():
    first = paragraph(1)
    again = first.replace(first.split()[7], "unexpectedly", 1)
    found = near_repeats([f"{first}\n\n{paragraph(2)}", again])
    assert (found.paragraphs, found.repeated) == (3, 1)
    assert found.share == pytest.approx(len(again) / (2 * len(first) + len(paragraph(2))), abs=0.02)


def test_capitals_and_punctuation_make_no_difference():
    assert (
        near_repeats(["We shall see each other on Monday, then.", "we shall see each other on monday then"]).repeated
        == 1
    )


def test_different_paragraphs_are_none():
    assert near_repeats([paragraph(seed) for seed in range(50)]).repeated == 0


def test_short_messages_that_everybody_sends_often_are_not_counted():
    assert near_repeats(["ok", "see you", "ok", "ok", "see you"]).paragraphs == 0


def test_lines_under_forty_characters_are_seen():
    assert near_repeats(["Sent from my telephone, sorry!", "sent from my telephone - sorry"]).repeated == 1


def test_text_without_spaces_is_compared_too():
    first = "すべて人は、労働時間の合理的な制限及び定期的な有給休暇を含む休息及び余暇をもつ権利を有する。"
    assert near_repeats([first, first.replace("権利", "権益")]).repeated == 1


def test_a_line_that_comes_very_often_takes_no_longer():
    assert near_repeats(["Sent from my telephone, sorry!"] * 20_000).repeated == 19_999


def test_nothing_repeats_nothing():
    assert near_repeats([]).share == 0
