"""What an export says of itself, and that what it says works."""

import json
import re
import shutil
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from tests import models
from tests.adapters.exchange.conftest import load, logits, our_logits, random_adapter

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.adapters.exchange.card import Origin, base_licence
from sharedllm.adapters.exchange.merged import export_merged
from sharedllm.adapters.exchange.peft import CONFIG, export_peft
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.resolve import BARE_BASE, BUILT_IN, resolve_base

pytestmark = pytest.mark.filterwarnings("ignore:Unsupported layer type")

INTERVAL = {"estimate": 0.12, "low": 0.1, "high": 0.14, "confidence": 0.95, "windows": 32}
FIGURES = {
    "own": {"base": 31.0, "adapter": 27.3, "improvement": INTERVAL},
    "general": {"base": 20.0, "adapter": 20.8, "change": {**INTERVAL, "estimate": -0.04, "low": -0.05, "high": -0.03}},
    "general_tolerance": 0.1,
}
ALICE = Origin("alice", 3, GateOutcome(True, "passed: 12.0% lower", FIGURES))


@pytest.fixture
def base(tmp_path):
    """A base in a folder of its own, named by a path that means something only where it was loaded from."""
    models.llama(tmp_path / "bases" / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "bases")
        yield load("tiny")


def python_of(card):
    """The lines that a card tells to run."""
    [code] = re.findall(r"```python\n(.*?)```", card.read_text(), re.DOTALL)
    return code


def run_in(folder, code, monkeypatch):
    monkeypatch.chdir(folder)
    with redirect_stdout(StringIO()) as said:
        exec(compile(code, "README.md", "exec"), {})
    return said.getvalue()


@pytest.mark.parametrize("export", [export_peft, export_merged])
def test_the_lines_of_the_page_run_where_the_files_lie(base, tmp_path, monkeypatch, export):
    layout = layout_of(base)
    export(base, layout, random_adapter(layout), tmp_path / "out", origin=ALICE)
    code = python_of(tmp_path / "out" / "README.md")
    assert len([line for line in code.splitlines() if line and "import" not in line]) == 4
    assert run_in(tmp_path / "out", code, monkeypatch).strip()


def test_peft_finds_the_base_of_an_export_from_any_folder(base, tmp_path, monkeypatch):
    layout = layout_of(base)
    adapter = random_adapter(layout)
    export_peft(base, layout, adapter, tmp_path / "out")
    monkeypatch.chdir("/")
    model = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out", attn_implementation="eager").eval()
    torch.testing.assert_close(logits(model), our_logits(base, layout, adapter), rtol=1e-4, atol=1e-4)


def test_peft_finds_the_built_in_base_which_no_hub_has(base, tmp_path, monkeypatch):
    layout = layout_of(base)
    monkeypatch.setitem(BUILT_IN, "built-in", BUILT_IN[BARE_BASE])
    export_peft(replace(base, name="built-in"), layout, random_adapter(layout), tmp_path / "out")
    monkeypatch.chdir("/")
    AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "sharedllm base pull built-in" in card
    assert "licence: Apache-2.0" in card


def test_a_base_of_the_hub_is_named_by_its_id_and_the_revision_that_was_used(base, tmp_path, monkeypatch):
    snapshot = tmp_path / "hub" / "models--who--tiny" / "snapshots" / "0123abc"
    shutil.copytree(tmp_path / "bases" / "tiny", snapshot)
    (snapshot / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\n# Tiny\n")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(snapshot))
    assert resolve_base("who/tiny") == snapshot
    hub = replace(base, name="who/tiny", folder=snapshot)
    layout = layout_of(hub)
    export_peft(hub, layout, random_adapter(layout), tmp_path / "out")
    config = json.loads((tmp_path / "out" / CONFIG).read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("who/tiny", "0123abc")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "`who/tiny`, licence: mit." in card
    assert "`0123abc`" in card


def test_the_page_says_what_it_is_whose_over_which_base_and_what_was_measured(base, tmp_path):
    layout = layout_of(base)
    for kind, export in (("peft", export_peft), ("merged", export_merged)):
        export(base, layout, random_adapter(layout), tmp_path / kind, origin=ALICE)
        card = (tmp_path / kind / "README.md").read_text()
        for told in (
            "`alice`",
            "release 3",
            base.fingerprint,
            "`tiny`",
            "not stated with it",
            "passed: 12.0% lower",
            "| their own validation text | 31.00 | 27.30 | +12.0% (+10.0% to +14.0%) |",
            "| general text | 20.00 | 20.80 | -4.0% (-5.0% to -3.0%) |",
            "licensed it to nobody",
        ):
            assert told in card, told
        assert str(tmp_path) not in card


def test_a_page_of_nobodys_adapter_says_that_nobody_said(base, tmp_path):
    layout = layout_of(base)
    export_merged(base, layout, random_adapter(layout), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "one person" in card
    assert "Nobody said." in card


@pytest.mark.parametrize("user", ["</code><b>", "`x` **y**", "a\n# b", "böb/../🦉"])
def test_an_id_is_shown_and_is_no_markup(base, tmp_path, user):
    layout = layout_of(base)
    export_merged(base, layout, random_adapter(layout), tmp_path / "out", origin=replace(ALICE, user=user))
    card = (tmp_path / "out" / "README.md").read_text()
    spans = re.findall(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", card)
    assert user.replace("\n", "\\n") in [text.strip(" ") for _, text in spans]
    assert "\n# b" not in card


@pytest.mark.parametrize(
    ("page", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n", "apache-2.0"),
        ("# no head\nlicense: mit\n", None),
        ("---\ntags:\n- x\n---\nlicense: mit\n", None),
        ("---\nlicense: <b>\n---\n", None),
        ("\ufffd", None),
    ],
)
def test_the_licence_of_a_folder_is_what_the_head_of_its_page_says(base, page, licence):
    (Path(base.folder).resolve() / "README.md").write_text(page)
    assert base_licence(base) == licence


def test_a_bases_own_licence_goes_along_with_its_weights(base, tmp_path):
    (base.folder / "LICENSE").write_text("do as you like")
    layout = layout_of(base)
    export_merged(base, layout, random_adapter(layout), tmp_path / "out")
    assert (tmp_path / "out" / "LICENSE").read_text() == "do as you like"
