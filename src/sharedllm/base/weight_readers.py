"""Who reads the weights of a model's linear layers: others than the layer itself may, and then they have to stay.

A router may multiply by the weight of a layer in it that it never calls, in a wider dtype. No list of architectures can
tell; a pass is watched.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from threading import get_ident
from types import TracebackType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_EMPTY_TELLS = (torch.Tensor.dtype.__get__, torch.Tensor.device.__get__)  # type: ignore[attr-defined]
"""What a weight says as well when nothing is left of it."""


class WeightReaders(TorchFunctionMode):
    """Watches the passes that this thread makes while it is entered, but for what TorchScript does in them.

    Attributes:
        called: the layers whose forward passes were called.
        read: those whose weights were read by anybody but themselves, and, once it is left, those that share theirs
            with a layer that was not called.
    """

    def __init__(self, layers: Iterable[torch.nn.Module]) -> None:
        """Watch linear layers."""
        super().__init__()
        self.called: set[torch.nn.Module] = set()
        self.read: set[torch.nn.Module] = set()
        self._layers = list(layers)
        # Layers may share one.
        self._owners: dict[int, list[torch.nn.Module]] = defaultdict(list)
        for layer in self._layers:
            self._owners[id(layer.weight)].append(layer)
        self._running: torch.nn.Module | None = None
        self._thread = get_ident()
        self._handles: list[Any] = []

    def __enter__(self) -> "WeightReaders":
        """Begin to watch."""
        self._thread = get_ident()
        for layer in self._layers:
            self._handles.append(layer.register_forward_pre_hook(self._begin))
            self._handles.append(layer.register_forward_hook(self._end, prepend=True, always_call=True))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the model as it was."""
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        while self._handles:
            self._handles.pop().remove()
        for owners in self._owners.values():
            # Of those who share one, whoever was not called yet may be, and reads it then.
            if len(owners) > 1 and not self.called.issuperset(owners):
                self.read.update(owners)

    def __torch_function__(
        self, called: Callable[..., Any], types: Any, given: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        """Compute as without, and see what was given."""
        named = named or {}
        if called not in _EMPTY_TELLS:
            self._see((*given, *named.values()))
        return called(*given, **named)

    def _see(self, given: Iterable[Any]) -> None:
        for each in given:
            if isinstance(each, torch.Tensor):
                self.read.update(owner for owner in self._owners.get(id(each), ()) if owner is not self._running)
            elif isinstance(each, (tuple, list)):
                self._see(each)

    def _begin(self, layer: torch.nn.Module, _: Any) -> None:
        # Hooks are of all threads, and what is seen is of one.
        if get_ident() == self._thread:
            self.called.add(layer)
            self._running = layer

    def _end(self, *_: Any) -> None:
        if get_ident() == self._thread:
            self._running = None
