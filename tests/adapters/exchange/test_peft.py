import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import AutoPeftModelForCausalLM, LNTuningConfig, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tests import models
from tests.adapters.exchange.conftest import IDS, assert_same_logits, load, logits, our_logits, random_adapter
from transformers import AutoModelForCausalLM

from sharedllm.adapters.exchange.peft import BARE, CONFIG, TENSORS, export_peft, import_peft, peft_format
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.fingerprint import FRAMES
from sharedllm.base.frames import Frame, fold_frames, read_frames
from sharedllm.base.loading import load_base
from sharedllm.errors import AdapterError, CorruptAdapter, InvalidInput, WrongBase

pytestmark = pytest.mark.filterwarnings("ignore:Unsupported layer type")


@pytest.fixture(params=models.ARCHITECTURES)
def base(request, base_of):
    return base_of(request.param)


@pytest.fixture
def llama(base_of):
    return base_of("llama")


def load_in_peft(base, folder, over=None):
    model = AutoModelForCausalLM.from_pretrained(over or base.folder, dtype=torch.float32, attn_implementation="eager")
    return PeftModel.from_pretrained(model, folder).eval()


def test_peft_loads_the_folder_and_gives_our_logits(base, tmp_path):
    layout = layout_of(base)
    adapter = random_adapter(layout)
    export_peft(base, layout, adapter, tmp_path / "out")
    model = load_in_peft(base, tmp_path / "out")
    assert model.targeted_module_names == [site.name for site in layout.sites]
    assert_same_logits(logits(model), our_logits(base, layout, adapter), logits(base.model))


def test_the_folder_holds_what_peft_itself_would_save(base, tmp_path):
    layout = layout_of(base)
    export_peft(base, layout, random_adapter(layout), tmp_path / "ours")
    load_in_peft(base, tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    ours, theirs = load_file(tmp_path / "ours" / TENSORS), load_file(tmp_path / "theirs" / TENSORS)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_an_export_comes_back_as_the_same_deviations(base, tmp_path_factory):
    layout = layout_of(base)

    @settings(max_examples=10, deadline=None)
    @given(st.integers(0, 2**32), st.sampled_from([0.0, 1e-3, 0.1, 2.0]))
    def round_trip(seed, spread):
        folder = tmp_path_factory.mktemp("round") / "out"
        adapter = random_adapter(layout, seed=seed, spread=spread)
        export_peft(base, layout, adapter, folder)
        back = import_peft(base, layout, folder)
        # One float32 rounding of the stored weight, relative to gains that can be as small as a few hundredths.
        np.testing.assert_allclose(back.values, adapter.values, rtol=1e-5, atol=1e-5)
        assert back.provenance == {
            "imported": {"from": "peft", "base_verified": True},
            "foreign": adapter.provenance,
        }

    round_trip()


@pytest.mark.parametrize("format", ["norm", "bank", "norm+bank", "core"])
def test_peft_gives_our_logits_over_a_prior_and_over_the_base_without_it(base_of, cores, tmp_path, format):
    base = base_of("adapted")
    layout = layout_of(base, format)
    adapter = random_adapter(layout, spread=0.5)
    export_peft(base, layout, adapter, tmp_path / "out")
    ours, prior = our_logits(base, layout, adapter), logits(base.model)
    assert_same_logits(logits(load_in_peft(base, tmp_path / "out")), ours, prior)
    bare = base.folder.parent / "bare"
    assert_same_logits(logits(load_in_peft(base, tmp_path / "out" / BARE, over=bare)), ours, prior)
    found = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out", attn_implementation="eager").eval()
    torch.testing.assert_close(logits(found), ours, rtol=1e-4, atol=1e-4)


def test_a_bare_base_has_no_folder_for_one(llama, folder):
    assert not (folder / BARE).exists()


@pytest.mark.parametrize("format", ["bank", "norm+bank", "core"])
def test_what_peft_holds_comes_back_as_the_same_coordinates(base_of, cores, tmp_path, format):
    base = base_of("adapted")
    layout = layout_of(base, format)
    adapter = random_adapter(layout, spread=0.5)
    export_peft(base, layout, adapter, tmp_path / "out")
    assert peft_format(base, tmp_path / "out") == format
    back = import_peft(base, layout, tmp_path / "out")
    np.testing.assert_allclose(back.values, adapter.values, rtol=1e-4, atol=1e-5)
    assert back.provenance["imported"]["base_verified"] is True
    # PEFT keeps nothing of ours, and all of what it computes with.
    load_in_peft(base, tmp_path / "out").save_pretrained(tmp_path / "theirs")
    assert peft_format(base, tmp_path / "theirs") == ("bank" if format == "core" else format)
    again = import_peft(base, layout, tmp_path / "theirs")
    np.testing.assert_allclose(again.values, adapter.values, rtol=1e-4, atol=1e-5)
    assert again.provenance["imported"]["base_verified"] is False


@pytest.mark.slow
def test_frames_may_have_as_many_components_as_they_like_each(tmp_path):
    models.adapted(tmp_path)
    frames = read_frames(tmp_path / "adapted" / FRAMES)
    into, out = frames["model.layers.1.mlp.up_proj"].matrices
    frames["model.layers.1.mlp.up_proj"] = Frame.of(into[:3], out[:, :3])
    fold_frames(tmp_path / "bare", frames, {"contributors": ["alice"]}, tmp_path / "mixed")
    base = load(tmp_path / "mixed")
    layout = layout_of(base, "bank")
    adapter = random_adapter(layout, spread=0.5)
    export_peft(base, layout, adapter, tmp_path / "out")
    ours = our_logits(base, layout, adapter)
    assert_same_logits(logits(load_in_peft(base, tmp_path / "out")), ours, logits(base.model))
    over_bare = load_in_peft(base, tmp_path / "out" / BARE, over=tmp_path / "bare")
    assert_same_logits(logits(over_bare), ours, logits(base.model))
    np.testing.assert_allclose(import_peft(base, layout, tmp_path / "out").values, adapter.values, rtol=1e-4, atol=1e-5)


def test_a_folder_that_holds_the_prior_too_is_not_imported_over_it(base_of, tmp_path):
    base = base_of("adapted")
    layout = layout_of(base, "bank")
    export_peft(base, layout, random_adapter(layout), tmp_path / "out")
    with pytest.raises(WrongBase, match="was made for base"):
        import_peft(base, layout, tmp_path / "out" / BARE)


@pytest.mark.slow
def test_another_lora_is_refused(base_of, tmp_path):
    base = base_of("adapted")
    layout = layout_of(base, "bank")

    def lora(name, *, spread=0.1, **options):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
        model = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 4, "task_type": "CAUSAL_LM", **options}))
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += spread * torch.randn_like(parameter)
        model.save_pretrained(tmp_path / name)
        return tmp_path / name

    everywhere = [site.name for site in layout.sites]
    with pytest.raises(AdapterError, match=r"not within the frame"):
        import_peft(base, layout, lora("own", target_modules=everywhere))
    with pytest.raises(AdapterError, match=r"lora_alpha is 8"):
        import_peft(base, layout, lora("scaled", target_modules=everywhere, lora_alpha=8))
    with pytest.raises(AdapterError, match=r"use_dora is True"):
        import_peft(base, layout, lora("dora", target_modules=everywhere, use_dora=True))
    with pytest.raises(WrongBase, match="at other places"):
        peft_format(base, lora("few", target_modules=["q_proj"]))


