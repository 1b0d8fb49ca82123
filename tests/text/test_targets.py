"""Only a person's own words are learned: whatever cuts, folds, splits and steps, nobody else's is ever a target."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sharedllm.base.conversations import ChatTurn
from sharedllm.errors import InvalidInput, TooLittleText
from sharedllm.text.folds import tokenize_to_train
from sharedllm.text.passages import Passage, own_words, plain
from sharedllm.text.splits import Learned, split_passages, split_text
from sharedllm.text.windows import TokenizedText, passage_ids, spans, text_windows, tokenize, windows
from sharedllm.training.recipes import Recipe
from sharedllm.training.step_windows import step_windows

HERS, THEIRS, TEXT, FORM = range(1_000, 2_000), range(2_000, 3_000), range(3_000, 4_000), 5


def encode(text: str) -> list[int]:
    """A token a word; which word it is shows in its id."""
    return [TEXT[int(word)] for word in text.split()]


def converse(turns: list[ChatTurn]) -> list[int]:
    """As a template does: a token before each turn, and behind it one, which is learned where hers ends."""
    found = [~FORM]
    for turn in turns:
        hers = turn.role == "assistant"
        words = [int(word) for word in turn.text.split()]
        found += [~FORM, *([HERS[word] for word in words] if hers else [~THEIRS[word] for word in words])]
        found.append(FORM if hers else ~FORM)
    return found


@st.composite
def people(draw, roles=("own", "other", "text")):
    """Passages of some hundred to some thousand words; what is drawn is a seed, and how much is whose."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    longest, size, share = (
        draw(st.sampled_from([3, 20, 300])),
        draw(st.integers(2_100, 20_000)),
        draw(st.floats(0.1, 1)),
    )
    passages, hers = [], 0
    while hers < size:
        role = "own" if random.random() < share else str(random.choice(roles))
        words = random.integers(1_000, size=random.integers(1, longest, endpoint=True))
        text = " ".join(f"{word:03d}" for word in words)
        passages.append(Passage(text, role, begins=role != "text" and bool(random.random() < 0.1)))
        hers += (len(text) + 1) * passages[-1].learned
    return tuple(passages)


def tokenized(passages, window=32) -> TokenizedText:
    split = split_passages(passages, user="alice")
    try:
        return tokenize_to_train("alice", split, encode, converse=converse, window=window)
    except TooLittleText:
        assume(False)
        raise


def everything(text: TokenizedText) -> list[np.ndarray]:
    recipe = Recipe("short", windows_per_step=2, window=32)
    steps = [step_windows(text, recipe, step) for step in (0, 1, 7)]
    folds = [each for fold in text.folds for each in (fold.train, fold.windows)]
    return [text.train, text.validation, text.heldout, *folds, *steps]


def predicted(ids) -> set[int]:
    return {int(each) for each in np.unique(ids) if each >= 0}


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(people(), st.sampled_from([16, 32, 48]))
def test_a_token_of_somebody_else_is_never_a_target(passages, window):
    for ids in everything(tokenized(passages, window)):
        assert predicted(ids).isdisjoint(THEIRS)


@settings(max_examples=15, deadline=None)
@given(people())
def test_a_window_without_targets_is_never_drawn_nor_counted(passages):
    text = tokenized(passages)
    recipe = Recipe("short", windows_per_step=2, window=32)
    measured = [text.validation, text.heldout, *(fold.windows for fold in text.folds)]
    for cut in [*measured, *(step_windows(text, recipe, step) for step in range(5))]:
        assert ((cut[:, 1:] >= 0).sum(axis=1) > 0).all()


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(people(("own", "other")), st.integers(0, 999))
def test_what_others_say_changes_no_cut_and_no_number_of_targets(passages, word):
    changed = [
        Passage(" ".join([f"{word:03d}"] * len(each.text.split())), each.role, begins=each.begins)
        if each.role == "other"
        else each
        for each in passages
    ]
    first, second = tokenized(passages), tokenized(tuple(changed))
    assert first.sha256 == second.sha256
    for before, after in zip(everything(first), everything(second), strict=True):
        assert np.array_equal(np.where(before >= 0, before, -1), np.where(after >= 0, after, -1))


@settings(max_examples=20, deadline=None)
@given(people(("own", "other", "text")))
def test_blocks_hold_whole_turns_with_what_was_said_before_and_no_word_twice(passages):
    split = split_passages(passages)
    hers = [each.text for each in passages if each.role == "own"]
    found = [each.text for block in split.blocks for each in block if each.role == "own"]
    rest = iter(hers)
    assert all(each in rest for each in found)
    for block, words in zip(split.blocks, (split.train, split.validation, split.heldout), strict=True):
        assert own_words(block).split() == words.split()
        assert not block or block[-1].learned
    assert len(split.train) + len(split.validation) + len(split.heldout) <= len(split.whole) - 2 * 200


