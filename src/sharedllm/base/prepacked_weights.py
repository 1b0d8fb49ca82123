"""Products with the frozen weights on a CPU, from weights kept in the layout that oneDNN multiplies from.

torch lays a bfloat16 weight out anew for every product, and with the few tokens of a decoding batch that takes longer
than the product itself. The results are the same. Two operations reached for here are private to torch;
`tests/base/test_prepacked_weights.py` fails when they move.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch

from sharedllm.base.int8_weights import Int8Linear, Int8Product
from sharedllm.base.loading import Base
from sharedllm.errors import InvalidInput

Coordinates = Callable[[torch.Tensor], torch.Tensor | None]
"""From states ``[batch, tokens, in]`` to what multiplies the components of frames there; None where nothing does."""

_SAME_STATES = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Children of one module that read the same states."""


class Prepacked:
    """A base whose linear layers multiply from such weights until `remove`; for inference alone.

    Does nothing where torch would not gain by it: with plain weights on another device, or in another dtype than
    bfloat16. Layers that read the same states, as those to queries, keys and values do, are one product.

    The plain weights are given up meanwhile, so that nothing is held twice but the head, whose plain weight `Base.head`
    gives. If the memory for that runs out, the error leaves every layer as it was.

    Where coordinates of frames are added, ``W x + B (d * (A x))`` is one product, ``[W | B]`` with ``x`` and its scaled
    components behind one another: to add what ``B`` gives afterwards would read and write every output once more.
    Beside weights in int8 it is added afterwards all the same, in bfloat16.
    """

    def __init__(self, base: Base, within: Callable[[Sequence[Any]], Coordinates | None] | None = None) -> None:
        """Take the layers' forward passes over.

        Args:
            base: whose.
            within: of layers that read the same states, all with frames, gives the coordinates that are added there, as
                `Injection.hand_over` does; None where none are, or are by somebody else.
        """
        self._products: list[_Product] = []
        bfloat16 = base.device.type == "cpu" and base.dtype == torch.bfloat16 and multiplies_bfloat16()
        if not (bfloat16 or base.weights == "int8"):
            return
        head = base.model.get_output_embeddings()
        with ExitStack() as undo:
            undo.callback(self.remove)
            for layers in _together(base.model):
                int8 = type(layers[0]) is Int8Linear
                if not (int8 or bfloat16):
                    continue
                coordinates = within(layers) if within is not None and bfloat16 else None
                self._products.append((_InInt8 if int8 else _InBfloat16)(layers, coordinates))
                self._products[-1].take_over(head)
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


