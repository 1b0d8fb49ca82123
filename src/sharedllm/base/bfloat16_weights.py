"""A base's weights rounded to bfloat16, and computed with in what the base is in: half the bytes to read for a token.

Where the processor multiplies no bfloat16, a base is in float32; states and sums stay so.
"""

from typing import Any

import torch


def hold_bfloat16(model: Any) -> None:
    """Have the linear layers of a model hold numbers alone that bfloat16 has, in the dtype that they are in.

    Args:
        model: as transformers made it; frames of a prior are rounded, too.
    """
    for layer in (module for module in model.modules() if type(module) is torch.nn.Linear):
        layer.weight.data = _rounded(layer.weight.detach())
        for side in ("frame_into", "frame_out"):
            if getattr(layer, side, None) is not None:
                setattr(layer, side, _rounded(getattr(layer, side)))


def _rounded(weight: torch.Tensor) -> torch.Tensor:
    return weight.bfloat16().to(weight.dtype)