@settings(max_examples=20, deadline=None)
@given(people())
def test_blocks_in_a_row_are_all_that_is_learned(passages):
    learned = Learned(split_passages(passages).passages)
    size = len(learned.words)
    place = learned.cut(range(size // 2, size // 2 - 20, -1))
    halves = [*learned.between(0, place), *learned.between(place, size)]
    ids, whole = (passage_ids(each, encode, 0, converse) for each in (halves, learned.between(0, size)))
    # A conversation that is cut begins again, with the template's own tokens.
    assert [id for id in ids if id > FORM] == [id for id in whole if id > FORM]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(-50, 50).filter(lambda id: id != 0), min_size=1, max_size=300),
    st.integers(2, 40),
    st.integers(1, 40) | st.none(),
)
def test_everything_is_predicted_once_and_no_window_is_without_a_target(ids, length, first):
    flat = np.array(ids)
    cuts = spans(flat, length, first)
    if len(ids) < length:
        assert cuts == []
        return
    seen = [place for start, begin, end in cuts for place in range(begin, end) if flat[place] >= 0]
    assert seen == [place for place in range(1, len(ids)) if ids[place] >= 0]
    for start, begin, end in cuts:
        assert 0 <= start < begin < end <= start + length <= len(ids)


def test_a_window_begins_with_what_came_before_her_turn():
    said = [~THEIRS[number] for number in range(30)]
    ids = [*said, *(HERS[number] for number in range(20)), *said]
    cut = windows(ids, 32)
    assert cut.shape == (2, 32)
    # Half a window of what was said, and of what is left of her turn a quarter of what she said herself.
    assert cut[0].tolist() == [*said[14:], *(HERS[number] for number in range(16))]
    assert cut[1].tolist() == [~HERS[number] for number in range(8, 16)] + [HERS[n] for n in range(16, 20)] + said[:20]


def test_plain_text_is_cut_as_ever():
    text = "".join(f"{number % 1_000:03d} and no more of it.\n" for number in range(4_000))
    split, as_passages = (
        split_text(text),
        split_passages([Passage(text[:50_000], "text"), Passage(text[50_001:], "text")]),
    )
    assert split_passages(plain(text)) == split
    assert (split.by, split.learn) == ("content", "writing")
    assert [own_words(block) for block in split.blocks] == [split.train, split.validation, split.heldout]
    # Files one after the other have a line feed between them.
    joined = f"{text[:50_000]}\n{text[50_001:]}"
    assert split_text(joined) == as_passages

    def code_points(words: str) -> list[int]:
        return [ord(character) for character in words]

    found = tokenize("alice", split, code_points, window=32)
    assert found.train.tolist() == code_points(split.train)
    assert np.array_equal(found.heldout, text_windows(split.heldout, code_points, 32))
    assert found.chats is False


def chat(*turns: tuple[str, str], when: datetime | None = None) -> list[Passage]:
    return [Passage(text, role, when, begins=not place) for place, (role, text) in enumerate(turns)]


NOON = datetime(2024, 3, 4, 12, tzinfo=UTC)


def test_where_everything_has_a_time_the_split_is_by_time_and_says_so():
    days = [chat(("other", "001 002"), ("own", "003 " * 200), when=NOON + timedelta(days=day)) for day in range(20)]
    shuffled = [passage for day in np.random.default_rng(0).permutation(20) for passage in days[day]]
    split = split_passages(shuffled)
    assert split.by == "time"
    assert split.blocks[0][-1].when < split.blocks[1][0].when < split.blocks[2][0].when
    assert split == split_passages([passage for day in days for passage in day])
    undated = [*shuffled, *chat(("own", "004 " * 200))]
    assert split_passages(undated).by == "content"


def test_times_with_and_without_a_zone_are_ordered():
    first = chat(("own", "001 " * 300), when=NOON.replace(tzinfo=None))
    second = chat(("own", "002 " * 300), when=NOON + timedelta(hours=1))
    assert split_passages([*second, *first]).whole.startswith("001")


def test_an_answer_and_the_question_before_it_stay_together():
    questions = [
        turn for number in range(60) for turn in chat(("other", f"{number:03d} 111"), ("own", f"{number:03d} " * 20))
    ]
    split = split_passages(questions, learn="answers")
    assert split.learn == "answers"
    for block in split.blocks:
        assert [each.role for each in block] == ["other", "own"] * (len(block) // 2)
        assert all(asked.text[:3] == said.text[:3] for asked, said in zip(block[::2], block[1::2], strict=True))


def test_too_little_is_counted_in_her_own_words():
    loud = chat(("other", "001 " * 5_000), ("own", "002 " * 100))
    with pytest.raises(TooLittleText, match=r"has 400 characters of their own, which alone are learned; .* 2,000"):
        split_passages(loud, user="alice")
    few = split_passages([turn for _ in range(10) for turn in chat(("other", "001 " * 500), ("own", "002 " * 60))])
    with pytest.raises(TooLittleText, match=r"has \d\d\d tokens: "):
        tokenize("alice", few, encode, converse=converse, window=256)


def test_conversations_are_refused_where_nothing_writes_them():
    split = split_passages(chat(*[("own", "002 " * 10)] * 100))
    with pytest.raises(Exception, match="conversations") as refused:
        tokenize("alice", split, encode, window=16)
    assert isinstance(refused.value, InvalidInput)
