"""Products with the frozen weights on a CPU, from weights kept in the layout that oneDNN multiplies from.

torch lays a bfloat16 weight out anew for every product, and with the few tokens of a decoding batch that takes longer
than the product itself. The results are the same. Two operations reached for here are private to torch;
`tests/base/test_products.py` fails when they move.
"""

from typing import TYPE_CHECKING, Any

from sharedllm.base.loading import Base

if TYPE_CHECKING:
    import torch


class Prepacked:
    """A base whose linear layers multiply from such weights until `remove`; for inference alone.

    Does nothing where torch would not gain by it: on another device or in another dtype than bfloat16.

    The plain weights are given up meanwhile, so that nothing is held twice but a head that is the embedding as well.
    """

    def __init__(self, base: Base) -> None:
        import torch

        self._weights: dict[Any, torch.Tensor] = {}
        if base.device.type != "cpu" or base.dtype != torch.bfloat16 or not multiplies_bfloat16():
            return
        head = base.model.get_output_embeddings()
        linears: list[Any] = [module for module in base.model.modules() if type(module) is torch.nn.Linear]
        for linear in linears:
            self._weights[linear] = weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
            linear.forward = _Product(weight, linear.bias)
            if linear is not head:
                linear.weight.data = linear.weight.new_empty(0)

    def remove(self) -> None:
        """Give the layers their own weights and products back."""
        for linear, weight in self._weights.items():
            del linear.forward
            if not linear.weight.numel():
                linear.weight.data = weight.to_dense()
        self._weights = {}


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
