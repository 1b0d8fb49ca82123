"""Products with the frozen weights on a CPU, from weights kept in the layout that oneDNN multiplies from.

torch lays a bfloat16 weight out anew for every product, and with the few tokens of a decoding batch that takes longer
than the product itself. The results are the same. Two operations reached for here are private to torch;
`tests/base/test_products.py` fails when they move.
"""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from sharedllm.base.loading import Base

if TYPE_CHECKING:
    import torch


class Prepacked:
    """A base whose linear layers multiply from such weights until `remove`; for inference alone.

    Does nothing where torch would not gain by it: on another device or in another dtype than bfloat16.

    The plain weights are given up meanwhile, so that nothing is held twice but the head, whose plain weight `Base.head`
    gives. If the memory for that runs out, the error leaves every layer as it was.
    """

    def __init__(self, base: Base) -> None:
        import torch

        self._weights: dict[Any, torch.Tensor] = {}
        if base.device.type != "cpu" or base.dtype != torch.bfloat16 or not multiplies_bfloat16():
            return
        head = base.model.get_output_embeddings()
        linears: list[Any] = [module for module in base.model.modules() if type(module) is torch.nn.Linear]
        with ExitStack() as undo:
            undo.callback(self.remove)
            for linear in linears:
                weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
                linear.forward = _Product(weight, linear.bias)
                self._weights[linear] = weight
                if linear is not head:
                    linear.weight.data = linear.weight.new_empty(0)
            undo.pop_all()

    def remove(self) -> None:
        """Give the layers their own weights and products back."""
        # One after the other, so that no more than one of them is held twice.
        for linear in list(self._weights):
            if not linear.weight.numel():
                linear.weight.data = self._weights[linear].to_dense()
            del linear.forward, self._weights[linear]


class _Product:
    """Stands in for the forward pass of a linear layer."""

    def __init__(self, weight: "torch.Tensor", bias: "torch.Tensor | None") -> None:
        import torch

        self._weight, self._bias = weight, bias
        self._multiply = torch.ops.mkldnn._linear_pointwise.default

    def __call__(self, states: "torch.Tensor") -> "torch.Tensor":
        product: torch.Tensor = self._multiply(states, self._weight, self._bias, "none", [], "")
        return product


def multiplies_bfloat16() -> bool:
    """Whether torch was built with oneDNN, and oneDNN multiplies bfloat16 on this processor."""
    import torch

    built: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return built and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
