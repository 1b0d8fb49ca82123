"""Every causal family of transformers, made small: it can be used for all that a base is for, or is refused by name."""

from importlib.metadata import version

import pytest
from tests import families


@pytest.fixture
def row(tmp_path, monkeypatch):
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "cache"))
    return lambda family: families.try_family(family, tmp_path)


def written():
    """The rows of the page in the docs, by family."""
    lines = [line for line in families.PAGE.read_text().splitlines() if line.startswith("| ")]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines[1:]}


@pytest.mark.parametrize("family", families.SAMPLE)
def test_a_family_does_what_its_row_in_the_docs_says(row, family):
    assert str(row(family)) == written()[family]


@pytest.mark.rare
@pytest.mark.parametrize("family", [family for family in families.FAMILIES if family not in families.SAMPLE])
def test_so_does_every_other_family(row, family):
    assert str(row(family)) == written()[family]


def test_every_family_has_a_row_and_none_of_them_crashes():
    pinned = f"transformers=={version('transformers')}\n" in (families.PAGE.parents[1] / "constraints.txt").read_text()
    # Older versions know fewer.
    assert tuple(each for each in written() if pinned or each in families.FAMILIES) == families.FAMILIES
    assert families.CRASH not in families.PAGE.read_text()
