"""What axe finds in every state of Texts and of an operator's places, in light and dark, on a phone and on a desk."""

import json

import pytest
from tests.http.conftest import PASSED, FakeEngine
from tests.http.console.conftest import enter
from tests.http.console.test_people import ARABIC, NASTY, csv
from tests.http.console.test_texts import given, opened
from tests.http.console.test_verdicts import VERDICTS
from tests.http.test_own_files import CHAT, NOTES
from tests.reporting.browser import WIDTHS


def check(page, axe, where):
    """No barrier in what is shown, and nothing to be scrolled to the side."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{where} scrolls sideways"
    page.evaluate(axe)
    found = page.evaluate("axe.run({ resultTypes: ['violations'] }).then((result) => result.violations)")
    assert not found, f"{where}: " + json.dumps(
        [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found]
    )


def everywhere(page, axe, where):
    """No barrier in both schemes and at both widths."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            check(page, axe, f"{where} {scheme} {width}")


@pytest.mark.rare
@pytest.mark.timeout(1800)
def test_no_state_of_texts_has_barriers(site, published, training, visit, axe):
    here = site(FakeEngine(published.base), jobs=training(waits=True))
    page = enter(visit(here.address), here.secrets["carol"])
    page.get_by_text("Begin with your texts").wait_for()
    everywhere(page, axe, "a newcomer's Write")
    opened(page, "Texts")
    page.wait_for_load_state("networkidle")
    everywhere(page, axe, "nothing yet")
    found = given(page, photo_jpg="\xff\xd8\x00")
    found.get_by_text("Not read (").click()
    everywhere(page, axe, "nothing of it could be read")
    given(page, chat_txt=CHAT).get_by_label("Alice M.").wait_for()
    everywhere(page, axe, "who of these are you")
    found = given(page, notes_md=NOTES)
    found.get_by_text("Whose words").click()
    everywhere(page, axe, "what was read")
    with page.expect_response("**/files/inspect", timeout=120_000):
        page.get_by_label("Mask mail addresses").check()
    everywhere(page, axe, "read again")
    page.get_by_role("button", name="Train").click()
    page.get_by_text("other work that goes first").wait_for()
    everywhere(page, axe, "training, and waiting")
    other = enter(visit(here.address), here.secrets["bob"])
    given(opened(other, "Texts"), notes_md=NOTES)
    other.get_by_role("button", name="Train").click()
    other.get_by_text("Waiting for its turn").wait_for()
    everywhere(other, axe, "in the queue")
    other.get_by_role("button", name="Cancel").click()
    other.get_by_text("Cancelled.").wait_for()
    everywhere(other, axe, "cancelled")
    here.service.jobs.all(state="running")[0].process.kill()
    page.get_by_role("region", name="Training").get_by_role("alert").wait_for()
    everywhere(page, axe, "failed")


@pytest.mark.rare
@pytest.mark.timeout(1800)
def test_no_verdict_has_barriers(site, published, training, visit, axe):
    for verdict in VERDICTS.values():
        published.store.publish("alice", published.adapter(5), verdict)
    here = site(FakeEngine(published.base), jobs=training())
    page = opened(enter(visit(here.address), here.secrets["alice"]), "Texts")
    page.get_by_role("region", name="Last training").wait_for()
    everywhere(page, axe, "the last training")
    opened(page, "Releases").get_by_text("Exact figures").first.wait_for()
    for each in page.get_by_text("Exact figures").all():
        each.click()
    everywhere(page, axe, "every verdict")


@pytest.mark.rare
@pytest.mark.timeout(1800)
def test_no_place_of_an_operator_has_barriers(site, published, training, visit, axe):
    published.store.publish(NASTY, published.adapter(3), VERDICTS["no_gain"])
    published.store.publish(ARABIC, published.adapter(3), PASSED)
    published.store.revoke("bob", "left the school")
    here = site(FakeEngine(published.base), jobs=training())
    secret, _ = published.keys.create(user=None)
    page = enter(visit(here.address), secret)
    opened(page, "People").get_by_role("button", name="bob").click()
    everywhere(page, axe, "somebody who was revoked")
    page.get_by_role("button", name="alice").click()
    page.get_by_role("button", name="Erase…").click()
    everywhere(page, axe, "somebody to be erased")
    page.get_by_label("Part of a name").fill("nobody is called so")
    page.wait_for_load_state("networkidle")
    everywhere(page, axe, "nobody is found")
    opened(page, "Keys").get_by_label("Make a key for everybody").set_input_files(csv("a.csv", "name\nann\n"))
    page.get_by_text("1 key was made.").wait_for()
    everywhere(page, axe, "a key was made")
    page.get_by_label("Make a key for everybody").set_input_files(csv("a.csv", "name\n,\n"))
    page.get_by_role("alert").wait_for()
    everywhere(page, axe, "no key was made")
    opened(page, "Server").get_by_text("active people have no release").wait_for()
    everywhere(page, axe, "the server")
