"""Products with the frozen weights on a CPU, from weights kept in the layout that oneDNN multiplies from.

torch lays a bfloat16 weight out anew for every product, and with the few tokens of a decoding batch that takes longer
than the product itself. The results are the same. Two operations reached for here are private to torch;
`tests/base/test_prepacked_weights.py` fails when they move.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from sharedllm.base.loading import Base

if TYPE_CHECKING:
    import torch

Coordinates = Callable[["torch.Tensor"], "torch.Tensor | None"]
"""From states ``[batch, tokens, in]`` to what multiplies the components of frames there; None where nothing does."""

_SAME_STATES = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Children of one module that read the same states."""


class Prepacked:
    """A base whose linear layers multiply from such weights until `remove`; for inference alone.

    Does nothing where torch would not gain by it: on another device or in another dtype than bfloat16. Layers that read
    the same states, as those to queries, keys and values do, are one product.

    The plain weights are given up meanwhile, so that nothing is held twice but the head, whose plain weight `Base.head`
    gives. If the memory for that runs out, the error leaves every layer as it was.

    Where coordinates of frames are added, ``W x + B (d * (A x))`` is one product, ``[W | B]`` with ``x`` and its scaled
    components behind one another: to add what ``B`` gives afterwards would read and write every output once more.
    """

    def __init__(self, base: Base, within: Callable[[Sequence[Any]], Coordinates | None] | None = None) -> None:
        """Take the layers' forward passes over.

        Args:
            base: whose.
            within: of layers that read the same states, all with frames, gives the coordinates that are added there, as
                `Injection.hand_over` does; None where none are, or are by somebody else.
        """
        import torch

        self._products: list[_Product] = []
        if base.device.type != "cpu" or base.dtype != torch.bfloat16 or not multiplies_bfloat16():
            return
        head = base.model.get_output_embeddings()
        with ExitStack() as undo:
            undo.callback(self.remove)
            for layers in _together(base.model):
                product = _Product(layers, None if within is None else within(layers))
                self._products.append(product)
                for number, layer in enumerate(layers):
                    layer.forward = partial(product, number)
                    if layer is not head:
                        layer.weight.data = layer.weight.new_empty(0)
            undo.pop_all()

    def remove(self) -> None:
        """Give the layers their own weights and products back."""
        # One after the other, so that little is held twice; and what fails half way can be asked for again.
        while self._products:
            self._products[-1].give_back()
            self._products.pop()

    def forget(self) -> None:
        """Let go of what a pass that broke off has left of its states."""
        for product in self._products:
            product.forget()


class _Product:
    """Stands in for the forward passes of layers that read the same states, which are multiplied once for all of them.

    Whichever layer is asked first multiplies, and what is the others' is kept until they are asked for the same states,
    which nobody may have written to meanwhile.
    """

    def __init__(self, layers: Sequence[Any], coordinates: Coordinates | None) -> None:
        import torch

        self._layers, self._coordinates = layers, coordinates
        self._widths = [layer.out_features for layer in layers]
        biases: list[torch.Tensor] = [layer.bias for layer in layers if layer.bias is not None]
        self._bias = torch.cat(biases).detach() if biases else None
        weights: list[torch.Tensor] = [layer.weight.detach() for layer in layers]
        reorder = torch.ops.mkldnn._reorder_linear_weight
        weight = torch.cat(weights)
        if coordinates is not None:
            out = torch.block_diag(*(layer.frame_out for layer in layers))  # type: ignore[no-untyped-call]
            self._into = reorder(torch.cat([layer.frame_into for layer in layers]), None)
            weight = torch.cat([weight, out], dim=1)
        self._weight = reorder(weight, None)
        self._multiply = torch.ops.mkldnn._linear_pointwise.default
        self._states: torch.Tensor | None = None
        self._kept: dict[int, torch.Tensor] = {}

    def __call__(self, number: int, states: "torch.Tensor") -> "torch.Tensor":
        if states is not self._states or number not in self._kept:
            given = states if self._coordinates is None else self._with_components(states, self._coordinates(states))
            product: torch.Tensor = self._multiply(given, self._weight, self._bias, "none", [], "")
            if len(self._widths) == 1:
                return product
            parts = product.split(self._widths, dim=-1)  # type: ignore[no-untyped-call]
            self._states, self._kept = states, dict(enumerate(parts))
        mine = self._kept.pop(number)
        if not self._kept:
            self._states = None
        return mine

    def _with_components(self, states: "torch.Tensor", coordinates: "torch.Tensor | None") -> "torch.Tensor":
        """The states and, behind them, their components times the coordinates."""
        import torch

        if coordinates is None:
            # The same product as beside others with coordinates, so that it rounds alike.
            return torch.nn.functional.pad(states, (0, self._into.shape[0]))
        components = self._multiply(states, self._into, None, "none", [], "")
        return torch.cat([states, components * coordinates], dim=-1)

    def forget(self) -> None:
        """Keep nothing for anybody."""
        self._states, self._kept = None, {}

    def give_back(self) -> None:
        """Leave the layers as they were."""
        # The head has kept its own.
        if not all(layer.weight.numel() for layer in self._layers):
            parts = self._weight.to_dense().split(self._widths)
            for layer, own in zip(self._layers, parts, strict=True):
                # Weights that share their memory could not be saved.
                layer.weight.data = own[:, : layer.in_features].clone()
        for layer in self._layers:
            vars(layer).pop("forward", None)


def _together(model: Any) -> Iterator[list[Any]]:
    """Every linear layer, beside those that are given the same states."""
    import torch

    seen: set[torch.nn.Module] = set()
    for module in model.modules():
        children = ((name, child) for name, child in module.named_children() if child not in seen)
        linears = {name: child for name, child in children if type(child) is torch.nn.Linear}
        seen.update(linears.values())
        for names in _SAME_STATES:
            if not set(names) <= set(linears):
                continue
            layers = [linears[name] for name in names]
            # Either all of them have a bias or none.
            if len({(layer.in_features, layer.bias is None) for layer in layers}) == 1:
                yield [linears.pop(name) for name in names]
        yield from ([layer] for layer in linears.values())


def multiplies_bfloat16() -> bool:
    """Whether torch was built with oneDNN, and oneDNN multiplies bfloat16 on this processor."""
    import torch

    built: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return built and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
