"""The figures in README and pages are those of the result files."""

import pytest
from benchmarks.summary import (
    PRIOR_PAGE,
    README,
    SPEED_PAGE,
    TEXT_PAGE,
    WORTH_PAGE,
    with_exports,
    with_figures,
    with_prior,
    with_speed,
    with_worth,
)


@pytest.mark.parametrize(
    ("page", "with_its_figures"),
    [
        (README, with_figures),
        (PRIOR_PAGE, with_prior),
        (WORTH_PAGE, with_worth),
        (TEXT_PAGE, with_exports),
        (SPEED_PAGE, with_speed),
    ],
)
def test_a_page_says_what_the_result_files_say(page, with_its_figures):
    text = page.read_text()
    assert with_its_figures(text) == text
