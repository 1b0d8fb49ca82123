"""A text that a base spells in pieces of letters is told so before any work."""

import pytest

from sharedllm.text.contents.spelling import spelled_in_pieces, tokens_per_character


def as_bytes(text):
    return [1, *text.encode()]


@pytest.mark.parametrize(("text", "tokens"), [("plain words " * 10, 1), ("слова " * 10, 11 / 6), ("言葉", 3)])
def test_tokens_are_counted_by_character_without_the_opening(text, tokens):
    assert tokens_per_character(text, as_bytes) == pytest.approx(tokens)


def test_of_a_long_text_pieces_from_all_of_it_are_counted():
    read = []
    long = "a" * 900_000 + "言" * 100_000
    assert tokens_per_character(long, lambda text: read.append(text) or as_bytes(text)) == pytest.approx(1.2, abs=0.05)
    assert sum(map(len, read)) < 200_000


def test_what_will_come_of_it_is_told_from_one_token_a_character_on():
    assert spelled_in_pieces(0.94) is None
    assert "128 characters at a time" in spelled_in_pieces(2.0)
