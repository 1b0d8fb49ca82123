"""Prompts to continuations, each with its own row, in one batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.injection import Injection
from sharedllm.base.loading import Base
from sharedllm.errors import InvalidInput

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Request:
    """One prompt and the row that answers it.

    Attributes:
        prompt: token ids.
        values: float32 ``[P]``; zeros are the base.
    """

    prompt: Sequence[int]
    values: npt.NDArray[np.float32]


def chat_prompt(base: Base, question: str) -> list[int]:
    """The ids of a question in the base's own chat format; the plain ids where the base has none."""
    if not base.tokenizer.chat_template:
        return base.encode(question)
    ids: list[int] = base.tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=False
    )
    return ids


def generate(base: Base, injection: Injection, requests: Sequence[Request], *, max_tokens: int) -> list[str]:
    """Continue every prompt greedily, all of them in one batch, each with its own row.

    Args:
        base: the base model.
        injection: of the rows' layout, attached to it.
        requests: the prompts and rows.
        max_tokens: at most this many new tokens each.

    Raises:
        InvalidInput: a prompt is empty, or longer than the base's context window leaves room for.
    """
    import torch

    context = base.model.config.get_text_config().max_position_embeddings
    limit = context - max_tokens
    if limit < 1:
        raise InvalidInput(
            f"{max_tokens:,} new tokens do not fit the base's context of {context:,} with a prompt",
            remedy=f"Ask for at most {context - 1:,}, less the prompt.",
        )
    for request in requests:
        if not 0 < len(request.prompt) <= limit:
            raise InvalidInput(
                f"A prompt has {len(request.prompt):,} tokens", remedy=f"Use between 1 and {limit:,} tokens."
            )
    ids, mask = _left_padded([request.prompt for request in requests], base)
    table = torch.from_numpy(np.stack([request.values for request in requests])).to(base.device)
    index = torch.arange(len(requests), device=base.device)
    with torch.inference_mode(), injection.rows(table, index):
        output = base.model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=max_tokens, do_sample=False, pad_token_id=_pad(base)
        )
    return [base.decode(row[ids.shape[1] :].tolist()) for row in output]


def _left_padded(prompts: Sequence[Sequence[int]], base: Base) -> tuple["torch.Tensor", "torch.Tensor"]:
    import torch

    width = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), width), _pad(base), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return ids.to(base.device), mask.to(base.device)


def _pad(base: Base) -> int:
    pad = base.tokenizer.pad_token_id
    return int(pad if pad is not None else base.tokenizer.eos_token_id or 0)
