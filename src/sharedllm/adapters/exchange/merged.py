"""A person's model as a plain Hugging Face checkpoint: the base's files with their adapter worked into the weights."""

import json
from collections import defaultdict
from pathlib import Path

from sharedllm.adapters.adapter import Adapter
from sharedllm.adapters.exchange.card import CARD, ExportKind, Origin, loading, write_card
from sharedllm.adapters.exchange.folding import Stored, check_folds, stored_weights, weight_files
from sharedllm.adapters.layouts import Layout
from sharedllm.base.beside_weights import copy_beside_weights
from sharedllm.base.frames import PRIOR
from sharedllm.base.loading import Base
from sharedllm.files import new_folder

_INDEX = "model.safetensors.index.json"
# An index is written anew, and a base that is itself an adapter is not one.
# Whose texts are in a prior is for its base to say: a person's own model is handed on without the list.
_NOT_COPIED = {_INDEX, PRIOR, "config.json", "adapter_config.json"}

_KIND = ExportKind(
    title="A person's model",
    library="transformers",
    loading=loading("transformers.AutoModelForCausalLM", '"."', '"."'),
)


def export_merged(base: Base, layout: Layout, adapter: Adapter, folder: Path, *, origin: Origin | None = None) -> None:
    """Write a folder that ``AutoModelForCausalLM.from_pretrained`` loads and that answers as the base with the adapter.

    The changed tensors are float32. Where the base's files hold them in a 16-bit type the configuration is set to load
    in float32, since bfloat16 would round most of the adapter away; all other tensors keep their bytes. One weight
    file at a time is in memory. A page beside them says whose model it is, which is what ``origin`` is for.

    Raises:
        AdapterError: a format that cannot be folded into weights.
        WrongBase: see `check_fits`.
        BaseError, UnsupportedBase: see `stored_weights`.
        InvalidInput, DiskFull: see `new_folder`.
    """
    check_folds(base, adapter, layout)
    changes: dict[Path, list[Stored]] = defaultdict(list)
    for stored in stored_weights(base, layout):
        changes[stored.file].append(stored)
    with new_folder(folder) as partial:
        for file in sorted(set(weight_files(base.folder).values())):
            _write_weights(file, changes[file], adapter, partial / file.name)
        copy_beside_weights(base.folder, partial, without=_NOT_COPIED)
        _write_config(base.folder, partial, [stored for each in changes.values() for stored in each])
        write_card(partial / CARD, _KIND, base, adapter, origin)


def _write_weights(source: Path, changes: list[Stored], adapter: Adapter, target: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(source, "pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(source)
    for stored in changes:
        tensors[stored.name] = stored.fold(adapter.values)
    save_file(tensors, target, metadata=metadata)


def _write_config(source: Path, target: Path, changed: list[Stored]) -> None:
    config = json.loads((source / "config.json").read_text())
    added_bytes = sum(stored.tensor.numel() * (4 - stored.tensor.element_size()) for stored in changed)
    if added_bytes:
        config.pop("torch_dtype", None)
        config["dtype"] = "float32"
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    if (source / _INDEX).is_file() and not (source / "model.safetensors").is_file():
        index = json.loads((source / _INDEX).read_text())
        if "total_size" in index.get("metadata", {}):
            index["metadata"]["total_size"] += added_bytes
        (target / _INDEX).write_text(json.dumps(index, indent=2) + "\n")
