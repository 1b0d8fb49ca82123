"""`sharedllm demo`: from nothing to a page, and from there in no time."""

import json

import pytest

from sharedllm.cli import demo
from sharedllm.reporting.report_data import Report
from sharedllm.store import open_store

pytestmark = pytest.mark.slow


@pytest.fixture
def page(tmp_path):
    return tmp_path / "out" / "demo.html"


@pytest.fixture
def show(run, machine, folder_of, notes, page, monkeypatch):
    """Run the demo on the small base and made-up texts."""
    monkeypatch.setattr(demo, "DEFAULT_BASE", str(folder_of("llama")))
    monkeypatch.setattr(demo, "PROMPT_TOKENS", 16)
    monkeypatch.setattr(demo, "VOICE_TOKENS", 4)
    monkeypatch.setattr("sharedllm.text.samples.sample_text", lambda name: notes(name).read_text())
    return lambda: run("demo", "--out", page)


def test_it_ends_with_a_report_in_the_terminal_and_on_a_page(show, machine, page):
    ran = show()
    assert ran.code == 0
    assert machine.users() == list(demo.USERS)
    assert f"report page: {page}" in ran.out
    written = page.read_text()
    for user in demo.USERS:
        assert user in ran.out
        assert user in written
    assert not machine.checkpoints()
    assert {path.name for path in page.parent.iterdir()} == {"demo.html", "demo.report.json"}


def test_its_numbers_lie_beside_the_page(show, machine, page):
    show()
    report = Report.from_dict(json.loads(page.with_suffix(".report.json").read_text())["report"])
    assert (report.base, report.window) == (demo.DEFAULT_BASE, 64)
    assert report.confusion.texts == list(demo.USERS)
    assert report.confusion.readers == [None, *demo.USERS]
    assert set(report.general) == set(report.gates) == set(demo.USERS)
    assert [voice.user for voice in report.voices] == list(demo.USERS)
    for user in demo.USERS:
        assert report.confusion.improvement(user, user).low > 0
    with open_store(machine.store) as store:
        assert all(report.gates[user] == store.release(user, 1).gate for user in demo.USERS)


def test_a_second_run_reuses_everything(show, machine, page, monkeypatch):
    show()
    first = page.read_bytes()
    page.unlink()
    monkeypatch.setattr("sharedllm.base.loading.load_base", None)
    ran = show()
    assert ran.code == 0
    assert page.read_bytes() == first
    with open_store(machine.store) as store:
        assert [user.releases for user in store.users()] == [1, 1, 1]


def test_figures_of_other_releases_are_not_reused(show, run, page):
    show()
    before = json.loads(page.with_suffix(".report.json").read_text())
    run("users", "erase", "novelist", "--yes")
    show()
    after = json.loads(page.with_suffix(".report.json").read_text())
    assert after["key"] != before["key"]


@pytest.mark.parametrize("content", ["{ cut sho", "[]", "{}"])
def test_damaged_figures_are_measured_again(content, show, page):
    page.parent.mkdir()
    page.with_suffix(".report.json").write_text(content)
    assert show().code == 0
    assert "report" in json.loads(page.with_suffix(".report.json").read_text())


def test_a_page_that_cannot_be_written_is_an_error_and_the_releases_stay(show, machine, page):
    page.parent.write_text("a file where the folder should be")
    ran = show()
    assert ran.code == 2
    assert str(page.parent) in ran.err
    assert machine.users() == list(demo.USERS)
