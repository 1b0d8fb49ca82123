"""Sequences in, one pass of the model at a time: who reads what in it, and where their keys and values are."""

import inspect
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from sharedllm.base.loading import Base
from sharedllm.errors import UnsupportedBase
from sharedllm.serving.cache import Cache
from sharedllm.serving.cuda_graphs import recorder
from sharedllm.serving.decoding import Decoding
from sharedllm.serving.passes import Draw, Pass, Take, Wanted
from sharedllm.serving.ragged import Plan, plan, register_ragged
from sharedllm.serving.rows import Rows

if TYPE_CHECKING:
    import torch


@dataclass(eq=False)
class _Sequence:
    """Tokens that are read one after the other, and those that are drawn after them.

    Attributes:
        name: of the request.
        ids: those that are known.
        given: how many of them were there at first.
        draws: whether a token is drawn whenever all that are known are read.
        most: as many tokens may become known.
        read: how many passes have read so far.
        places: of its tokens in the cache, int64 ``[places]``; None until there are enough.
    """

    name: str
    ids: list[int]
    given: int
    draws: bool
    most: int
    read: int = 0
    places: "torch.Tensor | None" = None

    @property
    def unread(self) -> int:
        """How many known tokens no pass has read yet."""
        return len(self.ids) - self.read


