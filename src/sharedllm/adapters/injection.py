"""The one mechanism behind every vector format: gather a row per sequence or token, multiply or add at each site."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from sharedllm.adapters.layouts import Layout
from sharedllm.base.loading import Base
from sharedllm.base.sites import Site
from sharedllm.errors import InvalidInput, WrongBase

_Active = tuple[tuple[torch.Tensor, ...], torch.Tensor | tuple[int, ...]]
"""The table cut into the sites' pieces, and the row index; its shape alone where it is 0, 1, 2, … to the last row."""


@dataclass(frozen=True, eq=False)
class Cut:
    """A table whose rows are applied again and again, with each site's values of all rows side by side.

    Attributes:
        layout: of the rows.
        pieces: of each site in the layout's order, ``[rows, width]``.
    """

    layout: Layout
    pieces: tuple[torch.Tensor, ...]


class Injection:
    """Hooks on a base that apply rows of a table while `rows` is active, and do nothing otherwise.

    The base's parameters are never touched: a row of zeros gives the base's own activations bit for bit, and `remove`
    leaves the model as it was.
    """

    def __init__(self, base: Base, layout: Layout) -> None:
        if layout.base != base.fingerprint:
            raise WrongBase(
                f"The layout was made for base {layout.base[:12]}, not {base.fingerprint[:12]}",
                remedy="Make it again with layout_of(base).",
            )
        self.layout = layout
        self._active: _Active | None = None
        self._widths = layout.widths
        self._modules = [base.model.get_submodule(site.name) for site in layout.sites]
        self._removed = False
        self._handles = {
            number: self._attach(self._modules[number], site, number) for number, site in enumerate(layout.sites)
        }

    def cut(self, table: torch.Tensor) -> Cut:
        """Copy a table ``[rows, P]`` into the order in which a forward pass reads it.

        Raises:
            InvalidInput: its width is not ``P``.
        """
        return Cut(self.layout, tuple(piece.contiguous() for piece in self._pieces(table)))

    @contextmanager
    def rows(self, table: torch.Tensor | Cut, index: torch.Tensor | None) -> Iterator[None]:
        """Apply ``table[index]`` to every forward pass inside the block.

        Args:
            table: ``[rows, P]``, or what `cut` made of it; in training float32 (float64 on a float64 model). Gradients
                flow into it.
            index: int64, ``[batch]`` for one row per sequence or ``[batch, tokens]`` for one row per token; on the CPU
                nobody waits for a device to have looked at it. None gives each token of one sequence the next row.

        Raises:
            InvalidInput: the table's width is not ``P``, or it was cut for another layout; the index is not int64, has
                another shape, points outside the table or (raised by the forward pass) does not fit its batch; or the
                injection was removed.
        """
        if self._removed:
            raise InvalidInput("The injection was removed from its base", remedy="Make a new one.")
        pieces = self._pieces(table)
        outer = self._active
        self._active = pieces, _checked(index, pieces[0])
        try:
            yield
        finally:
            self._active = outer

    def hand_over(self, modules: Sequence[Any]) -> Callable[[torch.Tensor], torch.Tensor | None] | None:
        """Leave it to the caller, for good, to add ``B (d * (A x))`` at projections that read the same states.

        To be called before any table is cut.

        Args:
            modules: the projections.

        Returns:
            what gives, for states ``[batch, tokens, in]``, the coordinates of each sequence or token at all of these
            projections side by side, to be broadcast against ``[batch, tokens, components]``, or None while no rows
            are active; None instead if the coordinates do not lie side by side in a row.
        """
        first = next((number for number, module in enumerate(self._modules) if module is modules[0]), 0)
        numbers = range(first, first + len(modules))
        sites = self.layout.sites[first : numbers.stop]
        together = all(mine is theirs for mine, theirs in zip(self._modules[first:], modules, strict=False))
        if not together or [site.kind for site in sites] != ["diagonal"] * len(modules):
            return None
        for number in numbers:
            self._handles.pop(number).remove()
            self._widths[number] = 0
        all_of_them = replace(sites[0], rank=sum(site.rank for site in sites))
        self._widths[first] = all_of_them.size

        def coordinates(states: torch.Tensor) -> torch.Tensor | None:
            if self._active is None:
                return None
            return _values(self._active, states, all_of_them, first).to(states.dtype)

        return coordinates

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles.values():
            handle.remove()
        self._handles, self._removed = {}, True

    def _pieces(self, table: torch.Tensor | Cut) -> tuple[torch.Tensor, ...]:
        if isinstance(table, Cut):
            if table.layout is not self.layout:
                raise InvalidInput("The table was cut for another layout", remedy="Cut it with this injection.")
            return table.pieces
        if table.ndim != 2 or table.shape[1] != self.layout.size:
            raise InvalidInput(
                f"A table of shape {list(table.shape)} does not fit {self.layout.format} with P = {self.layout.size}",
                remedy=f"Give rows of {self.layout.size} values.",
            )
        pieces: tuple[torch.Tensor, ...] = torch.split(table, self._widths, dim=1)
        return pieces

    def _attach(self, module: Any, site: Site, number: int) -> Any:
        if site.at == "input":

            def change_input(module: Any, inputs: tuple[Any, ...]) -> Any:
                if self._active is None:
                    return None
                return (_apply(self._active, inputs[0], site, number), *inputs[1:])

            return module.register_forward_pre_hook(change_input)

        def change_output(module: Any, inputs: Any, output: Any) -> Any:
            if self._active is None:
                return None
            if site.rank:
                return output + _within_frame(self._active, module, inputs[0], site, number)
            if isinstance(output, tuple):
                return (_apply(self._active, output[0], site, number), *output[1:])
            return _apply(self._active, output, site, number)

        return module.register_forward_hook(change_output)


