"""An adapter worked into its base's own weights, which is how other tools can run it.

A scale at a module's output multiplies what the module multiplies with: the gain of a norm or the rows of a projection,
and its bias; a scale at its input, the columns. Coordinates of a frame add ``B D A`` to a projection's weight.
Everything starts from the weights and frames as the base's files hold them, since the model in memory may have been
rounded to bfloat16, which is coarser than most deviations.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.adapter import Adapter, check_fits
from sharedllm.adapters.formats.registry import DEFAULT_FORMAT
from sharedllm.adapters.layouts import Layout
from sharedllm.base.fingerprint import FRAMES
from sharedllm.base.frames import Frame, framed, read_frames
from sharedllm.base.loading import Base
from sharedllm.base.sites import Site, gain_offset, is_norm
from sharedllm.errors import AdapterError, BaseError, UnsupportedBase

if TYPE_CHECKING:
    import torch

_REMEDY = f"Export it --to adapter, or train with the {DEFAULT_FORMAT} format."


@dataclass(frozen=True, eq=False)
class Stored:
    """A weight or bias at a site, as the base's files hold it.

    Attributes:
        site: where it acts.
        part: ``"weight"`` or ``"bias"``.
        values: the slice of an adapter's values that belongs to the site.
        file: the safetensors file.
        name: its name in that file.
        tensor: in the file's own dtype, on the CPU.
        offset: what the module adds to it, 1 where a norm stores gain - 1.
        frame: of the projection, where its coordinates are the values.
    """

    site: Site
    part: str
    values: slice
    file: Path
    name: str
    tensor: "torch.Tensor"
    offset: float
    frame: Frame | None = None

    @property
    def effective(self) -> "torch.Tensor":
        """What the module multiplies or adds with, float64: for a norm, its gain."""
        return self.tensor.double() + self.offset

    def fold(self, row: npt.NDArray[np.float32]) -> "torch.Tensor":
        """What to store instead, float32, for the adapter values ``row``, float32 ``[P]``."""
        import torch

        own = torch.tensor(row[self.values], dtype=torch.float64)
        if self.frame is not None:
            into, _ = self.frame.matrices
            return (self.tensor.double() + moved_out(self.frame, self.site, own) @ into.double()).float()
        scale = 1 + own
        if self.site.at == "input":
            folded = self.tensor.double() * scale if self.part == "weight" else self.tensor.double()
        else:
            folded = self.effective * scale.view(-1, *[1] * (self.tensor.ndim - 1)) - self.offset
        return folded.float()


def moved_out(frame: Frame, site: Site, values: "torch.Tensor") -> "torch.Tensor":
    """``B D`` for the coordinates ``D`` that a site's values are, float64 ``[out, rank]``."""
    _, out = frame.matrices
    return out.double() * values if site.kind == "diagonal" else out.double() @ values.view(site.rank, site.rank)


def over_all_frames(base: Base, layout: Layout, row: npt.NDArray[np.float32]) -> tuple[Layout, npt.NDArray[np.float32]]:
    """The same adapter over every frame of the base, with coordinates of zero, which are the prior, where it has none.

    Args:
        base: the base.
        layout: of the row.
        row: float32 ``[P]``, the adapter's values.

    Returns:
        a layout whose first sites are those of ``layout``, and its values.
    """
    taken = {site.name for site in layout.sites if site.rank}
    others = tuple(
        Site(name, module.out_features, "diagonal", rank=len(module.frame_into))
        for name, module in framed(base.model).items()
        if name not in taken
    )
    zeros = np.zeros(sum(site.size for site in others), np.float32)
    return replace(layout, sites=(*layout.sites, *others)), np.concatenate([row, zeros])


def check_gains(base: Base, adapter: Adapter, layout: Layout, tool: str) -> None:
    """Refuse what is neither a gain of a norm nor within the frame of a projection.

    Raises:
        WrongBase: see `check_fits`.
        AdapterError: the format changes something else.
    """
    check_fits(adapter, layout)
    gains = (
        (site.kind, site.at, is_norm(base.model.get_submodule(site.name))) for site in layout.sites if not site.rank
    )
    if any(each != ("scale", "output", True) for each in gains):
        raise AdapterError(
            f"{tool} can hold new gains for norms, and a {adapter.format!r} adapter changes something else",
            remedy=_REMEDY,
        )


