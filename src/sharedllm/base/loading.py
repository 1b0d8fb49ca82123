"""The frozen base: one model, its tokenizer, its fingerprint."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from sharedllm.base.cpu_attention import register_attention
from sharedllm.base.fingerprint import FRAMES, fingerprint
from sharedllm.base.frames import attach_frames, framed, read_frames, read_prior
from sharedllm.base.resolve import DEFAULT_BASE, resolve_base
from sharedllm.base.tokens import Tokens
from sharedllm.errors import BaseError, InvalidInput, UnsupportedBase

if TYPE_CHECKING:
    import torch

Weights = Literal["plain", "bfloat16", "int8"]
"""How linear layers hold their weights: in what the base computes in, rounded to bfloat16, or most of them in int8."""

_OWN_ATTENTION = "eager"
_TOKENS, _READ = 8, 256


@dataclass(frozen=True, eq=False)
class Base:
    """A causal language model that nothing ever writes to.

    Attributes:
        name: what the caller asked for.
        folder: where its safetensors lie.
        fingerprint: SHA-256 over weights, config and tokenizer, whatever dtype it runs in.
        model: the transformers model, in evaluation mode, no parameter requiring gradients.
        tokenizer: the transformers tokenizer.
        weights: how its linear layers hold theirs.
    """

    name: str
    folder: Path
    fingerprint: str
    model: Any
    tokenizer: Any
    weights: Weights = "plain"

    @property
    def device(self) -> "torch.device":
        """Where the weights are."""
        device: torch.device = self.model.device
        return device

    @property
    def dtype(self) -> "torch.dtype":
        """What is computed in, gains and losses apart."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    @cached_property
    def tokens(self) -> Tokens:
        """The rules from text to token ids and back.

        Raises:
            UnsupportedBase: the tokenizer is one that the rules cannot be kept with.
        """
        return Tokens(self.tokenizer, min(len(self.head), len(self.model.get_input_embeddings().weight)))

    @cached_property
    def has_prior(self) -> bool:
        """Whether what many people have in common is folded into it."""
        return bool(framed(self.model))

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """Tokens that end an answer: the model's, the tokenizer's own, and the end of a turn in a chat."""
        ends = (*self._model_ends(), self.tokens.end, self.tokens.end_of_turn)
        return tuple(dict.fromkeys(end for end in ends if end is not None and 0 <= end < self.tokens.rows))

    def _model_ends(self) -> Iterator[int | None]:
        config = self.model.config
        for about in (self.model.generation_config, config, config.get_text_config()):
            ends = getattr(about, "eos_token_id", None)
            yield from ends if isinstance(ends, (list, tuple)) else (ends,)

    def encode(self, text: str, *, controls: bool = False) -> list[int]:
        """Token ids of a text, from the tokenizer's opening on, and without the end that some tokenizers add.

        Args:
            text: what to encode.
            controls: whether control tokens that ``text`` spells are read as such; never for what somebody wrote.

        Raises:
            InvalidInput: the base has no embedding for one of them, or the text is not valid Unicode.
        """
        return self.tokens.encode(text, controls=controls)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens left out."""
        return self.tokens.decode(ids)

    def hidden(self, input_ids: "torch.Tensor") -> "torch.Tensor":
        """Final hidden states ``[batch, tokens, width]`` of token ids ``[batch, tokens]``, after the last norm."""
        hidden: torch.Tensor = self.model.base_model(input_ids=input_ids, use_cache=False).last_hidden_state
        return hidden

    @property
    def head(self) -> "torch.Tensor":
        """The output projection ``[vocabulary, width]``, plain in any case: logits are ``hidden @ head.T``."""
        weight: torch.Tensor = self.model.get_output_embeddings().weight
        return weight


def load_base(
    name: str = DEFAULT_BASE,
    *,
    dtype: "torch.dtype | None" = None,
    device: str | None = None,
    weights: Weights = "plain",
) -> Base:
    """Load a base and freeze it.

    Args:
        name: a built-in name, a local folder, a ``.gguf`` file, or a hub id.
        dtype: what to compute in; by default `preferred_dtype` of the device.
        device: by default a GPU if there is one.
        weights: ``bfloat16`` rounds those of linear layers, and where the base is in float32 on a CPU half as much is
            read for a token. ``int8`` has most linear layers multiply in int8, on a CPU that does, and rounds the
            others: for answers, which come faster and are a little worse. Nothing can be trained on it.

    Raises:
        UnknownName, DownloadError: see `resolve_base`.
        InvalidInput: weights cannot be held so, or the device does not multiply in int8.
        BaseError: the folder does not hold a causal language model in safetensors, or not all of its weights.
        UnsupportedBase: it does not read plain text from the left, the logits are not a plain projection of the last
            hidden state, or the rules about tokens cannot be kept with the tokenizer.
    """
    # OpenMP keeps a team of threads for every thread that ever computed, and wakes them all slowly once there are more
    # of them than cores. A loader that stayed would cost an engine, which computes on a thread of its own, a third of
    # its speed; this one ends, and its team with it.
    with ThreadPoolExecutor(max_workers=1) as loader:
        return loader.submit(_load, name, dtype, device, weights).result()


def _load(name: str, dtype: "torch.dtype | None", device: str | None, weights: Weights) -> Base:
    import torch
    from transformers.utils import logging

    from sharedllm.base.bfloat16_weights import hold_bfloat16
    from sharedllm.base.int8_weights import hold_int8, multiplies_int8

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if weights not in get_args(Weights):
        raise InvalidInput(
            f"Weights cannot be held as {weights!r}", remedy=f"Use one of {', '.join(get_args(Weights))}."
        )
    if weights == "int8" and not multiplies_int8(device):
        raise InvalidInput(
            f"Weights cannot be held in int8 on {device}: it takes a CPU with AVX-512 VNNI, or AVX2 and a compiler",
            remedy="Hold them plainly; they are then in what suits the device.",
        )
    folder = resolve_base(name)
    identity = fingerprint(folder)
    logging.disable_progress_bar()
    model, report = _model(folder, dtype or preferred_dtype(device), _attention(device))
    tokenizer = _tokenizer(folder)
    if report["missing_keys"]:
        raise BaseError(
            f"{folder} has no weights for {', '.join(sorted(report['missing_keys'])[:3])}",
            remedy="Copy or download the folder again; random numbers would stand in for what is missing.",
        )
    if read_prior(folder) is not None:
        attach_frames(model, read_frames(folder / FRAMES), folder)
    model.to(device).eval().requires_grad_(False)
    base = Base(name, folder, identity, model, tokenizer, weights)
    _check_projection(base)
    # What is wrong with its tokenizer is told to whoever loads the base, not to whoever comes with the first text.
    base.encode("")
    _check_passes(base)
    if weights == "int8":
        hold_int8(model, _random_ids(base))
    if weights != "plain":
        hold_bfloat16(model)
    return base


def load_tokens(name: str = DEFAULT_BASE) -> Tokens:
    """The rules about tokens of a base without its weights, in a second instead of many.

    How many rows the base's embeddings have is what its configuration says.

    Raises:
        UnknownName, DownloadError: see `resolve_base`.
        BaseError, UnsupportedBase: the tokenizer does not load, or the rules cannot be kept with it.
    """
    from transformers import AutoConfig

    folder = resolve_base(name)
    tokenizer = _tokenizer(folder)
    try:
        rows: int = AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config().vocab_size
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise BaseError(
            f"The configuration of {folder} does not say how many tokens there are: {error}",
            remedy="Give a folder that transformers can load without running code from it.",
        ) from error
    return Tokens(tokenizer, rows)


def _model(folder: Path, dtype: "torch.dtype", attention: str) -> tuple[Any, dict[str, Any]]:
    """The model of a folder, and what of it was not there.

    Raises:
        BaseError: it does not load.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            output_loading_info=True,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation=attention,
        )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if attention != _OWN_ATTENTION and attention in str(error):
            # It has a table of its own implementations, and ours is not in it.
            return _model(folder, dtype, _OWN_ATTENTION)
        raise BaseError(
            f"{folder} does not load as a causal language model: {error}",
            remedy="Give a folder that transformers can load without running code from it.",
        ) from error
    return model, report


