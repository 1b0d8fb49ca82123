"""The page in a real Chromium, over a real server and engine on a small base."""

import json
import shutil
import subprocess
from dataclasses import asdict
from types import SimpleNamespace

import pytest
from tests.http.test_answers import TEMPLATE
from tests.reporting.browser import CHROMIUM, FLAGS

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.http import jobs as jobs_module
from sharedllm.http.jobs import Jobs
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Limits

sync_api = pytest.importorskip("playwright.sync_api")

SMALL = Limits(running=8, waiting=32, waiting_per_owner=16, cache_tokens=4096, batch_tokens=64, table_bytes=0)
PATIENCE = 60_000
"""Milliseconds that anything may take to come up."""


def pytest_collection_modifyitems(items):
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()) and CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason="needs Chromium"))


LATE = """
const soon = window.setTimeout;
window.setTimeout = (work, wait, ...rest) => soon(work, wait === undefined ? 1500 : wait, ...rest);
"""
"""What a page puts off to a moment when there is time comes as late as on a busy machine, in every test."""

DICE = """
let thrown = 0;
crypto.getRandomValues = (numbers) => {
  for (const at of numbers.keys()) numbers[at] = Math.imul(++thrown, 2654435761);
  return numbers;
};
"""
"""A page's dice fall alike in every run: by other dice the base now and then says what a release says, or nothing."""


@pytest.fixture(scope="module")
def chromium():
    """One browser for all tests of a file; each has a context, so a profile, of its own.

    No longer, since an event loop counts as running for as long as Playwright does, and other tests run their own.
    """
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Open a page; whatever the browser complains of there, a breach of the policy above all, fails the test."""
    contexts, complaints = [], []

    def visit(address, *, width=1000, scheme="light", expected=(), **options):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        asked = []
        context.on("request", lambda request: asked.append(request.url))
        context.add_init_script(LATE + DICE)
        page = context.new_page()

        def complain(what):
            if not any(each in what for each in ("Failed to load resource", *expected)):
                complaints.append(what)

        page.on("console", lambda message: complain(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complain(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"a dialog: {dialog.message}"))
        page.goto(address)
        page.asked = asked
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not complaints


@pytest.fixture
def chatty(published, monkeypatch):
    """The base with a chat template."""
    monkeypatch.setattr(published.base.tokenizer, "chat_template", TEMPLATE)


@pytest.fixture
def site(chatty, published, listening):
    """A server with keys, and the key of each user."""

    def site(engine=None, **about):
        engine = engine or Engine(published.base, SMALL)
        address, service, server, _ = listening(engine, keys=published.keys, **about)
        keys = {user: published.keys.create(user=user) for user in ("alice", "bob", "carol")}
        secrets = {user: secret for user, (secret, _) in keys.items()}
        ids = {user: key.id for user, (_, key) in keys.items()}
        return SimpleNamespace(
            address=address, service=service, server=server, secrets=secrets, ids=ids, store=published.store
        )

    return site


STEPS = """
import json, sys
order = json.loads(sys.stdin.buffer.readline())
data = sys.stdin.buffer.read(order["files"]["bytes"])
for line in ({"by_parts": None}, {"step": 1}, {"step": 64}, {"waits": True}):
    print(json.dumps(line), flush=True)
sys.stdin.buffer.read(GO)
print(json.dumps({"release": 2, "gate": GATE}), flush=True)
"""
"""A training process that tells of two steps, of waiting, and of its release, at once or once its server ends."""


@pytest.fixture
def training(folder_of, tmp_path, monkeypatch):
    """Jobs whose training process is a few lines, and ends with a gate's verdict."""
    queues = []

    def training(*, passed=True, reason="passed: 12 % better", waits=False, verdict=None):
        gate = asdict(verdict or GateOutcome(passed, reason))
        program = STEPS.replace("GATE", f"json.loads({json.dumps(gate)!r})").replace("GO", "1" if waits else "0")
        popen = jobs_module.subprocess.Popen

        def start(command, **options):
            if "training_worker" not in command[-1]:
                return popen(command, **options)
            return popen([command[0], "-c", program], **options)

        monkeypatch.setattr(jobs_module.subprocess, "Popen", start)
        queues.append(Jobs(folder_of("llama"), str(tmp_path / "store.db")))
        return queues[-1]

    yield training
    for queue in queues:
        queue.close()


@pytest.fixture(scope="session")
def axe(tmp_path_factory):
    """What finds barriers, as npm has it."""
    if shutil.which("npm") is None:
        pytest.skip("axe is not to be had: there is no npm")
    folder = tmp_path_factory.mktemp("axe")
    fetched = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--prefix", folder, "axe-core@4"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if fetched.returncode:
        pytest.skip(f"axe is not to be had: {fetched.stderr[-200:]}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def enter(page, secret):
    """Log in by hand."""
    page.get_by_label("Key").fill(secret)
    page.get_by_role("button", name="Enter").click()
    page.get_by_role("navigation").wait_for()
    return page
