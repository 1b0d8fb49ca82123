"""A base whose blocks' weights are -1, 0 or 1 times a scale: 1.58 bits each, made after training and without data.

Rounding is BitNet b1.58's (Ma et al. 2024, section 2): divide by the mean magnitude, round, clip to ±1. BitNet trains
with it and can afford one scale a tensor. A finished model cannot, so here, as post-training methods do, each `GROUP`
consecutive inputs of an output share a scale: 64 divides the widths of small models, and with a float16 scale a weight
costs 1.85 bits in all. Embeddings, the output head (often the same tensor), norms and biases stay as they are.

Quantising starts from the weights in memory. A base loaded in bfloat16 has been rounded already and gives a few other
values than the same base in float32.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sharedllm.base.beside_weights import copy_beside_weights
from sharedllm.base.cpu_attention import register_attention
from sharedllm.base.loading import Base
from sharedllm.errors import BaseError, InvalidInput, UnsupportedBase

if TYPE_CHECKING:
    import torch

GROUP = 64
SUFFIX = "+ternary"
"""What a ternary base's fingerprint adds to that of the base it was made from: adapters of the two do not mix."""

_WEIGHTS = "ternary.safetensors"
_TRITS, _SCALES = ".trits", ".scales"
_TRITS_A_BYTE = 5
_DIGITS = 3 ** np.arange(_TRITS_A_BYTE)


def ternary_copy(base: Base) -> Base:
    """A copy of a base with ternary weights in its blocks, in the base's dtype and on its device.

    Raises:
        InvalidInput: it is ternary already, and a second rounding would only add error.
        UnsupportedBase: it has no linear layer but its head.
    """
    model = copy.deepcopy(base.model)
    copied = replace(base, name=base.name + SUFFIX, fingerprint=base.fingerprint + SUFFIX, model=model)
    for _, layer in _layers(base, model):
        trits, scales = _quantise(layer.weight)
        layer.weight.data = _dequantise(trits, scales, layer.weight.dtype)
    return copied


def save_ternary(base: Base, folder: Path) -> int:
    """Write the ternary form of a base as a folder that `load_ternary` reads, and return its weights' size in bytes.

    Five trits lie in a byte (3**5 = 243); tensors that are not quantised keep the dtype the base runs in.
    Configuration, tokenizer and licences are copied, so the folder stands alone.

    Args:
        base: the base itself, not its ternary copy.
        folder: made if it is not there.

    Raises:
        InvalidInput, UnsupportedBase: see `ternary_copy`.
    """
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu() for name, tensor in base.model.named_parameters()}
    for name, layer in _layers(base, base.model):
        del tensors[f"{name}.weight"]
        trits, scales = _quantise(layer.weight)
        tensors[name + _TRITS], tensors[name + _SCALES] = _pack(trits), scales.cpu()
    folder.mkdir(parents=True, exist_ok=True)
    # An index names files of weights, which are not in this folder.
    copy_beside_weights(base.folder, folder, without={path.name for path in base.folder.glob("*.index.json")})
    about = {"name": base.name + SUFFIX, "fingerprint": base.fingerprint + SUFFIX, "dtype": str(base.dtype)}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / _WEIGHTS, metadata={"sharedllm": json.dumps(about)})
    return (folder / _WEIGHTS).stat().st_size


def load_ternary(folder: Path, *, device: str = "cpu") -> Base:
    """Read back what `save_ternary` wrote: the same weights, bit for bit, as `ternary_copy` gives.

    Raises:
        BaseError: the folder is damaged, incomplete, or not one of ours.
    """
    import torch
    from safetensors import SafetensorError, safe_open
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    try:
        with safe_open(folder / _WEIGHTS, "pt") as opened:
            about = json.loads(opened.metadata()["sharedllm"])
            tensors = {name: opened.get_tensor(name) for name in list(opened.keys())}
        dtype = getattr(torch, about["dtype"].removeprefix("torch."))
        attention = "sdpa" if device.startswith("cuda") else register_attention()
        config = AutoConfig.from_pretrained(folder)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
        # A tied head is its embedding: named_parameters leaves it out here, as it did when the file was written.
        for name, parameter in model.named_parameters():
            parameter.data = _read(tensors, name, parameter)
        if tensors:
            raise ValueError(f"the model has no {sorted(tensors)[0]}")
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise BaseError(
            f"{folder} does not load as a ternary base: {error}", remedy="Write it again with save_ternary."
        ) from error
    model.to(device).eval().requires_grad_(False)
    return Base(about["name"], folder, about["fingerprint"], model, tokenizer)