class Pager:
    """Sequences in, one pass of the model at a time.

    Attributes:
        passed: what the last pass read.
        failed: sequences of the last pass that it could not be computed with, and why. They are to be dropped; others'
            tokens are as without them.
    """

    def __init__(
        self,
        base: Base,
        *,
        running: int,
        cache_tokens: int,
        batch_tokens: int,
        rows: Rows,
        draw: Draw,
        apart: bool = False,
    ) -> None:
        """Nothing is read yet.

        Args:
            base: the model.
            running: as many sequences at once at most.
            cache_tokens: room for the keys and values of so many tokens.
            batch_tokens: a pass reads as many; at least one of every running sequence.
            rows: applied in every pass.
            draw: draws tokens from logits.
            apart: run the model over one sequence at a time, in pieces that depend on nothing else: how sums are
                grouped depends on the size of what is multiplied.

        Raises:
            UnsupportedBase: the model computes logits for all tokens whatever it is asked, or attends otherwise than it
                is told to.
        """
        if "logits_to_keep" not in inspect.signature(base.model.forward).parameters:
            raise UnsupportedBase(
                f"{type(base.model).__name__} computes logits for every token of a prompt",
                remedy="Use a base whose forward pass takes logits_to_keep.",
            )
        self._base, self._rows, self._wanted = base, rows, Wanted(draw)
        self._batch_tokens, self._apart = batch_tokens, apart
        self._attention = base.model.config._attn_implementation
        self.passed = Pass([], [], [])
        self.failed: dict[str, Exception] = {}
        self._sequences: dict[str, _Sequence] = {}
        self._cache = Cache(cache_tokens)
        self._decoding: Decoding | None = None
        with ExitStack() as undo:
            undo.callback(self.close)
            base.model.set_attn_implementation(register_ragged())
            self._warm_up()
            record = recorder(base.device)
            if record is not None and not apart:
                self._decoding = Decoding(base, self._cache, running, self._rows.gathered, record)
            undo.pop_all()

    @property
    def capacity(self) -> int:
        """Tokens whose keys and values fit the cache."""
        return self._cache.tokens

    def add(
        self, name: str, ids: Sequence[int], *, max_tokens: int, places: range = range(0), take: Take | None = None
    ) -> None:
        """Queue a sequence; it is in the next pass once the cache has room for all of it.

        Args:
            name: of the sequence.
            ids: its tokens, at least one.
            max_tokens: as many are drawn after them at most, until it is dropped; with 0 it is only read.
            places: of the tokens whose logits are wanted; if it draws, they end with the one before the last.
            take: gets them in their order, a pass at a time.
        """
        self._wanted.add(name, draws=max_tokens > 0, places=places, take=take)
        self._sequences[name] = _Sequence(name, list(ids), len(ids), max_tokens > 0, len(ids) + max_tokens)

    def unread(self, name: str) -> int:
        """How many of the tokens given with a sequence no pass has read yet."""
        sequence = self._sequences.get(name)
        return max(sequence.given - sequence.read, 0) if sequence else 0

    def drop(self, name: str) -> None:
        """Forget a sequence and give back its places, before the next pass."""
        self._wanted.drop(name)
        sequence = self._sequences.pop(name)
        if sequence.places is not None:
            self._cache.give_back(sequence.places)
            if self._decoding is not None:
                self._decoding.leave(name)

    def step(self) -> bool:
        """Run one pass of the model; False if there was nothing to run.

        Raises:
            Exception: a pass fails whoever is in it.
        """
        import torch

        turns = self._turns()
        if not turns:
            return False
        sequences, lengths = [each for each, _ in turns], [length for _, length in turns]
        self.passed = Pass(
            [each.name for each in sequences], lengths, [each.unread == length for each, length in turns]
        )
        totals = [each.read + length for each, length in turns]
        kept = self._wanted.places(self.passed, totals)
        self.failed = {}
        with torch.inference_mode():
            try:
                logits = self._logits(sequences, totals, kept)
            except Exception as error:
                logits = self._without_culprits(sequences, totals, kept, error)
            drawn = iter(self._wanted.hand_out(self.passed, kept, logits, self.failed))
        for each, total, ends in zip(sequences, totals, self.passed.ends, strict=True):
            each.read = total
            token = next(drawn) if ends else None
            if token is not None and each.draws and len(each.ids) < each.most:
                each.ids.append(token)
        return True

    def wipe(self) -> None:
        """Overwrite all keys and values but those of sequences that go on, and all that the last pass was given."""
        if self._decoding is not None:
            self._decoding.forget()
        held = ((each.places, each.read) for each in self._sequences.values())
        self._cache.wipe(places[read:] for places, read in held if places is not None)

    def close(self) -> None:
        """Leave the model as it was."""
        self._base.model.set_attn_implementation(self._attention)
        self._decoding = None

    def _warm_up(self) -> None:
        """Read a token of nobody, so that every layer has its memory before anybody depends on it."""
        name, config = type(self._base.model).__name__, self._base.model.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
        if kinds:
            raise UnsupportedBase(
                f"{name} has layers of {', '.join(sorted(kinds))}",
                remedy="Use a base whose layers all attend to what came before, or to the last of it.",
            )
        steps = self._read_nobody()
        expected, (nobody,) = config.num_hidden_layers, steps.singles
        if self._cache.layers != expected or nobody.windows != _windows(config):
            raise UnsupportedBase(
                f"{name} attends by the function that is given to it in {self._cache.layers} of {expected} layers, or"
                " over another window than its configuration says",
                remedy="Use a base all of whose layers attend by transformers' attention interface.",
            )

    def _read_nobody(self) -> Plan:
        """Read a token of nobody; who attended to what."""
        import torch

        steps = plan([1], [torch.tensor([self._cache.nowhere])]).to(self._base.device)
        with torch.inference_mode():
            self._forward([[0]], [torch.zeros(1, dtype=torch.int64)], [0], steps)
        return steps

    def _turns(self) -> list[tuple[_Sequence, int]]:
        """Who reads how many tokens in the next pass: whoever draws one each, and then the others in their order."""
        for each in self._sequences.values():
            if each.places is None:
                each.places = self._cache.take(each.most)
                if each.places is None:
                    break
                if self._decoding is not None:
                    self._decoding.enter(each.name, each.places)
        there = [each for each in self._sequences.values() if each.places is not None and each.unread]
        turns = [(each, 1) for each in there if each.read >= each.given]
        left = self._batch_tokens - (0 if self._apart else len(turns))
        for each in there:
            if each.read < each.given and left:
                whole = min(each.unread, self._batch_tokens)
                if self._apart and whole > left:
                    break
                turns.append((each, min(whole, left)))
                left -= turns[-1][1]
        return turns

    def _logits(self, sequences: Sequence[_Sequence], totals: Sequence[int], kept: Sequence[range]) -> "torch.Tensor":
        """Run a pass; the logits that are wanted, one after the other."""
        if self._decoding is not None and not self._decoding.given_up and max(self.passed.lengths) == 1:
            ids = [each.ids[each.read] for each in sequences]
            logits = self._decoding(self.passed.names, self._rows.slots(self.passed), ids, totals)
            if not all(kept):
                logits = logits[[row for row, places in enumerate(kept) if places]]
            return logits
        return self._run(sequences, totals, kept)

    def _without_culprits(
        self, sequences: Sequence[_Sequence], totals: Sequence[int], kept: list[range], error: Exception
    ) -> "torch.Tensor":
        """Run a pass that failed again, by halves, until it is known with whom it fails; the others' logits.

        Args:
            sequences: of the pass.
            totals: how much of each is read after it.
            kept: whose logits are wanted; none of those it fails with from here on.
            error: how it failed.

        Raises:
            Exception: it fails with everybody, and also with nobody.
        """
        import torch

        def run(begin: int, end: int) -> "list[torch.Tensor]":
            try:
                return [self._run(sequences[begin:end], totals[begin:end], kept[begin:end])]
            except Exception as found:
                if end - begin == 1:
                    self.failed[sequences[begin].name] = found
                    kept[begin] = range(0)
                    return []
            middle = (begin + end) // 2
            return run(begin, middle) + run(middle, end)

        logits = run(0, len(sequences))
        if logits:
            return torch.cat(logits)
        try:
            self._read_nobody()
        except Exception:
            raise error from None
        return self._base.head.new_zeros(0, len(self._base.head))

    def _run(self, sequences: Sequence[_Sequence], totals: Sequence[int], kept: Sequence[range]) -> "torch.Tensor":
        """Run the model over the next tokens of sequences, up to so many of each, under their rows."""
        import torch

        if self._apart and len(sequences) > 1:
            each = zip(sequences, totals, kept, strict=True)
            return torch.cat([self._run([sequence], [total], [places]) for sequence, total, places in each])
        lengths = [total - each.read for each, total in zip(sequences, totals, strict=True)]
        ids = [each.ids[each.read : total] for each, total in zip(sequences, totals, strict=True)]
        positions = [torch.arange(each.read, total) for each, total in zip(sequences, totals, strict=True)]
        ends = accumulate(lengths)
        wanted = [
            end - total + place for end, total, places in zip(ends, totals, kept, strict=True) for place in places
        ]
        held = [each.places[:total] for each, total in zip(sequences, totals, strict=True) if each.places is not None]
        with self._rows.applied([each.name for each in sequences], lengths):
            return self._forward(ids, positions, wanted, plan(lengths, held).to(self._base.device))

    def _forward(
        self, ids: Sequence[list[int]], positions: "Sequence[torch.Tensor]", wanted: Sequence[int], steps: Plan
    ) -> "torch.Tensor":
        import torch

        device = self._base.device
        logits: torch.Tensor = self._base.model(
            input_ids=torch.tensor([[token for own in ids for token in own]], device=device),
            position_ids=torch.cat(list(positions))[None].to(device),
            logits_to_keep=torch.tensor(wanted, dtype=torch.int64, device=device),
            use_cache=False,
            ragged=(steps, self._cache.layer),
        ).logits[0]
        return logits


def _windows(config: Any) -> set[int | None]:
    """Of how many of the last tokens the layers look at, by their configuration; None is all."""
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
    return {window if kind == "sliding_attention" else None for kind in kinds}