class _Product(ABC):
    """Stands in for the forward passes of layers that read the same states, which are multiplied once for all of them.

    Whichever layer is asked first multiplies, and what is the others' is kept until they are asked for the same states,
    which nobody may have written to meanwhile.
    """

    def __init__(self, layers: Sequence[Any], coordinates: Coordinates | None) -> None:
        self._layers, self._coordinates = layers, coordinates
        self._widths = [layer.out_features for layer in layers]
        self._reorder = torch.ops.mkldnn._reorder_linear_weight
        self._linear = torch.ops.mkldnn._linear_pointwise.default
        if coordinates is not None:
            self._into = self._reorder(torch.cat([layer.frame_into for layer in layers]), None)
        self._states: torch.Tensor | None = None
        self._kept: dict[int, torch.Tensor] = {}

    def __call__(self, number: int, states: torch.Tensor) -> torch.Tensor:
        if states.requires_grad and torch.is_grad_enabled():
            # The library's product has none, and what comes before it would learn nothing without a word.
            raise InvalidInput(
                "The base is open for answers, from weights through which nothing can be trained",
                remedy="Close its engine first, or load the base once more to train.",
            )
        if states is not self._states or number not in self._kept:
            product = self._multiply(states, None if self._coordinates is None else self._coordinates(states))
            if len(self._widths) == 1:
                return product
            parts = product.split(self._widths, dim=-1)  # type: ignore[no-untyped-call]
            self._states, self._kept = states, dict(enumerate(parts))
        mine = self._kept.pop(number)
        if not self._kept:
            self._states = None
        return mine

    @abstractmethod
    def _multiply(self, states: torch.Tensor, coordinates: torch.Tensor | None) -> torch.Tensor:
        """What all layers give, side by side, with what the coordinates add."""

    def _components(self, states: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
        """The states' components times the coordinates."""
        components: torch.Tensor = self._linear(states, self._into, None, "none", [], "")
        return components * coordinates

    def forget(self) -> None:
        """Keep nothing for anybody."""
        self._states, self._kept = None, {}

    def take_over(self, head: Any) -> None:
        """Stand in for the layers, and give their own weights up, but for the head's."""
        for number, layer in enumerate(self._layers):
            layer.forward = partial(self, number)
            if layer is not head:
                layer.weight.data = layer.weight.new_empty(0)

    def give_back(self) -> None:
        """Leave the layers as they were."""
        self._give_weights_back()
        for layer in self._layers:
            vars(layer).pop("forward", None)

    @abstractmethod
    def _give_weights_back(self) -> None:
        """Give the layers those of their weights that they gave up."""


class _InBfloat16(_Product):
    """Of plain weights."""

    def __init__(self, layers: Sequence[Any], coordinates: Coordinates | None) -> None:
        super().__init__(layers, coordinates)
        biases: list[torch.Tensor] = [layer.bias for layer in layers if layer.bias is not None]
        self._bias = torch.cat(biases).detach() if biases else None
        weights: list[torch.Tensor] = [layer.weight.detach() for layer in layers]
        weight = torch.cat(weights)
        if coordinates is not None:
            weight = torch.cat([weight, _frames_out(layers)], dim=1)
        self._weight = self._reorder(weight, None)

    def _multiply(self, states: torch.Tensor, coordinates: torch.Tensor | None) -> torch.Tensor:
        given = states
        if coordinates is not None:
            given = torch.cat([states, self._components(states, coordinates)], dim=-1)
        elif self._coordinates is not None:
            # The same product as beside others with coordinates, so that it rounds alike.
            given = torch.nn.functional.pad(states, (0, self._into.shape[0]))
        product: torch.Tensor = self._linear(given, self._weight, self._bias, "none", [], "")
        return product

    def _give_weights_back(self) -> None:
        # The head has kept its own.
        if not all(layer.weight.numel() for layer in self._layers):
            parts = self._weight.to_dense().split(self._widths)
            for layer, own in zip(self._layers, parts, strict=True):
                # Weights that share their memory could not be saved.
                layer.weight.data = own[:, : layer.in_features].clone()


class _InInt8(_Product):
    """Of weights in int8; what coordinates add is multiplied in bfloat16."""

    def __init__(self, layers: Sequence[Any], coordinates: Coordinates | None) -> None:
        super().__init__(layers, coordinates)
        self._own = Int8Product(layers)
        if coordinates is not None:
            self._out = self._reorder(_frames_out(layers), None)
            self._add = torch.ops.mkldnn._linear_pointwise.binary

    def _multiply(self, states: torch.Tensor, coordinates: torch.Tensor | None) -> torch.Tensor:
        product = self._own(states)
        if coordinates is None:
            # Coordinates of zero add nothing, to the bit.
            return product
        components = self._components(states, coordinates)
        together: torch.Tensor = self._add(components, product, self._out, None, "add")
        return together

    def take_over(self, head: Any) -> None:
        super().take_over(head)
        for layer in self._layers:
            layer.levels = layer.levels.new_empty(0)

    def _give_weights_back(self) -> None:
        for layer, levels in zip(self._layers, self._own.levels(), strict=True):
            layer.levels = levels


def _frames_out(layers: Sequence[Any]) -> torch.Tensor:
    """The frames' matrices to what each of the layers gives, zeros for the others' components."""
    out: torch.Tensor = torch.block_diag(*(layer.frame_out for layer in layers))  # type: ignore[no-untyped-call]
    return out


def _together(model: Any) -> Iterator[list[Any]]:
    """Every linear layer, beside those that are given the same states."""
    kinds = (torch.nn.Linear, Int8Linear)
    seen: set[torch.nn.Module] = set()
    for module in model.modules():
        children = ((name, child) for name, child in module.named_children() if child not in seen)
        linears = {name: child for name, child in children if type(child) in kinds}
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
    built: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return built and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
