"""What an answer is made of, which is more hers, and what comes next: in a real browser."""

import math

import pytest
from tests.http.conftest import FakeEngine
from tests.http.console.conftest import enter
from tests.http.console.test_texts import opened

pytestmark = pytest.mark.slow

OPENINGS = "\n\n".join(
    f"On the day number {day} she walked to the river and counted the boats that had come in since the morning,"
    f" {day} of them with red sails and a dog. Then she went home again, as slowly as she could."
    for day in range(1, 21)
)


def test_each_token_says_what_the_base_and_the_release_thought_of_it(site, published, visit):
    site = site(FakeEngine(published.base))
    page = enter(visit(site.address), site.secrets["alice"])
    page.get_by_role("textbox").fill("hi")
    page.get_by_role("button", name="Ask both").click()
    page.get_by_text("What each contributed").click()
    tokens = page.get_by_role("group", name="Tokens").get_by_role("button")
    assert tokens.first.inner_text() == "a"
    tokens.nth(1).click()
    page.keyboard.press("ArrowRight")
    told = page.locator(".tokens [role=status]").inner_text()
    # The engine gives the base -0.75 nats and the release -0.5.
    base, own = f"{100 * math.exp(-0.75):.1f} %", f"{100 * math.exp(-0.5):.1f} %"
    assert all(each in told for each in ("“c”", base, f"yours {own}", "1.3 times as likely")), told


def test_a_blind_test_is_of_openings_of_her_text_and_ends_with_an_exact_test(site, visit):
    site = site()
    page = opened(enter(visit(site.address), site.secrets["alice"]), "Blind test")
    page.get_by_label("Or the text itself").fill(OPENINGS)
    page.get_by_role("button", name="Begin").click()
    seen = []
    for place in range(10):
        page.get_by_role("heading", name=f"{place + 1} of 10").wait_for()
        seen.append(page.locator(".prompt").inner_text())
        page.get_by_role("button", name="A is more mine" if place else "I cannot tell").click()
    result = page.get_by_role("region", name="Result")
    result.wait_for()
    assert "of 9 times" in result.inner_text()
    assert "1 undecided" in result.inner_text()
    assert "tests (exact" in " ".join(result.inner_text().split())
    assert len(set(seen)) == 10
    assert all(each.rstrip("…") in OPENINGS for each in seen)
    page.get_by_role("button", name="Once more").click()
    page.get_by_label("Or the text itself").fill("Too little.")
    page.get_by_role("button", name="Begin").click()
    assert "too little" in page.get_by_role("alert").inner_text()


def test_a_blind_test_goes_on_where_it_was_after_another_place_until_it_is_given_up(site, published, visit):
    site = site(FakeEngine(published.base))
    page = opened(enter(visit(site.address), site.secrets["alice"]), "Blind test")
    page.get_by_label("Or the text itself").fill(OPENINGS)
    page.get_by_role("button", name="Begin").click()
    for _ in range(3):
        page.get_by_role("button", name="A is more mine").click()
    page.get_by_role("heading", name="4 of 10").wait_for()
    opening = page.locator(".prompt").inner_text()
    opened(page, "Releases")
    opened(page, "Blind test")
    page.get_by_role("heading", name="4 of 10").wait_for()
    assert page.locator(".prompt").inner_text() == opening
    for _ in range(7):
        page.get_by_role("button", name="I cannot tell").click()
    assert "of 3 times" in page.get_by_role("region", name="Result").inner_text()
    # It lay in the page's memory, and nowhere in the browser.
    assert "river" not in page.evaluate("JSON.stringify({ ...sessionStorage, ...localStorage })")
    page.get_by_role("button", name="Once more").click()
    page.get_by_role("button", name="Begin").click()
    page.get_by_role("button", name="give it up").click()
    opened(page, "Releases")
    opened(page, "Blind test").get_by_role("button", name="Begin").wait_for()


def test_there_is_no_blind_test_of_the_base_against_itself(site, published, visit):
    published.store.reset("alice")
    site = site(FakeEngine(published.base))
    page = opened(enter(visit(site.address), site.secrets["alice"]), "Blind test")
    page.get_by_label("Or the text itself").fill(OPENINGS)
    page.get_by_role("button", name="Begin").click()
    assert "No release of yours answers now" in page.get_by_role("alert").inner_text()
    assert page.get_by_role("button", name="A is more mine").count() == 0


def test_the_test_is_exact(site, visit):
    page = visit(site().address)
    for hits, tosses, expected in (
        (10, 10, 2 / 1024),
        (9, 10, 22 / 1024),
        (5, 10, 1.0),
        (8, 10, 112 / 1024),
        (0, 0, 1),
    ):
        script = f"import('/console/binomial.js').then((module) => module.twoSided({hits}, {tosses}))"
        assert page.evaluate(script) == pytest.approx(expected)


def test_nothing_is_suggested_before_it_is_asked_for_and_then_taken_by_keyboard(site, published, visit):
    site = site(FakeEngine(published.base))
    page = enter(visit(site.address), site.secrets["alice"])
    box = page.get_by_role("textbox")
    box.press_sequentially("It was")
    page.get_by_label("Suggest words").check()
    box.focus()
    box.press("End")
    box.press_sequentially(" late")
    page.locator(".suggestion", has_text="abcdefgh").wait_for()
    asked = [url for url in page.asked if url.endswith("/v1/completions")]
    assert asked
    box.press("Alt+ArrowRight")
    assert box.input_value() == "It was lateabcdefgh"
    page.get_by_label("Suggest words").uncheck()
    assert page.locator(".suggestion").count() == 0
