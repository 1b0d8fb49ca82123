"""Every causal family of transformers, made small, and what can be done with it: ``python -m tests.families``."""

import dataclasses
import math
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests import models
from transformers import CONFIG_MAPPING, logging
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, AutoModelForCausalLM

from sharedllm.adapters.adapter import Adapter
from sharedllm.adapters.exchange.merged import export_merged
from sharedllm.adapters.exchange.peft import export_peft
from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.loading import Base, load_base
from sharedllm.errors import SharedLLMError
from sharedllm.evaluation.perplexity import row_losses
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Limits
from sharedllm.text.splits import Repeats
from sharedllm.text.windows import TokenizedText
from sharedllm.training.recipes import Recipe
from sharedllm.training.vectors import train_vectors

FAMILIES = tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
SAMPLE = ("bloom", "falcon", "llama", "mamba", "qwen3_moe", "stablelm")
"""Those that are tried in the ordinary tests, too."""
PAGE = Path(__file__).parent.parent / "docs" / "bases.md"
CRASH = "crashes:"
_MOST_PARAMETERS = 7_000_000
_WINDOW = 16
_LONGEST = 150

_VOCABULARIES = ("vocab_size", "n_vocab", "vocab_size_per_layer_input")
_WIDTHS = ("hidden_size", "n_embd", "d_model", "embedding_size", "hidden_dim", "dim", "kv_lora_rank", "q_lora_rank")
_WIDTHS += ("lru_width", "attention_hidden_size", "input_embedding_size", "output_embedding_size", "emb_dim")
_INNER = ("intermediate_size", "n_inner", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "moe_intermediate_size")
_INNER += ("shared_expert_intermediate_size", "intermediate_size_mlp", "shared_intermediate_size", "d_ff")
_INNER += ("dense_intermediate_size", "expert_ffn_hidden_size", "ffn_hidden_size")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads", "attention_heads")
_HEADS += ("decoder_attention_heads", "mamba_n_heads")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_EIGHTS = ("head_dim", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "rotary_dim", "sliding_window")
_EIGHTS += ("attention_window", "mamba_d_state", "state_size", "linear_key_head_dim", "linear_value_head_dim")
_CONTEXTS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
SMALL: dict[str, Any] = {
    **dict.fromkeys(_VOCABULARIES, models.VOCABULARY),
    **dict.fromkeys(_WIDTHS, 32),
    **dict.fromkeys(_INNER, 48),
    **dict.fromkeys(_LAYERS, 2),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk"), 2),
    **dict.fromkeys(_HEADS, 4),
    **dict.fromkeys(_EXPERTS, 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(_EIGHTS, 8),
    **dict.fromkeys(_CONTEXTS, 512),
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""What configs are given in place of their own values, where they have such a field."""
_FILLED = ("num_key_value_heads", "head_dim", "num_experts_per_tok")
# Tried one after the other, until a model can be made of it.
_OTHERWISE: tuple[dict[str, Any], ...] = (
    {},
    dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 4),
    {"head_dim": None},
    {"num_experts_per_tok": 1, "head_dim": None},
    {"num_experts_per_tok": None, "moe_topk": None},
    {**dict.fromkeys(_LAYERS), "num_key_value_heads": 4},
    {"sliding_window": None},
    {"is_decoder": True},
    {"filled": True},
    {"filled": True, "num_key_value_heads": 4},
    {"head_dim": 16},
)


@dataclasses.dataclass(frozen=True)
class Row:
    """What can be done with a family: ``yes``, or why not."""

    family: str
    loads: str = "-"
    trains: str = "-"
    evaluates: str = "-"
    served: str = "-"
    exports: str = "-"

    def __str__(self) -> str:
        done = [self.loads, self.trains, self.evaluates, self.served, self.exports]
        done[2:] = ["the same" if each == self.trains != "yes" and each != "-" else each for each in done[2:]]
        return f"| {' | '.join((self.family, *done))} |"


def config_of(family: str) -> Any:
    """A small config of a family.

    Raises:
        ValueError: none of the overrides gives one of a model that can be run.
    """
    reasons = []
    for otherwise in _OTHERWISE:
        sizes = {**SMALL, **otherwise}
        try:
            config = _small(CONFIG_MAPPING[family](), sizes)
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(config)
            count = sum(parameter.numel() for parameter in model.parameters())
            if count > _MOST_PARAMETERS:
                raise ValueError(f"{count:,} parameters are left")
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
            with torch.no_grad():
                model(input_ids=torch.arange(3, 27)[None], use_cache=False)
            return config
        # Which of the packages that are missing it names first differs from process to process.
        except ImportError:
            reasons.append("ImportError: it needs packages that are not installed")
        except Exception as error:
            reasons.append(f"{type(error).__name__}: {' '.join(str(error).split())[:120]}")
    raise ValueError(reasons[0])


def _small(config: Any, sizes: dict[str, Any]) -> Any:
    own = config.to_dict()
    changed = {
        name: value
        for name, value in sizes.items()
        if value is not None and isinstance(own.get(name), int | float) and not isinstance(own[name], bool)
    }
    parts = {name: getattr(config, name, None) for name in type(config).sub_configs or {}}
    changed |= {name: _small(part, sizes).to_dict() for name, part in parts.items() if hasattr(part, "to_dict")}
    if sizes.get("is_decoder"):
        changed["is_decoder"] = True
    if sizes.get("filled"):
        changed |= {name: sizes[name] for name in _FILLED if name in own and own[name] is None}
    return type(config)(**changed)


def try_family(family: str, folder: Path) -> Row:
    """Make a small model of a family in a folder, and do everything with it that is done with a base."""
    try:
        config = config_of(family)
        models.save(config, folder / "base", 0)
    except Exception as error:
        return Row(family, f"not made small ({type(error).__name__}: {_short(error)})")
    base: list[Base] = []
    loads = _attempt(lambda: base.append(load_base(str(folder / "base"), dtype=torch.float32, device="cpu")))
    if loads != "yes":
        return Row(family, loads)
    return Row(
        family,
        loads,
        trains=_attempt(lambda: _train(base[0])),
        evaluates=_attempt(lambda: _evaluate(base[0])),
        served=_attempt(lambda: Engine(base[0], Limits(running=4, cache_tokens=1024, table_bytes=0)).close()),
        exports=_attempt(lambda: _export(base[0], folder)),
    )


def _attempt(work: Callable[[], Any]) -> str:
    try:
        work()
    except SharedLLMError as error:
        return _short(error.message)
    except Exception as error:
        return f"{CRASH} {type(error).__name__}: {_short(error)}"
    return "yes"


def _short(reason: object) -> str:
    """A reason that is the same on every machine, and fits a table."""
    words = " ".join(str(reason).replace("|", "/").split())
    words = re.sub(r" by \S+ nats from those that the same requests get alone.*", " from those alone", words)
    words = " ".join(word for word in words.split() if tempfile.gettempdir() not in word)
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 3]}..."


def _train(base: Base) -> None:
    recipe = Recipe("small", steps=2, window=_WINDOW, check_every=0)
    chance = np.random.default_rng(0)
    ids = chance.integers(3, models.VOCABULARY, 4 * _WINDOW)
    windows = ids.reshape(4, _WINDOW)
    text = TokenizedText("ann", ids.astype(np.int32), windows, windows, "0" * 64, Repeats(0, 0.0, ()))
    injection = Injection(base, layout_of(base))
    try:
        (trained,) = train_vectors(base, injection, [text], recipe)
    finally:
        injection.remove()
    if trained.error is not None:
        raise trained.error
    assert trained.adapter is not None and np.abs(trained.adapter.values).max() > 0


def _evaluate(base: Base) -> None:
    layout = layout_of(base)
    injection = Injection(base, layout)
    windows = np.random.default_rng(1).integers(3, models.VOCABULARY, (2, _WINDOW))
    try:
        losses = row_losses(base, injection, np.zeros((2, layout.size), np.float32), windows)
    finally:
        injection.remove()
    assert all(math.isfinite(each.perplexity) for each in losses)


def _export(base: Base, folder: Path) -> None:
    layout = layout_of(base)
    adapter = Adapter("norm", base.fingerprint, np.full(layout.size, 0.1, np.float32))
    export_peft(base, layout, adapter, folder / "peft")
    export_merged(base, layout, adapter, folder / "merged")
    load_base(str(folder / "merged"), dtype=torch.float32, device="cpu")


def rows() -> Iterator[Row]:
    """All families."""
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as scratch:
            yield try_family(family, Path(scratch))


def page(rows: list[Row]) -> str:
    """The page in the docs."""
    made = [row for row in rows if not row.loads.startswith("not made small")]
    usable = [row for row in made if {row.loads, row.trains, row.evaluates, row.served, row.exports} == {"yes"}]
    trained = [row for row in made if {row.loads, row.trains, row.evaluates} == {"yes"}]
    return f"""# Which bases work

Every causal family of transformers, made small with random weights: whether it loads, trains, is evaluated, is served
beside others exactly as alone, and is exported as a PEFT folder and as a merged checkpoint. Where it is refused, the
reason stands in place of `yes`. Of {len(rows)} families {len(made)} can be made small; all of this works with
{len(usable)} of them, and training and evaluation with {len(trained)}. What decides is the model that is loaded, not
this table. Written by `python -m tests.families`; a test checks that it is current.

| family | loads | trains | evaluates | served | exports |
|---|---|---|---|---|---|
{chr(10).join(map(str, rows))}
"""


if __name__ == "__main__":
    logging.set_verbosity_error()
    found = []
    for each in rows():
        found.append(each)
        sys.stderr.write(f"{each}\n")
    PAGE.write_text(page(found))
