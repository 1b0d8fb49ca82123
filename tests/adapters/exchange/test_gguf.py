import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import MODEL_ARCH_NAMES, GGUFReader, GGUFWriter, get_tensor_name_map
from tests import models
from tests.adapters.exchange.conftest import assert_same_logits, load, logits, our_logits, random_adapter
from transformers import AutoModelForCausalLM, GgufConfig

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.adapters.exchange import gguf
from sharedllm.adapters.exchange.card import Origin
from sharedllm.adapters.exchange.gguf import card_beside, export_gguf, gguf_source
from sharedllm.adapters.exchange.merged import export_merged
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.frames import projections
from sharedllm.base.loading import load_base
from sharedllm.base.resolve import BARE_BASE, DEFAULT_BASE
from sharedllm.errors import AdapterError, BaseError, InvalidInput, UnsupportedBase, WrongBase

TEXT = "The quick brown fox jumps over the lazy dog, and then it rests in the shade of a tree."


@pytest.fixture(params=models.ARCHITECTURES)
def base(request, base_of):
    return base_of(request.param)


@pytest.fixture
def source(base, tmp_path):
    return write_gguf(base, tmp_path / "base.gguf")


@pytest.fixture(scope="module")
def real():
    return load_base(BARE_BASE, dtype=torch.float32, device="cpu")


@pytest.fixture(scope="module")
def patched(real, tmp_path_factory):
    """The built-in base's file with an adapter, and the adapter."""
    layout = layout_of(real)
    adapter = random_adapter(layout, spread=0.05)
    path = tmp_path_factory.mktemp("gguf") / "patched.gguf"
    origin = Origin("alice", 1, GateOutcome(True, "passed: made up"))
    export_gguf(gguf_source(real), real, layout, adapter, path, origin=origin)
    return path, adapter


def test_only_the_norms_bytes_differ(base, source, tmp_path):
    layout = layout_of(base)
    adapter = random_adapter(layout)
    export_gguf(source, base, layout, adapter, tmp_path / "out.gguf")
    assert_only_norms_differ(source, tmp_path / "out.gguf")


def test_every_gain_and_bias_is_multiplied_by_one_plus_s(base, source, tmp_path):
    layout = layout_of(base)
    adapter = random_adapter(layout)
    export_gguf(source, base, layout, adapter, tmp_path / "out.gguf")
    before, after = tensors(source), tensors(tmp_path / "out.gguf")
    scales = []
    for name in before:
        if "norm" not in name:
            continue
        if name.endswith(".weight"):
            scales.append(after[name].data / before[name].data)
        else:
            np.testing.assert_allclose(after[name].data / before[name].data, scales[-1], rtol=1e-6)
    # In the order of the file, which here is the model's.
    np.testing.assert_allclose(np.concatenate(scales) - 1, adapter.values, atol=1e-6)


# What a file does not tell, or its reader does not ask: the models must have the reader's own values.
@pytest.mark.parametrize(
    ("architecture", "config"),
    [(models.gemma3, {"query_pre_attn_scalar": 256}), (models.qwen3, {"head_dim": 128})],
    ids=["gemma3", "qwen3"],
)
def test_transformers_reads_the_file_and_gives_our_logits(tmp_path, architecture, config):
    base = load(architecture(tmp_path / "base", **config))
    layout = layout_of(base)
    adapter = random_adapter(layout)
    export_gguf(write_gguf(base, tmp_path / "base.gguf"), base, layout, adapter, tmp_path / "out.gguf")
    assert_same_logits(logits(load_gguf(tmp_path / "out.gguf")), our_logits(base, layout, adapter), logits(base.model))


@pytest.mark.parametrize("format", ["norm", "bank", "norm+bank"])
def test_the_file_of_a_base_without_its_prior_gets_the_prior_and_the_persons_own(base_of, tmp_path, format):
    base = base_of("adapted")
    layout = layout_of(base, format)
    adapter = random_adapter(layout, spread=0.5)
    source = write_gguf(load(base.folder.parent / "bare"), tmp_path / "base.gguf")
    export_gguf(source, base, layout, adapter, tmp_path / "out.gguf")
    ours, prior = our_logits(base, layout, adapter), logits(base.model)
    assert_same_logits(
        logits(load_gguf(tmp_path / "out.gguf")), logits(rounded(base, layout, adapter, tmp_path)), prior
    )
    torch.testing.assert_close(logits(load_gguf(tmp_path / "out.gguf")), ours, rtol=0.05, atol=0.05)
    before, after = GGUFReader(source), GGUFReader(tmp_path / "out.gguf")
    kept = {name: field.contents() for name, field in before.fields.items() if not name.startswith("GGUF.")}
    assert {name: after.fields[name].contents() for name in kept} == kept
    assert [tensor.name for tensor in after.tensors] == [tensor.name for tensor in before.tensors]