def _layers(base: Base, model: Any) -> Iterator[tuple[str, Any]]:
    """The linear layers to quantise: all but the head."""
    from torch import nn

    if base.fingerprint.endswith(SUFFIX):
        raise InvalidInput(f"{base.name} is ternary already", remedy="Start from the base it was made from.")
    head = model.get_output_embeddings()
    layers = [(name, each) for name, each in model.named_modules() if isinstance(each, nn.Linear) and each is not head]
    if not layers:
        raise UnsupportedBase(
            f"{type(model).__name__} has no linear layer but its head", remedy="Use a base built like Llama."
        )
    yield from layers


def _quantise(weight: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Trits int8 ``[outputs, inputs]`` and scales float16 ``[outputs, groups]``; the last group may be narrower."""
    import torch

    magnitudes = weight.detach().abs().float()
    groups = [part.mean(dim=1) for part in torch.split(magnitudes, GROUP, dim=1)]
    scales = torch.stack(groups, dim=1).half()
    divisors = _spread(scales, weight.shape[1]).float()
    # A group too small for a float16 scale is zeros.
    trits = torch.where(divisors > 0, weight.detach().float() / divisors, 0).round_().clamp_(-1, 1)
    return trits.to(torch.int8), scales


def _dequantise(trits: "torch.Tensor", scales: "torch.Tensor", dtype: "torch.dtype") -> "torch.Tensor":
    return trits.to(dtype) * _spread(scales, trits.shape[1]).to(dtype)


def _spread(scales: "torch.Tensor", inputs: int) -> "torch.Tensor":
    return scales.repeat_interleave(GROUP, dim=1)[:, :inputs]


def _pack(trits: "torch.Tensor") -> "torch.Tensor":
    """uint8 ``[ceil(weights / 5)]``: each byte is five trits plus one, the first the least significant digit."""
    import torch

    digits = trits.flatten().cpu().numpy().astype(np.uint8) + np.uint8(1)
    padded = np.pad(digits, (0, -len(digits) % _TRITS_A_BYTE)).reshape(-1, _TRITS_A_BYTE)
    return torch.from_numpy((padded @ _DIGITS).astype(np.uint8))


def _unpack(packed: "torch.Tensor", shape: "torch.Size") -> "torch.Tensor":
    import torch

    numbers = packed.numpy()
    if numbers.dtype != np.uint8 or len(numbers) != -(-shape.numel() // _TRITS_A_BYTE) or (numbers >= 3**5).any():
        raise ValueError(f"{len(numbers):,} bytes are not {shape.numel():,} trits")
    table = (np.arange(3**5)[:, None] // _DIGITS % 3 - 1).astype(np.int8)
    return torch.from_numpy(table[numbers].reshape(-1)[: shape.numel()]).view(shape)


def _read(tensors: dict[str, "torch.Tensor"], name: str, parameter: "torch.Tensor") -> "torch.Tensor":
    """One parameter, taken out of what the file holds."""
    layer = name.removesuffix(".weight")
    if layer + _TRITS in tensors:
        trits = _unpack(tensors.pop(layer + _TRITS), parameter.shape)
        scales = tensors.pop(layer + _SCALES)
        if scales.shape != (parameter.shape[0], -(-parameter.shape[1] // GROUP)):
            raise ValueError(f"{list(scales.shape)} scales do not fit {name}")
        return _dequantise(trits, scales, parameter.dtype)
    found = tensors.pop(name)
    if found.shape != parameter.shape or found.dtype != parameter.dtype:
        raise ValueError(f"{name} is {found.dtype} {list(found.shape)}, not {parameter.dtype} {list(parameter.shape)}")
    return found
