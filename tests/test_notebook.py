"""What the README does in a notebook, on a small base and with the gate as it is: nothing from below the front door."""

import ast
import re
import threading
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import sharedllm
from sharedllm.adapters.formats import registry
from sharedllm.training.recipes import RECIPES

README = (Path(__file__).parents[1] / "README.md").read_text()
_, _, CHAPTER = README.partition("\n## In a notebook\n")
CELLS = re.findall(r"^```python\n(.*?)^```", CHAPTER.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
BEGINNING, STUDY, FRAME, FORMAT = CELLS


def writing(name, length=14_000):
    """Made-up text of one author: a few letters of their own, of which some are far more frequent than others."""
    random = np.random.default_rng(list(name.encode()))
    own = random.choice(list("abcdefghijklmnopqrstuvwxyz"), 6, replace=False)
    return "".join(random.choice([*own, " ", "\n"], length, p=[0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.09, 0.01]))


@pytest.fixture
def notebook(tmp_path, monkeypatch, folder_of, capsys):
    """Run cells one after the other in an empty folder that has the notes they name; what they print."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("sharedllm.text.samples.general_text", lambda: writing("general"))
    monkeypatch.setattr(registry, "_registered", {})
    # So small a base learns its letters in fewer.
    monkeypatch.setitem(RECIPES, "default", replace(RECIPES["default"], steps=50))
    Path("notes").mkdir()
    for name in ("a", "b", "diary"):
        Path("notes", f"{name}.md").write_text(writing(name))
    names = {}

    def notebook(*cells):
        for cell in cells:
            exec(cell.replace("smollm2-135m-people", str(folder_of("llama"))), names)
        return capsys.readouterr().out, names

    return notebook


def test_from_nothing_to_an_answered_question_is_one_import_and_eight_lines():
    imported, *rest = ast.parse(BEGINNING).body
    assert ast.unparse(imported) == "import sharedllm"
    assert len(ast.unparse(rest).splitlines()) <= 8


@pytest.mark.parametrize("cell", CELLS)
def test_nothing_is_imported_from_below_the_front_door(cell):
    imports = [node for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {ast.unparse(node) for node in imports} <= {"import sharedllm", "from pathlib import Path"}
    assert set(re.findall(r"\bsharedllm\.(\w+)", cell)) <= set(sharedllm.__all__)


@pytest.mark.slow
def test_a_question_is_answered_with_a_release_that_passed_its_gate_and_is_stored(notebook):
    out, names = notebook(BEGINNING)
    assert out.startswith("alice: release 1 passed: on validation text perplexity is ")
    assert names["answer"].text in out
    with sharedllm.open_store("people.db") as store:
        assert store.served("alice").gate.passed
        assert names["answer"].decision.release.id == store.served("alice").id


@pytest.mark.slow
def test_two_people_are_trained_by_a_recipe_of_ones_own_and_measured_on_one_anothers_text(notebook):
    out, names = notebook(BEGINNING, STUDY)
    table = names["study"].confusion
    assert table.texts == ["ada", "ben"]
    assert table.readers == [None, "ada", "ben"]
    for user, other in (("ada", "ben"), ("ben", "ada")):
        assert table.improvement(user, user, over=other).low > 0
        recipe = names["study"].releases[user].adapter.provenance["recipe"]
        assert (recipe["learning_rate"], recipe["steps"]) == (1e-2, 100)
    assert str(table.improvement("ada", "ada")) in out
    assert Path("study.svg").read_text() == names["study"]._repr_svg_()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("pandas") is None, reason="pandas is not installed")
def test_the_matrix_is_a_data_frame(notebook):
    out, names = notebook(BEGINNING, STUDY, FRAME)
    assert list(names["frame"].columns) == ["base", "ada", "ben"]
    assert str(names["frame"]) in out


@pytest.mark.slow
def test_a_format_of_ones_own_is_trained_gated_stored_and_answers(notebook):
    out, names = notebook(BEGINNING, FORMAT)
    assert names["store"].served("carol").adapter.format == "mlp-out"
    assert "carol: release 1 passed" in out


@pytest.mark.slow
def test_text_that_is_in_memory_is_trained_on_and_given_again_to_be_measured(notebook):
    _, names = notebook(BEGINNING)
    place, store, text = names["place"], names["store"], writing("dora")
    (outcome,) = sharedllm.train(place, store, {"dora": text})
    assert outcome.release.adapter.provenance["sources"] == []
    with pytest.raises(sharedllm.errors.TextError, match="does not say where its text is"):
        sharedllm.evaluate(place, store, "dora")
    assert sharedllm.evaluate(place, store, {"dora": text}).confusion.texts == ["dora"]


@pytest.mark.parametrize("wrote", ["notes/a.md", "sample:novelist"])
def test_the_name_of_a_source_is_not_taken_for_the_text_itself(notebook, wrote):
    notebook()
    with sharedllm.open_store(":memory:") as store, pytest.raises(sharedllm.InvalidInput, match="a list of sources"):
        sharedllm.train(sharedllm.Workplace(), store, {"alice": wrote})


@pytest.mark.parametrize("wrote", ["", "short", "sample: " + "so it is. " * 40])
def test_text_that_is_too_little_is_its_users_outcome(notebook, folder_of, wrote):
    notebook()
    with sharedllm.open_store(":memory:") as store:
        (outcome,) = sharedllm.train(sharedllm.Workplace(str(folder_of("llama"))), store, {"alice": wrote})
    assert isinstance(outcome.error, sharedllm.errors.TextError)
    assert str(outcome).startswith("alice: failed: ")


@pytest.mark.parametrize("wrote", [None, b"bytes", 7, [b"notes/a.md"]])
def test_what_is_neither_text_nor_a_path_is_refused_before_anybody_is_trained(notebook, wrote):
    notebook()
    with sharedllm.open_store(":memory:") as store, pytest.raises(sharedllm.InvalidInput, match="is neither text nor"):
        sharedllm.train(sharedllm.Workplace(), store, {"alice": wrote})


@pytest.mark.slow
def test_an_engine_answers_several_peoples_requests_with_their_own_rows(notebook):
    _, names = notebook(BEGINNING)
    base, release = names["place"].base, names["store"].served("alice")
    finished, told = threading.Event(), {"alice": "", "nobody": ""}

    def deliver(who, event):
        told[who] += event.text
        if isinstance(event, sharedllm.Finished):
            told[f"{who} ended"] = event.reason
            if {"alice ended", "nobody ended"} <= told.keys():
                finished.set()

    prompt, greedy = base.encode("When"), sharedllm.Sampling(temperature=0)
    engine = sharedllm.Engine(base, sharedllm.Limits(running=2))
    try:
        engine.start()
        own = {"release": release.id, "values": release.adapter.values}
        engine.submit(sharedllm.Request(prompt, "alice", **own, sampling=greedy), partial(deliver, "alice"))
        engine.submit(sharedllm.Request(prompt, "nobody", sampling=greedy), partial(deliver, "nobody"))
        assert finished.wait(60)
    finally:
        engine.close()
    asked = {"max_tokens": 16, "sampling": greedy, "continuing": True, "compare": True}
    answer = sharedllm.ask(names["place"], names["store"], "alice", "When", **asked)
    assert (told["alice"], told["nobody"]) == (answer.text, answer.base_text)


@pytest.mark.slow
def test_whoever_is_erased_has_nothing_left_to_answer_with(notebook):
    _, names = notebook(BEGINNING)
    receipt = sharedllm.erase(names["store"], "alice")
    assert receipt.counts["releases"] == 1
    with pytest.raises(sharedllm.errors.UnknownUser):
        sharedllm.ask(names["place"], names["store"], "alice", "Hello?")


@pytest.mark.slow
def test_a_path_is_read_and_remembered(notebook):
    _, names = notebook(BEGINNING)
    (outcome,) = sharedllm.train(names["place"], names["store"], {"erin": Path("notes/a.md")})
    assert outcome.release.adapter.provenance["sources"] == [str(Path("notes/a.md").absolute())]
    assert sharedllm.evaluate(names["place"], names["store"], ["erin"]).confusion.texts == ["erin"]


@pytest.mark.slow
def test_what_cannot_be_exported_to_is_refused_by_name_and_nothing_is_written(notebook):
    _, names = notebook(BEGINNING)
    with pytest.raises(sharedllm.errors.UnknownName, match="'onnx'"):
        sharedllm.export(names["place"], names["store"], "alice", "onnx", "alice.onnx")
    assert not Path("alice.onnx").exists()
