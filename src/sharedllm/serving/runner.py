"""A plan to logits: one forward pass of the model, each token under its own sequence's row."""

import inspect
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from sharedllm.adapters.injection import Cut, Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.compiled_kernels import kernels
from sharedllm.base.fused_norms import FusedNorms
from sharedllm.base.loading import Base
from sharedllm.base.prepacked_weights import Prepacked
from sharedllm.errors import InvalidInput, UnsupportedBase
from sharedllm.serving.attention.cpu import CpuAttention
from sharedllm.serving.attention.cuda import CudaAttention, Decoding
from sharedllm.serving.attention.cuda_graphs import recorder
from sharedllm.serving.attention.interface import Paged, register_attention
from sharedllm.serving.attention.metadata import Metadata, metadata
from sharedllm.serving.attention.rotary import Rotary
from sharedllm.serving.cache import Cache
from sharedllm.serving.request import Limits
from sharedllm.serving.sequence import Chunk, Plan
from sharedllm.serving.table import BASE_SLOT, Table

if TYPE_CHECKING:
    import torch

_BYTES_PER_VALUE = 2
_NOBODYS_TOKEN = 0

_taking = threading.Lock()
_taken: "WeakSet[Any]" = WeakSet()
"""Models that requests run on."""


@dataclass(frozen=True, eq=False)
class Logits:
    """What one pass has computed.

    Attributes:
        plan: of the pass.
        rows: logits of the places that are wanted of every chunk but those that failed, one after the other, float
            ``[places, vocabulary]``; until the next pass.
        failed: why the pass could not be computed with a chunk, by its number in the plan; others' logits are as
            without it.
    """

    plan: Plan
    rows: "torch.Tensor"
    failed: dict[int, Exception]

    def of(self, left: Mapping[int, Chunk]) -> "Logits | None":
        """Those of what is left of some chunks, by their number in the plan; None where nothing is."""
        if not left:
            return None
        rows: list[int] = []
        end = 0
        for number, chunk in enumerate(self.plan.chunks):
            end += 0 if number in self.failed else len(chunk.wanted)
            if number in left:
                rows += range(end - len(left[number].wanted), end)
        return Logits(Plan(list(left.values()), self.plan.reach), self.rows[rows], {})


