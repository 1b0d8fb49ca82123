"""A format from outside of the package, through everything that a format goes through."""

from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient
from tests.strangers import blocks, install_guides

from sharedllm import Format
from sharedllm.adapters.adapter import check_fits
from sharedllm.adapters.adapter_file import load_adapter, save_adapter
from sharedllm.adapters.exchange.merged import export_merged
from sharedllm.adapters.exchange.peft import export_peft
from sharedllm.adapters.formats import registry
from sharedllm.adapters.layouts import layout_of
from sharedllm.errors import AdapterError, FormatError, FormatMissing, WrongBase
from sharedllm.http.app import create_app
from sharedllm.http.jobs import Jobs
from sharedllm.http.service import Policy, Service
from sharedllm.operations.ask import generate
from sharedllm.operations.erase import erase
from sharedllm.operations.route import route
from sharedllm.operations.train import train_tokenized
from sharedllm.operations.workplace import Workplace
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Limits
from sharedllm.store import open_keys, open_store
from sharedllm.text.windows import windows
from sharedllm.training.recipes import RECIPES, Recipe, tuned

NAME = "mlp-out"
LIMITS = Limits(running=4, waiting=16, waiting_per_owner=8, cache_tokens=1024, table_bytes=0)


@pytest.fixture(params=["an entry point", "a call"])
def door(request, tmp_path, monkeypatch):
    """Bring in the guide's format, one way or the other, for one test; `close` takes it out again."""
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.delitem(registry.sys.modules, "acme_formats", raising=False)
    patch = pytest.MonkeyPatch()
    if request.param == "a call":
        notebook = {}
        for code in blocks("python"):
            exec(code, notebook)
    else:
        patch.syspath_prepend(str(install_guides(tmp_path / "acme")))

    def close():
        patch.undo()
        registry._registered.clear()

    yield SimpleNamespace(close=close, installed=request.param == "an entry point")
    close()


