"""Products with the frozen weights on a CPU, from weights kept in the layout that they are multiplied from.

torch lays a weight out anew for every product, and with the few tokens of a decoding batch that takes longer than the
product itself. Which layout it is, `weight_layouts.py` says.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch

from sharedllm.base.int8_weights import Int8Linear, Int8Product
from sharedllm.base.loading import Base
from sharedllm.base.weight_layouts import LaidOut, OnGrids, WeightLayout, layout_for
from sharedllm.base.weight_readers import WeightReaders
from sharedllm.errors import InvalidInput

Coordinates = Callable[[torch.Tensor], torch.Tensor | None]
"""From states ``[batch, tokens, in]`` to what multiplies the components of frames there; None where nothing does."""

_KINDS = (torch.nn.Linear, Int8Linear)
_TOKENS = 8
"""That are read to see who reads which weight."""

_SAME_STATES = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Children of one module that read the same states."""


class Prepacked:
    """A base whose linear layers multiply from such weights until `remove`; for inference alone.

    Plain weights that there is no layout for are left alone, as on another device, and layers that a pass does not
    call. Layers that read the same states, as those to queries, keys and values do, are one product.

    The plain weights are given up meanwhile, so that nothing is held twice but what others read than the layer itself,
    as `Base.head` does the head's. If the memory for that runs out, the error leaves every layer as it was.

    Where coordinates of frames are added, ``W x + B (d * (A x))`` is one product, ``[W | B]`` with ``x`` and its scaled
    components behind one another: to add what ``B`` gives afterwards would read and write every output once more.
    Beside weights in int8 it is added afterwards all the same.
    """

    def __init__(self, base: Base, within: Callable[[Sequence[Any]], Coordinates | None] | None = None) -> None:
        """Take the layers' forward passes over.

        Args:
            base: whose.
            within: of layers that read the same states, all with frames, gives the coordinates that are added there, as
                `Injection.hand_over` does; None where none are, or are by somebody else.
        """
        self._products: list[_Product] = []
        layout = layout_for(base)
        if layout is None and base.weights != "int8":
            return
        called, read = _readers(base)
        with ExitStack() as undo:
            undo.callback(self.remove)
            for layers in _together(base.model, called):
                coordinates = within(layers) if within is not None and layout is not None else None
                if type(layers[0]) is Int8Linear:
                    self._products.append(_InInt8(layers, coordinates, layout))
                elif layout is not None and layers[0].weight.dtype == base.dtype:
                    over_frames = _OverFrames.of(layers, coordinates, layout)
                    self._products.append(over_frames or _Plain(layers, coordinates, layout))
                else:
                    continue
                self._products[-1].take_over(read)
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

    def forget(self) -> None:
        """Keep nothing for anybody."""
        self._states, self._kept = None, {}

    def take_over(self, read: Set[Any]) -> None:
        """Stand in for the layers, and have them give up what they hold themselves.

        Args:
            read: those whose weights others read, too.
        """
        for number, layer in enumerate(self._layers):
            layer.forward = partial(self, number)
        self._give_weights_up(read)

    def give_back(self) -> None:
        """Leave the layers as they were."""
        self._give_weights_back()
        for layer in self._layers:
            vars(layer).pop("forward", None)

    @abstractmethod
    def _give_weights_up(self, read: Set[Any]) -> None:
        """Have the layers hold nothing that nobody reads any more."""

    @abstractmethod
    def _give_weights_back(self) -> None:
        """Give the layers those of their weights that they gave up."""


class _OfWeights(_Product):
    """Of plain weights."""

    def _give_weights_up(self, read: Set[Any]) -> None:
        for layer in self._layers:
            if layer not in read:
                layer.weight.data = layer.weight.new_empty(0)

    def _give_weights_back(self) -> None:
        if not all(layer.weight.numel() for layer in self._layers):
            parts = self._weights().split(self._widths)  # type: ignore[no-untyped-call]
            for layer, own in zip(self._layers, parts, strict=True):
                if not layer.weight.numel():
                    # Weights that share their memory could not be saved.
                    layer.weight.data = own[:, : layer.in_features].clone()

    @abstractmethod
    def _weights(self) -> torch.Tensor:
        """All layers' weights below one another, to the bit, and whatever may stand beside them."""


class _Plain(_OfWeights):
    """Of the weights as they are, with what coordinates add in the same product."""

    def __init__(self, layers: Sequence[Any], coordinates: Coordinates | None, layout: WeightLayout) -> None:
        super().__init__(layers, coordinates)
        self._bias = _biases(layers)
        weight = _below_one_another(layers)
        if coordinates is not None:
            self._into, out = _frames(layers, layout)
            self._rank = len(out[0])
            weight = torch.cat([weight, out], dim=1)
        self._weight = layout(weight)

    def _multiply(self, states: torch.Tensor, coordinates: torch.Tensor | None) -> torch.Tensor:
        given = states
        if coordinates is not None:
            given = torch.cat([states, self._into(states) * coordinates], dim=-1)
        elif self._coordinates is not None:
            # The same product as beside others with coordinates, so that it rounds alike.
            given = torch.nn.functional.pad(states, (0, self._rank))
        return self._weight(given, self._bias)

    def _weights(self) -> torch.Tensor:
        return self._weight.plain()


