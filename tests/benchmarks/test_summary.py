"""The README's figures are those of the result files."""

from benchmarks.summary import README, with_figures


def test_the_readme_says_what_the_result_files_say():
    readme = README.read_text()
    assert with_figures(readme) == readme
