"""The product of experts: agreement in logit space, against which a mixture is compared (Bet 04)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.injection import Injection
from sharedllm.base.loading import Base
from sharedllm.errors import InvalidInput

if TYPE_CHECKING:
    import torch

# Logits exist for this many tokens at a time: 25 MB in float32 over a vocabulary of 49,152.
_SLICE = 128


def product_of_experts(
    hidden: "Sequence[torch.Tensor]", heads: "Sequence[torch.Tensor]", targets: "torch.Tensor"
) -> "torch.Tensor":
    """Log-probability of each target under the normalised geometric mean of the experts' distributions.

    ``log p(v) = mean_i log p_i(v) - log Z`` with ``log Z = logsumexp_v mean_i log p_i(v)``: Hinton's product (2002,
    section 1) with an exponent of ``1 / N`` for each expert, a logarithmic opinion pool. The experts' own normalisers
    are the same for every ``v`` and cancel, so it is the softmax of their mean logits. ``Z <= 1``, so each target gets
    at least the mean of the experts' log-probabilities, but one expert that rules a token out takes it from all.

    Args:
        hidden: of each expert, ``[tokens, width]`` final hidden states.
        heads: of each expert, its output projection ``[vocabulary, width]``.
        targets: int64 ``[tokens]``.

    Returns:
        float64 ``[tokens]``, in nats, computed in float32 at least.

    Raises:
        InvalidInput: no experts, or not one head for each.
    """
    import torch

    if not hidden or len(hidden) != len(heads):
        raise InvalidInput(
            f"{len(hidden)} experts and {len(heads)} heads make no product", remedy="Give one head for each expert."
        )
    found = torch.empty(len(targets), dtype=torch.float64, device=targets.device)
    for begin in range(0, len(targets), _SLICE):
        part = slice(begin, begin + _SLICE)
        wide = torch.promote_types(hidden[0].dtype, torch.float32)
        logits = torch.zeros((), dtype=wide, device=targets.device)
        for states, head in zip(hidden, heads, strict=True):
            logits = logits + (states[part] @ head.T).to(wide)
        log_probabilities = torch.log_softmax(logits / len(hidden), dim=1)
        found[part] = log_probabilities.gather(1, targets[part].unsqueeze(1)).squeeze(1).double()
    return found


def row_product(
    base: Base, injection: Injection, table: npt.NDArray[np.float32], windows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """`product_of_experts` of the rows of a table, on every window.

    Args:
        base: the base the injection is attached to.
        injection: of the table's layout.
        table: float32 ``[rows, P]``, the experts; a row of zeros is the base.
        windows: int64 ``[n, window]``.

    Returns:
        float64 ``[n, window - 1]``: the first token of a window has no context and is not predicted.
    """
    import torch

    rows = torch.from_numpy(np.ascontiguousarray(table)).to(base.device)
    index = torch.arange(len(table), device=base.device)
    found = np.empty((len(windows), windows.shape[1] - 1))
    with torch.inference_mode():
        for number, window in enumerate(windows):
            ids = torch.from_numpy(window).to(base.device)
            with injection.rows(rows, index):
                hidden = base.hidden(ids.expand(len(table), -1))[:, :-1]
            found[number] = product_of_experts(list(hidden), [base.head] * len(table), ids[1:]).cpu().numpy()
    return found
