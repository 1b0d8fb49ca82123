"""Exchange with PEFT: gains of norms as an ``LN_TUNING`` folder, coordinates of frames as a ``LORA`` folder, or both.

A LoRA is ``y += B' A' x``, which coordinates ``D`` of a frame are with ``A' = A`` and ``B' = B D``. PEFT holds gains in
such a folder, too: as modules to be saved whole beside it. Over the bare base, which has no prior, ``B' = B (I + D)``.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.adapter import Adapter, meaning
from sharedllm.adapters.adapter_file import read_tensors
from sharedllm.adapters.exchange.card import CARD, ExportKind, Origin, loading, write_card
from sharedllm.adapters.exchange.folding import Stored, check_gains, moved_out, over_all_frames, stored_weights
from sharedllm.adapters.formats.registry import DEFAULT_FORMAT, format_names
from sharedllm.adapters.layouts import Layout, layout_of
from sharedllm.adapters.provenance import imported, parse_provenance
from sharedllm.base.frames import Frame, read_prior
from sharedllm.base.loading import Base
from sharedllm.base.resolve import hub_revision
from sharedllm.base.sites import Site
from sharedllm.errors import AdapterError, CorruptAdapter, InvalidInput, SharedLLMError, WrongBase
from sharedllm.extras import need
from sharedllm.files import new_folder

if TYPE_CHECKING:
    import torch

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
BARE = "over-bare-base"
"""The folder inside an export that holds the prior as well, for the base without it."""

_MAX_CONFIG_BYTES = 4 * 2**20
# PEFT reads past this metadata of the tensor file; an import finds in it which base the gains are for.
_OURS = "sharedllm"
_PREFIX = "base_model.model."

_NO_OTHER_LORA = (
    "Use the base with the prior in whose frames it was made; any other LoRA has to be trained again, with"
    " `sharedllm train`."
)
# Of a LoRA's configuration, what says nothing of what it computes when it answers, or is read by itself.
_FREE = {
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "init_lora_weights",
    "lora_dropout",
    "peft_version",
}
_FREE |= {"modules_to_save", "revision", "target_modules", "task_type"}

_KIND = ExportKind(
    title="A person's adapter, for PEFT",
    library="peft",
    loading=loading("peft.AutoPeftModelForCausalLM", '"."', 'model.peft_config["default"].base_model_name_or_path'),
    notes='Over a base that is loaded already: `PeftModel.from_pretrained(base, ".")`.',
    holds_base=False,
)
_OVER_BARE = (
    f" In `{BARE}` is the same with the base's prior in it, for those who have the base without: the one of fingerprint"
    f' `{{bare}}`. `PeftModel.from_pretrained(bare_base, "{BARE}")` loads it; only weights in which the two differ by'
    " the prior alone give the same answers."
)


def export_peft(base: Base, layout: Layout, adapter: Adapter, folder: Path, *, origin: Origin | None = None) -> None:
    """Write a folder that ``PeftModel.from_pretrained`` loads, in float32.

    Gains alone are an ``LN_TUNING`` adapter: the base's gains times ``1 + s``. Coordinates of frames are a ``LORA``
    adapter, with gains as modules that are saved whole. Of a base with a prior a folder inside (`BARE`) holds what the
    base without it becomes the same model by: the prior and the person's own as one LoRA.

    Its configuration names the base so that ``AutoPeftModelForCausalLM`` finds it from any working directory: by hub id
    and revision, or by the absolute path of its folder. A copy of the base inside could not be named: PEFT reads a
    relative path from where its caller stands, and not from where the adapter lies.

    Args:
        base: the base.
        layout: of a format that acts on gains and within frames, on it.
        adapter: of that layout.
        folder: one that does not exist yet, or is empty.
        origin: what the page beside it says of whose it is.

    Raises:
        AdapterError: a format that does not act on gains and within frames alone.
        WrongBase: see `check_fits`.
        UnsupportedBase, BaseError: see `stored_weights`.
        InvalidInput, DiskFull: see `new_folder`.
        MissingExtra: peft is not installed.
    """
    need("exchange")
    check_gains(base, adapter, layout, "PEFT")
    prior = read_prior(base.folder)
    whole, row = over_all_frames(base, layout, adapter.values)
    stored = stored_weights(base, whole)
    own = [each for each in stored if each.values.start < layout.size]
    revision = hub_revision(base.name, base.folder)
    named = {"base_model_name_or_path": str(base.folder.resolve()) if revision is None else base.name}
    about = {"format": adapter.format, "provenance": dict(adapter.provenance)}
    with new_folder(folder) as partial:
        _write(partial, own, row, {**named, "revision": revision}, {"base": adapter.base, **about})
        kind = _KIND
        if prior is not None:
            (partial / BARE).mkdir()
            _write(partial / BARE, stored, row, {}, {"base": prior.get("bare"), **about}, prior=True)
            kind = replace(kind, notes=kind.notes + _OVER_BARE.format(bare=prior.get("bare")))
        write_card(partial / CARD, kind, base, adapter, origin)


def _write(
    folder: Path,
    stored: Sequence[Stored],
    row: npt.NDArray[np.float32],
    named: dict[str, Any],
    ours: dict[str, Any],
    *,
    prior: bool = False,
) -> None:
    """Write a configuration and its tensors, of a LoRA with the prior in it where that is to be."""
    import torch
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    for each in stored:
        keys = _keys(each, stored)
        if each.frame is None:
            tensors[keys[0]] = each.fold(row)
            continue
        into, out = each.frame.matrices
        moved = moved_out(each.frame, each.site, torch.tensor(row[each.values], dtype=torch.float64))
        tensors |= zip(keys, (into, (moved + out.double() if prior else moved).float().contiguous()), strict=True)
    _config(stored, **named).save_pretrained(folder)
    save_file(tensors, folder / TENSORS, metadata={"format": "pt", _OURS: json.dumps(ours, sort_keys=True)})


def _config(stored: Sequence[Stored], **named: Any) -> Any:
    from peft import LNTuningConfig, LoraConfig

    common = {"task_type": "CAUSAL_LM", "inference_mode": True, **named}
    gains = list(dict.fromkeys(each.site.name for each in stored if each.frame is None))
    ranks = {each.site.name: each.site.rank for each in stored if each.frame is not None}
    if not ranks:
        return LNTuningConfig(target_modules=gains, **common)
    rank = next(iter(ranks.values()))
    others = {name: own for name, own in ranks.items() if own != rank}
    # As much alpha as rank, so that nothing is scaled.
    patterns = {"r": rank, "lora_alpha": rank, "rank_pattern": others, "alpha_pattern": others}
    return LoraConfig(target_modules=list(ranks), modules_to_save=gains or None, lora_dropout=0.0, **patterns, **common)


def peft_format(base: Base, folder: Path) -> str:
    """The format of which the adapter in a folder is.

    A folder of ours says so. Any other is of the format whose tensors on this base have the very names that are there;
    an ``LN_TUNING`` adapter may leave some norms alone.

    Raises:
        InvalidInput, CorruptAdapter, AdapterError: see `import_peft`.
        WrongBase: its tensors are those of no format on this base.
        MissingExtra: peft is not installed.
    """
    need("exchange")
    kind = _kind(folder)
    tensors, metadata = read_tensors(folder / TENSORS, "pt")
    said = _origin(folder, metadata).get("format")
    if isinstance(said, str):
        return said
    if kind == "LN_TUNING":
        return DEFAULT_FORMAT
    there = {name.removeprefix(_PREFIX).rpartition(".")[0] for name in tensors}
    for name in format_names():
        try:
            sites = layout_of(base, name).sites
        except SharedLLMError:
            # It is not one of this base.
            continue
        sides = [f"{site.name}.lora_{side}" for site in sites if site.rank for side in "AB"]
        if sides and there == {*sides, *(site.name for site in sites if not site.rank)}:
            return name
    raise WrongBase(
        f"{folder} holds a LoRA at other places than the frames of {base.name}",
        remedy=_NO_OTHER_LORA,
    )


def import_peft(base: Base, layout: Layout, folder: Path) -> Adapter:
    """Read a folder as a row: gains as deviations ``s = g / g_base - 1``, a LoRA as coordinates of the base's frames.

    Norms that PEFT left alone in an ``LN_TUNING`` adapter have ``s = 0``. PEFT does not record which weights an adapter
    was trained on. A folder of ours does, and is checked; of any other only names and shapes are, and of a LoRA the
    frames, and ``provenance["imported"]["base_verified"]`` says so.

    Args:
        base: the base.
        layout: of the format that `peft_format` says, on it.
        folder: what PEFT or `export_peft` wrote.

    Raises:
        InvalidInput: files are missing.
        CorruptAdapter: damaged, or tensors that the configuration promises are not there.
        WrongBase: made for another base, or tensors that do not fit this one.
        AdapterError: neither LN_TUNING nor LORA, or a change that no relative scale or coordinates can express.
        MissingExtra: peft is not installed.
    """
    need("exchange")
    tensors, metadata = read_tensors(folder / TENSORS, "pt")
    origin = _origin(folder, metadata)
    verified = "base" in origin
    if verified and origin["base"] != base.fingerprint:
        raise WrongBase(
            f"{folder} was made for base {str(origin['base'])[:12]}, and this base is {base.fingerprint[:12]}",
            remedy="Use the base it was made for (--base).",
        )
    weights = stored_weights(base, layout)
    targets = _targets(folder, weights)
    known = {key: stored for stored in weights for key in _keys(stored, weights)}
    for name in sorted(tensors.keys() - known.keys()):
        raise WrongBase(
            f"{folder} holds {name!r}, which is no norm of {base.name}, nor the frame of one of its projections",
            remedy="Use the base it was trained on; only norms and coordinates of frames can be imported.",
        )
    for key, stored in known.items():
        # A norm that is left alone has its own gain; of a LoRA all has to be there.
        if (key in tensors) != targets(stored.site.name) and (key not in tensors or stored.frame is not None):
            raise CorruptAdapter(
                f"{folder / TENSORS} {'holds' if key in tensors else 'lacks'} {key!r}, which {CONFIG}"
                f" {'does not name' if key in tensors else 'promises'}",
                remedy="Get the folder again from where it was made.",
            )
    values = np.zeros(layout.size, np.float32)
    for stored in weights:
        found = {key: tensors[key] for key in _keys(stored, weights) if key in tensors}
        _check_tensors(folder, stored, found)
        if stored.frame is not None:
            into, out = found.values()
            values[stored.values] = _coordinates(folder, stored.site, stored.frame, into, out)
        else:
            for key, tensor in found.items():
                _read_site(folder, stored, key, tensor, values)
    provenance = imported(origin.get("provenance", {}), "peft", base_verified=verified, **meaning(layout))
    return Adapter(layout.format, base.fingerprint, values, provenance)


def _keys(stored: Stored, among: Sequence[Stored]) -> list[str]:
    """The names in the tensor file of a gain or bias, or of the two sides of a frame, in an adapter of all these."""
    if stored.frame is not None:
        return [f"{_PREFIX}{stored.site.name}.lora_{side}.weight" for side in "AB"]
    beside_lora = any(each.frame is not None for each in among)
    return [f"{_PREFIX}{stored.site.name}{'' if beside_lora else '.ln_tuning_layers'}.{stored.part}"]


def _check_tensors(folder: Path, stored: Stored, tensors: "dict[str, torch.Tensor]") -> None:
    expected = [stored.tensor.shape]
    if stored.frame is not None:
        expected = [matrix.shape for matrix in stored.frame.matrices]
    for (name, tensor), shape in zip(tensors.items(), expected, strict=False):
        if tensor.shape != shape:
            raise WrongBase(
                f"{name!r} in {folder} has shape {list(tensor.shape)}, and the base's {list(shape)}",
                remedy="Use the base it was trained on.",
            )
        if not tensor.isfinite().all():
            raise CorruptAdapter(f"{name!r} in {folder} is not finite", remedy="Train it again.")


def _read_site(
    folder: Path, stored: Stored, name: str, tensor: "torch.Tensor", values: npt.NDArray[np.float32]
) -> None:
    """Write a tensor's deviations into its slice of ``values``, or check that a bias follows from them."""
    import torch

    if stored.part == "bias":
        expected = stored.fold(values)
        if not torch.allclose(tensor.float(), expected, rtol=1e-4, atol=1e-6):
            raise AdapterError(
                f"{name!r} in {folder} was trained apart from its gain, and one scale cannot express both",
                remedy="Train with the biases frozen, or on a base whose norms have none.",
            )
        return
    gain, base_gain = tensor.double() + stored.offset, stored.effective
    silent = base_gain == 0
    if bool((gain[silent] != 0).any()):
        raise AdapterError(
            f"{name!r} in {folder} has a gain where the base's is 0, which no relative scale can give",
            remedy="Train it again with those channels left at 0.",
        )
    deviations = gain / base_gain.masked_fill(silent, 1.0) - 1
    values[stored.values] = deviations.masked_fill(silent, 0.0).float().numpy()