def _tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder.

    Raises:
        BaseError: it does not load, or needs a package that is not installed.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise BaseError(
            f"The tokenizer of {folder} does not load: {error}",
            remedy="Use a base whose folder has a tokenizer.json; its tokenizer may need a package that is not here.",
        ) from error


def preferred_dtype(device: str) -> "torch.dtype":
    """bfloat16 where the hardware multiplies it natively, else float32."""
    import torch

    if device.startswith("cuda"):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.bfloat16 if native else torch.float32


def _attention(device: str) -> str:
    return "sdpa" if device.startswith("cuda") else register_attention()


def _check_projection(base: Base) -> None:
    """Losses are computed from hidden states in slices; refuse a model without a plain projection of them."""
    head = base.model.get_output_embeddings()
    if getattr(head, "weight", None) is None or base.model.base_model is base.model:
        raise UnsupportedBase(
            f"{base.name} has no output projection of the hidden states of a model inside it",
            remedy="Use a causal language model whose logits are one projection of its last hidden states.",
        )
    bias = getattr(head, "bias", None)
    # A soft cap far above a few logits would change them too little to be seen.
    capped = getattr(base.model.config.get_text_config(), "final_logit_softcapping", None)
    if capped or (bias is not None and bool(bias.any())):
        raise UnsupportedBase(
            f"{base.name} {'caps its logits' if capped else 'adds a bias to its logits'} after the output projection",
            remedy="Use a base without logit soft-capping, scaling or an output bias.",
        )