def rounded(base, layout, adapter, folder):
    """The merged model with its projections in the float16 that a file has them in."""
    export_merged(base, layout, adapter, folder / "merged")
    merged = AutoModelForCausalLM.from_pretrained(folder / "merged", attn_implementation="eager").eval()
    for layer in projections(merged).values():
        layer.weight.data = layer.weight.data.half().float()
    return merged


def test_the_file_of_a_prior_of_a_built_in_base_is_that_bases(base_of, monkeypatch, tmp_path):
    base = base_of("adapted")
    bare = base.folder.parent / "bare"
    monkeypatch.setattr(gguf, "BUILT_IN", {"built-in": None})
    monkeypatch.setattr(gguf, "is_pulled", lambda name: True)
    monkeypatch.setattr(gguf, "resolve_base", lambda name: bare)
    monkeypatch.setattr(gguf, "built_in_gguf", lambda name: tmp_path / f"{name}.gguf")
    assert gguf_source(base) == tmp_path / "built-in.gguf"
    monkeypatch.setattr(gguf, "resolve_base", lambda name: base.folder)
    with pytest.raises(UnsupportedBase, match="not loaded from a GGUF"):
        gguf_source(base)


@pytest.mark.rare
def test_the_real_file_differs_only_in_its_norms_and_gives_our_logits_in_transformers(real, patched):
    path, adapter = patched
    assert_only_norms_differ(gguf_source(real), path)
    ids = torch.tensor([real.encode(TEXT)])
    ours = our_logits(real, layout_of(real), adapter, ids)
    # Thirty layers of float32 rounding on logits of up to about twenty.
    torch.testing.assert_close(logits(load_gguf(path), ids), ours, rtol=1e-3, atol=1e-3)


@pytest.mark.rare
def test_the_shipped_prior_and_the_persons_own_are_in_the_real_file(tmp_path):
    base = load_base(DEFAULT_BASE, dtype=torch.float32, device="cpu")
    layout = layout_of(base, "norm+bank")
    adapter = random_adapter(layout, spread=0.05)
    export_gguf(gguf_source(base), base, layout, adapter, tmp_path / "out.gguf")
    ids = torch.tensor([base.encode(TEXT)])
    ours, theirs = our_logits(base, layout, adapter, ids), logits(load_gguf(tmp_path / "out.gguf"), ids)
    # Projections are kept in float16.
    assert divergence(ours[0].log_softmax(-1), theirs[0].log_softmax(-1)) < 1e-4
    assert divergence(ours[0].log_softmax(-1), logits(base.model, ids)[0].log_softmax(-1)) > 0.05


@pytest.mark.rare
def test_llama_cpp_follows_the_adapter(real, patched):
    """llama.cpp multiplies in 4 and 8 bits, so its predictions differ a little; the adapter's effect is far larger."""
    llama_cpp = pytest.importorskip("llama_cpp")
    path, adapter = patched
    ids = real.encode(TEXT)
    ours = our_logits(real, layout_of(real), adapter, torch.tensor([ids]))[0].log_softmax(-1)
    base = logits(real.model, torch.tensor([ids]))[0].log_softmax(-1)

    def llama(file):
        model = llama_cpp.Llama(str(file), n_ctx=64, n_threads=2, logits_all=True, verbose=False)
        model.eval(ids)
        return torch.from_numpy(model.scores[: len(ids)].copy()).log_softmax(-1)

    theirs, their_base = llama(path), llama(gguf_source(real))
    assert divergence(ours, theirs) < 0.02
    assert divergence(base, their_base) < 0.02
    assert divergence(ours, their_base) > 0.2
    assert (ours.argmax(-1) == theirs.argmax(-1)).float().mean() >= 0.9