def test_gains_come_from_the_files_and_not_from_a_model_rounded_to_bfloat16(llama, base_of, tmp_path):
    rounded = base_of("llama", torch.bfloat16)
    adapter = random_adapter(layout_of(llama))
    export_peft(llama, layout_of(llama), adapter, tmp_path / "exact")
    export_peft(rounded, layout_of(rounded), adapter, tmp_path / "rounded")
    exact, same = load_file(tmp_path / "exact" / TENSORS), load_file(tmp_path / "rounded" / TENSORS)
    assert all(torch.equal(exact[name], same[name]) for name in exact)


@pytest.mark.parametrize("targets", [None, ["input_layernorm"], r"model\.layers\.1\..*layernorm"])
def test_what_peft_trained_is_imported_with_its_logits(llama, tmp_path, targets):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(llama.folder, dtype=torch.float32, attn_implementation="eager")
    model = get_peft_model(model, LNTuningConfig(target_modules=targets, task_type="CAUSAL_LM"))
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(5):
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(tmp_path)
    layout = layout_of(llama)
    adapter = import_peft(llama, layout, tmp_path)
    assert adapter.provenance["imported"] == {"from": "peft", "base_verified": False}
    assert_same_logits(our_logits(llama, layout, adapter), logits(model.eval()), logits(llama.model))


def test_biases_trained_apart_from_their_gains_are_refused(tmp_path):
    base = load(models.gpt2(tmp_path / "gpt2"))
    layout = layout_of(base)
    export_peft(base, layout, random_adapter(layout), tmp_path / "out")
    change(tmp_path / "out", "transformer.ln_f", lambda bias: bias + 0.1, part="bias")
    with pytest.raises(AdapterError, match="apart from its gain"):
        import_peft(base, layout, tmp_path / "out")


def test_a_base_gain_of_zero_stays_zero(tmp_path):
    base = load(silenced(tmp_path / "llama"))
    layout = layout_of(base)
    export_peft(base, layout, random_adapter(layout), tmp_path / "out")
    assert import_peft(base, layout, tmp_path / "out").values[-1] == 0
    change(tmp_path / "out", "model.norm", lambda gain: gain + 0.5)
    with pytest.raises(AdapterError, match="no relative scale"):
        import_peft(base, layout, tmp_path / "out")