class _OverFrames(_OfWeights):
    """Of what the weights were before frames were folded into them: ``W x + B ((1 + d) * (A x))``.

    What lay on grids does so no longer once something was added to it.
    """

    def __init__(self, layers: Sequence[Any], coordinates: Coordinates | None, into: LaidOut, before: OnGrids) -> None:
        super().__init__(layers, coordinates)
        self._bias, self._into, self._before = _biases(layers), into, before

    @classmethod
    def of(cls, layers: Sequence[Any], coordinates: Coordinates | None, layout: WeightLayout) -> "_OverFrames | None":
        """None if the layers have no frames, or their weights lay on no grids."""
        framed = all(getattr(layer, "frame_into", None) is not None for layer in layers)
        if layout.ours is None or layers[0].weight.dtype != torch.float32 or not framed:
            return None
        into, out = _frames(layers, layout)
        before = layout.before(_below_one_another(layers), _folded(layers), out)
        return None if before is None else cls(layers, coordinates, into, before)

    def _multiply(self, states: torch.Tensor, coordinates: torch.Tensor | None) -> torch.Tensor:
        within = self._into(states)
        if coordinates is not None:
            # Coordinates of zero leave it as it is, to the bit.
            within = torch.addcmul(within, within, coordinates)
        return self._before.and_more(states, within, self._bias)

    def _weights(self) -> torch.Tensor:
        return self._before.plain() + _folded(self._layers)


class _InInt8(_Product):
    """Of weights in int8; what coordinates add is multiplied in what the base computes in."""

    def __init__(self, layers: Sequence[Any], coordinates: Coordinates | None, layout: WeightLayout | None) -> None:
        super().__init__(layers, coordinates)
        self._own = Int8Product(layers)
        if coordinates is not None and layout is not None:
            self._into, out = _frames(layers, layout)
            self._out = layout(out)

    def _multiply(self, states: torch.Tensor, coordinates: torch.Tensor | None) -> torch.Tensor:
        product = self._own(states)
        if coordinates is None:
            # Coordinates of zero add nothing, to the bit.
            return product
        return self._out.added(product, self._into(states) * coordinates)

    def _give_weights_up(self, read: Set[Any]) -> None:
        # Whatever plain weight there is by now is one that somebody reads.
        for layer in self._layers:
            layer.levels = layer.levels.new_empty(0)

    def _give_weights_back(self) -> None:
        for layer, levels in zip(self._layers, self._own.levels(), strict=True):
            layer.levels = levels


def _biases(layers: Sequence[Any]) -> torch.Tensor | None:
    biases: list[torch.Tensor] = [layer.bias for layer in layers if layer.bias is not None]
    return torch.cat(biases).detach() if biases else None


def _below_one_another(layers: Sequence[Any]) -> torch.Tensor:
    return torch.cat([layer.weight.detach() for layer in layers])


def _folded(layers: Sequence[Any]) -> torch.Tensor:
    """What was added to the layers' weights for their frames, below one another."""
    return torch.cat([layer.frame.product for layer in layers])


def _frames(layers: Sequence[Any], layout: WeightLayout) -> tuple[LaidOut, torch.Tensor]:
    """The frames' matrices: to all components, and to what each layer gives, zeros for the others' components."""
    into = layout(torch.cat([layer.frame_into for layer in layers]))
    out: torch.Tensor = torch.block_diag(*(layer.frame_out for layer in layers))  # type: ignore[no-untyped-call]
    return into, out


def _readers(base: Base) -> tuple[Set[Any], Set[Any]]:
    """The linear layers that are called, and those whose weights others read, too."""
    readers = WeightReaders(module for module in base.model.modules() if type(module) in _KINDS)
    ids = torch.arange(_TOKENS, device=base.device)[None] % base.tokens.rows
    with torch.no_grad(), readers:
        base.model(input_ids=ids, use_cache=False)
    # One in int8 lays its weight out anew in every call, until it is taken over.
    in_int8 = {module for module in base.model.modules() if type(module) is Int8Linear}
    return readers.called | in_int8, readers.read | {base.model.get_output_embeddings()}


def _together(model: Any, among: Set[Any]) -> Iterator[list[Any]]:
    """Every linear layer among these modules, beside those that are given the same states."""
    seen: set[torch.nn.Module] = set()
    for module in model.modules():
        children = ((name, child) for name, child in module.named_children() if type(child) in _KINDS)
        linears = {name: child for name, child in children if child in among and child not in seen}
        seen.update(linears.values())
        for names in _SAME_STATES:
            if not set(names) <= set(linears):
                continue
            layers = [linears[name] for name in names]
            # Either all of them have a bias or none.
            kinds = {(type(layer), layer.in_features, layer.weight.dtype, layer.bias is None) for layer in layers}
            if len(kinds) == 1:
                yield [linears.pop(name) for name in names]
        yield from ([layer] for layer in linears.values())
