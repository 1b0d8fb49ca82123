import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sharedllm.errors import DiskFull
from sharedllm.reporting import page
from sharedllm.reporting.findings import percent, perplexity_text
from sharedllm.reporting.page import write_page
from sharedllm.reporting.palette import DARK, LIGHT, Palette
from sharedllm.reporting.report_data import Report, Voice

from .reports import make_report

HOSTILE = "<script>alert(1)</script>"


class Outline(HTMLParser):
    """The tags and the words of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words += data


def written(report: Report, folder: Path) -> str:
    return write_page(report, folder / "report.html").read_text(encoding="utf-8")


def test_every_figure_is_on_the_page(tmp_path: Path) -> None:
    report = make_report()
    outline = Outline(written(report, tmp_path))
    table = report.confusion
    for text in table.texts:
        for reader in table.readers:
            assert perplexity_text(table.perplexity(text, reader)) in outline.words
        margins = table.margins(text)
        assert margins is not None
        gain = table.improvement(text, text)
        figures = [
            gain.estimate,
            gain.low,
            gain.high,
            report.general[text].low,
            margins.mean,
            margins.best,
            margins.worst,
        ]
        for figure in figures:
            assert percent(figure).replace("-", "−") in outline.words
    for fact in (
        "smollm2-135m",
        "9f2c41d07ab3",
        "default",
        "0.1.0",
        report.made_at,
        "24 separate windows of 256 tokens",
    ):
        assert fact in outline.words
    assert "Holmes was standing by the window" in outline.words
    assert outline.tags.count("caption") == outline.tags.count("table") == 4
    assert outline.tags.count("circle") == 2 * len(table.texts)
    assert ("lang", "en") in outline.attributes


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    source = written(make_report(), tmp_path)
    outline = Outline(source)
    assert not {"script", "link", "img", "iframe"} & set(outline.tags)
    assert "url(" not in source
    assert "@import" not in source
    assert not [value for name, value in outline.attributes if name in ("src", "href")]


def test_nothing_untrusted_becomes_markup(tmp_path: Path) -> None:
    attack = f'"><img src=x onerror=alert(1)>{HOSTILE}\x1b[31m\u202e'
    voices = [Voice(attack, attack, attack, attack)]
    report = make_report([attack, HOSTILE], held_back=[attack], voices=voices, base=attack)
    source = written(report, tmp_path)
    outline = Outline(source)
    assert "script" not in outline.tags
    assert "img" not in outline.tags
    assert not [name for name, _ in outline.attributes if name.startswith("on")]
    assert "\x1b" not in source
    assert "\u202e" not in source
    assert HOSTILE in outline.words


def test_a_single_user_has_no_one_to_be_compared_with(tmp_path: Path) -> None:
    words = Outline(written(make_report(["alice"]), tmp_path)).words
    assert "Not measured: there is no other adapter to compare with." in words


def test_an_adapter_held_back_is_shown_as_such_everywhere(tmp_path: Path) -> None:
    words = Outline(written(make_report(held_back=["novelist"]), tmp_path)).words
    # In the headline, above its column, in the gate's table and beside its voice.
    assert words.count("held back") == 4


def test_without_gates_and_voices_their_sections_are_left_out(tmp_path: Path) -> None:
    report = Report(**{**vars(make_report(voices=[])), "gates": {}, "general": {}})
    words = Outline(written(report, tmp_path)).words
    assert "The gate" not in words
    assert "In their voice" not in words
    assert "no data" in words


def test_long_ids_are_shortened_and_given_in_full_once(tmp_path: Path) -> None:
    user = "👩‍👩‍👧‍👦م" * 125
    words = Outline(written(make_report([user, "bob"]), tmp_path)).words
    assert words.count(user) == 1


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_numbers_can_be_read_on_every_colour(palette: Palette) -> None:
    for strength in range(-10, 11):
        assert contrast(palette.text, palette.shade(strength / 10)) >= 4.5


def test_a_colour_is_written_in_the_palette_and_nowhere_else() -> None:
    root = Path(__file__).parents[2]
    sources = [path for folder in ("src", "experiments", "benchmarks") for path in (root / folder).rglob("*")]
    written = [
        path.name
        for path in sources
        if path.suffix in {".py", ".css", ".j2"} and re.search(r"#([0-9a-fA-F]{3}){1,2}\b", path.read_text())
    ]
    assert written == ["palette.py"]


def test_a_failed_write_keeps_the_page_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_page(make_report(), tmp_path / "new" / "report.html")
    before = path.read_bytes()

    def full(self: Path, data: str, **_: object) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page.Path, "write_text", full)
    with pytest.raises(DiskFull, match="No space left"):
        write_page(make_report(["alice"]), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2."""

    def luminance(colour: str) -> float:
        channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
