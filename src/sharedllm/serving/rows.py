"""Everybody's rows, applied to the passes that their requests are read in."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sharedllm.adapters.injection import Cut, Injection
from sharedllm.serving.passes import Pass
from sharedllm.serving.table import BASE_SLOT, Table

if TYPE_CHECKING:
    import torch

    from sharedllm.serving.parts import Part


class Rows:
    """The rows of a table under which the parts of a pass are read."""

    def __init__(self, injection: Injection, table: Table, dtype: "torch.dtype", part: "Callable[[str], Part]") -> None:
        """Nothing is applied yet.

        Args:
            injection: what applies them.
            table: where they are.
            dtype: what the sites compute in.
            part: what runs under a name.
        """
        self._injection, self._table, self._dtype, self._part = injection, table, dtype, part
        self._gathered: tuple[list[str | None], Cut] | None = None

    def slots(self, passed: Pass) -> list[int]:
        """The slot of each request of a pass."""
        return [self._part(name).slot for name in passed.names]

    @contextmanager
    def applied(self, names: Sequence[str], lengths: Sequence[int]) -> Iterator[None]:
        """Apply to every token its request's row, where so many of each are read one after the other."""
        import torch

        parts = [self._part(name) for name in names]
        slots = [part.slot for part in parts]
        # Zeros change nothing, so a batch of the base alone needs no rows.
        if set(slots) == {BASE_SLOT}:
            yield
            return
        # By release, since another's row may come to lie in a slot; from pass to pass they are mostly the same.
        releases = [None if part.slot == BASE_SLOT else part.each.request.release for part in parts]
        if self._gathered is None or self._gathered[0] != releases:
            # Once for many passes, and rounded to what the sites compute in.
            self._gathered = releases, self._injection.cut(self._table.rows[slots].to(self._dtype))
        index = None
        if max(lengths) > 1:
            index = torch.arange(len(slots)).repeat_interleave(torch.tensor(list(lengths)))[None]
        with self._injection.rows(self._gathered[1], index):
            yield

    @contextmanager
    def gathered(self, slots: "torch.Tensor") -> Iterator["torch.Tensor"]:
        """Apply to every token the row in its slot, with nothing but work for the device; gives these rows.

        Args:
            slots: int64 ``[tokens]``, of a pass in which everybody reads one.
        """
        rows = self._table.rows.index_select(0, slots).to(self._dtype)
        with self._injection.rows(rows, None):
            yield rows

    def forget(self) -> None:
        """Overwrite what was gathered."""
        import torch

        if self._gathered is not None:
            # Made in a pass, so torch lets it be written to in the mode of one alone.
            with torch.inference_mode():
                for piece in self._gathered[1].pieces:
                    piece.zero_()
            self._gathered = None
