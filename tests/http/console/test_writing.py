"""Logging in and asking, in a real browser."""

import pytest
from tests.http.conftest import FakeEngine
from tests.http.console.conftest import enter
from tests.http.test_jwt import SECRET, WHOSE, signed

from sharedllm.http.jwt import JWT
from sharedllm.http.visits import Visits

pytestmark = pytest.mark.slow


def ask(page, prompt="Who came?"):
    page.get_by_role("textbox").fill(prompt)
    page.get_by_role("button", name="Ask both").click()
    page.get_by_text("Both answers have ended").wait_for(state="attached")
    return page.locator(".exchange").last


def test_a_key_opens_the_page_and_both_answers_stand_side_by_side(site, visit):
    site = site()
    page = enter(visit(site.address), site.secrets["alice"])
    exchange = ask(page)
    alone, own = exchange.locator(".said").all_inner_texts()
    assert alone
    assert own
    assert alone != own
    assert "release 1" in exchange.inner_text()
    # Nothing was asked of anybody else, and no address holds the key.
    assert all(url.startswith(site.address) for url in page.asked)
    assert not any(site.secrets["alice"] in url for url in page.asked)
    page.reload()
    page.get_by_role("navigation").wait_for()
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("Key").wait_for()
    page.reload()
    page.get_by_label("Key").wait_for()


def test_a_wrong_key_is_told_so(site, visit):
    page = visit(site().address)
    page.get_by_label("Key").fill("sllm-nonsense")
    page.get_by_role("button", name="Enter").click()
    assert page.get_by_role("alert").inner_text()


def test_a_token_of_the_organisations_login_opens_the_page_and_one_that_has_ended_does_not(site, published, visit):
    here = site(FakeEngine(published.base))
    here.service.jwt = JWT(**WHOSE, secret=SECRET)
    page = enter(visit(here.address), signed())
    assert "alice" in page.locator(".who").inner_text()
    assert "release 1" in ask(page).inner_text()
    assert page.get_by_role("link", name="People").count() == 0
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("Key").fill(signed(exp=1))
    page.get_by_role("button", name="Enter").click()
    assert "The token is not valid" in page.get_by_role("alert").inner_text()


def test_a_server_that_asks_nobody_asks_for_a_name(chatty, listening, visit):
    address, *_ = listening()
    page = visit(address)
    page.get_by_label("Name").fill("alice")
    page.get_by_role("button", name="Enter").click()
    page.get_by_role("navigation").wait_for()
    assert "alice" in page.locator(".who").inner_text()


def test_who_has_no_release_sees_the_base_and_the_way_to_one(site, training, visit):
    site = site(jobs=training())
    page = enter(visit(site.address), site.secrets["carol"])
    exchange = ask(page)
    assert exchange.locator(".said").first.inner_text()
    told = exchange.get_by_role("alert").inner_text()
    assert "You have no release of your own yet" in told
    assert "Drop files" in told
    assert "sharedllm" not in told


def test_who_was_put_back_to_the_base_is_told_that_nothing_of_theirs_answers(site, published, visit):
    published.store.reset("alice")
    site = site(FakeEngine(published.base))
    exchange = ask(enter(visit(site.address), site.secrets["alice"]))
    assert "No release of yours answers now" in exchange.locator(".mine").inner_text()
    assert exchange.get_by_text("No release of yours").count() == 1


def test_what_was_said_is_there_still_after_another_place_and_gone_after_logging_out(site, published, visit):
    site = site(FakeEngine(published.base))
    page = enter(visit(site.address), site.secrets["alice"])
    said = ask(page, "Who came?").locator(".said").all_inner_texts()
    page.get_by_role("link", name="Releases").click()
    page.get_by_role("heading", name="Releases", level=1).wait_for()
    page.go_back()
    page.get_by_role("heading", name="Write", level=1).wait_for()
    assert page.locator(".exchange .said").all_inner_texts() == said
    ask(page, "And then?")
    assert page.locator(".exchange").count() == 2
    page.get_by_role("button", name="Log out").click()
    enter(page, site.secrets["alice"])
    page.get_by_role("heading", name="Write", level=1).wait_for()
    assert page.locator(".exchange").count() == 0


def under_way(site, published, visit):
    """The page while both answers have begun and neither goes on, and the engine that holds them up."""
    engine = FakeEngine(published.base)
    engine.held = True
    site = site(engine)
    page = enter(visit(site.address), site.secrets["alice"])
    page.get_by_role("textbox").fill("hi")
    page.keyboard.press("Control+Enter")
    page.locator(".said", has_text="a").nth(1).wait_for()
    return page, engine


def test_what_is_being_written_can_be_stopped(site, published, visit):
    page, _ = under_way(site, published, visit)
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped here.").last.wait_for()
    assert page.get_by_text("Stopped here.").count() == 2


def test_where_the_network_is_lost_what_came_is_kept_and_it_can_be_asked_again(site, published, visit):
    page, engine = under_way(site, published, visit)
    page.context.set_offline(True)
    page.get_by_role("alert").nth(1).wait_for()
    assert page.locator(".said").all_inner_texts() == ["a", "a"]
    page.context.set_offline(False)
    engine.held = False
    for side in range(2):
        page.locator(".pair > div").nth(side).get_by_role("button", name="Try again").click()
    page.locator(".said", has_text="abc").nth(1).wait_for()


def test_a_key_that_is_revoked_meanwhile_closes_the_page(site, published, visit):
    site = site()
    page = enter(visit(site.address), site.secrets["alice"])
    published.keys.revoke(site.ids["alice"])
    page.get_by_role("textbox").fill("hi")
    page.keyboard.press("Control+Enter")
    page.get_by_label("Key").wait_for()
    assert "not valid" in page.get_by_role("alert").inner_text()


def test_the_address_that_a_terminal_opened_is_good_once_and_leaves_no_trace(chatty, published, listening, visit):
    visits = Visits("alice")
    address, *_ = listening(visits=visits)
    opened = f"{address}/#code={visits.code()}"
    page = visit(opened)
    page.get_by_role("navigation").wait_for()
    assert "alice" in page.locator(".who").inner_text()
    assert "code" not in page.evaluate("location.href + JSON.stringify(history.state)")
    page.reload()
    page.get_by_role("navigation").wait_for()
    # Another tab has no key, and nobody has one to type: it is told where to look.
    assert "the terminal shows" in visit(address).get_by_role("alert").inner_text()
    # Whoever finds the address later has nothing by it.
    later = visit(opened)
    assert "used already" in later.get_by_role("alert").inner_text()
