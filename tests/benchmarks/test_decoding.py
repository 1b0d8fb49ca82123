"""How tokens are drawn by default was measured, and the documents say what came out."""

from pathlib import Path

from benchmarks.decoding import table

from sharedllm.serving.request import DEFAULT_SAMPLING

SERVING = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()


def test_the_documents_have_what_was_measured():
    assert table() in SERVING


def test_the_documents_say_the_defaults_and_that_they_were_measured():
    temperature, min_p = f"temperature {DEFAULT_SAMPLING.temperature:g}", f"{DEFAULT_SAMPLING.min_p:g}"
    assert f"By default with {temperature} and min_p {min_p}" in SERVING
    assert f"| {temperature}, min p {min_p} |" in table()
    assert DEFAULT_SAMPLING.top_p == 1
