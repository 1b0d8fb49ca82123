"""The places in a base where a vector can act, found by looking at the model rather than at a list of architectures."""

import copy
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from sharedllm.errors import FormatError, UnsupportedBase

if TYPE_CHECKING:
    import torch


SiteKind = Literal["scale", "shift", "diagonal", "core"]
FRAMED = ("diagonal", "core")
"""The kinds that act within a projection's frame."""

_NORM = re.compile(r"(RMS|Layer)Norm(1P)?$")


@dataclass(frozen=True)
class Site:
    """One place where a vector acts.

    Attributes:
        name: module path inside the model, e.g. ``model.layers.0.input_layernorm``.
        width: channels, the size of the last axis of the activation.
        kind: ``scale`` multiplies the activation by ``1 + s``, ``shift`` adds ``s``; at the output of a projection that
            has a frame ``A, B``, ``diagonal`` adds ``B (s * (A x))`` and ``core`` adds ``B (S (A x))``.
        at: whether the module's ``output`` or its first ``input`` is changed.
        token_axis: which axis of the activation counts tokens; axis 0 is always the sequence.
        rank: components of the frame, of the two kinds that need one; else 0.

    Raises:
        FormatError: a value is none of these.
    """

    name: str
    width: int
    kind: SiteKind = "scale"
    at: Literal["output", "input"] = "output"
    token_axis: int = 1
    rank: int = 0

    def __post_init__(self) -> None:
        right = {
            "name": isinstance(self.name, str),
            "width": isinstance(self.width, int) and self.width > 0,
            "kind": self.kind in get_args(SiteKind),
            "at": self.at in (("output",) if self.kind in FRAMED else ("output", "input")),
            "token_axis": isinstance(self.token_axis, int) and self.token_axis > 0,
            "rank": isinstance(self.rank, int) and (self.rank > 0) == (self.kind in FRAMED),
        }
        for field in (field for field, holds in right.items() if not holds):
            raise FormatError(
                f"The {field} of a site at {self.name!r} is {getattr(self, field)!r}",
                remedy="Give a module's path, a width and a token_axis of at least 1, kind scale or shift, at output or"
                " input; or kind diagonal or core, at output, and the frame's rank.",
            )

    @property
    def size(self) -> int:
        """How many of a row's values are the site's."""
        return {"diagonal": self.rank, "core": self.rank**2}.get(self.kind, self.width)


def norm_sites(model: Any) -> tuple[Site, ...]:
    """The output of every normalisation layer that has a gain and reads text, in model order.

    Those of an encoder, or of images, take no part when text alone is read.

    Args:
        model: as transformers made it; a few tokens are read through it.

    Raises:
        UnsupportedBase: the model has none, or one whose output has no axis for sequences or for tokens.
    """
    norms = [Site(name, int(_gain(module).numel())) for name, module in model.named_modules() if is_norm(module)]
    if not norms:
        raise UnsupportedBase(
            f"{type(model).__name__} has no normalisation layer with a gain",
            remedy="Use a base with RMSNorm or LayerNorm, or another adapter format.",
        )
    read, shapes = activations(model, norms)
    if not shapes:
        raise UnsupportedBase(f"{type(model).__name__} has no norm that reads text", remedy="Use another base.")
    return tuple(replace(site, token_axis=_token_axis(site, shapes[site], *read)) for site in norms if site in shapes)


def blocks(model: Any) -> dict[str, Any]:
    """The model's blocks in order, each by its module path.

    Args:
        model: as transformers made it.

    Raises:
        UnsupportedBase: it has no list of them.
    """
    from torch import nn

    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == text_config(model).num_hidden_layers:
            return {f"{name}.{number}": block for number, block in enumerate(module)}
    raise UnsupportedBase(
        f"{type(model).__name__} has no list of blocks", remedy="Use a format that needs none, or another base."
    )


def text_config(model: Any) -> Any:
    """The configuration of what reads text, of a model that may do more."""
    return model.config.get_text_config()


def activations(model: Any, sites: Iterable[Site]) -> tuple[tuple[int, int], dict[Site, tuple[int, ...]]]:
    """Read a few tokens and see what shape each site's activation has; one that is not reached has none.

    The number of tokens is no number of heads, so that their axes cannot be mistaken for each other.

    Returns:
        how many sequences of how many tokens were read, and the shapes.
    """
    import torch

    config = text_config(model)
    batch = 2
    heads = (getattr(config, name, None) for name in ("num_attention_heads", "num_key_value_heads"))
    tokens = 1 + batch + max((each for each in heads if isinstance(each, int)), default=1)
    shapes: dict[Site, tuple[int, ...]] = {}

    def record(site: Site, found: Any) -> None:
        first = found[0] if isinstance(found, tuple) and found else found
        if isinstance(first, torch.Tensor):
            shapes[site] = tuple(first.shape)

    def watch(site: Site) -> Any:
        module = model.get_submodule(site.name)
        if site.at == "input":
            return module.register_forward_pre_hook(lambda _, inputs: record(site, inputs))
        return module.register_forward_hook(lambda _, inputs, output: record(site, output))

    handles = [watch(site) for site in sites]
    try:
        with torch.no_grad():
            model(input_ids=torch.zeros(batch, tokens, dtype=torch.long, device=model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return (batch, tokens), shapes


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


def is_norm(module: Any) -> bool:
    """Whether a module is a normalisation layer that has a gain."""
    return _NORM.search(type(module).__name__) is not None and getattr(module, "weight", None) is not None


def _gain(norm: Any) -> "torch.Tensor":
    weight: torch.Tensor = norm.weight
    return weight


def _token_axis(site: Site, shape: tuple[int, ...], batch: int, tokens: int) -> int:
    """Which axis of a norm's output counts tokens.

    Head norms see ``[batch, tokens, heads, width]`` in some models and ``[batch, heads, tokens, width]`` in others.
    """
    candidates = [axis for axis in range(1, len(shape) - 1) if shape[axis] == tokens]
    if len(candidates) != 1 or shape[0] != batch or shape[-1] != site.width:
        raise UnsupportedBase(
            f"The norm {site.name} gives activations of shape {list(shape)} for {batch} sequences of {tokens} tokens",
            remedy="Its channels cannot be scaled user by user; use another base.",
        )
    return candidates[0]
