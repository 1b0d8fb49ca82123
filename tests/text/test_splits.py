import hashlib
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedllm.errors import TextError, TooLittleText
from sharedllm.text.splits import MIN_CHARACTERS, Split, cut, split_text

LINES = st.sampled_from(
    [
        "All human beings are born free and equal in dignity and rights.\n",
        "എല്ലാ മനുഷ്യരും സ്വതന്ത്രരായി ജനിക്കുന്നു ",
        "人人生而自由在尊严和权利上一律平等",
        "يولد جميع الناس أحرارًا متساوين\n\n",
        "👩‍👩‍👧‍👦👍🏽",
        "e\u0301",
        " ",
        "\n",
    ]
)
# Few drawn parts, each repeated: long texts without long draws.
TEXTS = st.lists(st.tuples(LINES, st.integers(1, 400)), min_size=1, max_size=12).map(
    lambda parts: "".join(part * times for part, times in parts)
)
LONG_TEXTS = TEXTS.filter(lambda text: len(text) >= MIN_CHARACTERS)


@settings(max_examples=60, deadline=None)
@given(LONG_TEXTS)
def test_blocks_are_the_text_in_order_with_gaps_between(text):
    split = split_text(text)
    least, most = min(max(len(text) // 100, 200), 4_000), 5_600
    assert text.startswith(split.train)
    assert text.endswith(split.heldout)
    middle = text[len(split.train) : len(text) - len(split.heldout)]
    starts = [i for i in range(least, most + 1) if middle.startswith(split.validation, i)]
    assert any(least <= len(middle) - len(split.validation) - start <= most for start in starts)


@settings(max_examples=60, deadline=None)
@given(LONG_TEXTS)
def test_proportions_hold(text):
    split = split_text(text)
    assert 0.62 <= len(split.train) / len(text) <= 0.8
    assert 0.04 <= len(split.validation) / len(text) <= 0.1
    assert 0.04 <= len(split.heldout) / len(text) <= 0.1001


@settings(max_examples=30, deadline=None)
@given(LONG_TEXTS)
def test_the_content_alone_fixes_the_split(text):
    copy = text.encode().decode()
    assert split_text(text) == split_text(copy, user="somebody")
    assert split_text(text).sha256 == hashlib.sha256(text.encode()).hexdigest()


def blocks(split: Split) -> list[str]:
    return [split.train, split.validation, split.heldout]


def test_lines_are_kept_whole_where_there_are_any():
    text = "".join(f"This is line number {number} of a diary.\n" for number in range(3_000))
    lines = set(text.splitlines())
    for block in blocks(split_text(text)):
        assert block.endswith("\n")
        assert lines.issuperset(block.splitlines())


def test_words_are_kept_whole_where_there_are_no_lines():
    text = " ".join(f"word{number}" for number in range(8_000))
    words = set(text.split())
    for block in blocks(split_text(text)):
        assert words.issuperset(block.split())


@pytest.mark.parametrize("character", ["e\u0301\u0323", "നി", "👍🏽", "👩‍👩‍👧‍👦", "❤️"])
def test_characters_are_kept_whole_where_there_is_no_space(character):
    for block in blocks(split_text(character * 3_000)):
        assert block == character * (len(block) // len(character))


def test_a_text_of_marks_alone_is_still_cut():
    assert all(blocks(split_text("\u0301" * 5_000)))
    assert unicodedata.category("\u0301") == "Mn"


def test_cut_prefers_lines_then_spaces_then_the_first_position():
    assert cut("ab cd\nef gh", range(3, 9)) == 6
    assert cut("ab cd ef gh", range(4, 11)) == 6
    assert cut("abcdefgh", range(4, 2, -1)) == 4


def test_repeats_are_counted_and_their_words_are_not_kept():
    lines = (hashlib.sha256(str(number).encode()).hexdigest()[:50] for number in range(2_000))
    unique = "".join(f"{line}\n" for line in lines)
    assert split_text(unique).repeats.lines == 0
    footer = "  Sent from my telephone, please excuse the brevity.  \n"
    split = split_text(footer + unique + footer * 2 + "short line\n")
    assert split.repeats.lines == 2
    assert split.repeats.share == pytest.approx(
        2 * len(footer.strip() + "\n") / len(split.validation + split.heldout), rel=1e-3
    )
    assert split.repeats.examples == (hashlib.sha256(footer.strip().encode()).hexdigest(),)


def test_too_little_text_says_how_much_there_is_and_is_needed():
    with pytest.raises(TooLittleText) as refusal:
        split_text("Short. " * 50, user="alice")
    assert (
        "The text of 'alice' has 350 characters; to learn anything from it takes at least 2,000"
        in refusal.value.message
    )
    assert "some 50,000 characters (8,000 English words)" in refusal.value.remedy


def test_an_unpaired_surrogate_is_refused():
    with pytest.raises(TextError, match="unpaired surrogate at character 2,500"):
        split_text("x" * 2_500 + "\ud800")