def check_folds(base: Base, adapter: Adapter, layout: Layout) -> None:
    """Refuse what no weight of the base can absorb.

    Raises:
        WrongBase: see `check_fits`.
        AdapterError: the format adds to activations, or acts on what comes out of no weight, or of one that serves
            elsewhere as well.
    """
    check_fits(adapter, layout)
    if any(site.kind == "shift" for site in layout.sites):
        raise AdapterError(
            f"A {adapter.format!r} adapter adds to activations where the base has no bias to hold it", remedy=_REMEDY
        )
    holders = Counter(id(weight) for _, weight in base.model.named_parameters(remove_duplicate=False))
    modules = Counter(site.name for site in layout.sites)
    for site in layout.sites:
        weight = getattr(base.model.get_submodule(site.name), "weight", None)
        if modules[site.name] > 1 or holders[id(weight)] != 1 or not _takes(site, base.model.get_submodule(site.name)):
            raise AdapterError(
                f"A {adapter.format!r} adapter scales the {site.at} of {site.name!r}, which is not a norm or a linear"
                " layer with a weight to itself",
                remedy=_REMEDY,
            )


def _takes(site: Site, module: Any) -> bool:
    """Whether the module multiplies with its weight in a way that a scale can be worked into."""
    from torch import nn

    return isinstance(module, nn.Linear) or (site.at == "output" and is_norm(module))


def stored_weights(base: Base, layout: Layout) -> list[Stored]:
    """Weights, and biases where there are any, of the modules at a layout's sites, each weight before its bias.

    Raises:
        BaseError: the folder's list of weight files, or its frames, cannot be read.
        UnsupportedBase: a weight or frame is not in the files under the module's name, or is not what the model
            computes with.
    """
    where = weight_files(base.folder)
    frames = _frames(base, layout)
    stored = []
    begin = 0
    for site in layout.sites:
        values = slice(begin, begin + site.size)
        begin += site.size
        module = base.model.get_submodule(site.name)
        for part in ("weight",) if site.rank else ("weight", "bias"):
            loaded = getattr(module, part, None)
            if loaded is None:
                continue
            file, name, tensor = _find(base, where, f"{site.name}.{part}", loaded)
            offset = gain_offset(module) if part == "weight" and tensor.ndim == 1 else 0.0
            stored.append(Stored(site, part, values, file, name, tensor, offset, frames.get(site.name)))
    return stored


def _frames(base: Base, layout: Layout) -> dict[str, Frame]:
    """The frames of a layout's sites, by the projections' names.

    Raises:
        BaseError: see `read_frames`.
        UnsupportedBase: a frame is not what the model computes with.
    """
    import torch

    names = [site.name for site in layout.sites if site.rank]
    read = read_frames(base.folder / FRAMES) if names else {}
    for name in names:
        module = base.model.get_submodule(name)
        loaded = (module.frame_into, module.frame_out)
        if name not in read or not all(
            torch.equal(matrix.to(own.dtype), own.cpu())
            for matrix, own in zip(read[name].matrices, loaded, strict=True)
        ):
            raise UnsupportedBase(
                f"{base.folder / FRAMES} does not hold the frame of {name} that the model uses",
                remedy="Load the base again, from a folder that nothing writes to.",
            )
    return {name: read[name] for name in names}


def weight_files(folder: Path) -> dict[str, Path]:
    """Which file of a model folder holds which tensor.

    Raises:
        BaseError: no ``model.safetensors`` and no readable list of its parts.
    """
    from safetensors import SafetensorError, safe_open

    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    try:
        if single.is_file():
            with safe_open(single, "pt") as opened:
                return dict.fromkeys(opened.keys(), single)
        return {name: folder / file for name, file in json.loads(index.read_text())["weight_map"].items()}
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise BaseError(
            f"The weights in {folder} cannot be listed: {error}", remedy="Save the base again with save_pretrained."
        ) from error


def _find(
    base: Base, where: dict[str, Path], parameter: str, loaded: "torch.Tensor"
) -> tuple[Path, str, "torch.Tensor"]:
    import torch
    from safetensors import safe_open

    for name in _spellings(base, parameter, where):
        with safe_open(where[name], "pt") as opened:
            tensor: torch.Tensor = opened.get_tensor(name)
        if torch.equal(tensor.to(loaded.dtype), loaded.detach().cpu()):
            return where[name], name, tensor
    raise UnsupportedBase(
        f"{base.folder} does not hold {parameter} under that name, with the values that the model uses",
        remedy="Load the base with transformers, save it with save_pretrained, and use that folder.",
    )


def _spellings(base: Base, parameter: str, where: dict[str, Path]) -> Iterator[str]:
    """Names in the files that a parameter may have there.

    Checkpoints saved from the model without its head lack the prefix that the whole model has, and those of models that
    also see have its parts in another order.
    """
    for name in (parameter, parameter.removeprefix(f"{base.model.base_model_prefix}.")):
        if name in where:
            yield name
    yield from (name for name in where if name != parameter and _words(name) == _words(parameter))


def _words(name: str) -> tuple[list[str], list[str]]:
    """The words of a parameter's name in any order, and its numbers in theirs."""
    parts = name.split(".")
    return sorted(part for part in parts if not part.isdigit()), [part for part in parts if part.isdigit()]
