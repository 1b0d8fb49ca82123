"""What an operator sees and does on the page: people, keys, and how the server does, in a real browser."""

import re

import pytest
from tests.http.conftest import PASSED, FakeEngine
from tests.http.console.conftest import enter

from sharedllm.adapters.adapter import GateOutcome

pytestmark = pytest.mark.slow

NASTY = "<img src=x onerror=alert(1)>"
ARABIC = "مرحبا بالعالم"


@pytest.fixture
def operator(site, published, visit):
    """A page that an operator has entered, at one of their places."""

    def operator(place="people", **options):
        here = site(FakeEngine(published.base))
        secret, _ = published.keys.create(user=None)
        page = enter(visit(here.address, **options), secret)
        page.get_by_role("link", name=place.title(), exact=True).click()
        page.get_by_role("heading", level=1, name=place.title()).wait_for()
        page.site = here
        return page

    return operator


def names(page):
    return [each.strip() for each in page.locator("table.list tbody th").all_inner_texts()]


def until_there_are(page, count):
    page.wait_for_function("count => document.querySelectorAll('table.list tbody tr').length === count", arg=count)


def csv(name, text):
    return {"name": name, "mimeType": "text/csv", "buffer": text.encode()}


def test_people_are_shown_with_what_is_known_and_names_are_never_markup(published, operator):
    held = GateOutcome(False, "held back: <b>it does not help</b>")
    published.store.publish(NASTY, published.adapter(3), held)
    published.store.publish(ARABIC, published.adapter(3), PASSED)
    published.store.revoke("bob", "<script>alert(2)</script>")
    page = operator()
    until_there_are(page, 4)
    assert names(page) == ["alice", "bob", NASTY, ARABIC]
    page.get_by_role("button", name=NASTY).click()
    assert "held back: <b>it does not help</b>" in page.locator(".chosen").inner_text()
    page.get_by_role("button", name="bob").click()
    assert "<script>alert(2)</script>" in page.locator(".chosen").inner_text()
    assert page.locator("table img, table b, .chosen img, .chosen b, .chosen script").count() == 0


def test_people_are_looked_for_by_name_and_by_state_and_page_by_page(published, operator):
    published.store.publish_many((f"pupil {number:03}", published.adapter(1), PASSED) for number in range(150))
    published.store.revoke("pupil 007", "moved")
    page = operator()
    until_there_are(page, 100)
    page.get_by_role("button", name="Next").click()
    until_there_are(page, 52)
    assert names(page)[-1] == "pupil 149"
    page.get_by_role("button", name="Back").click()
    until_there_are(page, 100)
    page.get_by_label("Part of a name").fill("IL 01")
    until_there_are(page, 10)
    page.get_by_label("Part of a name").fill("")
    page.get_by_label("Who").select_option("revoked")
    until_there_are(page, 1)
    assert names(page) == ["pupil 007"]


def test_somebody_is_revoked_and_restored_by_keyboard_alone_at_360_pixels(published, operator):
    page = operator(width=360, scheme="dark")
    until_there_are(page, 2)
    page.get_by_role("button", name="alice").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", level=2, name="alice").wait_for()
    page.get_by_label("Serve them no more").focus()
    page.keyboard.type("left the school")
    page.keyboard.press("Enter")
    page.get_by_role("status").filter(has_text="Revoked.").wait_for()
    page.get_by_role("button", name="Restore").wait_for()
    assert published.store.user("alice").reason == "left the school"
    page.get_by_role("button", name="Restore").focus()
    page.keyboard.press("Space")
    page.get_by_role("status").filter(has_text="Restored.").wait_for()
    assert published.store.user("alice").state == "active"
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_list_makes_keys_that_are_saved_once_and_a_list_revokes_them(published, operator, tmp_path):
    page = operator("keys")
    page.get_by_label("Make a key for everybody").set_input_files(csv("class.csv", f'name\n"{NASTY}"\n{ARABIC}\n'))
    page.get_by_text("2 keys were made.").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Save the keys").click()
    saved = tmp_path / "keys.csv"
    download.value.save_as(saved)
    secrets = re.findall(r"sllm_[\w-]{43}", saved.read_text())
    assert [published.keys.holder(secret).user for secret in secrets] == [NASTY, ARABIC]
    assert not any(secret in page.content() for secret in secrets)
    assert not any(secret in url for secret in secrets for url in page.asked)
    page.get_by_label("Revoke the keys of a list").set_input_files(saved)
    page.get_by_text("2 keys were revoked.").wait_for()
    assert [bool(key.revoked_at) for key in published.keys.all()][-2:] == [True, True]


def test_at_360_pixels_a_key_is_read_in_a_few_lines(operator):
    page = operator("keys", width=360)
    page.locator("td code").first.wait_for()
    assert page.locator("td code").first.bounding_box()["height"] < 40
    assert page.locator("table.list tbody tr").first.bounding_box()["height"] < 120
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_list_with_a_bad_line_names_it_and_nothing_is_done(published, operator):
    page = operator("keys")
    before = len(list(published.keys.all()))
    page.get_by_label("Make a key for everybody").set_input_files(csv("class.csv", "name,label\nann,x\n,y\n"))
    assert "Line 3" in page.get_by_role("alert").inner_text()
    assert len(list(published.keys.all())) == before


def test_what_is_wrong_is_told_with_what_to_do_and_charts_go_on_only_while_they_are_seen(published, operator):
    page = operator("server")
    page.get_by_text("Nothing is wrong.").wait_for()
    page.site.service.engine.counters.table_rows, page.site.service.engine.counters.table_room = 3, 8
    page.get_by_role("img", name="Adapters on the device: 3 of 8 rows").wait_for()
    page.get_by_text("has no audit log").wait_for()
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(500)
    asked = len(page.asked)
    page.wait_for_timeout(4000)
    assert len(page.asked) == asked
    published.store.publish("dan", published.adapter(1), GateOutcome(False, "held back"))
    page.evaluate("delete document.hidden")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.get_by_text("1 active people have no release").wait_for()


def test_somebodys_own_key_shows_none_of_an_operators_places(site, published, visit):
    here = site(FakeEngine(published.base))
    page = enter(visit(f"{here.address}/#/people"), here.secrets["alice"])
    assert page.get_by_role("link", name="People", exact=True).count() == 0
    assert page.get_by_role("heading", level=1).inner_text() == "Write"
    assert not any("/v1/users?" in url for url in page.asked)
