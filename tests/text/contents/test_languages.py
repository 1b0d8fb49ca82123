"""Languages are told paragraph by paragraph, and what cannot be told is said to be so."""

import pytest

from sharedllm.errors import MissingExtra
from sharedllm.text.contents import languages as told
from sharedllm.text.contents.languages import language_name, languages

ENGLISH = "Everyone has the right to rest and leisure, including reasonable limitation of working hours."
GERMAN = "Jeder hat das Recht auf Erholung und Freizeit, insbesondere auf eine vernünftige Begrenzung der Arbeitszeit."
JAPANESE = "すべて人は、労働時間の合理的な制限及び定期的な有給休暇を含む休息及び余暇をもつ権利を有する。"


def test_shares_are_of_characters_and_paragraphs_are_told_apart():
    found = languages([f"{ENGLISH}\n\n{GERMAN}\n \n{JAPANESE}"])
    length = len(ENGLISH) + len(GERMAN) + len(JAPANESE)
    assert found.shares == pytest.approx(
        {"de": len(GERMAN) / length, "en": len(ENGLISH) / length, "ja": len(JAPANESE) / length}
    )
    assert next(iter(found.shares)) == "de"
    assert found.unsure == 0


@pytest.mark.parametrize("text", ["ok", "haha", "123 456 789", "😂😂😂", "Anna Schmidt"])
def test_what_is_too_short_or_in_no_language_is_not_told(text):
    found = languages([text])
    assert (found.shares, found.unsure) == ({}, 1)


def test_nothing_is_in_no_language():
    assert languages([]).shares == languages([" \n\n "]).shares == {}


def test_of_a_long_text_paragraphs_from_all_of_it_are_looked_at(monkeypatch):
    monkeypatch.setattr(told, "MOST_LOOKED_AT", 40)
    found = languages([ENGLISH] * 300 + [GERMAN] * 100)
    assert found.shares["de"] == pytest.approx(0.25, abs=0.05)


def test_languages_have_names():
    assert language_name("ja") == "Japanese"
    assert language_name("cnh") == "cnh"


def test_without_the_extra_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr("sharedllm.extras._is_there", lambda module: False)
    with pytest.raises(MissingExtra, match=r"py3langid"):
        languages([ENGLISH])
