"""What came of a training, in words for whoever never heard of the test, in a real browser."""

import pytest
from tests.evaluation.test_cross_validation import GENERAL, falling
from tests.evaluation.test_gate import grown, pair
from tests.http.console.conftest import enter
from tests.http.console.test_texts import given, opened
from tests.http.test_own_files import NOTES

from sharedllm.adapters.adapter import UNTESTED, GateOutcome
from sharedllm.evaluation.gate import Gate, mind_repeats
from sharedllm.text.repeats import Repeats

pytestmark = pytest.mark.slow

BY_PARTS = falling(0.1, noise=8.0)
HELPS, HARMS_GENERAL = Gate().decide(pair(-0.1), pair(0.0)), Gate().decide(pair(-0.1), pair(+0.2))
VERDICTS = {
    "passed": HELPS,
    "not_yet": Gate().decide(BY_PARTS.losses(), GENERAL, cross_validated=BY_PARTS),
    "no_gain": Gate().decide(pair(0.1), pair(0.0)),
    "old": Gate().decide(grown(slope=1.5), pair(0.0), 0.3),
    "general": HARMS_GENERAL,
    "repeats": mind_repeats(HELPS, Repeats(3, 0.8, (), 0.8, 0.8)),
    "other": GateOutcome(False, UNTESTED),
}
TO_DO = {
    "not_yet": "would probably tell",
    "no_gain": "Give more of your text",
    "old": "all of your text together",
    "general": "of different kinds",
    "repeats": "more than once",
}
EXPERTS = ("perplexity", "interval", "validation", "cross-validated", "tokens")


def test_every_verdict_is_told_in_plain_words_with_what_to_do_and_its_figures_are_a_click_away(site, published, visit):
    for verdict in VERDICTS.values():
        published.store.publish("alice", published.adapter(5), verdict)
    site = site()
    page = opened(enter(visit(site.address), site.secrets["alice"]), "Releases")
    lines = page.locator(".timeline > li")
    lines.nth(len(VERDICTS)).wait_for()
    for place, (name, verdict) in enumerate(reversed(VERDICTS.items())):
        line = lines.nth(place)
        told = line.inner_text()
        gate = {"passed": verdict.passed, "reason": verdict.reason, "figures": verdict.figures}
        assert page.evaluate("gate => import('/console/gate.js').then(({ why }) => why(gate))", gate) == name
        if name == "other":
            continue
        assert not [word for word in EXPERTS if word in told], told
        assert ("never learned from" in told) is (name != "not_yet")
        assert ("What you can do:" in told) is (not verdict.passed)
        assert TO_DO.get(name, "answers you") in told
        line.get_by_text("Exact figures").click()
        assert verdict.reason in line.inner_text()
        assert "perplexity" in line.inner_text()


def test_what_came_of_a_training_is_told_again_after_the_page_is_loaded_again(site, training, visit):
    site = site(jobs=training(passed=False, reason="held back: not clearly better"))
    page = opened(enter(visit(site.address), site.secrets["alice"]), "Texts")
    given(page, notes_md=NOTES)
    page.get_by_role("button", name="Train").click()
    page.get_by_text("held back", exact=True).wait_for()
    page.reload()
    told = page.get_by_role("region", name="Last training")
    told.wait_for()
    assert "not clearly better" in told.inner_text()
    assert "Release 2" in told.inner_text()


def test_and_after_the_server_was_started_anew(site, published, training, visit):
    published.store.publish("alice", published.adapter(5), VERDICTS["no_gain"])
    site = site(jobs=training())
    page = opened(enter(visit(site.address), site.secrets["alice"]), "Texts")
    told = page.get_by_role("region", name="Last training")
    told.wait_for()
    assert "Release 2 is stored and does not answer" in told.inner_text()
    assert "What you can do:" in told.inner_text()


def test_how_long_it_takes_is_told_before_it_is_begun_and_she_can_leave_it(site, training, visit):
    site = site(jobs=training())
    page = opened(enter(visit(site.address), site.secrets["carol"]), "Texts")
    found = given(page, notes_md=NOTES)
    assert "Training takes about" in found.inner_text()
    found.get_by_role("button", name="Not now").click()
    found.wait_for(state="detached")
    assert not any(url.endswith("/train?add=false") for url in page.asked)


def test_a_newcomer_is_led_to_their_texts_and_nobody_else_is(site, training, visit):
    site = site(jobs=training(waits=True))
    page = enter(visit(site.address), site.secrets["carol"])
    lead = page.get_by_text("Begin with your texts")
    lead.wait_for()
    page.get_by_role("link", name="give it something that you wrote").click()
    page.get_by_role("heading", name="Texts", level=1).wait_for()
    given(page, notes_md=NOTES)
    page.get_by_role("button", name="Train").click()
    page.get_by_text("other work that goes first").wait_for()
    opened(page, "Write").get_by_text("Your release is being trained").wait_for()
    other = enter(visit(site.address), site.secrets["alice"])
    with other.expect_response("**/v1/users/alice"):
        other.reload()
    other.get_by_role("heading", name="Write", level=1).wait_for()
    assert lead.count() + other.get_by_text("Begin with your texts").count() == 0