@pytest.fixture
def trained(door, base_of, text_of, tmp_path, monkeypatch):
    """A store in which alice has a release of the stranger's format, and bob one of ours; both passed the gate."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    base, general = base_of("llama"), windows(text_of("general").train[:512], 16)
    monkeypatch.setattr(Workplace, "general", lambda *_: general)
    with open_store(tmp_path / "store.db") as store, open_keys(tmp_path / "store.db") as keys:
        for user, format in (("alice", NAME), ("bob", "norm")):
            recipe = Recipe("r", method=format, learning_rate=3e-2, steps=15, window=16, check_every=10)
            with Workplace(base, folder=tmp_path / "training") as workplace:
                (outcome,) = train_tokenized(workplace, store, [text_of(user)], recipe)
            assert outcome.error is None
            assert outcome.release.gate.passed, outcome.release.gate.reason
        yield SimpleNamespace(base=base, store=store, keys=keys, layout=layout_of(base, NAME), path=tmp_path)


@pytest.fixture
def serve(trained):
    """An app over an engine of a format, and alice's and bob's clients of it."""
    opened = []

    def serve(format=NAME, jobs=None, **policy):
        service = Service(
            Engine(trained.base, LIMITS, format=format),
            trained.store,
            keys=trained.keys,
            jobs=jobs,
            policy=Policy(**policy),
        )
        running = TestClient(create_app(service))
        running.__enter__()
        opened.append(running)

        def client(user):
            secret = trained.keys.create(user=user)[0]
            return TestClient(running.app, headers={"Authorization": f"Bearer {secret}"})

        return SimpleNamespace(alice=client("alice"), bob=client("bob"), model=service.model)

    yield serve
    for running in opened:
        running.__exit__(None, None, None)


def complete(server, user):
    body = {"model": server.model, "prompt": "Who came", "max_tokens": 8, "temperature": 0}
    return getattr(server, user).post("/v1/completions", json=body)


def code_of(response):
    return response.status_code, response.json()["error"]["code"]


def test_what_is_stored_says_where_the_format_is_from(trained, door):
    provenance = trained.store.served("alice").adapter.provenance
    assert provenance["format"] == {
        "package": "acme-formats 1.2" if door.installed else None,
        "sites_sha256": trained.layout.sites_sha256,
    }
    assert "format" not in trained.store.served("bob").adapter.provenance


@pytest.mark.slow
def test_the_engine_answers_with_it_in_one_batch_with_the_base(trained):
    base, release = trained.base, trained.store.served("alice")
    prompt = base.encode("Who came")
    rows = [(prompt, release.adapter.values), (prompt, None)]
    together = generate(base, rows, max_tokens=12, format=NAME)
    assert together == [generate(base, [row], max_tokens=12, format=NAME)[0] for row in rows]
    assert together[0] != together[1]


@pytest.mark.slow
def test_http_answers_with_it_and_with_no_other(trained, serve):
    server = serve()
    answer = complete(server, "alice")
    assert (answer.status_code, answer.headers["x-sharedllm-route"]) == (200, "own")
    assert code_of(complete(server, "bob")) == (409, "wrong_base")


def test_it_leaves_as_a_file_and_comes_back_and_where_it_does_not_fit_it_is_refused_by_name(trained, tmp_path):
    adapter = trained.store.served("alice").adapter
    save_adapter(adapter, tmp_path / "alice.safetensors")
    check_fits(load_adapter(tmp_path / "alice.safetensors"), trained.layout)
    for export in (export_peft, export_merged):
        with pytest.raises(AdapterError, match=f"'{NAME}'"):
            export(trained.base, trained.layout, adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_http_takes_it_as_a_file_and_erases_it(trained, serve, tmp_path):
    server = serve()
    save_adapter(trained.store.served("alice").adapter, tmp_path / "alice.safetensors")
    sent = server.alice.put("/v1/users/alice/adapter", content=(tmp_path / "alice.safetensors").read_bytes())
    assert sent.status_code == 201, sent.text
    assert trained.store.release("alice", 2).adapter.provenance["imported"]["format"]["sites_sha256"]
    assert server.alice.delete("/v1/users/alice").json()["removed"]["releases"] == 2
    assert code_of(complete(server, "alice")) == (401, "unknown_key")


@pytest.mark.rare
def test_http_trains_in_the_servers_format_where_its_process_knows_it(
    trained, serve, door, folder_of, tmp_path, monkeypatch
):
    from tests.cli.conftest import writing

    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "acme"), prepend=":")
    monkeypatch.setitem(RECIPES, "default", Recipe("default", steps=6, window=64))
    jobs = Jobs(folder_of("llama"), str(tmp_path / "store.db"), share=1.0)
    try:
        server = serve(jobs=jobs)
        sent = server.alice.post("/v1/users/alice/train", json={"text": writing("alice")})
        if not door.installed:
            assert code_of(sent) == (400, "format_error")
            assert "this process alone" in sent.text
            return
        job = jobs.find("alice", sent.json()["id"])
        assert job.over.wait(120)
        assert job.error is None
        assert trained.store.release("alice", job.release).adapter.format == NAME
    finally:
        jobs.close()


@pytest.mark.slow
def test_when_it_is_gone_its_users_are_told_and_the_others_are_served(trained, serve, door, tmp_path):
    door.close()
    expected = r"'mlp-out' is not installed here" + (
        "; it says that it came with 'acme-formats 1.2'" if door.installed else ""
    )
    with pytest.raises(FormatMissing, match=expected):
        route(trained.store, "alice")
    decision = route(trained.store, "alice", fallback=True)
    assert (decision.kind, decision.release) == ("base", None)
    server = serve("norm")
    assert code_of(complete(server, "alice")) == (409, "format_missing")
    assert complete(server, "bob").headers["x-sharedllm-route"] == "own"
    assert erase(trained.store, "alice", folder=tmp_path / "checkpoints").counts["releases"] == 1


def test_the_base_stands_in_for_a_missing_format_only_where_that_is_allowed(trained, serve, door):
    door.close()
    response = complete(serve("norm", fallback=True), "alice")
    assert (response.headers["x-sharedllm-route"], response.headers["x-sharedllm-reason"]) == ("base", "format_missing")


def test_a_name_that_means_other_sites_by_now_is_refused(trained, door):
    adapter = trained.store.served("alice").adapter
    door.close()
    registry.register_format(Format(NAME, lambda model: trained.layout.sites[::-1]))
    with pytest.raises(WrongBase, match=f"other sites than its format '{NAME}' has here"):
        check_fits(adapter, layout_of(trained.base, NAME))
    with pytest.raises(WrongBase, match="other sites"):
        route(trained.store, "alice", layout=layout_of(trained.base, NAME))


def test_the_default_recipe_trains_it_without_knowing_it(door):
    assert tuned(RECIPES["default"], format=NAME).method == NAME
    door.close()
    with pytest.raises(FormatError.__base__, match=f"'{NAME}'"):
        tuned(RECIPES["default"], format=NAME)