def _coordinates(
    folder: Path, site: Site, frame: Frame, into: "torch.Tensor", out: "torch.Tensor"
) -> npt.NDArray[np.float32]:
    """The coordinates ``D`` by which a LoRA's ``B'`` is the frame's ``B D``."""
    import torch

    own_into, own_out = (matrix.double() for matrix in frame.matrices)
    wanted = out.double()
    if site.kind == "diagonal":
        squares = own_out.square().sum(0)
        found = (own_out * wanted).sum(0) / squares.masked_fill(squares == 0, 1.0)
    else:
        found = (torch.linalg.pinv(own_out) @ wanted).flatten()
    rounding = 1e-5 * float(own_out.abs().max() + wanted.abs().max())
    same_frame = torch.allclose(into.double(), own_into, rtol=1e-4, atol=1e-6 * float(own_into.abs().max()))
    if not same_frame or not torch.allclose(moved_out(frame, site, found), wanted, rtol=1e-4, atol=rounding):
        raise AdapterError(
            f"The LoRA at {site.name!r} in {folder} is not within the frame of this base's prior, in whose"
            " coordinates alone it could be held",
            remedy=_NO_OTHER_LORA,
        )
    coordinates: npt.NDArray[np.float32] = found.float().numpy()
    return coordinates


def _kind(folder: Path) -> str:
    kind = _read_config(folder).get("peft_type")
    if kind not in ("LN_TUNING", "LORA"):
        raise AdapterError(
            f"{folder} is a {kind!r} adapter, and only LN_TUNING and LORA can be imported",
            remedy="Train with PEFT's LNTuningConfig, or with `sharedllm train`.",
        )
    return str(kind)


