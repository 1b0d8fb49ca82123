"""The frozen base: one model, its tokenizer, its fingerprint."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from sharedllm.base.attention import register_attention
from sharedllm.base.fingerprint import fingerprint
from sharedllm.base.resolve import DEFAULT_BASE, resolve_base
from sharedllm.errors import BaseError, UnsupportedBase

if TYPE_CHECKING:
    import torch

# Whether control tokens are read is a switch on the tokenizer itself, which another thread may set in between.
_encoding = threading.Lock()


@dataclass(frozen=True, eq=False)
class Base:
    """A causal language model that nothing ever writes to.

    Attributes:
        name: what the caller asked for.
        folder: where its safetensors lie.
        fingerprint: SHA-256 over weights, config and tokenizer, whatever dtype it runs in.
        model: the transformers model, in evaluation mode, no parameter requiring gradients.
        tokenizer: the transformers tokenizer.
    """

    name: str
    folder: Path
    fingerprint: str
    model: Any
    tokenizer: Any

    @property
    def device(self) -> "torch.device":
        device: torch.device = self.model.device
        return device

    @property
    def dtype(self) -> "torch.dtype":
        dtype: torch.dtype = self.model.dtype
        return dtype

    @cached_property
    def longest_token(self) -> int:
        """Characters of the longest token: a text has at least a token for every so many characters."""
        return max(map(len, self.tokenizer.get_vocab()))

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """Tokens that end an answer."""
        ends = self.model.generation_config.eos_token_id
        if ends is None:
            return ()
        return (ends,) if isinstance(ends, int) else tuple(ends)

    def encode(self, text: str, *, controls: bool = False) -> list[int]:
        """Token ids of ``text`` alone: no special tokens are added, and none is taken from what somebody wrote.

        Safe to use from several threads.

        Args:
            text: what to encode.
            controls: whether control tokens that ``text`` spells are read as such; never for what somebody wrote.
        """
        with _encoding:
            # A user's text is longer than any context window on purpose; the tokenizer's warning about it is no news.
            ids: list[int] = self.tokenizer(
                text, add_special_tokens=False, split_special_tokens=not controls, verbose=False
            )["input_ids"]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens left out."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def hidden(self, input_ids: "torch.Tensor") -> "torch.Tensor":
        """Final hidden states ``[batch, tokens, width]`` of token ids ``[batch, tokens]``, after the last norm."""
        hidden: torch.Tensor = self.model.base_model(input_ids=input_ids, use_cache=False).last_hidden_state
        return hidden

    @property
    def head(self) -> "torch.Tensor":
        """The output projection ``[vocabulary, width]``: logits are ``hidden @ head.T``."""
        weight: torch.Tensor = self.model.get_output_embeddings().weight
        return weight


def load_base(name: str = DEFAULT_BASE, *, dtype: "torch.dtype | None" = None, device: str | None = None) -> Base:
    """Load a base and freeze it.

    Args:
        name: a built-in name, a local folder, a ``.gguf`` file, or a hub id.
        dtype: what to compute in; by default `preferred_dtype` of the device.
        device: by default a GPU if there is one.

    Raises:
        UnknownName, DownloadError: see `resolve_base`.
        BaseError: the folder does not hold a causal language model in safetensors, or not all of its weights.
        UnsupportedBase: the logits are not a plain projection of the last hidden state.
    """
    # OpenMP keeps a team of threads for every thread that ever computed, and wakes them all slowly once there are more
    # of them than cores. A loader that stayed would cost an engine, which computes on a thread of its own, a third of
    # its speed; this one ends, and its team with it.
    with ThreadPoolExecutor(max_workers=1) as loader:
        return loader.submit(_load, name, dtype, device).result()


def _load(name: str, dtype: "torch.dtype | None", device: str | None) -> Base:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    folder = resolve_base(name)
    identity = fingerprint(folder)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    logging.disable_progress_bar()
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            output_loading_info=True,
            dtype=dtype or preferred_dtype(device),
            use_safetensors=True,
            attn_implementation=_attention(device),
        )
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise BaseError(
            f"{folder} does not load as a causal language model: {error}",
            remedy="Give a folder that transformers can load without running code from it.",
        ) from error
    if report["missing_keys"]:
        raise BaseError(
            f"{folder} has no weights for {', '.join(sorted(report['missing_keys'])[:3])}",
            remedy="Copy or download the folder again; random numbers would stand in for what is missing.",
        )
    model.to(device).eval().requires_grad_(False)
    base = Base(name, folder, identity, model, tokenizer)
    _check_head(base)
    return base


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


def _check_head(base: Base) -> None:
    """Losses are computed from hidden states in slices; refuse a model that does more than project them."""
    import torch

    ids = torch.arange(8, device=base.device).unsqueeze(0) % base.head.shape[0]
    with torch.no_grad():
        expected = base.model(input_ids=ids, use_cache=False).logits
        ours = base.hidden(ids) @ base.head.T
    # A soft cap far above these few logits would change them too little to be seen here.
    capped = getattr(base.model.config.get_text_config(), "final_logit_softcapping", None)
    if capped or not torch.allclose(expected.float(), ours.float(), rtol=1e-2, atol=1e-2):
        raise UnsupportedBase(
            f"{base.name} transforms its logits after the output projection",
            remedy="Use a base without logit soft-capping, scaling or an output bias.",
        )
