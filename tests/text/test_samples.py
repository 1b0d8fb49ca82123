import pytest

from sharedllm.cache_folder import fetch_package
from sharedllm.errors import UnknownName
from sharedllm.text import samples
from sharedllm.text.documents import normalise_newlines
from sharedllm.text.repeats import REPEATS_TOLD
from sharedllm.text.samples import SAMPLES, general_text, sample_text
from sharedllm.text.splits import split_text

SIZES = {
    "programmer": 703_194,
    "novelist": 562_198,
    "scientist": 975_873,
    "journalist": 1_088_076,
    "general": 2_433_304,
}
# What authors have in common with themselves: formulas, idioms of a language, and in news whole passages.
MOST_GIVEN_AWAY = {"programmer": 0.20, "novelist": 0.05, "scientist": 0.12, "journalist": 0.21, "general": 0.05}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_the_pinned_text(name):
    text = sample_text(name)
    assert len(text) == SIZES[name]
    assert normalise_newlines(text) == text
    repeats = split_text(text).repeats
    assert max(repeats.validation, repeats.heldout) < MOST_GIVEN_AWAY[name] < REPEATS_TOLD


def test_the_programmer_writes_python_without_stubs():
    text = sample_text("programmer")
    assert "class Model(" in text
    assert "def migrate(" in text
    assert "from typing import overload" not in text


def test_the_novelist_is_doyle_alone():
    text = sample_text("novelist")
    assert "Sherlock Holmes" in text
    assert "Gutenberg" not in text


def test_abstracts_are_paragraphs_without_fixed_width_lines():
    paragraphs = sample_text("scientist").split("\n\n")
    assert len(paragraphs) == 917
    assert all(paragraph == paragraph.strip() and "\n " not in paragraph for paragraph in paragraphs[:-1])


def test_articles_filed_twice_are_kept_once():
    assert sample_text("journalist").count("Labour plans maternity pay rise\n") == 1


def test_general_text_is_the_sample_of_that_name():
    assert general_text() == sample_text("general")


def test_an_unknown_sample_lists_the_known():
    with pytest.raises(UnknownName) as refusal:
        sample_text("poet")
    assert "'poet'" in refusal.value.message
    assert refusal.value.remedy == "Choose one of programmer, novelist, scientist, journalist, general."


def test_a_text_is_kept_in_the_cache_and_read_anew_where_it_is_not_what_was_kept(tmp_path, monkeypatch):
    whole = sample_text("programmer")
    package = fetch_package(SAMPLES["programmer"].package)
    fetched = []

    def fetch(wanted, *, progress):
        fetched.append(wanted.name)
        return package

    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path))
    monkeypatch.setattr(samples, "fetch_package", fetch)
    for _ in range(2):
        assert sample_text("programmer") == whole
    assert fetched == ["peewee"]
    kept = tmp_path / "texts" / "programmer.txt"
    kept.write_text(kept.read_text() + "# and more\n")
    assert sample_text("programmer") == whole
    assert fetched == ["peewee"] * 2
