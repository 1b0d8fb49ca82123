"""A text read once under many rows, and on from any place of it by tokens that might have come instead.

Keys and values of the text stay in the cache, a copy for each row. What is read on from it is a pass of single tokens,
each at its own place and under its own row, as when requests of many people run.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.formats.registry import DEFAULT_FORMAT
from sharedllm.base.context_length import steady_context
from sharedllm.base.loading import Base
from sharedllm.closing import Closing
from sharedllm.errors import UnsupportedBase
from sharedllm.serving.cache import places
from sharedllm.serving.request import Finished, Limits, Request, Token
from sharedllm.serving.runner import Runner
from sharedllm.serving.self_check import show_exact
from sharedllm.serving.sequence import Chunk, Plan
from sharedllm.serving.sequence import Sequence as Running
from sharedllm.serving.table import BASE_SLOT

if TYPE_CHECKING:
    import torch

Row = npt.NDArray[np.float32]
BranchLogits = npt.NDArray[np.floating[Any]]

_PASS_TOKENS = 256


class Branches(Closing):
    """Reads texts of one length under several rows. Until it is closed nothing else may use the base's model.

    Attributes:
        rows: how many rows.
    """

    def __init__(self, base: Base, rows: Sequence[Row | None], tokens: int, *, format: str = DEFAULT_FORMAT) -> None:
        """Take the base.

        Args:
            base: the base model.
            rows: float32 ``[P]``, float16 deviations as the store returns them; None is the base as it is.
            tokens: of the longest text, with what is read on from it.
            format: of the rows.

        Raises:
            UnsupportedBase: texts of this length are read otherwise than shorter ones; or see `show_exact`.
            InvalidInput: a row is not a stored one, or an engine serves from the base.
            UnknownName: see `layout_of`.
        """
        show_exact(base, format=format)
        if tokens > steady_context(base):
            raise UnsupportedBase(
                f"{base.name} reads texts of {tokens:,} tokens otherwise than shorter ones",
                remedy=f"Use windows of fewer than {steady_context(base):,} tokens.",
            )
        self._base, self.rows, self._given = base, len(rows), rows
        most = max(tokens, _PASS_TOKENS)
        limits = Limits(running=len(rows), cache_tokens=(len(rows) + 1) * places(most), table_bytes=0)
        self._runner = Runner(base, limits, format=format)
        self._ids: list[int] = []
        try:
            acquire = self._runner.table.acquire
            self._slots = [
                BASE_SLOT if row is None else acquire(str(number), str(number), row) for number, row in enumerate(rows)
            ]
            self._places = [self._taken(tokens) for _ in rows]
            self._spare = self._taken(most)
        except BaseException:
            self._runner.close()
            raise

    def read(self, ids: Sequence[int]) -> BranchLogits:
        """Read a text under every row; logits of the token after each of its tokens, ``[rows, tokens, vocabulary]``."""
        self._ids = list(ids)
        found = []
        for row in range(self.rows):
            text = self._sequence(row, self._ids)
            text.places = self._places[row]
            found.append(self._run([Chunk(text, 0, len(ids), range(len(ids)), False)]))
        return np.stack(found)

    def after(self, asked: Sequence[tuple[int, int, tuple[int, ...]]]) -> BranchLogits:
        """Logits of the token after a part of that text and some tokens more, ``[asked, vocabulary]``.

        Args:
            asked: of each, under which row, how many tokens of the text, and which come after these, at least one.
        """
        found: list[BranchLogits] = []
        chunks: list[Chunk] = []
        for row, begin, path in asked:
            if len(chunks) + len(path) > len(self._spare):
                found.append(self._run(chunks))
                chunks = []
            chunks += self._branch(row, begin, path, len(chunks))
        return np.concatenate([*found, self._run(chunks)])

    def close(self) -> None:
        """Leave the base as it was. Closing twice is safe."""
        self._runner.close()

    def _branch(self, row: int, begin: int, path: Sequence[int], used: int) -> list[Chunk]:
        import torch

        branch = self._sequence(row, [*self._ids[:begin], *path])
        branch.places = torch.cat([self._places[row][:begin], self._spare[used : used + len(path)]])
        end = begin + len(path)
        wanted = [range(0)] * (len(path) - 1) + [range(end - 1, end)]
        return [Chunk(branch, at, at + 1, each, False) for at, each in zip(range(begin, end), wanted, strict=True)]

    def _taken(self, tokens: int) -> "torch.Tensor":
        places = self._runner.cache.take(tokens)
        assert places is not None, "the cache was made for these"
        return places

    def _sequence(self, row: int, ids: list[int]) -> Running:
        values, name = self._given[row], str(row)
        request = Request(ids, owner=name, release=None if values is None else name, values=values)
        sequence = Running(self._base, row, request, _nobody)
        sequence.slot = self._slots[row]
        return sequence

    def _run(self, chunks: list[Chunk]) -> BranchLogits:
        logits = self._runner.run(Plan(chunks, 0))
        for error in logits.failed.values():
            raise error
        wide = logits.rows.double() if self._base.dtype.itemsize == 8 else logits.rows.float()
        found: BranchLogits = wide.cpu().numpy()
        return found


def _nobody(event: Token | Finished) -> None:
    """Nobody is told anything: nothing is drawn."""
