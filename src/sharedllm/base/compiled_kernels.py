"""What a pass does between its products, each part of it in one call: compiled once a machine, where a compiler is.

A small model's pass is more than a thousand operations of torch, most of which take longer to be called than to
compute, and attention of many is a copy of everybody's keys and values first. Where nothing can be compiled, they
compute the same; each caller has both ways, and tests compare them.
"""

import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sharedllm.cache_folder import cache_dir
from sharedllm.files import replace_private

if TYPE_CHECKING:
    import torch

    from sharedllm.base.weight_grids import Grids

_SOURCE = Path(__file__).with_name("kernels.cpp")
_OPTIONS = ("-std=c++17", "-O3", "-fopenmp", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
_PROCESSORS = {
    "AVX2": ("-march=x86-64-v3",),
    "AVX512": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
}
"""What may be made use of, by what torch has found the processor to be."""
_SECONDS = 600
"""More than a busy machine takes: whoever gives up serves without them until it is started anew."""

_PANEL = 16
"""Outputs of a product that lie beside one another, as `kernels.cpp` has them."""

_POINTER, _COUNT = ctypes.c_void_p, ctypes.c_int64
_GIVEN = {
    "norm": [*[_POINTER] * 3, *[_COUNT] * 2, ctypes.c_double],
    "rotate": [*[_POINTER, _COUNT] * 3, *[_POINTER] * 6, *[_COUNT] * 5],
    "attend": [_POINTER, *[_COUNT] * 2, *[_POINTER] * 6, *[_COUNT] * 7, ctypes.c_double],
    "product": [*[_POINTER] * 4, *[_COUNT] * 3],
    "narrow_product": [*[_POINTER] * 4, *[_COUNT] * 3],
    "grids_product": [*[_POINTER] * 6, *[_COUNT] * 5],
    "int8_product": [*[_POINTER] * 6, *[_COUNT] * 3],
}

_COMPUTE_IN = ("attend", "product", "narrow_product", "grids_product", "int8_product")
"""What takes memory of its own, and says whether there was enough."""

log = logging.getLogger("sharedllm.base")


class Kernels:
    """The compiled operations. All tensors of a call are of one of `dtypes`, on the CPU, and their last axis is dense.

    Where there is no memory to compute in, a call raises `MemoryError`.

    Attributes:
        dtypes: what they compute in.
        multiplied: those of them in which `multiply` does.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        import torch

        self.dtypes = (torch.bfloat16, torch.float32, torch.float64)
        measured = torch.backends.cpu.get_cpu_capability() in _PROCESSORS
        self.multiplied = (torch.bfloat16, torch.float32) if measured else ()
        wide = (torch.float32,)
        kinds = {"product": (torch.bfloat16, torch.float32), "narrow_product": wide, "grids_product": wide}
        self._called = {
            name: {
                dtype: getattr(library, f"{name}_{str(dtype).removeprefix('torch.')}")
                for dtype in kinds.get(name, self.dtypes)
            }
            for name in _GIVEN
        }
        for name, called in self._called.items():
            for each in called.values():
                each.argtypes, each.restype = _GIVEN[name], None
                if name in _COMPUTE_IN:
                    each.restype, each.errcheck = ctypes.c_bool, _check_memory

    def norm(self, states: "torch.Tensor", gain: "torch.Tensor", epsilon: float) -> "torch.Tensor":
        """RMSNorm (Zhang and Sennrich 2019) as transformers rounds it.

        Args:
            states: ``[..., width]``.
            gain: ``[width]``.
            epsilon: added to the mean of squares.
        """
        states = states.contiguous()
        found, width = states.new_empty(states.shape), len(gain)
        self._called["norm"][states.dtype](
            states.data_ptr(), gain.data_ptr(), found.data_ptr(), states.numel() // width, width, epsilon
        )
        return found

    def rotate(
        self,
        states: "tuple[torch.Tensor, torch.Tensor, torch.Tensor]",
        turns: "tuple[torch.Tensor, torch.Tensor]",
        written: "torch.Tensor",
        keys: "torch.Tensor",
        values: "torch.Tensor",
    ) -> "torch.Tensor":
        """Turn a pass's queries and keys by their positions (Su et al. 2021), and keep keys and values.

        Args:
            states: queries, keys and values, each ``[1, tokens, heads * width]``.
            turns: cosines and sines of each token, dense ``[1, tokens, width]``.
            written: the place of each token in the cache, dense int64 ``[tokens]``.
            keys: the cache, dense ``[places, key_heads, width]``, which is written to.
            values: like ``keys``.

        Returns:
            the queries, ``[1, heads, tokens, width]``.
        """
        key_heads, width = keys.shape[1:]
        _, tokens, all_of_them = states[0].shape
        heads = all_of_them // width
        queries = states[0].new_empty(1, tokens, heads, width)
        self._called["rotate"][queries.dtype](
            *(number for each in states for number in (each.data_ptr(), each.stride(1))),
            *(each.data_ptr() for each in (*turns, written, queries, keys, values)),
            *(tokens, heads, key_heads, width, values.shape[-1]),
        )
        return queries.transpose(1, 2)

    def attends(self, query: "torch.Tensor", keys: "torch.Tensor", values: "torch.Tensor") -> bool:
        """Whether `attend` reads such tensors: other widths or dtypes it would read beyond their end."""
        alike = query.dtype is keys.dtype is values.dtype and query.shape[-1] == keys.shape[-1]
        return alike and query.dtype in self.dtypes and query.stride(-1) == 1

    def attend(
        self,
        query: "torch.Tensor",
        keys: "torch.Tensor",
        values: "torch.Tensor",
        output: "torch.Tensor",
        asked: "tuple[torch.Tensor, torch.Tensor, torch.Tensor]",
        window: int | None,
        scaling: float | None,
    ) -> None:
        """Attention of one token of each request to its own keys, where these are.

        Args:
            query: ``[1, heads, tokens, width]``.
            keys: ``[places, key_heads, width]``, dense; heads is a multiple of key_heads.
            values: ``[places, key_heads, value_width]``, dense.
            output: ``[1, tokens, heads, value_width]``, dense; written to at the tokens that are asked for.
            asked: which token each request asks for, ``[requests]``, the places of its keys ``[requests, longest]``,
                and how many these are ``[requests]``; dense int64.
            window: each looks at the last so many of its keys; None for all.
            scaling: of the scores; ``width ** -0.5`` by default.
        """
        tokens, places, held = asked
        key_heads, width = keys.shape[1:]
        self._called["attend"][query.dtype](
            query.data_ptr(),
            query.stride(1),
            query.stride(2),
            keys.data_ptr(),
            values.data_ptr(),
            output.data_ptr(),
            tokens.data_ptr(),
            places.data_ptr(),
            held.data_ptr(),
            *places.shape,
            key_heads,
            query.shape[1] // key_heads,
            width,
            values.shape[-1],
            window or 0,
            width**-0.5 if scaling is None else scaling,
        )

    def laid_out(self, weight: "torch.Tensor") -> "torch.Tensor":
        """A weight ``[out, in]`` in the order that `multiply` reads it in, zeros in its gaps."""
        import torch

        deep = _deep(weight.dtype)
        out, into = weight.shape
        whole = torch.nn.functional.pad(weight, (0, -into % deep, 0, -out % _PANEL))
        return whole.view(-1, _PANEL, whole.shape[1] // deep, deep).transpose(1, 2).contiguous()

    def plain(self, weight: "torch.Tensor", out: int, into: int) -> "torch.Tensor":
        """A weight that was laid out as it was before, ``[out, in]``, the same to the bit."""
        panels, half, panel, deep = weight.shape
        return weight.transpose(1, 2).reshape(panels * panel, half * deep)[:out, :into].contiguous()

    def multiply(
        self, states: "torch.Tensor", weight: "torch.Tensor", out: int, bias: "torch.Tensor | None" = None
    ) -> "torch.Tensor":
        """The product of states with a weight, summed in float32 and rounded once.

        A token's product is the same to the bit whatever tokens are beside it, and however many.

        Args:
            states: ``[..., in]``.
            weight: ``[out, in]``, as `laid_out` gives it; of the states' dtype, one of `multiplied`, or bfloat16 beside
                states in float32, which gives what the same numbers in float32 do, to the bit.
            out: how many outputs there are.
            bias: ``[out]``, of the same dtype.
        """
        return self._product("product" if weight.dtype is states.dtype else "narrow_product", states, out, weight, bias)

    def laid_out_grids(self, grids: "Grids") -> "torch.Tensor":
        """A weight on grids in the order that `multiply_grids` reads it in, uint8 ``[panels, blocks, bytes]``."""
        import torch

        out, blocks = grids.steps.shape
        panels = -(-out // _PANEL)
        levels = torch.nn.functional.pad(grids.levels, (0, 0, 0, -out % _PANEL))
        levels = levels.view(panels, _PANEL, blocks, -1).permute(0, 2, 3, 1)
        if grids.bits == 4:
            levels = levels[:, :, ::2] | levels[:, :, 1::2] << 4
        heads = [
            torch.nn.functional.pad(each, (0, 0, 0, -out % _PANEL)).view(panels, _PANEL, blocks).transpose(1, 2)
            for each in (grids.steps, grids.lowest)
        ]
        return torch.cat([*(each.contiguous().view(torch.uint8) for each in heads), levels.flatten(2)], dim=2)

    def grids(self, weight: "torch.Tensor", out: int, bits: int, zero: int | None) -> "Grids":
        """A weight on grids that was laid out as it was before."""
        import torch

        from sharedllm.base.weight_grids import Grids

        head = 4 * _PANEL
        levels = weight[:, :, 2 * head :].view(*weight.shape[:2], -1, _PANEL)
        if bits == 4:
            levels = torch.stack([levels & 15, levels >> 4], dim=3).flatten(2, 3)
        steps, lowest = (
            each.contiguous().view(torch.float32).transpose(1, 2).flatten(0, 1)[:out]
            for each in (weight[:, :, :head], weight[:, :, head : 2 * head])
        )
        levels = levels.permute(0, 3, 1, 2).flatten(0, 1).flatten(1)[:out].contiguous()
        return Grids(levels, steps, lowest, bits, zero)

    def multiply_grids(
        self,
        states: "torch.Tensor",
        weight: "torch.Tensor",
        out: int,
        bits: int,
        bias: "torch.Tensor | None" = None,
        beside: "tuple[torch.Tensor, torch.Tensor] | None" = None,
    ) -> "torch.Tensor":
        """What `multiply` gives of the same numbers in float32, to the bit.

        Args:
            states: float32 ``[..., in]``.
            weight: as `laid_out_grids` gives it.
            out: how many outputs there are.
            bits: of a level.
            bias: float32 ``[out]``.
            beside: more states ``[..., more]`` and their weights ``[out, more]`` as `laid_out` gives them, in float32,
                as if they stood behind the others.
        """
        if beside is None:
            return self._product("grids_product", states, out, weight, bias, None, None, counts=(0, bits))
        more, weights = beside
        more = more.contiguous()
        return self._product("grids_product", states, out, weight, bias, more, weights, counts=(more.shape[-1], bits))

    def multiply_int8(
        self,
        states: "torch.Tensor",
        narrower: "torch.Tensor",
        levels: "torch.Tensor",
        steps: "torch.Tensor",
        bias: "torch.Tensor | None" = None,
    ) -> "torch.Tensor":
        """The product of `int8_weights.py`, ``[..., out]`` in the states' dtype.

        Args:
            states: ``[..., in]``, of one of `dtypes`.
            narrower: what they are multiplied by before they are rounded, float32 ``[in]``.
            levels: int8 ``[out, in]`` from -127 on, as `laid_out` gives it; up to 130,000 inputs fit the sums.
            steps: float32 ``[out]``.
            bias: ``[out]``, of the states' dtype.
        """
        return self._product("int8_product", states, len(steps), narrower, levels, steps, bias)

    def _product(
        self,
        name: str,
        states: "torch.Tensor",
        out: int,
        *read: "torch.Tensor | None",
        counts: tuple[int, ...] = (),
    ) -> "torch.Tensor":
        states = states.contiguous()
        found = states.new_empty(*states.shape[:-1], out)
        self._called[name][states.dtype](
            states.data_ptr(),
            *(None if each is None else each.data_ptr() for each in read),
            found.data_ptr(),
            found.numel() // out,
            states.shape[-1],
            out,
            *counts,
        )
        return found


def _check_memory(enough: bool, *_: object) -> None:
    if not enough:
        raise MemoryError("A kernel has no memory to compute in; fewer tokens in a pass take less")


def _deep(dtype: "torch.dtype") -> int:
    """How many of an output's weights lie side by side."""
    return 1 if dtype.itemsize > 2 else 2


def agree(expected: "torch.Tensor", found: "torch.Tensor", roundings: int) -> bool:
    """Whether a kernel gives what a model's own module does, ``[..., width]``, but for rounding.

    Args:
        expected: what the module gives.
        found: what the kernel gives.
        roundings: that a number may differ by, each of its row's largest.
    """
    import torch

    allowed = roundings * torch.finfo(expected.dtype).eps * expected.abs().amax(-1, keepdim=True)
    return bool(((expected - found).abs() <= allowed).all())


@cache
def kernels() -> Kernels | None:
    """The kernels; None, which the log says once, where they cannot be compiled."""
    try:
        return Kernels(_library())
    except (OSError, AttributeError) as error:
        told = str(error).strip().partition("\n")[0]
        log.warning("passes on the CPU are slower than they could be: no kernels (%s)", told)
        return None


def _library() -> ctypes.CDLL:
    """That of an earlier run, or compiled anew.

    Raises:
        OSError: it cannot be compiled, or the library does not load.
    """
    import torch

    # torch's own threads are to compute: a second team beside it would wait for its turn on the same cores.
    threads = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    options = [*_OPTIONS, *_PROCESSORS.get(torch.backends.cpu.get_cpu_capability(), ())]
    made_by = "\0".join([*options, *map(str, threads), torch.__version__]).encode()
    name = hashlib.sha256(_SOURCE.read_bytes() + made_by).hexdigest()[:16]
    path = cache_dir() / "kernels" / f"{name}.so"
    with suppress(OSError):
        if _is_ours(path):
            return ctypes.CDLL(str(path))
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / path.name
        _compile(made, options, threads)
        # Whoever cannot keep it makes it again.
        with suppress(OSError):
            replace_private(path, made.read_bytes())
            # Nothing may be run from where temporary files are, on some machines.
            if _is_ours(path):
                return ctypes.CDLL(str(path))
        return ctypes.CDLL(str(made))


def _is_ours(path: Path) -> bool:
    """Whether nobody but this user can have written what is to be run."""
    return all(about.st_uid == os.getuid() and not about.st_mode & 0o022 for about in (path.stat(), path.parent.stat()))


def _compile(path: Path, options: list[str], threads: list[Path]) -> None:
    """Make the library.

    Raises:
        OSError: there is no compiler, or it fails or takes too long.
    """
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        raise OSError("there is no C++ compiler")
    compiled = path.with_suffix(".o")
    if not threads:
        options = [each for each in options if each != "-fopenmp"] + ["-fopenmp-simd"]
    for command in (
        [*options, "-c", str(_SOURCE), "-o", str(compiled)],
        # What is missing is to be missed now, not when it is called.
        ["-shared", str(compiled), *map(str, threads), "-Wl,-z,defs", "-o", str(path)],
    ):
        try:
            subprocess.run([compiler, *command], check=True, capture_output=True, timeout=_SECONDS)
        except subprocess.CalledProcessError as error:
            # It quotes paths, whose bytes may be no text.
            raise OSError(error.stderr.decode(errors="replace") or str(error)) from error
        except subprocess.TimeoutExpired as error:
            raise OSError(f"{compiler} took more than {_SECONDS} seconds") from error
