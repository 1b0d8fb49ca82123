"""Token losses from hidden states, without ever holding all the logits.

The logits of 512 tokens over a vocabulary of 49,152 are 100 MB in float32, and a plain cross-entropy touches them ten
times. Here they exist for one slice of tokens at a time, and where gradients are wanted the slice's gradient with
respect to its hidden states is taken while its probabilities are at hand. On a CPU these are made of a few tokens at a
time, so that they stay in the cache until they are needed. Evaluation and training share this function.
"""

from typing import Any

import torch

_SLICE = 256

_CACHED_BYTES = 2**21
"""Of float32 probabilities that are at hand at a time on a CPU."""


class _TokenLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        losses = torch.empty(len(hidden), dtype=wide, device=hidden.device)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        # One set of buffers for all slices: fresh ones of this size cost a sixth of the time in page faults.
        rows = min(_SLICE, len(hidden))
        logits = torch.empty(rows, len(head), dtype=hidden.dtype, device=hidden.device)
        few = min(rows, max(1, _CACHED_BYTES // (4 * len(head)))) if hidden.device.type == "cpu" else rows
        widened, log_likelihoods = (torch.empty_like(logits[:few], dtype=wide) for _ in range(2))
        for begin in range(0, len(hidden), _SLICE):
            part = slice(begin, begin + _SLICE)
            of_part = torch.mm(hidden[part], head.T, out=logits[: len(hidden[part])])
            for start in range(0, len(of_part), few):
                own = of_part[start : start + few]
                tokens = slice(begin + start, begin + start + len(own))
                target, of_own = targets[tokens].unsqueeze(1), log_likelihoods[: len(own)]
                torch.log_softmax(widened[: len(own)].copy_(own), dim=1, out=of_own)
                losses[tokens] = -of_own.gather(1, target).squeeze(1)
                if gradient is not None:
                    probabilities = of_own.exp_()
                    probabilities.scatter_add_(1, target, torch.full_like(target, -1.0, dtype=wide))
                    own.copy_(probabilities)
            if gradient is not None:
                torch.mm(of_part, head, out=gradient[part])
        ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (upstream,) = gradients
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream.unsqueeze(1)).to(gradient.dtype), None, None


def token_losses(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood in nats of each target, differentiable in ``hidden`` alone.

    Args:
        hidden: ``[..., width]`` final hidden states.
        head: ``[vocabulary, width]`` frozen output projection, in whose dtype the products are taken.
        targets: int64 ``[...]``.

    Returns:
        float32 ``[...]`` (float64 when ``head`` is).
    """
    # Autocast may leave hidden states wider than the head, and does not reach into the function.
    flat = hidden.reshape(-1, hidden.shape[-1]).to(head.dtype)
    losses: torch.Tensor = _TokenLosses.apply(flat, head, targets.reshape(-1))  # type: ignore[no-untyped-call]
    return losses.view(targets.shape)


def ids_of(windows: torch.Tensor) -> torch.Tensor:
    """The ids that are read of windows, in which a token that is never predicted stands as its complement."""
    return torch.where(windows < 0, ~windows, windows)


def window_losses(
    hidden: torch.Tensor, head: torch.Tensor, windows: torch.Tensor, first: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """`token_losses` of what is predicted in windows; of everything else no logits are computed.

    Args:
        hidden: ``[windows, tokens, width]`` final hidden states of `ids_of` the windows.
        head: as for `token_losses`.
        windows: int64 ``[windows, tokens]``; a token that is read and never predicted is the complement of its id.
        first: tokens at the beginning of every window that nothing predicts.

    Returns:
        losses ``[windows, tokens - first]``, 0 where nothing is predicted, and bool of that shape, where something is.
    """
    hidden, targets = hidden[:, first - 1 : -1], windows[:, first:]
    predicted = targets >= 0
    if bool(predicted.all()):
        return token_losses(hidden, head, targets), predicted
    losses = token_losses(hidden[predicted], head, targets[predicted])
    return torch.zeros_like(predicted, dtype=losses.dtype).masked_scatter(predicted, losses), predicted


def mean_losses(losses: torch.Tensor, predicted: torch.Tensor, rows: int) -> torch.Tensor:
    """Mean loss of what is predicted in each row's windows, ``[rows]``.

    Args:
        losses, predicted: as `window_losses` gives them, each row's windows one after the other and as many of each.
        rows: how many.
    """
    return losses.view(rows, -1).sum(dim=1) / predicted.view(rows, -1).sum(dim=1)