class Runner:
    """A base on which requests run, with everybody's rows and the cache of their keys and values.

    Attributes:
        layout: the sites that the values of a release belong to.
        table: the rows on the device.
        cache: of keys and values.
    """

    def __init__(self, base: Base, limits: Limits, *, format: str) -> None:
        """Take the base.

        Raises:
            InvalidInput: requests run on the base already.
            UnknownName: see `layout_of`.
            UnsupportedBase: see `layout_of`; or the model computes logits for all tokens whatever it is asked, or
                attends otherwise than it is told to.
        """
        with ExitStack() as undo:
            undo.enter_context(_alone(base))
            self._base, self._apart = base, limits.deterministic
            self.layout = layout_of(base, format)
            # A row for each running request has to fit, or none of them could be admitted.
            slots = max(limits.table_bytes // (self.layout.size * _BYTES_PER_VALUE), limits.running + 1)
            self.table = Table(self.layout.size, slots, base.device)
            self.cache = Cache(limits.cache_tokens)
            self._injection = Injection(base, self.layout)
            undo.callback(self._injection.remove)
            self._gathered: tuple[list[str | None], Cut] | None = None
            if "logits_to_keep" not in inspect.signature(base.model.forward).parameters:
                raise UnsupportedBase(
                    f"{type(base.model).__name__} computes logits for every token of a prompt",
                    remedy="Use a base whose forward pass takes logits_to_keep.",
                )
            undo.callback(base.model.set_attn_implementation, base.model.config._attn_implementation)
            base.model.set_attn_implementation(register_attention())
            self._attention = CpuAttention(kernels()) if base.device.type == "cpu" else CudaAttention()
            self._warm_up()
            record = None if self._apart else recorder(base.device)
            self._decoding: Decoding | None = None
            if record is not None:
                most = limits.running
                self._decoding = Decoding(base, self.cache, self._attention, most, self._rows_in, record)
            self._products = Prepacked(base, self._injection.hand_over)
            undo.callback(self._products.remove)
            undo.callback(FusedNorms(base).remove)
            undo.callback(Rotary(base).remove)
            # What leaves the base as it was if any of this fails does so in the end, too.
            self._undo = undo.pop_all()

    def run(self, plan: Plan) -> Logits:
        """One pass over everybody's chunks.

        Raises:
            Exception: it fails whoever is in it.
        """
        import torch

        with torch.inference_mode():
            try:
                return Logits(plan, self._logits(plan), {})
            except Exception as error:
                return self._without_culprits(plan, error)

    def forget(self) -> None:
        """Overwrite all that passes were given, computed and gave, but for the cache."""
        import torch

        if self._gathered is not None:
            # Made in a pass, so torch lets it be written to in the mode of one alone.
            with torch.inference_mode():
                for piece in self._gathered[1].pieces:
                    piece.zero_()
            self._gathered = None
        self._products.forget()
        if self._decoding is not None:
            self._decoding.forget()

    def close(self) -> None:
        """Leave the base as it was. Closing twice is safe."""
        self._decoding = None
        self._undo.close()

    def _logits(self, plan: Plan) -> "torch.Tensor":
        chunks = plan.chunks
        far = max(chunk.end for chunk in chunks) >= plan.reach
        if far and self._decoding is not None and self._decoding.takes(chunks):
            logits = self._decoding(chunks)
            kept = [row for row, chunk in enumerate(chunks) if chunk.wanted]
            return logits if len(kept) == len(chunks) else logits[kept]
        return self._read(chunks, plan.reach)

    def _read(self, chunks: Sequence[Chunk], reach: int) -> "torch.Tensor":
        """The logits that are wanted of these chunks, one after the other; see `Plan` for the reach."""
        import torch

        if self._apart and len(chunks) > 1:
            # How sums are grouped depends on the size of what is multiplied.
            return torch.cat([self._read([chunk], reach) for chunk in chunks])
        ids: list[int] = []
        positions: list[int] = []
        held, lengths, attending, wanted = [], [], [], []
        for chunk in chunks:
            wanted += [len(ids) - chunk.begin + place for place in chunk.wanted]
            ids += chunk.ids
            positions += range(chunk.begin, chunk.end)
            lengths.append(chunk.end - chunk.begin)
            # All keys are written before anything attends, and few tokens do so sooner as if each were a sequence.
            ends = range(chunk.begin + 1, chunk.end + 1) if chunk.proposed else (chunk.end,)
            held += [chunk.places[:end] for end in ends]
            attending += [lengths[-1] // len(ends)] * len(ends)
        slots = [chunk.sequence.slot for chunk in chunks]
        releases = [chunk.sequence.release for chunk in chunks]
        if max(chunk.end for chunk in chunks) < reach:
            ids.append(_NOBODYS_TOKEN)
            positions.append(reach - 1)
            lengths.append(1)
            attending.append(1)
            held.append(torch.tensor([self.cache.nowhere]))
            slots, releases = [*slots, BASE_SLOT], [*releases, None]
        with self._rows_of(slots, releases, lengths):
            return self._forward(ids, positions, wanted, metadata(attending, held).to(self._base.device))

    def _forward(self, ids: list[int], positions: list[int], wanted: list[int], metadata: Metadata) -> "torch.Tensor":
        import torch

        device = self._base.device
        logits: torch.Tensor = self._base.model(
            input_ids=torch.tensor([ids], device=device),
            position_ids=torch.tensor([positions], device=device),
            logits_to_keep=torch.tensor(wanted, dtype=torch.int64, device=device),
            use_cache=False,
            paged=Paged(metadata, self.cache.layer, self._attention),
        ).logits[0]
        return logits

    @contextmanager
    def _rows_of(self, slots: list[int], releases: list[str | None], lengths: list[int]) -> Iterator[None]:
        """Apply to every token its sequence's row, where so many tokens of each are read one after the other."""
        import torch

        # Zeros change nothing, so a batch of the base alone needs no rows.
        if set(slots) == {BASE_SLOT}:
            yield
            return
        # By release, since another's row may come to lie in a slot; from pass to pass they are mostly the same.
        if self._gathered is None or self._gathered[0] != releases:
            # Once for many passes, and rounded to what the sites compute in.
            self._gathered = releases, self._injection.cut(self.table.rows[slots].to(self._base.dtype))
        index = None
        if max(lengths) > 1:
            index = torch.arange(len(slots)).repeat_interleave(torch.tensor(lengths))[None]
        with self._injection.rows(self._gathered[1], index):
            yield

    @contextmanager
    def _rows_in(self, slots: "torch.Tensor") -> Iterator["torch.Tensor"]:
        """Apply to every token the row in its slot, with nothing but work for the device; gives these rows.

        Args:
            slots: int64 ``[tokens]``, of a pass in which everybody reads one.
        """
        rows = self.table.rows.index_select(0, slots).to(self._base.dtype)
        with self._injection.rows(rows, None):
            yield rows

    def _without_culprits(self, plan: Plan, error: Exception) -> Logits:
        """Run a pass that failed again, by halves, until it is known with whom it fails.

        Raises:
            Exception: it fails with everybody, and also with nobody.
        """
        import torch

        failed: dict[int, Exception] = {}

        def run(begin: int, end: int) -> "list[torch.Tensor]":
            try:
                return [self._read(plan.chunks[begin:end], plan.reach)]
            except Exception as found:
                if end - begin == 1:
                    failed[begin] = found
                    return []
            middle = (begin + end) // 2
            return run(begin, middle) + run(middle, end)

        logits = run(0, len(plan.chunks))
        if logits:
            return Logits(plan, torch.cat(logits), failed)
        try:
            self._read_nobody()
        except Exception:
            raise error from None
        return Logits(plan, self._base.head.new_zeros(0, len(self._base.head)), failed)

    def _warm_up(self) -> None:
        """Read a token of nobody, so that every layer has its memory before anybody depends on it."""
        name, config = type(self._base.model).__name__, self._base.model.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
        if kinds:
            raise UnsupportedBase(
                f"{name} has layers of {', '.join(sorted(kinds))}",
                remedy="Use a base whose layers all attend to what came before, or to the last of it.",
            )
        (nobody,) = self._read_nobody().singles
        expected = config.num_hidden_layers
        if self.cache.layers != expected or nobody.windows != _windows(config):
            raise UnsupportedBase(
                f"{name} attends by the function that is given to it in {self.cache.layers} of {expected} layers, or"
                " over another window than its configuration says",
                remedy="Use a base all of whose layers attend by transformers' attention interface.",
            )

    def _read_nobody(self) -> Metadata:
        """Read a token of nobody; who attended to what."""
        import torch

        nobody = metadata([1], [torch.tensor([self.cache.nowhere])]).to(self._base.device)
        with torch.inference_mode():
            self._forward([_NOBODYS_TOKEN], [0], [0], nobody)
        return nobody


def _windows(config: Any) -> set[int | None]:
    """Of how many of the last tokens the layers look at, by their configuration; None is all."""
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
    return {window if kind == "sliding_attention" else None for kind in kinds}


@contextmanager
def _alone(base: Base) -> Iterator[None]:
    """Keep others off the base's model: each would apply its rows in the other's passes, too."""
    with _taking:
        if base.model in _taken:
            raise InvalidInput(
                f"Another engine serves from this {base.name} already",
                remedy="Close it first, or load the base once more.",
            )
        _taken.add(base.model)
    try:
        yield
    finally:
        with _taking:
            _taken.discard(base.model)
