"""Small random bases, one per architecture, saved the way a real one is: weights, config and a byte-level tokenizer."""

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram
from transformers import (
    BertGenerationConfig,
    BloomConfig,
    CodeGenConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    GPT2Config,
    JambaConfig,
    LlamaConfig,
    MixtralConfig,
    NemotronConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    StableLmConfig,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from sharedllm.base.frames import Frame, fold_frames, projections

SPECIAL = ["<pad>", "<s>", "</s>"]
VOCABULARY = 256 + len(SPECIAL)

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    # Larger than what people train from, so that a few layers already tell tokens apart.
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def llama(folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """RMSNorm before attention and feed-forward, tied embeddings."""
    return save(LlamaConfig(**{**_SIZES, "tie_word_embeddings": True, **config}), folder, seed)


def adapted(folder: Path, *, seed: int = 0, rank: int = 4, **config: Any) -> Path:
    """The first of these with a prior: random frames at every projection."""
    frames_of = torch.Generator().manual_seed(seed + 1)
    bare = llama(folder / "bare", seed=seed, **config)
    layers = projections(AutoModelForCausalLM.from_pretrained(bare))
    frames = {
        name: Frame.of(
            torch.randn(rank, layer.in_features, generator=frames_of) / layer.in_features**0.5,
            torch.randn(layer.out_features, rank, generator=frames_of) / 2,
        )
        for name, layer in layers.items()
    }
    fold_frames(bare, frames, {"contributors": [{"user": "alice"}, {"user": "bob"}]}, folder / "adapted")
    return folder / "adapted"


def qwen3(folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """Also norms the queries and keys of each head, before the heads are moved in front of the tokens."""
    return save(Qwen3Config(**{**_SIZES, **config}), folder, seed)


def gemma3(folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """Stores gain - 1, and norms queries and keys."""
    sizes = {**_SIZES, "sliding_window": 8, "query_pre_attn_scalar": 8}
    return save(Gemma3TextConfig(**{**sizes, **config}), folder, seed)


def gpt2(folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """LayerNorm with biases, learned positions."""
    sizes = {
        "vocab_size": VOCABULARY,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 512,
        "initializer_range": 0.2,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }
    return save(GPT2Config(**{**sizes, **config}), folder, seed)


def phi3(folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """Rotates by other frequencies (LongRoPE) as soon as a text in the pass has more than 64 tokens."""
    long = {"short_factor": [1.0] * 4, "long_factor": [1.0, 2.0, 4.0, 8.0], "original_max_position_embeddings": 64}
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 1.0, **long}
    sizes = {**_SIZES, "original_max_position_embeddings": 64, "rope_parameters": rope}
    return save(Phi3Config(**{**sizes, **config}), folder, seed)


def stablelm(folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """Attends by itself: what keeps requests apart never reaches its attention."""
    return save(StableLmConfig(**{**_SIZES, **config}), folder, seed)


def codegen(folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """Attends by itself, too, and has one norm a block."""
    sizes = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "rotary_dim": 8}
    sizes |= {"initializer_range": 0.2, "bos_token_id": 1, "eos_token_id": 2}
    return save(CodeGenConfig(**{**sizes, **config}), folder, seed)


def bloom(folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """Tells positions apart by how far away they are (ALiBi), and reads any number of them."""
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2}
    return save(BloomConfig(**{**sizes, "bos_token_id": 1, "eos_token_id": 2, **config}), folder, seed)


def falcon(folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """Has a table of attentions of its own, in which ours is not."""
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_kv_heads": 2, "new_decoder_architecture": True, "alibi": False, "initializer_range": 0.2}
    return save(FalconConfig(**{**sizes, "bos_token_id": 1, "eos_token_id": 2, **config}), folder, seed)


def bert(folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """Reads from both sides, unless it is told that it is a decoder."""
    sizes = {name: _SIZES[name] for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")}
    sizes |= {"num_attention_heads": 4, "max_position_embeddings": 512, "initializer_range": 0.2}
    return save(BertGenerationConfig(**{**sizes, "bos_token_id": 1, "eos_token_id": 2, **config}), folder, seed)


def gemma3_seeing(folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """Reads images, too."""
    sizes = {**_SIZES, "sliding_window": 8, "query_pre_attn_scalar": 8, **config}
    eyes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    both = Gemma3Config(text_config=sizes, vision_config={**eyes, "image_size": 28, "patch_size": 14})
    return save(both, folder, seed)


def phi(folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """Has a bias on its logits."""
    sizes = {name: value for name, value in _SIZES.items() if name != "head_dim"}
    return save(PhiConfig(**{**sizes, **config}), folder, seed)


def nemotron(folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """Calls its norms by another name, and stores gain - 1."""
    return save(NemotronConfig(**{**_SIZES, **config}), folder, seed)


def mixtral(folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """Sends each token to two of four experts."""
    sizes = {**_SIZES, "num_local_experts": 4, "num_experts_per_tok": 2}
    return save(MixtralConfig(**{**sizes, **config}), folder, seed)


def jamba(folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """Has layers that keep a state in place of keys and values."""
    sizes = {**_SIZES, "num_experts": 2, "mamba_d_state": 4, "mamba_dt_rank": 4}
    return save(JambaConfig(**{**sizes, "use_mamba_kernels": False, **config}), folder, seed)


def gemma2(folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """Caps its logits after the output projection, which nothing here supports."""
    sizes = {**_SIZES, "sliding_window": 8, "query_pre_attn_scalar": 8, "final_logit_softcapping": 1.0}
    sizes |= {"attn_logit_softcapping": None}
    return save(Gemma2Config(**{**sizes, **config}), folder, seed)


ARCHITECTURES: dict[str, Callable[[Path], Path]] = {
    "llama": llama,
    "qwen3": qwen3,
    "gemma3": gemma3,
    "gpt2": gpt2,
    "adapted": adapted,
}
"""Those that every vector format `norm` must work on."""


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, after the special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(SPECIAL + alphabet)}
    bytewise = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=bytewise,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
    )


def sentencepiece(*, opening: str = "<s>", ending: str = "", unigram: bool = False) -> PreTrainedTokenizerFast:
    """Spaces are part of the words behind them, every text begins as if it had one, and bytes stand in for the rest.

    Args:
        opening: put before every text, as those of Llama 2, Mistral and Gemma do.
        ending: put behind it, as that of T5 does.
        unigram: the kind of model that finds its own control tokens in a text.
    """
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = ["▁", *string.ascii_letters, *string.punctuation, "▁the", "▁man", "▁s", "aid"]
    if unigram:
        pieces = [*((name, 0.0) for name in names), *((word, -float(len(words) - n)) for n, word in enumerate(words))]
        model: Any = Unigram(pieces, unk_id=0, byte_fallback=True)
    else:
        merges = [("▁", "s"), ("a", "i"), ("ai", "d"), ("▁", "t"), ("h", "e"), ("▁t", "he"), ("<", "s"), ("<s", ">")]
        spelled = [*names, *words, "ai", "▁t", "he", "<s"]
        vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(spelled))}
        model = BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    spaced = Tokenizer(model)
    spaced.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    spaced.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    around = " ".join(filter(None, [opening, "$A", ending]))
    spaced.post_processor = processors.TemplateProcessing(single=around, special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=spaced, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def save(config: Any, folder: Path, seed: int) -> Path:
    """Make a model of a config and save it with a tokenizer."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for name, parameter in model.named_parameters():
            if "norm" in name or ".ln_" in name:
                # Gains as real models have them: far from one another, and not one.
                noise = torch.randn_like(parameter) * 0.3
                parameter.data.add_(noise)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
