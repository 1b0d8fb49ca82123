"""The frames of a prior: at each projection two narrow matrices that a base with a prior was trained through.

A projection ``y = W x`` of the bare base becomes ``y = (W + B A) x``: the product is folded into the weights, so that
a prior costs nothing when it answers. The frames stay beside the weights, for they are the directions in which people
differ: a person is a few coordinates ``D`` in ``y += B (D (A x))``.

They are stored as integers of eight bits. Products of such integers add up without rounding, so that folding gives the
same weights, and so the same fingerprint, on every machine.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharedllm.base.beside_weights import copy_beside_weights
from sharedllm.base.fingerprint import FRAMES, fingerprint, weight_paths
from sharedllm.errors import BaseError, UnsupportedBase
from sharedllm.files import new_folder
from sharedllm.strict_json import read_strictly

if TYPE_CHECKING:
    import torch

PRIOR = "prior.json"
"""What a folder says of its prior: how it was trained, on whom, and what it does."""

_PARTS = ("into", "into_scale", "out", "out_scale")
_KIND = {"format": "sharedllm-frames", "version": "1"}


@dataclass(frozen=True, eq=False)
class Frame:
    """The frame of one projection, as it is stored.

    Attributes:
        into: int8 ``[rank, in]``.
        into_scale: float32 ``[rank]``, above 0.
        out: int8 ``[out, rank]``.
        out_scale: float32 ``[out]``.
    """

    into: "torch.Tensor"
    into_scale: "torch.Tensor"
    out: "torch.Tensor"
    out_scale: "torch.Tensor"

    @staticmethod
    def of(into: "torch.Tensor", out: "torch.Tensor") -> "Frame":
        """The nearest frame to ``A`` (float ``[rank, in]``) and ``B`` (float ``[out, rank]``)."""
        import torch

        narrow, into_scale = rounded(into.float())
        # What scales a component is on both sides of the sum over components, and goes to one of them.
        wide, out_scale = rounded(out.float() * into_scale)
        return Frame(narrow, into_scale.to(torch.float32), wide, out_scale)

    @property
    def matrices(self) -> tuple["torch.Tensor", "torch.Tensor"]:
        """``A`` and ``B``, float32 ``[rank, in]`` and ``[out, rank]``."""
        return self.into * self.into_scale.unsqueeze(1), self.out * self.out_scale.unsqueeze(1) / self.into_scale

    @property
    def product(self) -> "torch.Tensor":
        """``B A``, float32 ``[out, in]``: the same bits in whatever order they are added up."""
        exact: torch.Tensor = self.out.double() @ self.into.double()
        return exact.float() * self.out_scale.unsqueeze(1)


Frames = Mapping[str, Frame]
"""By the projection's module path, in model order."""


def rounded(matrix: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Rows of a float32 matrix as int8, and what one step of each is."""
    import torch

    scale = matrix.abs().amax(dim=1) / 127
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return (matrix / scale.unsqueeze(1)).round().to(torch.int8), scale


def projections(model: Any) -> dict[str, Any]:
    """The linear layers inside the model's blocks by their module paths, in model order.

    Args:
        model: as transformers made it.

    Raises:
        UnsupportedBase: it has no blocks, or none in them.
    """
    from torch import nn

    from sharedllm.base.sites import blocks

    found = {
        f"{block}.{name}": module
        for block, parts in blocks(model).items()
        for name, module in parts.named_modules()
        if type(module) is nn.Linear
    }
    if not found:
        raise UnsupportedBase(
            f"{type(model).__name__} has no linear layers in its blocks, which is where frames are",
            remedy="Use a base of the Llama kind.",
        )
    return found


def read_frames(path: Path) -> dict[str, Frame]:
    """The frames in a file.

    Raises:
        BaseError: it is no such file, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as opened:
            if {key: (opened.metadata() or {}).get(key) for key in _KIND} != _KIND:
                raise _not_frames(path, "it does not say that it holds any")
            names = dict.fromkeys(name.rpartition(".")[0] for name in list(opened.keys()))
            frames = {name: Frame(*(opened.get_tensor(f"{name}.{part}") for part in _PARTS)) for name in names}
    except (OSError, SafetensorError, ValueError) as error:
        raise _not_frames(path, str(error)) from error
    for name, frame in frames.items():
        _check(path, name, frame)
    return dict(sorted(frames.items(), key=_place))


def _place(item: tuple[str, Frame]) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdigit() else (1, part) for part in item[0].split(".")]


