"""From dropped files to a release, and what becomes of it, in a real browser."""

import json
from urllib.parse import unquote

import pytest
from tests.http.console.conftest import enter
from tests.http.test_own_files import CHAT, NOTES

from sharedllm.adapters.adapter import GateOutcome

pytestmark = pytest.mark.slow


def opened(page, place):
    page.get_by_role("navigation").get_by_role("link", name=place).click()
    page.get_by_role("heading", name=place, level=1).wait_for()
    return page


def given(page, **files):
    """Choose files, and wait until they are read."""
    payload = [
        {"name": name.replace("_", "."), "mimeType": "text/plain", "buffer": text.encode()}
        for name, text in files.items()
    ]
    page.get_by_label("Drop files here").set_input_files(payload)
    page.get_by_role("heading", name="What was read").wait_for(timeout=120_000)
    return page.get_by_role("region", name="What was read")


def test_files_are_read_trained_on_and_the_gate_says_why(site, training, visit):
    site = site(jobs=training())
    page = opened(enter(visit(site.address), site.secrets["alice"]), "Texts")
    found = given(page, notes_md=NOTES, more_txt=NOTES.upper())
    assert "2 × plain text" in found.inner_text()
    page.get_by_role("button", name="Train").click()
    page.get_by_text("Release 2 answers from now on").wait_for()
    assert "12 % better" in page.get_by_role("region", name="Training").inner_text()


def test_whoever_wrote_in_a_chat_says_who_they_are(site, training, visit):
    site = site(jobs=training(passed=False, reason="held back: not clearly better"))
    page = opened(enter(visit(site.address), site.secrets["alice"]), "Texts")
    given(page, chat_txt=CHAT)
    assert page.get_by_role("button", name="Train").is_disabled()
    page.get_by_label("Alice M.").check()
    page.get_by_role("button", name="Train").and_(page.locator(":enabled")).click(timeout=120_000)
    page.get_by_text("held back", exact=True).wait_for()
    assert "not clearly better" in page.get_by_role("region", name="Training").inner_text()
    assert "what you had stays" in page.get_by_role("region", name="Training").inner_text()


def test_who_was_found_out_in_a_chat_is_shown_and_can_be_put_right(site, training, visit):
    site = site(jobs=training())
    page = opened(enter(visit(site.address), site.secrets["alice"]), "Texts")
    page.get_by_label("Drop files here").set_input_files(
        [{"name": "WhatsApp Chat with Bob.txt", "mimeType": "text/plain", "buffer": CHAT.encode()}]
    )
    page.get_by_role("heading", name="What was read").wait_for(timeout=120_000)
    assert page.get_by_label("Alice M.").is_checked()
    assert not page.get_by_label("Bob").is_checked()
    with page.expect_request("**/files/inspect") as asked:
        page.get_by_label("Bob").check()
    assert json.loads(unquote(asked.value.headers["x-sharedllm-choices"]))["me"] == ["Alice M.", "Bob"]


def test_what_is_tested_is_told_as_training_does_it(site, training, visit):
    site = site(jobs=training())
    page = opened(enter(visit(site.address), site.secrets["alice"]), "Texts")
    found = given(page, notes_md=NOTES[:4000])
    assert "then all of it is learned" in found.inner_text()
    assert "never trained on" not in found.inner_text()


def test_what_cannot_be_read_is_called_as_its_owner_calls_it(site, training, visit):
    site = site(jobs=training())
    page = opened(enter(visit(site.address), site.secrets["alice"]), "Texts")
    found = given(page, notes_md=NOTES, photo_jpg="\xff\xd8\x00")
    found.get_by_text("Not read").click()
    assert "'photo.jpg' is" in found.inner_text()
    assert "-/" not in found.inner_text()


def test_what_will_be_held_back_because_it_is_there_twice_is_told_before_it_is_trained(site, training, visit):
    site = site(jobs=training())
    page = opened(enter(visit(site.address), site.secrets["alice"]), "Texts")
    told = given(page, notes_md=NOTES).get_by_role("alert").inner_text()
    assert "100.0 % of what it would be tested by" in told
    assert "leave out what is there more than once" in told
    assert page.get_by_role("button", name="Train").is_enabled()


