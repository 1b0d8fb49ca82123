"""A newcomer's way: one command, files, one button, one question; and its pictures, for which nothing is trained."""

import os
import re
import signal
import subprocess
import sys

import pytest
from tests.cli.conftest import writing
from tests.evaluation.test_cross_validation import GENERAL, falling
from tests.http.conftest import FakeEngine
from tests.http.console.conftest import enter
from tests.http.console.test_texts import given, opened

from sharedllm.cluster.fleets.sizing import SHAPES
from sharedllm.evaluation.gate import Gate
from sharedllm.http import reckoning
from sharedllm.text.samples import sample_text


@pytest.fixture
def tried(tmp_path):
    """`sharedllm try alice` as a process; the address that it prints."""
    environment = os.environ | {"SHAREDLLM_STORE": str(tmp_path / "store.db"), "XDG_DATA_HOME": str(tmp_path / "data")}
    command = [sys.executable, "-m", "sharedllm", "try", "alice", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield re.search(r"http://\S+", process.stdout.readline())[0]
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=120)


@pytest.mark.rare
@pytest.mark.timeout(1800)
def test_from_one_command_to_an_answered_question_are_three_decisions(tried, visit):
    page = visit(tried)
    page.get_by_text("Begin with your texts").wait_for()
    opened(page, "Texts")
    text = sample_text("novelist")
    found = given(page, letters_md=text[:4_000], diary_txt=text[4_000:6_000])
    assert "2 × plain text" in found.inner_text()
    assert "Training takes about" in found.inner_text()
    page.get_by_role("button", name="Train").click()
    page.get_by_label(re.compile("step [1-9]")).wait_for(timeout=600_000)
    page.get_by_text(re.compile("answers from now on|is stored and does not answer")).wait_for(timeout=1_200_000)
    assert page.get_by_role("region", name="Training").get_by_text(re.compile("passed|held back")).count()
    opened(page, "Write").get_by_role("textbox").fill("What should I write about next?")
    page.get_by_role("button", name="Ask both").click()
    page.get_by_text("Both answers have ended").wait_for(state="attached", timeout=600_000)
    assert page.locator(".said").first.inner_text()


@pytest.mark.rare
def test_the_pictures_of_her_way_are_taken_as_she_goes_it(site, published, training, visit, tmp_path, monkeypatch):
    """What docs/console.md shows. A stand-in trains, so that the verdict is of the gate and of no real text."""
    monkeypatch.setattr(reckoning, "_multiplied", lambda folder: SHAPES["smollm2-135m"].multiplied)
    monkeypatch.setattr(reckoning.os, "cpu_count", lambda: 2)
    found = falling(1.0, noise=1.0)
    jobs = training(verdict=Gate().decide(found.losses(), GENERAL, cross_validated=found))
    here = site(FakeEngine(published.base), jobs=jobs)
    page = enter(visit(here.address, width=760), published.keys.create(user="Ada")[0])
    page.set_viewport_size({"width": 760, "height": 560})
    page.get_by_text("Begin with your texts").wait_for()

    def pictured(name):
        page.screenshot(path=tmp_path / f"newcomer-{name}.png", full_page=True)

    pictured("begins")
    opened(page, "Texts")
    given(page, letters_md=writing("alice"), diary_txt=writing("other"))
    assert "minutes on this machine" in page.locator("#estimate").inner_text()
    pictured("texts")
    page.get_by_role("button", name="Train").click()
    page.get_by_text("Release 2 answers from now on").wait_for()
    page.get_by_role("region", name="Training").scroll_into_view_if_needed()
    pictured("verdict")