def _targets(folder: Path, weights: Sequence[Stored]) -> Callable[[str], bool]:
    """Whether a module is among those that the folder's configuration names, decided by PEFT's own rule."""
    from peft import LNTuningConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    config = _read_config(folder)
    kind = _kind(folder)
    ours = _config(weights)
    if kind != ours.peft_type:
        raise AdapterError(
            f"{folder} is a {kind!r} adapter, and what it is to be read as is exported as {ours.peft_type.value!r}",
            remedy="Import it as what it is, or train with `sharedllm train`.",
        )
    if kind == "LORA":
        for name, value in ours.to_dict().items():
            if name not in _FREE and config.get(name, value) != value:
                raise AdapterError(
                    f"{name} is {config[name]!r} in {folder / CONFIG}, and a LoRA that can be imported has {value!r}",
                    remedy=_NO_OTHER_LORA,
                )
    target = config.get("target_modules")
    names = isinstance(target, list) and all(isinstance(name, str) for name in target)
    try:
        if not names and not isinstance(target, str):
            raise TypeError("target_modules is neither a list of names nor a pattern")
        if isinstance(target, str):
            re.compile(target)
        asked = LNTuningConfig(target_modules=target, exclude_modules=config.get("exclude_modules"))
        saved = tuple(config.get("modules_to_save") or ())
        framed = {each.site.name for each in weights if each.frame is not None}
        return lambda name: (
            bool(check_target_module_exists(asked, name)) if not framed or name in framed else name.endswith(saved)
        )
    except (TypeError, ValueError, re.error) as error:
        raise _damaged(folder / CONFIG, str(error)) from error


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise InvalidInput(f"There is no {CONFIG} in {folder}", remedy="Give a folder that PEFT or we wrote.")
    try:
        with path.open("rb") as stream:
            config = json.loads(stream.read(_MAX_CONFIG_BYTES))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", remedy="Check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(config, dict):
        raise _damaged(path, "not a JSON object")
    return config


def _origin(folder: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """What `export_peft` noted in the tensor file; empty for a folder that PEFT wrote."""
    origin = parse_provenance(metadata.get(_OURS, "{}"), folder / TENSORS)
    if not isinstance(origin.get("provenance", {}), dict):
        raise _damaged(folder / TENSORS, "its metadata is not what an export writes")
    return origin


def _damaged(path: Path, reason: str) -> CorruptAdapter:
    return CorruptAdapter(f"{path} is damaged: {reason}", remedy="Get the folder again from where it was made.")