def _check(path: Path, name: str, frame: Frame) -> None:
    import torch

    rank, into = frame.into.shape if frame.into.ndim == 2 else (0, 0)
    out = len(frame.out)
    shapes = [(rank, into), (rank,), (out, rank), (out,)]
    dtypes = [torch.int8, torch.float32] * 2
    tensors = [getattr(frame, part) for part in _PARTS]
    right = [tuple(tensor.shape) for tensor in tensors] == shapes and [tensor.dtype for tensor in tensors] == dtypes
    scales = (frame.into_scale, frame.out_scale)
    if not rank or not right or not all(bool((torch.isfinite(scale) & (scale > 0)).all()) for scale in scales):
        raise _not_frames(path, f"the frame of {name!r} is not two int8 matrices with finite scales")


def _not_frames(path: Path, why: str) -> BaseError:
    return BaseError(
        f"{path} holds no frames of a prior: {why}", remedy="Copy the base's folder again, or make the prior again."
    )


def write_frames(frames: Frames, path: Path) -> None:
    """Write frames to a file.

    Raises:
        OSError: it cannot be written.
    """
    from safetensors.torch import save_file

    tensors = {f"{name}.{part}": getattr(frame, part).contiguous() for name, frame in frames.items() for part in _PARTS}
    save_file(tensors, path, metadata=_KIND)


def attach_frames(model: Any, frames: Frames, folder: Path) -> None:
    """Give each framed projection its matrices as buffers ``frame_into`` and ``frame_out``, in the layer's dtype.

    The ``frame`` itself is kept beside them: what it added to the weight is known from it to the bit.

    Args:
        model: as transformers made it.
        frames: of its folder.
        folder: for the error.

    Raises:
        BaseError: a frame is of another base.
    """
    layers = projections(model)
    for name, frame in frames.items():
        layer = layers.get(name)
        shape = (len(frame.out), frame.into.shape[1])
        if layer is None or tuple(layer.weight.shape) != shape:
            raise BaseError(
                f"{folder} has a frame of shape {list(shape)} for {name!r}, and the base has no such projection",
                remedy="Copy the folder again: its frames are of another base.",
            )
        for side, matrix in zip(("frame_into", "frame_out"), frame.matrices, strict=True):
            layer.register_buffer(side, matrix.to(layer.weight.device, layer.weight.dtype), persistent=False)
        layer.frame = frame


def framed(model: Any) -> dict[str, Any]:
    """The projections that have a frame, by their module paths, in model order."""
    return {name: module for name, module in model.named_modules() if getattr(module, "frame_into", None) is not None}


def fold_frames(source: Path, frames: Frames, about: Mapping[str, Any], target: Path) -> None:
    """Write a base with a prior: the files of a base with ``B A`` added to its weights, its frames, and what it is.

    Weights keep their dtype. One file of them at a time is in memory.

    Args:
        source: the folder of the bare base.
        frames: of its projections.
        about: what `PRIOR` is to say beside the bare base's fingerprint.
        target: a folder that is not there yet.

    Raises:
        BaseError: the folder is no base, or has a prior already.
        UnsupportedBase: a projection's weight is not in the files under its module's name.
        InvalidInput, DiskFull: see `new_folder`.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    bare = fingerprint(source)
    if (source / FRAMES).exists():
        raise BaseError(f"{source} has a prior already", remedy="Adapt the bare base instead.")
    left = dict(frames)
    with new_folder(target) as partial:
        for file in weight_paths(source):
            with safe_open(file, "pt") as opened:
                metadata = opened.metadata()
            tensors = load_file(file)
            for name in [name for name in left if f"{name}.weight" in tensors]:
                weight, product = tensors[f"{name}.weight"], left.pop(name).product
                if weight.shape != product.shape:
                    raise BaseError(
                        f"The frame of {name!r} is of shape {list(product.shape)}, and its weight {list(weight.shape)}",
                        remedy="Use the frames of this base.",
                    )
                tensors[f"{name}.weight"] = (weight.float() + product).to(weight.dtype)
            save_file(tensors, partial / file.name, metadata=metadata)
        if left:
            raise UnsupportedBase(
                f"{source} does not hold {next(iter(left))}.weight under that name",
                remedy="Load the base with transformers, save it with save_pretrained, and use that folder.",
            )
        copy_beside_weights(source, partial)
        write_frames(frames, partial / FRAMES)
        (partial / PRIOR).write_text(json.dumps({**about, "bare": bare}, indent=1) + "\n")


def read_prior(folder: Path) -> dict[str, Any] | None:
    """What a base's folder says of its prior; None of a bare base.

    Raises:
        BaseError: it has frames, and does not say who they were trained on.
    """
    if not (folder / FRAMES).is_file():
        return None
    try:
        about = read_strictly((folder / PRIOR).read_bytes())
        if isinstance(about, dict) and isinstance(about.get("contributors"), list) and about["contributors"]:
            return about
        why = "it names no contributors"
    except (OSError, ValueError) as error:
        why = str(error)
    raise BaseError(
        f"{folder} has the frames of a prior, and {PRIOR} does not say whose texts are in it: {why}",
        remedy="Copy the base's folder again, or make the prior again.",
    )