def test_where_nothing_can_be_read_the_page_does_not_speak_of_a_command_line(site, training, visit):
    site = site(jobs=training())
    page = opened(enter(visit(site.address), site.secrets["alice"]), "Texts")
    told = given(page, photo_jpg="\xff\xd8\x00").get_by_role("alert").inner_text()
    assert "Nothing of it could be read" in told
    assert "Give other files" in told
    assert "stdin" not in told


def test_a_training_is_followed_from_another_tab_and_cancelled_there(site, training, visit):
    site = site(jobs=training(waits=True))
    page = opened(enter(visit(site.address), site.secrets["alice"]), "Texts")
    given(page, notes_md=NOTES)
    page.get_by_role("button", name="Train").click()
    page.get_by_label("step 64 of").wait_for()
    other = opened(enter(visit(site.address), site.secrets["alice"]), "Texts")
    other.get_by_label("step 64 of").wait_for()
    other.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled.").wait_for()


def test_what_is_too_much_is_said_before_it_is_sent(site, training, visit):
    site = site(jobs=training(), body_bytes=2000)
    page = opened(enter(visit(site.address), site.secrets["alice"]), "Texts")
    page.get_by_label("Drop files here").set_input_files(
        [{"name": "a.txt", "mimeType": "text/plain", "buffer": b"x" * 3000}]
    )
    assert "takes 0 MB" in page.get_by_role("alert").inner_text()
    assert not any("inspect" in url for url in page.asked)


def test_what_was_begun_before_takes_no_error_back(site, training, visit):
    site = site(jobs=training(), body_bytes=2000)
    page, held = enter(visit(site.address), site.secrets["alice"]), []

    def hold(route):
        held.append(route)

    page.route("**/jobs*", hold)
    opened(page, "Texts").get_by_label("Drop files here").set_input_files(
        [{"name": "a.txt", "mimeType": "text/plain", "buffer": b"x" * 3000}]
    )
    page.get_by_role("alert").wait_for()
    with page.expect_response("**/jobs*"):
        held.pop().continue_()
    # The page has done with the answer once it has painted twice.
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert "takes 0 MB" in page.get_by_role("alert").inner_text(timeout=1000)


def test_releases_are_a_line_to_go_back_on(site, published, visit):
    published.store.publish("alice", published.adapter(5), GateOutcome(True, "passed: better"))
    published.store.publish("alice", published.adapter(6), GateOutcome(False, "held back: it harms general text"))
    site = site()
    page = opened(enter(visit(site.address), site.secrets["alice"]), "Releases")
    lines = page.locator(".timeline li")
    lines.first.wait_for()
    assert lines.count() == 3
    assert "it harms general text" in lines.first.inner_text()
    assert page.get_by_role("button", name="Let release 3 answer").count() == 0
    page.get_by_role("button", name="Let release 1 answer").click()
    page.get_by_text("Release 1 answers now").wait_for()
    assert site.store.user("alice").served == 1
    with page.expect_download() as download:
        page.get_by_role("button", name="Download release 2").click()
    assert download.value.suggested_filename == "release-2.safetensors"
    page.get_by_role("button", name="Let the base answer").click()
    page.get_by_text("The base answers now").wait_for()
    assert site.store.user("alice").served is None


def test_what_is_held_is_told_and_erased_with_a_receipt(site, visit, published):
    site = site()
    page = opened(enter(visit(site.address), site.secrets["alice"]), "Your data")
    page.get_by_text("1 releases").wait_for()
    erase = page.get_by_role("button", name="Erase me")
    assert erase.is_disabled()
    page.get_by_label("Type your name to erase all of this").fill("alice")
    erase.click()
    page.get_by_role("heading", name="You are erased").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the receipt").click()
    receipt = json.loads(download.value.path().read_text())
    assert receipt["signature"]
    assert "alice" not in json.dumps(receipt)
    assert [user.user for user in published.store.users()] == ["bob"]
    page.get_by_role("link", name="Releases").click()
    page.get_by_label("Key").wait_for()
