"""Token losses from hidden states, without ever holding all the logits.

The logits of 512 tokens over a vocabulary of 49,152 are 100 MB in float32, and a plain cross-entropy touches them ten
times. Here they exist for one slice of tokens at a time, and where gradients are wanted the slice's gradient with
respect to its hidden states is taken while its probabilities are at hand. Evaluation and training share this function.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_SLICE = 128


def token_losses(hidden: "torch.Tensor", head: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
    """Negative log-likelihood in nats of each target, differentiable in ``hidden`` alone.

    Args:
        hidden: ``[..., width]`` final hidden states.
        head: ``[vocabulary, width]`` frozen output projection, in the dtype of ``hidden``.
        targets: int64 ``[...]``.

    Returns:
        float32 ``[...]`` (float64 when ``hidden`` is).
    """
    import torch

    flat = hidden.reshape(-1, hidden.shape[-1])
    losses: torch.Tensor = _losses_function().apply(flat, head, targets.reshape(-1))
    return losses.view(targets.shape)


def _losses_function() -> Any:
    """The autograd function, defined on first use so that importing this module does not import torch."""
    global _function  # noqa: PLW0603
    if _function is None:
        import torch

        class TokenLosses(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, hidden: Any, head: Any, targets: Any) -> Any:
                wide = torch.promote_types(hidden.dtype, torch.float32)
                losses = torch.empty(len(hidden), dtype=wide, device=hidden.device)
                gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
                for begin in range(0, len(hidden), _SLICE):
                    part = slice(begin, begin + _SLICE)
                    logits = (hidden[part] @ head.T).to(wide)
                    target = targets[part].unsqueeze(1)
                    normaliser = logits.logsumexp(dim=1, keepdim=True)
                    losses[part] = (normaliser - logits.gather(1, target)).squeeze(1)
                    if gradient is not None:
                        probabilities = logits.sub_(normaliser).exp_()
                        probabilities.scatter_add_(1, target, torch.full_like(normaliser, -1.0))
                        gradient[part] = probabilities.to(hidden.dtype) @ head
                ctx.save_for_backward(gradient)
                return losses

            @staticmethod
            def backward(ctx: Any, upstream: Any) -> Any:
                (gradient,) = ctx.saved_tensors
                return (gradient * upstream.unsqueeze(1)).to(gradient.dtype), None, None

        _function = TokenLosses
    return _function


_function: Any = None
