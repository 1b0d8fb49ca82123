"""Whatever a name, a model or a paste contains, it is text on the page; and it can be used by everybody."""

import pytest
from tests.http.conftest import PASSED, FakeEngine
from tests.http.console.conftest import enter
from tests.http.console.test_barriers import check
from tests.http.console.test_reading_answers import OPENINGS
from tests.http.console.test_texts import given, opened
from tests.http.test_own_files import CHAT, NOTES

from sharedllm.serving.request import Finished, Scored, Token

NAME = "<img src=x onerror=alert(1)>"
SAID = '<script>alert(2)</script><a href="javascript:alert(3)">x</a>\u202e \u0645\u0631\u062d\u0628\u0627 {{7*7}}'
PLACES = ("Write", "Releases", "Blind test", "Your data")


class Hostile(FakeEngine):
    """Answers with markup."""

    def answer(self, request, deliver):
        deliver(Token(Scored(5, -0.5, ()), SAID))
        deliver(Finished("stop", "", len(request.prompt), 1, (), (Scored(5, -0.5, (), -0.75),), None))


@pytest.mark.slow
def test_names_and_answers_never_become_markup(site, published, visit):
    published.store.publish(NAME, published.adapter(3), PASSED)
    published.store.revoke(NAME, f"{NAME} {SAID}")
    published.store.restore(NAME)
    site = site(Hostile(published.base))
    page = enter(visit(site.address, expected=["TrustedHTML"]), published.keys.create(user=NAME)[0])
    assert NAME in page.locator(".who").inner_text()
    page.get_by_role("textbox").fill(NAME + SAID)
    page.get_by_role("button", name="Ask both").click()
    page.locator(".said", has_text="alert(2)").last.wait_for()
    assert page.locator(".exchange img, .exchange script, .exchange a[href^=javascript]").count() == 0
    for place in PLACES:
        opened(page, place)
        assert page.locator("main img, main script").count() == 0
    # And the browser itself refuses what would make markup of text.
    broken = "document.body.innerHTML = '<b>x</b>'"
    with pytest.raises(Exception, match="TrustedHTML"):
        page.evaluate(broken)


@pytest.mark.slow
def test_a_paste_of_a_hundred_thousand_characters_is_refused_in_words_and_the_page_goes_on(site, visit):
    site = site()
    page = enter(visit(site.address), site.secrets["alice"])
    page.get_by_role("textbox").fill("word " * 20_000)
    page.get_by_role("button", name="Ask both").click()
    page.get_by_text("does not fit").last.wait_for()
    assert "100,000 characters" in page.locator(".exchange h2").inner_text()
    page.get_by_role("textbox").fill("short")
    page.get_by_role("button", name="Ask both").click()
    page.locator(".exchange").nth(1).locator(".said").last.wait_for()


@pytest.mark.slow
def test_text_that_is_written_from_right_to_left_stands_so(site, visit):
    site = site()
    page = enter(visit(site.address), site.secrets["alice"])
    page.get_by_role("textbox").fill("من جاء إلى الباب؟")
    assert page.evaluate("getComputedStyle(document.getElementById('prompt')).direction") == "rtl"
    page.get_by_role("button", name="Ask both").click()
    page.locator(".exchange h2").wait_for()
    assert page.evaluate("getComputedStyle(document.querySelector('.exchange h2')).direction") == "rtl"


@pytest.mark.slow
def test_a_place_that_is_chosen_as_soon_as_it_can_be_is_shown(site, visit):
    """On a busy machine that is long before the page does what comes after drawing."""
    site = site()
    page = visit(site.address)
    page.evaluate("""() => new MutationObserver(() => {
        if (document.querySelector("nav") && !location.hash) location.hash = "#/releases";
    }).observe(document.body, { childList: true, subtree: true })""")
    enter(page, site.secrets["alice"])
    page.get_by_role("heading", name="Releases", level=1).wait_for()


@pytest.mark.slow
def test_a_place_that_comes_late_does_not_take_the_place_of_the_one_that_was_chosen_after_it(site, visit):
    site, held = site(), []
    page = visit(site.address)

    def hold(route):
        held.append(route)

    page.route("**/write.js", hold)
    enter(page, site.secrets["alice"])
    opened(page, "Releases")
    held[0].continue_()
    page.wait_for_function("() => import('/console/write.js')")
    page.wait_for_timeout(100)
    assert page.get_by_role("heading", name="Releases", level=1).is_visible()


@pytest.mark.slow
def test_a_second_tab_is_somebody_elses_place_if_they_log_in_there(site, visit):
    site = site()
    page = enter(visit(site.address), site.secrets["alice"])
    second = page.context.new_page()
    second.goto(site.address)
    enter(second, site.secrets["bob"])
    page.reload()
    page.get_by_role("navigation").wait_for()
    assert "alice" in page.locator(".who").inner_text()
    assert "bob" in second.locator(".who").inner_text()


@pytest.mark.rare
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_no_place_has_barriers_or_scrolls_sideways(site, published, training, visit, axe, scheme, width):
    site = site(FakeEngine(published.base), jobs=training())
    page = visit(site.address, width=width, scheme=scheme)
    page.get_by_label("Key").wait_for()
    check(page, axe, "login")
    enter(page, site.secrets["alice"])
    page.get_by_role("textbox").fill("A" * 200 + " hi")
    page.get_by_role("button", name="Ask both").click()
    page.get_by_text("What each contributed").click()
    page.get_by_label("Suggest words").check()
    for place in PLACES:
        if place != "Write":
            opened(page, place)
            page.wait_for_load_state("networkidle")
        check(page, axe, f"{place} {scheme} {width}")
    given(opened(page, "Texts"), notes_md=NOTES, chat_txt=CHAT)
    check(page, axe, "what was read")
    page.get_by_label("Alice M.").check()
    page.get_by_role("button", name="Train").and_(page.locator(":enabled")).click(timeout=120_000)
    page.get_by_text("answers from now on").wait_for()
    check(page, axe, "what the gate said")
    opened(page, "Blind test").get_by_label("Or the text itself").fill(OPENINGS)
    page.get_by_role("button", name="Begin").click()
    for _ in range(10):
        page.get_by_role("button", name="A is more mine").wait_for()
        check(page, axe, "a pair")
        page.get_by_role("button", name="I cannot tell").click()
    check(page, axe, "the result")
    opened(page, "Your data").get_by_label("Type your name").fill("alice")
    page.get_by_role("button", name="Erase me").click()
    page.get_by_role("heading", name="You are erased").wait_for()
    check(page, axe, "the receipt")


@pytest.mark.slow
def test_everything_is_reached_by_keyboard(site, published, visit):
    site = site(FakeEngine(published.base))
    page = visit(site.address)
    page.get_by_label("Key").focus()
    page.keyboard.type(site.secrets["alice"])
    page.keyboard.press("Enter")
    page.get_by_role("navigation").wait_for()
    page.get_by_role("heading", name="Write", level=1).wait_for()
    # A new place takes the focus to its heading.
    assert page.evaluate("document.activeElement.textContent") == "Write"
    page.get_by_role("textbox").focus()
    page.keyboard.type("hi")
    page.keyboard.press("Control+Enter")
    page.locator(".said", has_text="abc").last.wait_for()
    reached = set()
    page.evaluate("document.body.focus()")
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("(document.activeElement.textContent || document.activeElement.id).trim()"))
    assert {"Skip to the content", "Releases", "Your data", "Log out", "prompt"} <= reached
