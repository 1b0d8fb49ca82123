"""Words as people read them."""

import pytest

from sharedllm.evaluation.words import word_at, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat's well-known, isn't it?", ["The", "cat's", "well", "known", "isn't", "it"]),
        ("'quoted' dogs' don\u2019t", ["quoted", "dogs", "don\u2019t"]),
        ("x_1 = 3.14", ["x_1", "3", "14"]),
        ("Привет, мир", ["Привет", "мир"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("我爱 you", ["我", "爱", "you"]),
        ("กิน", ["กิ", "น"]),
        ("한국어 말", ["한국어", "말"]),
        ("  \n…", []),
    ],
)
def test_words_are_what_people_read_as_words(text, expected):
    assert [text[each] for each in words(text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat", (3, False)),
        ("cat ", (3, True)),
        ("cat'", (3, False)),
        ("cat's", (5, False)),
        ("cat' ", (3, True)),
        ("我", (1, False)),
        ("我爱", (1, True)),
        (" cat", (0, True)),
        ("", (0, False)),
        ("cat我", (3, True)),
    ],
)
def test_a_word_has_ended_only_once_nothing_can_make_it_longer(text, expected):
    assert word_at(text) == expected