def _check_passes(base: Base) -> None:
    """Refuse a model that cannot read plain text, reads what comes after, or does more than project what it read."""
    import torch

    vocabulary = min(len(base.head), len(base.model.get_input_embeddings().weight))
    ids = torch.arange(1, 2 * _TOKENS + 1, device=base.device).view(2, _TOKENS) % vocabulary
    later = ids[:1].clone()
    later[0, -1] = ids[1, 0]
    try:
        with torch.no_grad():
            logits = [base.model(input_ids=each, use_cache=False).logits for each in (ids[:1], later, ids)]
            hidden = base.hidden(ids[:1])
            projected = hidden @ base.head.T
    except (UnsupportedBase, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise UnsupportedBase(
            f"{base.name} cannot read plain text: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
            remedy="Use a causal language model that reads token ids alone.",
        ) from error
    alone, changed, together = logits
    eps = torch.finfo(base.dtype).eps
    if not _near(changed[:, :-1], alone[:, :-1], 4 * eps * float(alone.float().abs().max())):
        raise UnsupportedBase(
            f"{base.name} reads tokens that come later: its scores of the first ones depend on the last",
            remedy="Use a causal language model; this one may be a decoder only by its config (is_decoder).",
        )
    if not _near(together[:1], alone, 0.1 * float(alone.float().std())):
        raise UnsupportedBase(
            f"{base.name} reads the other texts of a batch", remedy="Use a base that reads every text by itself."
        )
    if projected.shape != alone.shape or not torch.allclose(alone.float(), projected.float(), rtol=1e-2, atol=1e-2):
        raise UnsupportedBase(
            f"{base.name} transforms its logits after the output projection",
            remedy="Use a base without logit soft-capping, scaling or an output bias.",
        )


def _random_ids(base: Base) -> "torch.Tensor":
    """Ordinary tokens at random, the same each time, ``[1, tokens]``; no more than the base has positions for."""
    import torch

    ordinary = torch.tensor([*({*range(base.tokens.rows)} - {*base.tokenizer.all_special_ids})])
    context = getattr(base.model.config.get_text_config(), "max_position_embeddings", None) or _READ
    places = torch.randint(len(ordinary), (1, min(_READ, context)), generator=torch.Generator().manual_seed(0))
    return ordinary[places].to(base.device)


def _near(these: "torch.Tensor", those: "torch.Tensor", allowed: float) -> bool:
    """Whether most are; rounding sends some tokens to other experts."""
    return bool((these - those).float().abs().quantile(0.75) <= allowed)
