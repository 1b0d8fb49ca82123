"""How sharply a base's loss bends along every number of a row: what a step of the natural gradient is divided by.

It is the diagonal of the Fisher information of a token at the base (Amari 1998, section 2), estimated from squares of
the gradients of general text's windows (Kunstner et al. 2019 on what such an estimate is worth: only its sizes are used
here). Everybody's training on a base shares it, so that it is measured once.
"""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError

from sharedllm.adapters.injection import Injection
from sharedllm.base.loading import Base
from sharedllm.cache_folder import cache_dir
from sharedllm.errors import Diverged
from sharedllm.evaluation.perplexity import Windows, spread
from sharedllm.files import make_folder, replace_private
from sharedllm.training.row_gradients import row_gradients

CURVATURE_WINDOWS = 48
"""Read of general text: a curvature is told to a fifth then, and steps are not finer than that."""

_DAMPING = 0.1
"""Of a kind's mean curvature, added to each: what hardly bends is not followed without end."""

_AT_ONCE = 4


def measure_curvature(
    base: Base, injection: Injection, windows: Windows, *, on_window: Callable[[int], Any] | None = None
) -> npt.NDArray[np.float32]:
    """The damped curvature of a token's loss at the base, float32 ``[P]``, in nats per squared unit of a row.

    Args:
        base: the base.
        injection: of the layout, attached to it.
        windows: int64 ``[n, window]`` of general text, of which `CURVATURE_WINDOWS` are read.
        on_window: told how many more were read.
    """
    import torch

    windows = spread(windows, CURVATURE_WINDOWS)
    sites = injection.layout.sites
    total = torch.zeros(injection.layout.size, dtype=torch.float64)
    for begin in range(0, len(windows), _AT_ONCE):
        part = torch.from_numpy(windows[begin : begin + _AT_ONCE]).to(base.device)
        zeros = torch.zeros(
            len(part), injection.layout.size, device=base.device, dtype=torch.promote_types(base.dtype, torch.float32)
        )
        _, gradients = row_gradients(base, injection, zeros, part)
        total += gradients.double().square().sum(dim=0).cpu()
        if on_window:
            on_window(len(part))
    tokens = windows.shape[1] - base.tokens.unpredicted
    # A mean of independent tokens' gradients has a token's variance over their number.
    found = total.numpy() * tokens / len(windows)
    kinds = np.repeat([site.kind for site in sites], injection.layout.widths)
    for kind in set(kinds):
        found[kinds == kind] += _DAMPING * found[kinds == kind].mean() + np.finfo(np.float32).tiny
    damped: npt.NDArray[np.float32] = found.astype(np.float32)
    return damped


def kept_curvature(
    base: Base,
    injection: Injection,
    windows: Windows,
    bar: Callable[[str, int], AbstractContextManager[Callable[[int], None]]],
) -> npt.NDArray[np.float32]:
    """What `measure_curvature` finds, from the cache if it was measured on this machine before.

    Args:
        base, injection, windows: as for `measure_curvature`.
        bar: shows how far the measuring is.

    Raises:
        Diverged: it is not finite.
    """
    from filelock import FileLock
    from safetensors.numpy import load_file, save

    windows, layout = spread(windows, CURVATURE_WINDOWS), injection.layout
    read = hashlib.sha256(f"{layout.base} {layout.sites_sha256} {windows.shape} {_DAMPING} ".encode())
    read.update(windows.tobytes())
    path = cache_dir() / "curvatures" / f"{read.hexdigest()}.safetensors"

    def kept() -> npt.NDArray[np.float32] | None:
        with suppress(OSError, SafetensorError, KeyError):
            found: npt.NDArray[np.float32] = load_file(path)["curvature"]
            if found.shape == (layout.size,) and (found > 0).all():
                return found
        return None

    if (found := kept()) is not None:
        return found
    with ExitStack() as held:
        # Of many workers that begin at once one measures; in a cache that cannot be written to, each does.
        with suppress(OSError):
            make_folder(path.parent)
            held.enter_context(FileLock(path.with_suffix(".lock")))
        if (found := kept()) is not None:
            return found
        with bar(f"measuring once what {base.name} is sensitive to", len(windows)) as advance:
            measured = measure_curvature(base, injection, windows, on_window=advance)
        if not np.isfinite(measured).all():
            raise Diverged(
                f"The gradients of {base.name} on general text are not finite in format {layout.format}",
                remedy="Train with --recipe adamw, or load the base in another dtype.",
            )
        # Whoever cannot keep it measures it again.
        with suppress(OSError):
            replace_private(path, save({"curvature": measured}))
        return measured
