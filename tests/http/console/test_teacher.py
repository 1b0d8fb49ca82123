"""A teacher's way on the page: from a CSV of twelve pupils to twelve adapters, one reset and one removed.

What the teacher types or decides is counted as it is done, and said in docs/console.md. What the pupils do with the
keys that they were handed is done over HTTP.
"""

import csv
import io
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from tests.cli.conftest import writing
from tests.http.conftest import PASSED, FakeEngine
from tests.http.test_jobs import QUICK

from sharedllm.errors import UnknownUser
from sharedllm.http.jobs import Jobs
from sharedllm.training.recipes import RECIPES

pytestmark = pytest.mark.slow

PUPILS = [
    *("Ada", "Björn", "Chloé", "Đorđe", "Eun-ji", "فاطمة"),
    *("Grace", "Hanna", "Ігор", "José", "Krzysztof", "<img src=x onerror=alert(1)>"),
]
CLASS = "name,label\n" + "".join(f"{each},7b\n" for each in PUPILS)
PAGE = Path(__file__).parents[3] / "docs" / "console.md"


class Instant(Jobs):
    """Publishes a release where a training process would be started."""

    def __init__(self, base, where, published):
        super().__init__(base, where)
        self._published = published

    def _next(self):
        while self._queue:
            job = self._queue.popleft()
            release = self._published.store.publish(job.user, self._published.adapter(len(job.text)), PASSED, job.stay)
            job.told({"release": release.number, "gate": {"passed": True, "reason": PASSED.reason, "figures": {}}})
            job.ended(0, 0)


class Teacher:
    """Does things on a page, and counts what had to be typed or decided."""

    def __init__(self, page):
        self.page, self.done = page, []

    def type(self, label, text):
        self.done.append(f"type: {label}")
        self.page.get_by_label(label).fill(text)

    def give(self, label, name, text):
        self.done.append(f"give: {name}")
        self.page.get_by_label(label).set_input_files({"name": name, "mimeType": "text/csv", "buffer": text.encode()})

    def press(self, role, name):
        self.done.append(f"press: {name}")
        self.page.get_by_role(role, name=name, exact=True).click()


@pytest.fixture(params=["at once", pytest.param("trained", marks=[pytest.mark.rare, pytest.mark.timeout(1800)])])
def jobs(request, published, folder_of, tmp_path, monkeypatch):
    """Trainings that take no time, or a process and a gate for each pupil."""
    place = folder_of("llama"), str(tmp_path / "store.db")
    monkeypatch.setitem(RECIPES, "default", QUICK)
    made = Instant(*place, published) if request.param == "at once" else Jobs(*place, share=1.0)
    yield made
    made.close()


def trained(here, secret, user):
    """A pupil sends what they wrote with the key that they were handed, and waits for what comes of it."""
    with httpx.Client(base_url=here.address, headers={"Authorization": f"Bearer {secret}"}, timeout=60) as pupil:
        path = f"/v1/users/{quote(user, safe='')}"
        job = pupil.post(f"{path}/train", json={"text": writing(user)}).raise_for_status().json()
        assert here.service.jobs.find(user, job["id"]).over.wait(300)
        return pupil.get(f"{path}/jobs/{job['id']}").json()["state"]


def test_a_teacher_has_twelve_adapters_made_hands_out_keys_resets_one_and_removes_one(
    published, site, visit, jobs, tmp_path
):
    here = site(FakeEngine(published.base), jobs=jobs)
    secret, _ = published.keys.create(user=None)
    page = visit(here.address, width=900)
    teacher = Teacher(page)

    teacher.type("Key", secret)
    page.keyboard.press("Enter")
    page.get_by_role("heading", level=1, name="People").wait_for()
    teacher.press("link", "Keys")
    teacher.give("Make a key for everybody in a list", "7b.csv", CLASS)
    page.get_by_text("12 keys were made.").wait_for()
    page.screenshot(path=tmp_path / "keys.png")
    with page.expect_download() as download:
        teacher.press("link", "Save the keys")
    download.value.save_as(tmp_path / "keys.csv")
    handed = list(csv.DictReader(io.StringIO((tmp_path / "keys.csv").read_text())))
    assert [row["user"] for row in handed] == PUPILS
    assert len(teacher.done) == 4

    assert {trained(here, row["secret"], row["user"]) for row in handed} == {"done"}
    assert all(published.store.user(each).served == 1 for each in PUPILS)

    teacher.press("link", "People")
    page.get_by_role("button", name="Krzysztof").wait_for()
    page.screenshot(path=tmp_path / "people.png")
    before = len(teacher.done)
    teacher.press("button", "Ada")
    teacher.press("button", "Back to the base")
    page.get_by_role("status").filter(has_text="Back at the base").wait_for()
    assert published.store.user("Ada").served is None
    assert len(teacher.done) - before == 2

    teacher.press("button", "Krzysztof")
    teacher.press("button", "Erase…")
    teacher.press("button", "Erase all of theirs for good")
    page.get_by_role("status").filter(has_text="Erased.").wait_for()
    page.get_by_role("button", name="Krzysztof", exact=True).wait_for(state="detached")
    with pytest.raises(UnknownUser):
        published.store.user("Krzysztof")
    # Their key went with them, and nobody else's did.
    codes = [
        httpx.get(f"{here.address}/v1/me", headers={"Authorization": f"Bearer {row['secret']}"}).status_code
        for row in handed
    ]
    assert [user for user, code in zip(PUPILS, codes, strict=True) if code == 401] == ["Krzysztof"]
    assert len(teacher.done) == 10
    assert "ten things" in PAGE.read_text()
