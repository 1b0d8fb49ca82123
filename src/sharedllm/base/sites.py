"""The places in a base where a vector can act, found by looking at the model rather than at a list of architectures."""

import copy
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sharedllm.errors import UnsupportedBase

if TYPE_CHECKING:
    import torch


_NORM = re.compile(r"(RMS|Layer)Norm(1P)?$")


@dataclass(frozen=True)
class Site:
    """One place where a vector acts.

    Attributes:
        name: module path inside the model, e.g. ``model.layers.0.input_layernorm``.
        width: channels, the size of the last axis of the activation.
        kind: ``scale`` multiplies the activation by ``1 + s``, ``shift`` adds ``s``.
        at: whether the module's ``output`` or its first ``input`` is changed.
        token_axis: which axis of the activation counts tokens; axis 0 is always the sequence.
    """

    name: str
    width: int
    kind: Literal["scale", "shift"] = "scale"
    at: Literal["output", "input"] = "output"
    token_axis: int = 1


def norm_sites(model: Any) -> tuple[Site, ...]:
    """The output of every normalisation layer that has a gain and reads text, in model order.

    Those of an encoder, or of images, take no part when text alone is read.

    Raises:
        UnsupportedBase: the model has none, or one whose output has no axis for sequences or for tokens.
    """
    norms = {name: module for name, module in model.named_modules() if _is_norm(module)}
    if not norms:
        raise UnsupportedBase(
            f"{type(model).__name__} has no normalisation layer with a gain",
            remedy="Use a base with RMSNorm or LayerNorm, or another adapter format.",
        )
    axes = _token_axes(model, norms)
    if not axes:
        raise UnsupportedBase(f"{type(model).__name__} has no norm that reads text", remedy="Use another base.")
    return tuple(Site(name, int(_gain(norms[name]).numel()), token_axis=axis) for name, axis in axes.items())


def steering_sites(model: Any) -> tuple[Site, ...]:
    """A shift at the last block's output: one hidden size of numbers."""
    name = f"{_block_list(model)}.{_config(model).num_hidden_layers - 1}"
    return (Site(name, int(_config(model).hidden_size), kind="shift"),)


def ia3_sites(model: Any) -> tuple[Site, ...]:
    """Scales at every key, value and feed-forward intermediate (Liu et al. 2022, IA3, section 3.3).

    Raises:
        UnsupportedBase: the blocks do not name these projections the way Llama-like models do.
    """
    blocks = model.get_submodule(_block_list(model))
    sites = []
    for name, block in blocks.named_children():
        parts = {child: module for child, module in block.named_modules() if hasattr(module, "in_features")}
        wanted = {
            "self_attn.k_proj": ("out_features", "output"),
            "self_attn.v_proj": ("out_features", "output"),
            "mlp.down_proj": ("in_features", "input"),
        }
        if not wanted.keys() <= parts.keys():
            raise UnsupportedBase(
                f"{type(model).__name__} has no {', '.join(sorted(wanted.keys() - parts.keys()))} in its blocks",
                remedy="Use the norm format on this base.",
            )
        for child, (feature, at) in wanted.items():
            width = int(getattr(parts[child], feature))
            sites.append(Site(f"{_block_list(model)}.{name}.{child}", width, at=at))  # type: ignore[arg-type]
    return tuple(sites)


def gain_offset(norm: Any) -> float:
    """What the layer adds to its stored weight to get its gain: 0 for most models, 1 where gain - 1 is stored (Gemma).

    Found by asking the layer: with a zero weight, a plain norm gives zeros and a ``1 + weight`` norm does not.

    Raises:
        UnsupportedBase: the layer does not answer.
    """
    import torch

    probe = copy.deepcopy(norm).to("cpu", torch.float32)
    with torch.no_grad():
        for parameter in probe.parameters():
            parameter.zero_()
        try:
            output = probe(torch.arange(1.0, _gain(probe).numel() + 1.0))
        except Exception as error:
            raise UnsupportedBase(
                f"A {type(norm).__name__} does not say how it stores its gain: {error}",
                remedy="Keep adapters of this base in their own format.",
            ) from error
    return 1.0 if bool(output.abs().max() > 0) else 0.0


def site_gains(model: Any, sites: tuple[Site, ...]) -> "torch.Tensor":
    """The base's own gains at scale sites of norms, float32 ``[P]`` on the model's device."""
    import torch

    norms = [model.get_submodule(site.name) for site in sites]
    return torch.cat([_gain(norm).detach().float() + gain_offset(norm) for norm in norms])


def _is_norm(module: Any) -> bool:
    return _NORM.search(type(module).__name__) is not None and getattr(module, "weight", None) is not None


def _gain(norm: Any) -> "torch.Tensor":
    weight: torch.Tensor = norm.weight
    return weight


def _config(model: Any) -> Any:
    return model.config.get_text_config()


def _block_list(model: Any) -> str:
    from torch import nn

    name: str
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == _config(model).num_hidden_layers:
            return name
    raise UnsupportedBase(f"{type(model).__name__} has no list of blocks", remedy="Use the norm format on this base.")


def _token_axes(model: Any, norms: dict[str, Any]) -> dict[str, int]:
    """Run a few tokens and see which axis of each norm's output counts them.

    Head norms see ``[batch, tokens, heads, width]`` in some models and ``[batch, heads, tokens, width]`` in others; a
    token count that is no head count tells them apart.
    """
    import torch

    config = _config(model)
    batch = 2
    heads = (getattr(config, name, None) for name in ("num_attention_heads", "num_key_value_heads"))
    tokens = 1 + batch + max((each for each in heads if isinstance(each, int)), default=1)
    shapes: dict[str, tuple[int, ...]] = {}

    def record(name: str) -> Any:
        return lambda module, inputs, output: shapes.__setitem__(name, tuple(output.shape))

    handles = [module.register_forward_hook(record(name)) for name, module in norms.items()]
    try:
        with torch.no_grad():
            model(input_ids=torch.zeros(batch, tokens, dtype=torch.long, device=model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    axes = {}
    for name, norm in norms.items():
        if name not in shapes:
            continue
        shape = shapes[name]
        candidates = [axis for axis in range(1, len(shape) - 1) if shape[axis] == tokens]
        if len(candidates) != 1 or shape[0] != batch or shape[-1] != _gain(norm).numel():
            raise UnsupportedBase(
                f"The norm {name} gives activations of shape {list(shape)} for {batch} sequences of {tokens} tokens",
                remedy="Its channels cannot be scaled user by user; use another base.",
            )
        axes[name] = candidates[0]
    return axes
