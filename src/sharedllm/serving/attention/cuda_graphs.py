"""Computations whose shapes recur, recorded once on a GPU and replayed from then on (CUDA graphs)."""

import gc
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Tensors = Mapping[str, "torch.Tensor"]
Compute = Callable[[Tensors], Tensors]
"""From inputs to outputs, by work for the device alone; what it writes elsewhere it writes again if it is repeated."""
Recorder = Callable[[Callable[[], Tensors]], tuple[Tensors, Callable[[], None]]]
"""From a computation to its outputs, and to what computes them anew in the same memory."""

_TRIALS = 2
"""A recording is trusted once it has answered right so often, and to different inputs."""
_ROUNDING = 0.02
"""As much of the largest value may a replay differ from the computation by, whose sums may be in another order."""

log = logging.getLogger("sharedllm.serving")


@dataclass(eq=False)
class _Recording:
    inputs: Tensors
    outputs: Tensors
    replay: Callable[[], None]
    trials: int = 0


class Recordings:
    """A computation that is recorded for every combination of shapes it is given.

    What cannot be recorded, or answers otherwise when it is replayed, is computed as it is from then on, and the log
    says so.
    """

    def __init__(self, compute: Compute, record: Recorder, device: "torch.device") -> None:
        """Nothing is recorded yet.

        Args:
            compute: the computation.
            record: how it is recorded.
            device: where it runs.
        """
        self._compute, self._device = compute, device
        self._record: Recorder | None = record
        self._recordings: dict[tuple[tuple[int, ...], ...], _Recording] = {}

    @property
    def given_up(self) -> bool:
        """Whether everything is computed as it is."""
        return self._record is None

    def __call__(self, inputs: Tensors) -> Tensors:
        """The outputs, until the next call."""
        shapes = tuple(tuple(each.shape) for each in inputs.values())
        recording = self._recordings.get(shapes)
        if recording is None:
            there = {name: each.to(self._device, copy=True) for name, each in inputs.items()}
            return self._begin(shapes, there)
        for name, each in inputs.items():
            recording.inputs[name].copy_(each)
        if recording.trials < _TRIALS:
            return self._try(recording)
        recording.replay()
        return recording.outputs

    def forget(self, nobody: Mapping[str, int]) -> None:
        """Overwrite what was computed last, by computing with numbers that are nobody's.

        Args:
            nobody: what each input is filled with; the others with zeros.
        """
        import torch

        with torch.inference_mode():
            for recording in self._recordings.values():
                for name, each in recording.inputs.items():
                    each.fill_(nobody.get(name, 0))
                # What it keeps for itself on the way lies in memory that nothing else writes to.
                recording.replay()
            for recording in self._recordings.values():
                for each in recording.outputs.values():
                    each.zero_()

    def _begin(self, shapes: tuple[tuple[int, ...], ...], inputs: Tensors) -> Tensors:
        """Record, and try what was recorded."""
        if self._record is not None:
            try:
                outputs, replay = self._record(lambda: self._compute(inputs))
            except RuntimeError as error:
                self._give_up(f"could not be recorded ({str(error).partition(chr(10))[0]})")
            else:
                self._recordings[shapes] = _Recording(inputs, outputs, replay)
                return self._try(self._recordings[shapes])
        return self._compute(inputs)

    def _try(self, recording: _Recording) -> Tensors:
        """Replay, and compare with the computation, which comes last: what it writes elsewhere is what stays."""
        recording.replay()
        expected = self._compute(recording.inputs)
        recording.trials += 1
        if not all(_alike(recording.outputs[name], each) for name, each in expected.items()):
            self._give_up("answered otherwise when it was replayed")
        return expected

    def _give_up(self, why: str) -> None:
        log.warning("a pass %s: passes are launched one operation at a time from now on, which is slower", why)
        self._record = None
        self._recordings.clear()


def _alike(replayed: "torch.Tensor", expected: "torch.Tensor") -> bool:
    import torch

    if not torch.equal(replayed.isfinite(), expected.isfinite()):
        return False
    # Whoever's numbers are no numbers, the others' count.
    replayed, expected = (each.nan_to_num(0, 0, 0) for each in (replayed, expected))
    return bool((replayed - expected).abs().max() <= _ROUNDING * expected.abs().max())


def recorder(device: "torch.device") -> Recorder | None:
    """How computations are recorded on a device, if they are."""
    return cuda_graphs(device) if device.type == "cuda" else None


_one_at_a_time = threading.Lock()


def cuda_graphs(device: "torch.device") -> Recorder:
    """Record on a CUDA device; what is recorded shares its memory, since one is replayed at a time.

    Recording raises RuntimeError where the computation looks at what is on the device, or does what else cannot be
    recorded.
    """
    import torch

    memory = torch.cuda.graph_pool_handle()
    aside: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def record(compute: Callable[[], Tensors]) -> tuple[Tensors, Callable[[], None]]:
        with _one_at_a_time, torch.cuda.device(device):
            ordinary = torch.cuda.current_stream()
            aside.wait_stream(ordinary)
            with torch.cuda.stream(aside):
                try:
                    # Libraries make what they need at first use, which cannot be recorded. And a recording that breaks
                    # off leaves torch's memory in disorder, so what would break it is to be found before.
                    unseen(compute)
                    # Nor can anything be freed meanwhile.
                    gc.collect()
                    torch.cuda.empty_cache()
                    graph = torch.cuda.CUDAGraph()
                    # Other threads go on with what they do on the device.
                    graph.capture_begin(pool=memory, capture_error_mode="thread_local")
                    try:
                        outputs = compute()
                    finally:
                        graph.capture_end()
                finally:
                    ordinary.wait_stream(aside)
        return outputs, graph.replay

    return record


def unseen(compute: Callable[[], Tensors]) -> Tensors:
    """Compute, on any device, without a look at a number.

    Raises:
        RuntimeError: the computation looks at one (it decides something by it, or its shapes depend on it), or copies
            from one device to another.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    class Unseen(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = func(*args, **(kwargs or {}))
            if _looks(func.overloadpacket, args, found):
                raise RuntimeError(f"{func} looks at what is on the device")
            return found

    with Unseen():  # type: ignore[no-untyped-call]
        return compute()


def _looks(operation: Any, arguments: Any, found: Any) -> bool:
    import torch

    aten = torch.ops.aten
    if operation in (aten.copy_, aten._to_copy):
        source = arguments[1 if operation == aten.copy_ else 0]
        return bool(source.device != found.device)
    if operation in (aten.index, aten.index_put_):
        return any(each is not None and each.dtype is torch.bool for each in arguments[1])
    return operation in (aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.equal)