@pytest.fixture
def folder(llama, tmp_path):
    layout = layout_of(llama)
    export_peft(llama, layout, random_adapter(layout), tmp_path / "out")
    return tmp_path / "out"


def test_an_export_for_another_base_is_refused(folder, tmp_path):
    other = load(models.llama(tmp_path / "other", seed=1))
    with pytest.raises(WrongBase, match="was made for base"):
        import_peft(other, layout_of(other), folder)


def test_a_missing_tensor_is_damage(llama, folder):
    tensors = load_file(folder / TENSORS)
    del tensors["base_model.model.model.norm.ln_tuning_layers.weight"]
    save_file(tensors, folder / TENSORS)
    with pytest.raises(CorruptAdapter, match=r"lacks .*model\.norm"):
        import_peft(llama, layout_of(llama), folder)


def test_a_tensor_that_is_no_norm_is_refused(llama, folder):
    tensors = load_file(folder / TENSORS)
    tensors["base_model.model.lm_head.weight"] = torch.zeros(3, 3)
    save_file(tensors, folder / TENSORS)
    with pytest.raises(WrongBase, match="no norm of"):
        import_peft(llama, layout_of(llama), folder)


def test_a_tensor_of_another_width_is_refused(llama, folder):
    change(folder, "model.norm", lambda gain: gain[:-1].clone())
    with pytest.raises(WrongBase, match=r"has shape \[31\]"):
        import_peft(llama, layout_of(llama), folder)


def test_gains_that_are_not_finite_are_damage(llama, folder):
    change(folder, "model.norm", lambda gain: gain * float("nan"))
    with pytest.raises(CorruptAdapter, match="not finite"):
        import_peft(llama, layout_of(llama), folder)


@pytest.mark.parametrize("name", [CONFIG, TENSORS])
def test_a_truncated_file_is_damage_and_a_missing_one_is_named(llama, folder, name):
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptAdapter, match=name):
        import_peft(llama, layout_of(llama), folder)
    (folder / name).unlink()
    with pytest.raises(InvalidInput, match=name):
        import_peft(llama, layout_of(llama), folder)


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("[]", CorruptAdapter, "not a JSON object"),
        ('{"peft_type": "LN_TUNING", "target_modules": 3}', CorruptAdapter, "target_modules"),
        ('{"peft_type": "LN_TUNING", "target_modules": "("}', CorruptAdapter, "damaged"),
        (json.dumps(LoraConfig().to_dict() | {"peft_type": "LORA"}, default=list), AdapterError, "'LORA'"),
    ],
)
def test_a_configuration_that_is_not_ours_to_read_is_refused(llama, folder, text, error, match):
    (folder / CONFIG).write_text(text)
    with pytest.raises(error, match=match):
        import_peft(llama, layout_of(llama), folder)


def test_only_norm_adapters_of_this_base_are_exported(llama, tmp_path):
    layout = layout_of(llama, "ia3")
    with pytest.raises(AdapterError, match="'ia3'"):
        export_peft(llama, layout, random_adapter(layout), tmp_path / "out")
    norm = layout_of(llama)
    with pytest.raises(WrongBase):
        export_peft(llama, norm, replace(random_adapter(norm), base="0" * 64), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_not_touched(llama, tmp_path):
    (tmp_path / "mine").write_text("mine")
    layout = layout_of(llama)
    with pytest.raises(InvalidInput, match="not an empty folder"):
        export_peft(llama, layout, random_adapter(layout), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.slow
def test_the_real_base_gives_our_logits_in_peft(tmp_path):
    base = load_base(dtype=torch.float32, device="cpu")
    layout = layout_of(base)
    adapter = random_adapter(layout, spread=0.05)
    ids = torch.tensor([base.encode("The quick brown fox jumps over the lazy dog, and then it rests.")])
    export_peft(base, layout, adapter, tmp_path / "out")
    theirs = logits(load_in_peft(base, tmp_path / "out"), ids)
    # Thirty layers of float32 rounding on logits of up to about twenty.
    torch.testing.assert_close(theirs, our_logits(base, layout, adapter, ids), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(import_peft(base, layout, tmp_path / "out").values, adapter.values, atol=1e-4)


def change(folder, module, how, *, part="weight"):
    tensors = load_file(folder / TENSORS)
    name = f"base_model.model.{module}.ln_tuning_layers.{part}"
    tensors[name] = how(tensors[name])
    save_file(tensors, folder / TENSORS)


def silenced(folder):
    """A Llama whose last norm has a gain of 0 in its last channel."""
    models.llama(folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][-1] = 0
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