def _checked(index: torch.Tensor | None, piece: torch.Tensor) -> torch.Tensor | tuple[int, ...]:
    """The index; its shape alone where the tokens have the rows one after the other, with nothing to gather."""
    count = len(piece)
    if index is None:
        return 1, count
    inside = not index.numel() or 0 <= int(index.min()) <= int(index.max()) < count
    # A mask of booleans would index too, and pick other rows.
    if index.dtype != torch.int64 or index.ndim not in (1, 2) or not inside:
        raise InvalidInput(
            f"The {index.dtype} row index of shape {list(index.shape)} does not point into {count} rows",
            remedy="Give one int64 row number per sequence, or per token.",
        )
    in_order = torch.equal(index.flatten(), torch.arange(count, device=index.device))
    return tuple(index.shape) if in_order else index.to(piece.device)


def _within_frame(active: _Active, module: Any, states: torch.Tensor, site: Site, number: int) -> torch.Tensor:
    """``B (D (A x))`` for states ``[batch, tokens, in]``, where each token's ``D`` is its row's."""
    linear = torch.nn.functional.linear
    inner = linear(states, module.frame_into)
    if site.kind == "diagonal":
        inner = inner * _values(active, inner, site, number).to(inner.dtype)
    else:
        cores = _values(active, inner, site, number).to(inner.dtype)
        cores = cores.view(*cores.shape[:-1], site.rank, site.rank)
        inner = (cores @ inner.unsqueeze(-1)).squeeze(-1) if cores.shape[1] > 1 else inner @ cores.squeeze(1).mT
    return linear(inner, module.frame_out)


def _apply(active: _Active, activation: torch.Tensor, site: Site, number: int) -> torch.Tensor:
    values = _values(active, activation, site, number)
    if site.kind == "scale":
        return scale(activation, values)
    return (activation + values).to(activation.dtype)


def _values(active: _Active, activation: torch.Tensor, site: Site, number: int) -> torch.Tensor:
    """The site's values for each sequence or token, shaped to be broadcast against the activation."""
    pieces, index = active
    piece = pieces[number]
    values = piece.view(*index, site.size) if isinstance(index, tuple) else _gather(piece, index)
    batch = activation.shape[:1] if values.ndim == 2 else (activation.shape[0], activation.shape[site.token_axis])
    if batch != values.shape[:-1]:
        # Broadcasting would quietly give one user's row to another's sequence.
        raise InvalidInput(
            f"A row index of shape {list(values.shape[:-1])} does not fit a batch of shape {list(batch)}",
            remedy="Give one row number per sequence, or per token.",
        )
    if values.ndim != activation.ndim:
        shape = [values.shape[0], *[1] * (activation.ndim - 2), site.size]
        if values.ndim == 3:
            shape[site.token_axis] = values.shape[1]
        values = values.view(shape)
    return values


def _gather(piece: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    if torch.is_grad_enabled():
        # What follows has a gradient that a GPU would add up in another order every time.
        return piece[index]
    # Ten times as fast.
    return piece.index_select(0, index.flatten()).view(*index.shape, piece.shape[1])


def scale(activation: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Scale an activation ``[batch, ..., width]`` by values that broadcast against it."""
    if torch.is_grad_enabled():
        scaled: torch.Tensor = Scale.apply(activation, values)  # type: ignore[no-untyped-call]
        return scaled
    # The same without what a gradient would need, which takes longer than the product when a token is read at a time.
    return torch.addcmul(activation, activation, values.to(activation.dtype))


class Scale(torch.autograd.Function):
    """One pass over the activation instead of three with a float32 copy between them.

    ``a + a * s`` is exactly ``a`` where ``s`` is zero, and rounds once, like the norm itself does. The gradient of the
    values is a sum over tokens of small numbers, so it is added up in float32 whatever the base runs in.
    """

    @staticmethod
    def forward(ctx: Any, activation: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Scale an activation ``[batch, ..., width]`` by values that broadcast against it."""
        narrow = values.to(activation.dtype)
        ctx.save_for_backward(activation, narrow)
        ctx.values_dtype = values.dtype
        return torch.addcmul(activation, activation, narrow)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Gradients of the activation and of the values."""
        (upstream,) = gradients
        activation, narrow = ctx.saved_tensors
        of_activation = torch.addcmul(upstream, upstream, narrow) if ctx.needs_input_grad[0] else None
        of_values = None
        if ctx.needs_input_grad[1]:
            repeated = [axis for axis, size in enumerate(narrow.shape) if size == 1]
            of_values = (upstream * activation).sum(repeated, keepdim=True, dtype=ctx.values_dtype)
        return of_activation, of_values
