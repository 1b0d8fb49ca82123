"""How many tokens a base reads, and up to how many it reads each of them whatever the length of the others."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sharedllm.base.loading import Base
from sharedllm.errors import UnsupportedBase

if TYPE_CHECKING:
    import torch

_TOKENS = 8

log = logging.getLogger("sharedllm.base")

_steady: "WeakKeyDictionary[Any, int]" = WeakKeyDictionary()
_exact: "WeakKeyDictionary[Any, int]" = WeakKeyDictionary()


def context_of(base: Base) -> int:
    """Tokens that a text may have, as the config tells.

    Raises:
        UnsupportedBase: the config tells none.
    """
    tokens: Any = getattr(base.model.config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(tokens, int) or tokens < 1:
        raise UnsupportedBase(
            f"The config of {type(base.model).__name__} does not say how many tokens it reads",
            remedy="Use another base.",
        )
    return tokens


def check_window(base: Base, tokens: int) -> None:
    """Refuse windows that are longer than the base's context; a config that tells none allows any.

    Raises:
        UnsupportedBase: they are.
    """
    context: Any = getattr(base.model.config.get_text_config(), "max_position_embeddings", None)
    if isinstance(context, int) and tokens > context:
        raise UnsupportedBase(
            f"Windows of {tokens:,} tokens do not fit the context of {base.name}, {context:,}",
            remedy="Use shorter windows, or a base with a longer context.",
        )


def steady_context(base: Base) -> int:
    """The longest context in which every token's position is read in the same way whatever the longest is.

    Rotary frequencies that follow the longest text of a pass (LongRoPE, dynamic NTK scaling) change for everybody in
    it, and in the middle of an answer. Up to the context that the model was made for they do not.

    Raises:
        UnsupportedBase: see `context_of`; or they change at any length, or the model takes no positions.
    """
    if base.model not in _steady:
        _steady[base.model] = _find_steady_context(base)
    return _steady[base.model]


def exact_context(base: Base) -> int:
    """The longest context that can be served so that nobody's length changes how another is read.

    It is the whole one where all texts beyond the steady context are read alike (LongRoPE), so that shorter ones only
    have to be kept apart from them; and the steady one where each is read by its own length.

    Raises:
        UnsupportedBase: see `steady_context`.
    """
    if base.model not in _exact:
        _exact[base.model] = _find_exact_context(base)
    return _exact[base.model]


def _find_exact_context(base: Base) -> int:
    context, steady = context_of(base), steady_context(base)
    if steady == context:
        return context
    # Each from the start, since some keep to what a far position has made of them.
    found = []
    for length in (context, steady + 1, (steady + 1 + context) // 2):
        found.append(_read(base, length))
        _read(base, _TOKENS)
    if all(_same(found[0], each) for each in found[1:]):
        return context
    log.warning(
        "%s is served with a context of %d of its %d tokens: one longer request would change how it reads everybody's",
        base.name,
        steady,
        context,
    )
    return steady


def _find_steady_context(base: Base) -> int:
    context = context_of(base)
    if context <= _TOKENS:
        return context
    near, far = _read(base, _TOKENS), _read(base, context)
    if _same(near, far):
        return context
    steady, moved = _TOKENS, context
    while moved - steady > 1:
        # Some keep to what a far position has made of them, so every length is tried after the farthest.
        _read(base, context)
        middle = (steady + moved) // 2
        if _same(near, _read(base, middle)):
            steady = middle
        else:
            moved = middle
    _read(base, _TOKENS)
    if steady == _TOKENS:
        raise UnsupportedBase(
            f"{base.name} reads every token's position by the longest text of a pass",
            remedy="Serve from a base whose rotary frequencies are fixed.",
        )
    return steady


def _read(base: Base, length: int) -> "list[torch.Tensor]":
    """What the model makes of its first positions if its last token is the last of so long a text."""
    import torch

    ids = torch.ones(1, _TOKENS, dtype=torch.long, device=base.device)
    positions = torch.arange(_TOKENS, device=base.device)[None]
    positions[0, -1] = length - 1
    with torch.inference_mode(), _rotations(base.model) as rotations:
        try:
            # With a mask of its own it is one text, not several whose positions begin anew.
            logits = base.model(
                input_ids=ids, position_ids=positions, attention_mask=torch.ones_like(ids), use_cache=False
            ).logits
        except TypeError as error:
            raise UnsupportedBase(
                f"{base.name} takes no positions: {error}", remedy="Serve from another base."
            ) from error
    return [logits[:, :-1], *rotations]


@contextmanager
def _rotations(model: Any) -> "Iterator[list[torch.Tensor]]":
    """Collect what modules with rotary frequencies give for all positions but the last."""
    import torch

    given: list[torch.Tensor] = []

    def collect(module: Any, inputs: Any, output: Any) -> None:
        parts = output if isinstance(output, tuple) else (output,)
        for part in parts:
            if isinstance(part, torch.Tensor) and part.ndim > 1 and part.shape[1] == _TOKENS:
                # A copy: the frequencies themselves are written over.
                given.append(part[:, :-1].clone())

    rotary = [
        module
        for module in model.modules()
        if any(name.endswith("inv_freq") for name, _ in module.named_buffers(recurse=False))
    ]
    handles = [module.register_forward_hook(collect) for module in rotary]
    try:
        yield given
    finally:
        for handle in handles:
            handle.remove()


def _same(near: "list[torch.Tensor]", far: "list[torch.Tensor]") -> bool:

    if len(near) != len(far):
        return False
    return all(_close(*each) for each in zip(near, far, strict=True))


def _close(near: "torch.Tensor", far: "torch.Tensor") -> bool:
    import torch

    tolerance = 4 * torch.finfo(near.dtype).eps
    scale = float(near.nan_to_num(0, 0, 0).abs().max())
    return torch.allclose(near, far, rtol=tolerance, atol=tolerance * scale, equal_nan=True)