def test_another_models_file_is_refused(base, tmp_path):
    other = load(models.ARCHITECTURES[family(base)](tmp_path / "other", seed=1))
    layout = layout_of(base)
    with pytest.raises(WrongBase, match="of this base"):
        export_gguf(write_gguf(other, tmp_path / "o.gguf"), base, layout, random_adapter(layout), tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()


def test_norms_that_are_not_float32_are_refused(tmp_path):
    base = load(models.llama(tmp_path / "base"))
    layout = layout_of(base)
    source = write_gguf(base, tmp_path / "base.gguf", dtype=np.float16)
    with pytest.raises(UnsupportedBase, match="as float32"):
        export_gguf(source, base, layout, random_adapter(layout), tmp_path / "out.gguf")


@pytest.mark.parametrize("length", [0, 3, 40, 400])
def test_a_truncated_file_is_refused(tmp_path, length):
    base = load(models.llama(tmp_path / "base"))
    layout = layout_of(base)
    source = write_gguf(base, tmp_path / "base.gguf")
    source.write_bytes(source.read_bytes()[:length])
    with pytest.raises(BaseError, match=r"base\.gguf cannot be read"):
        export_gguf(source, base, layout, random_adapter(layout), tmp_path / "out.gguf")


def test_only_norm_adapters_of_this_base_are_written_and_nothing_is_overwritten(tmp_path):
    base = load(models.llama(tmp_path / "base"))
    source = write_gguf(base, tmp_path / "base.gguf")
    ia3, norm = layout_of(base, "ia3"), layout_of(base)
    with pytest.raises(AdapterError, match="'ia3'"):
        export_gguf(source, base, ia3, random_adapter(ia3), tmp_path / "out.gguf")
    with pytest.raises(WrongBase):
        export_gguf(source, base, norm, replace(random_adapter(norm), base="0" * 64), tmp_path / "out.gguf")
    before = source.read_bytes()
    with pytest.raises(InvalidInput, match="exists already"):
        export_gguf(source, base, norm, random_adapter(norm), source)
    assert source.read_bytes() == before


@pytest.mark.rare
def test_the_page_beside_a_file_says_whose_it_is_and_its_lines_run(patched, monkeypatch, capsys):
    path, _ = patched
    card = card_beside(path).read_text()
    assert card_beside(path).name == "patched.README.md"
    assert "`alice`" in card
    assert "licence: Apache-2.0" in card
    assert "llama-cli -m patched.gguf" in card
    [code] = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(path.parent)
    exec(compile(code, card_beside(path).name, "exec"), {})
    assert "It was late when" in capsys.readouterr().out


def test_a_page_that_is_there_already_is_not_overwritten(base, source, tmp_path):
    card_beside(tmp_path / "out.gguf").write_text("mine")
    layout = layout_of(base)
    with pytest.raises(InvalidInput, match="exists already"):
        export_gguf(source, base, layout, random_adapter(layout), tmp_path / "out.gguf")
    assert card_beside(tmp_path / "out.gguf").read_text() == "mine"
    assert not (tmp_path / "out.gguf").exists()


def test_a_base_that_is_no_gguf_has_no_source(base):
    with pytest.raises(UnsupportedBase, match="not loaded from a GGUF"):
        gguf_source(base)


def test_a_gguf_base_is_its_own_source(base, source):
    assert gguf_source(replace(base, name=str(source))) == source


def family(base):
    return base.model.config.model_type.removesuffix("_text")


def write_gguf(base, path, *, dtype=np.float32):
    """A base as GGUF the way converters write it, as far as the names, the norms (Gemma's are stored as gains) and the
    rows of Llama's queries and keys go."""
    config, architecture = base.model.config, family(base)
    [number] = [number for number, name in MODEL_ARCH_NAMES.items() if name == architecture]
    writer = GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    if architecture != "gpt2":
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(config.head_dim)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if architecture == "gemma3":
        writer.add_sliding_window(config.sliding_window)
    names = get_tensor_name_map(number, config.num_hidden_layers)
    for name, tensor in base.model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        shift = 1 if architecture == "gemma3" and "norm" in name else 0
        held = tensor + shift
        if architecture == "llama" and ("q_proj" in name or "k_proj" in name):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            held = held.view(heads, 2, -1, config.hidden_size).transpose(1, 2).reshape(tensor.shape)
        writer.add_tensor(names.get_name(name, (".weight", ".bias")), held.numpy().astype(dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def load_gguf(path: Path):
    return AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
        attn_implementation="eager",
    ).eval()


def tensors(path):
    return {tensor.name: tensor for tensor in GGUFReader(path).tensors}


def assert_only_norms_differ(before, after):
    old, new = np.fromfile(before, np.uint8), np.fromfile(after, np.uint8)
    assert len(old) == len(new)
    elsewhere = np.ones(len(old), bool)
    for name, tensor in tensors(before).items():
        if "norm" not in name:
            continue
        inside = slice(tensor.data_offset, tensor.data_offset + tensor.n_bytes)
        assert (old[inside] != new[inside]).any()
        elsewhere[inside] = False
    assert (old == new)[elsewhere].all()


def divergence(expected, given):
    """Mean Kullback-Leibler divergence in nats of two ``[tokens, vocabulary]`` log-probabilities."""
    return float((expected.exp() * (expected - given)).sum(-1).mean())
