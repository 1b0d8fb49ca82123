"""The one door through which formats come."""

import re
import subprocess
import sys
from dataclasses import dataclass

import pytest
from tests import models
from tests.strangers import install

from sharedllm import Format, Site, blocks, norm_sites, register_format
from sharedllm.adapters.formats import registry
from sharedllm.adapters.formats.registry import (
    brought_by,
    check_reaches_others,
    format_named,
    format_names,
)
from sharedllm.adapters.layouts import layout_of
from sharedllm.errors import FormatError, UnknownName, UnsupportedBase
from sharedllm.training.recipes import RECIPES, Recipe, tuned

OURS = ("norm", "steering", "ia3", "bank", "norm+bank")
MODULE = """
from sharedllm import Format, Site, blocks
FORMAT = Format("{name}", lambda model: [Site(f"{{path}}.mlp", 32) for path in blocks(model)])
"""


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_registered", {})


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a module that brings formats, for one test."""

    def installed(module, code, points, **about):
        folder = install(tmp_path / module, module, code, points, **about)
        monkeypatch.syspath_prepend(str(folder))
        return folder

    yield installed
    for folder in tmp_path.iterdir():
        sys.modules.pop(folder.name, None)


def last_norm(model):
    return norm_sites(model)[-1:]


def on(base, sites, **about):
    """The layout of a format of these sites."""
    register_format(Format("own", lambda model: sites, **about), replace=True)
    return layout_of(base, "own")


def test_a_format_is_registered_by_a_call(base_of):
    assert register_format(Format("last-norm", last_norm)) is format_named("last-norm")
    assert format_names() == (*OURS, "last-norm")
    assert layout_of(base_of(), "last-norm").size == 32
    assert brought_by("last-norm") is None


def test_a_format_comes_with_an_installed_package(installed, base_of):
    installed("guest", MODULE.format(name="guest"), {"guest": "guest:FORMAT"})
    assert format_names() == (*OURS, "guest")
    assert "guest" not in sys.modules
    assert layout_of(base_of(), "guest").size == 2 * 32
    assert brought_by("guest") == "acme-formats 1.2"
    assert brought_by("norm") == "sharedllm"


def test_a_name_that_nobody_brings_is_refused_with_those_there_are_and_how_to_bring_it():
    with pytest.raises(UnknownName, match=r"'prompt'.*norm, steering, ia3.*install.*register_format"):
        format_named("prompt")


@pytest.mark.parametrize("name", ["", "Norm", "a b", "-a", "a-", "../norm", "a/b", "ä", "a" * 65, "a\n", None, 3])
def test_a_name_that_could_not_be_written_everywhere_is_refused(name):
    with pytest.raises(FormatError, match="name"):
        Format(name, last_norm)


@pytest.mark.parametrize("rate", [0, -1.0, float("nan"), float("inf"), "fast"])
def test_a_rate_that_cannot_train_is_refused(rate):
    with pytest.raises(FormatError, match="learning rate"):
        Format("own", last_norm, learning_rate=rate)


def test_sites_that_are_no_function_and_what_is_no_format_are_refused():
    with pytest.raises(FormatError, match="sites"):
        Format("own", (Site("model.norm", 32),))
    with pytest.raises(FormatError, match="not a Format"):
        register_format(last_norm)


@pytest.mark.parametrize("name", OURS)
def test_a_call_cannot_take_the_name_of_one_of_ours(name):
    for replace in (False, True):
        with pytest.raises(FormatError, match=f"'{re.escape(name)}'.*sharedllm"):
            register_format(Format(name, last_norm), replace=replace)
    assert format_named(name).sites is not last_norm


def test_a_call_cannot_take_a_name_twice_unless_it_says_so():
    first = register_format(Format("own", last_norm))
    assert register_format(first) is first
    second = Format("own", norm_sites)
    with pytest.raises(FormatError, match=r"'own'.*this process.*replace=True"):
        register_format(second)
    assert format_named("own") is first
    register_format(second, replace=True)
    assert format_named("own") is second


def test_replacing_is_told_only_where_it_helps(installed):
    installed("first", MODULE.format(name="guest"), {"guest": "first:FORMAT"}, package="first")
    register_format(Format("own", last_norm))
    for name, helps in (("norm", False), ("guest", False), ("own", True)):
        with pytest.raises(FormatError) as refused:
            register_format(Format(name, norm_sites))
        assert ("replace=True" in refused.value.remedy) == helps
        assert ("uninstall" in refused.value.remedy) == (name == "guest")


@pytest.mark.parametrize("name", ["norm", "guest"])
def test_what_is_installed_can_be_registered_again_and_stays_the_packages(name, installed):
    installed("first", MODULE.format(name="guest"), {"guest": "first:FORMAT"}, package="first")
    before = brought_by(name)
    assert register_format(format_named(name)) is format_named(name)
    assert brought_by(name) == before
    check_reaches_others(name)


@pytest.mark.parametrize("name", ["norm", "guest"])
def test_a_name_that_two_packages_bring_is_nobodys(name, installed, base_of):
    installed("first", MODULE.format(name=name), {name: "first:FORMAT"}, package="first")
    installed("second", MODULE.format(name=name), {name: "second:FORMAT"}, package="second")
    with pytest.raises(FormatError, match=rf"'{name}'.*first 1.2"):
        layout_of(base_of(), name)
    assert layout_of(base_of(), "ia3").format == "ia3"


def test_the_same_package_on_the_path_twice_is_no_clash(installed):
    for folder in ("one", "two"):
        installed(folder, MODULE.format(name="guest"), {"guest": "one:FORMAT"}, package=folder)
    assert format_named("guest").name == "guest"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import nothing_of_the_kind", "cannot be imported: ModuleNotFoundError"),
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("OTHER = 1", "cannot be imported: AttributeError"),
        ("FORMAT = 1", "not a Format called 'guest'"),
        (MODULE.format(name="other"), "not a Format called 'guest'"),
    ],
)
def test_a_package_that_is_broken_harms_its_own_format_alone(code, expected, installed, base_of):
    installed("guest", code, {"guest": "guest:FORMAT"})
    with pytest.raises(FormatError, match=rf"(?s)guest.*acme-formats 1.2.*{expected}|{expected}"):
        format_named("guest")
    assert layout_of(base_of()).format == "norm"


@pytest.mark.parametrize(
    ("sites", "expected"),
    [
        ([Site("model.nowhere", 32)], "'model.nowhere', which is not there"),
        ([Site("model.norm", 32), Site("model.norm", 32)], "output of 'model.norm' more than once"),
        ([Site("model.norm", 32), Site("model.norm", 32, kind="shift")], "more than once"),
        ([Site("lm_head", models.VOCABULARY)], "'lm_head', which comes after the last hidden state"),
        ([Site("model", 32)], "no text passes through"),
        ([Site("", 32)], "which comes after"),
        ([Site("model.embed_tokens", 32, at="input")], "32 wide"),
        ([Site("model.norm", 31)], r"31 wide.*\[2, \d+, 32\]"),
        ([Site("model.norm", 1)], "1 wide"),
        ([Site("model.norm", 32, token_axis=2)], "axis 2"),
        ([Site("model.layers", 32)], "no text passes through"),
        ([Site("model.layers.0.self_attn", 32, at="input")], "no text passes through"),
        ({Site("model.norm", 32)}, "set instead of a tuple"),
        ((site for site in ()), "generator instead of a tuple"),
        (["model.norm"], "instead of a tuple of Sites"),
        (None, "NoneType instead"),
    ],
)
def test_sites_that_are_not_as_a_format_says_are_refused_by_name(sites, expected, base_of):
    with pytest.raises(FormatError, match=f"'own'.*{expected}"):
        on(base_of(), sites)


def test_a_format_without_sites_does_not_fit_the_base(base_of):
    with pytest.raises(UnsupportedBase, match="'own' finds no sites in Llama"):
        on(base_of(), [])


def test_a_format_that_fails_on_a_base_says_so(base_of):
    register_format(Format("own", lambda model: [Site(model.nothing, 32)]))
    with pytest.raises(FormatError, match=r"'own' fails with AttributeError.*Llama"):
        layout_of(base_of(), "own")


@pytest.mark.parametrize(
    "field",
    [{"name": ["model.norm"]}, {"kind": "times"}, {"at": "middle"}, {"width": 0}, {"width": 1.5}, {"token_axis": 0}],
)
def test_a_site_that_is_none_is_refused(field):
    with pytest.raises(FormatError, match=next(iter(field))):
        Site(**{"name": "model.norm", "width": 32, **field})


def test_what_finds_the_sites_need_not_have_a_hash(base_of):
    @dataclass
    class Named:
        path: str

        def __call__(self, model):
            return [Site(self.path, 32)]

    register_format(Format("named", Named("model.norm")))
    first = layout_of(base_of(), "named")
    register_format(Format("named", Named("model.layers.0.input_layernorm")), replace=True)
    assert (first.sites[0].name, layout_of(base_of(), "named").sites[0].name) == (
        "model.norm",
        "model.layers.0.input_layernorm",
    )


def test_only_outputs_of_norms_are_gains(base_of):
    assert on(base_of(), norm_sites(base_of().model), gains=True).size == layout_of(base_of()).size
    for site in (Site("model.norm", 32, kind="shift"), Site("model.norm", 32, at="input"), Site("lm_head", 259)):
        with pytest.raises(FormatError, match="a norm whose gain"):
            on(base_of(), [site], gains=True)


def test_a_recipe_is_for_a_baseline_or_a_format_and_never_for_what_is_both():
    register_format(Format("full", last_norm))
    with pytest.raises(FormatError.__base__, match="method of recipe 'r' is 'full'"):
        Recipe("r", method="full")


def test_a_format_brings_its_own_rate_to_the_adamw_recipe_and_its_gains_to_the_documented_one():
    register_format(Format("own", last_norm, learning_rate=0.5))
    register_format(Format("of-gains", last_norm, gains=True))
    default, adamw, documented = (RECIPES[name] for name in ("default", "adamw", "documented"))
    assert tuned(adamw, format="own").learning_rate == 0.5
    assert tuned(adamw, format="own", learning_rate=0.1).learning_rate == 0.1
    assert tuned(adamw, format="of-gains").learning_rate == adamw.learning_rate
    assert tuned(default, format="own").learning_rate == default.learning_rate
    assert tuned(documented, format="own").parameter == "relative"
    assert tuned(documented, format="own").learning_rate == documented.learning_rate
    assert tuned(documented, format="of-gains").parameter == "gain"


def test_what_a_call_registered_reaches_no_other_process(installed):
    installed("guest", MODULE.format(name="guest"), {"guest": "guest:FORMAT"})
    register_format(Format("own", last_norm))
    check_reaches_others("guest")
    check_reaches_others("norm")
    with pytest.raises(FormatError, match=r"'own'.*this process alone.*entry point"):
        check_reaches_others("own")


def test_looking_for_formats_imports_neither_torch_nor_a_strangers_module():
    code = (
        "import sys; from sharedllm.adapters.formats import registry as r; r.format_names(); r.format_named('ia3');"
        " assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_blocks_are_named_in_order(base_of):
    assert list(blocks(base_of("gpt2").model)) == ["transformer.h.0", "transformer.h.1"]
