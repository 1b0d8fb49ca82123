"""Exchange with PEFT: a norm adapter as an ``LN_TUNING`` folder, full gains under PEFT's names."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.adapter import Adapter, meaning
from sharedllm.adapters.adapter_file import read_tensors
from sharedllm.adapters.exchange.card import CARD, ExportKind, Origin, loading, write_card
from sharedllm.adapters.exchange.folding import Stored, check_gains, stored_weights
from sharedllm.adapters.layouts import Layout
from sharedllm.adapters.provenance import imported, parse_provenance
from sharedllm.base.loading import Base
from sharedllm.base.resolve import hub_revision
from sharedllm.errors import AdapterError, CorruptAdapter, InvalidInput, WrongBase
from sharedllm.extras import need
from sharedllm.files import new_folder

if TYPE_CHECKING:
    import torch

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
_MAX_CONFIG_BYTES = 4 * 2**20
# PEFT reads past this metadata of the tensor file; an import finds in it which base the gains are for.
_OURS = "sharedllm"

_KIND = ExportKind(
    title="A person's adapter, for PEFT",
    library="peft",
    loading=loading("peft.AutoPeftModelForCausalLM", '"."', 'model.peft_config["default"].base_model_name_or_path'),
    notes='Over a base that is loaded already: `PeftModel.from_pretrained(base, ".")`.',
    holds_base=False,
)


def export_peft(base: Base, layout: Layout, adapter: Adapter, folder: Path, *, origin: Origin | None = None) -> None:
    """Write a folder that ``PeftModel.from_pretrained`` loads: the base's gains times ``1 + s``, in float32.

    Its configuration names the base so that ``AutoPeftModelForCausalLM`` finds it from any working directory: by hub id
    and revision, or by the absolute path of its folder. A copy of the base inside could not be named: PEFT reads a
    relative path from where its caller stands, and not from where the adapter lies.

    Args:
        base: the base.
        layout: of a format that acts on gains, on it.
        adapter: of that layout.
        folder: one that does not exist yet, or is empty.
        origin: what the page beside it says of whose it is.

    Raises:
        AdapterError: a format that does not act on gains alone.
        WrongBase: see `check_fits`.
        UnsupportedBase: see `stored_weights`.
        InvalidInput, DiskFull: see `new_folder`.
        MissingExtra: peft is not installed.
    """
    need("exchange")
    from peft import LNTuningConfig
    from safetensors.torch import save_file

    check_gains(adapter, layout, "PEFT's LN_TUNING")
    tensors = {_key(stored): stored.fold(adapter.values) for stored in stored_weights(base, layout)}
    revision = hub_revision(base.name, base.folder)
    config = LNTuningConfig(
        base_model_name_or_path=str(base.folder.resolve()) if revision is None else base.name,
        revision=revision,
        target_modules=[site.name for site in layout.sites],
        task_type="CAUSAL_LM",
        inference_mode=True,
    )
    ours = json.dumps({"base": adapter.base, "provenance": dict(adapter.provenance)}, sort_keys=True)
    with new_folder(folder) as partial:
        config.save_pretrained(partial)
        save_file(tensors, partial / TENSORS, metadata={"format": "pt", _OURS: ours})
        write_card(partial / CARD, _KIND, base, adapter, origin)


def import_peft(base: Base, layout: Layout, folder: Path) -> Adapter:
    """Read an ``LN_TUNING`` folder as deviations ``s = g / g_base - 1``; norms that PEFT left alone have ``s = 0``.

    PEFT does not record which weights its gains were trained on. A folder of ours does, and is checked; of any other
    only names and shapes are, and ``provenance["imported"]["base_verified"]`` says so.

    Raises:
        InvalidInput: files are missing.
        CorruptAdapter: damaged, or tensors that the configuration promises are not there.
        WrongBase: made for another base, or tensors that do not fit this one.
        AdapterError: not LN_TUNING, or a change that no relative scale can express.
        MissingExtra: peft is not installed.
    """
    need("exchange")
    targets = _targets(folder)
    tensors, metadata = read_tensors(folder / TENSORS, "pt")
    origin = _origin(folder, metadata)
    verified = "base" in origin
    if verified and origin["base"] != base.fingerprint:
        raise WrongBase(
            f"{folder} was made for base {str(origin['base'])[:12]}, and this base is {base.fingerprint[:12]}",
            remedy="Use the base it was made for (--base).",
        )
    known = {_key(stored): stored for stored in stored_weights(base, layout)}
    for name in sorted(tensors.keys() - known.keys()):
        raise WrongBase(
            f"{folder} holds {name!r}, which is no norm of {base.name}",
            remedy="Use the base it was trained on; only norms can be imported.",
        )
    values = np.zeros(layout.size, np.float32)
    for key, stored in known.items():
        if key in tensors:
            _read_site(folder, stored, tensors[key], values)
        elif targets(stored.site.name):
            raise CorruptAdapter(
                f"{folder / TENSORS} lacks {key!r}, which {CONFIG} promises",
                remedy="Get the folder again from where it was made.",
            )
    provenance = imported(origin.get("provenance", {}), "peft", base_verified=verified, **meaning(layout))
    return Adapter(layout.format, base.fingerprint, values, provenance)


def _key(stored: Stored) -> str:
    return f"base_model.model.{stored.site.name}.ln_tuning_layers.{stored.part}"


def _read_site(folder: Path, stored: Stored, tensor: "torch.Tensor", values: npt.NDArray[np.float32]) -> None:
    """Write a tensor's deviations into its slice of ``values``, or check that a bias follows from them."""
    import torch

    if tensor.shape != stored.tensor.shape:
        raise WrongBase(
            f"{_key(stored)!r} in {folder} has shape {list(tensor.shape)}, and the base's {list(stored.tensor.shape)}",
            remedy="Use the base it was trained on.",
        )
    if not torch.isfinite(tensor).all():
        raise CorruptAdapter(f"{_key(stored)!r} in {folder} is not finite", remedy="Train it again.")
    if stored.part == "bias":
        expected = stored.fold(values)
        if not torch.allclose(tensor.float(), expected, rtol=1e-4, atol=1e-6):
            raise AdapterError(
                f"{_key(stored)!r} in {folder} was trained apart from its gain, and one scale cannot express both",
                remedy="Train with the biases frozen, or on a base whose norms have none.",
            )
        return
    gain, base_gain = tensor.double() + stored.offset, stored.effective
    silent = base_gain == 0
    if bool((gain[silent] != 0).any()):
        raise AdapterError(
            f"{_key(stored)!r} in {folder} has a gain where the base's is 0, which no relative scale can give",
            remedy="Train it again with those channels left at 0.",
        )
    deviations = gain / base_gain.masked_fill(silent, 1.0) - 1
    values[stored.values] = deviations.masked_fill(silent, 0.0).float().numpy()


def _targets(folder: Path) -> Callable[[str], bool]:
    """Whether a module is among those that the folder's configuration names, decided by PEFT's own rule."""
    from peft import LNTuningConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    config = _read_config(folder)
    if config.get("peft_type") != "LN_TUNING":
        raise AdapterError(
            f"{folder} is a {config.get('peft_type')!r} adapter, and only LN_TUNING can be imported",
            remedy="Train with PEFT's LNTuningConfig, or with `sharedllm train`.",
        )
    target = config.get("target_modules")
    names = isinstance(target, list) and all(isinstance(name, str) for name in target)
    try:
        if not names and not isinstance(target, str):
            raise TypeError("target_modules is neither a list of names nor a pattern")
        if isinstance(target, str):
            re.compile(target)
        ours = LNTuningConfig(target_modules=target, exclude_modules=config.get("exclude_modules"))
        return lambda name: bool(check_target_module_exists(ours, name))
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
