"""vLLM's engine as its requests need it: made for one base and format, with rows, and driven from one thread."""

import os
import tempfile
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.layouts import Layout
from sharedllm.base.fingerprint import FRAMES
from sharedllm.base.loading import Base
from sharedllm.base.sites import Site, text_config
from sharedllm.errors import UnsupportedBase
from sharedllm.extras import need
from sharedllm.serving.cache import PAGE_TOKENS, places
from sharedllm.serving.request import Limits, Sampling
from sharedllm.serving.vllm.plugin import register
from sharedllm.serving.vllm.rows import TOLD, WorkerRows, row_bytes

_NOWHERE = "sharedllm"
"""A LoRA request has to have a path, and nothing is read from this one."""


class Passes:
    """vLLM on a base, with a table of rows.

    vLLM reads a base's weights itself, from the same files that its fingerprint covers.

    Attributes:
        layout: of the rows.
        slots: rows that the table has, the base's among them.
    """

    def __init__(self, base: Base, layout: Layout, limits: Limits, *, slots: int, context: int) -> None:
        """Load the base.

        Args:
            base: whose folder vLLM loads.
            layout: of scales at norms.
            limits: what runs at once.
            slots: see above.
            context: tokens that a prompt and its answer may have together, of which vLLM wants one to be drawn.

        Raises:
            UnsupportedBase: the format acts elsewhere than at norms' outputs, or vLLM's model has not got these norms.
            MissingExtra: vLLM is not installed.
        """
        need("vllm")
        elsewhere = next((site for site in layout.sites if (site.kind, site.at) != ("scale", "output")), None)
        if elsewhere is not None:
            raise UnsupportedBase(
                f"The format {layout.format!r} has a {elsewhere.kind} at the {elsewhere.at} of {elsewhere.name!r}, and"
                " rows in vLLM scale the outputs of norms",
                remedy="Serve this format with the engine of this package, or train in the norm format.",
            )
        self.layout, self.slots = layout, slots
        self._folder = tempfile.TemporaryDirectory(prefix="sharedllm-vllm-")
        asked = {"model": str(without_frames(base.folder, Path(self._folder.name)))}
        self._llm = started(asked | arguments(base, limits, context=context), sites=layout.sites, slots=slots)

    @property
    def busy(self) -> bool:
        """Whether vLLM has something to compute."""
        return bool(self._llm.has_unfinished_requests())

    def write(self, slot: int, release: str, values: npt.NDArray[np.float16]) -> None:
        """Fill a slot in every worker."""
        self._llm.collective_rpc("sharedllm_write", args=(slot, release, row_bytes(values)))

    def clear(self, slot: int) -> None:
        """Overwrite a slot in every worker."""
        self._llm.collective_rpc("sharedllm_clear", args=(slot,))

    def wipe(self) -> None:
        """Overwrite all keys and values, kept ones too; what runs is read again from its first token on."""
        self._llm.reset_prefix_cache(reset_running_requests=True)
        self._llm.collective_rpc("sharedllm_wipe")

    def begin(
        self,
        name: str,
        ids: Sequence[int],
        sampling: Sampling,
        *,
        owner: str,
        slot: int,
        release: str | None,
        max_tokens: int,
        tops: int | None,
        prompt_tops: int | None,
    ) -> None:
        """Have a text read, and go on with it.

        Args:
            name: of what comes of it, see `step`.
            ids: the text.
            sampling: how tokens are drawn.
            owner: whose it is: what was read of it is found again for nobody else, under the base's row either.
            slot: of the row that it is read under.
            release: what that row is of; None for the base.
            max_tokens: how many tokens are drawn; one at least.
            tops: how many of the likeliest tokens are told beside each that is drawn; None tells no log-probability.
            prompt_tops: the same of the text's own tokens.
        """
        from vllm.inputs import tokens_input
        from vllm.lora.request import LoRARequest

        row = None if release is None else LoRARequest(lora_name=release, lora_int_id=slot, lora_path=_NOWHERE)
        parameters = _parameters(sampling, max_tokens=max_tokens, logprobs=tops, prompt_logprobs=prompt_tops)
        self._llm.add_request(name, tokens_input(list(ids), cache_salt=owner), parameters, lora_request=row)

    def end(self, name: str) -> None:
        """Go on no longer; what has ended is left alone."""
        self._llm.abort_request([name])

    def step(self) -> list[Any]:
        """One pass over everybody, and what is new of each, as vLLM says it."""
        return list(self._llm.step())

    def forget(self) -> None:
        """Nothing of a pass is kept here; what vLLM keeps is overwritten by `clear` and `wipe`."""

    def close(self) -> None:
        """Let vLLM end its workers."""
        self._llm.engine_core.shutdown()
        self._folder.cleanup()


def arguments(base: Base, limits: Limits, *, context: int) -> dict[str, Any]:
    """How vLLM is asked to serve a base, whose folder and rows apart, as names and values of its `EngineArgs`."""
    tokens = places(limits.cache_tokens) + PAGE_TOKENS
    return {
        "skip_tokenizer_init": True,
        "dtype": str(base.dtype).removeprefix("torch."),
        "max_model_len": context,
        "max_num_seqs": limits.running,
        "max_num_batched_tokens": limits.pass_tokens,
        "enable_prefix_caching": True,
        "enable_chunked_prefill": True,
        "block_size": PAGE_TOKENS,
        # vLLM keeps one block for nobody.
        "num_gpu_blocks_override": tokens // PAGE_TOKENS,
        "kv_cache_memory_bytes": tokens * _token_bytes(base),
        # Rows are written between two passes, none of which is under way then.
        "async_scheduling": False,
        "generation_config": "vllm",
        "max_logprobs": -1,
        "disable_log_stats": True,
    }


def started(asked: dict[str, Any], *, sites: list[Site] | tuple[Site, ...] = (), slots: int = 0) -> Any:
    """vLLM's engine, whose passes the caller runs.

    Args:
        asked: of its `EngineArgs`.
        sites: of rows, at norms; none has vLLM as it is.
        slots: rows that a table has, the base's among them.
    """
    # Its loop is driven from here; workers of its own it may have all the same.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    # It would tell of itself between the lines of a server's log.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    register()
    from vllm import EngineArgs
    from vllm.config import LoRAConfig
    from vllm.v1.engine.llm_engine import LLMEngine
    from vllm.v1.executor import Executor

    if sites:
        told = {TOLD: {"sites": [[site.name, site.width] for site in sites]}}
        asked = {**asked, "additional_config": told, "worker_extension_cls": f"{WorkerRows.__module__}.WorkerRows"}
    config = EngineArgs(**asked).create_engine_config()
    if sites:
        # After vLLM has chosen how to compute: for LoRA it compiles nothing on a CPU, and rows compile like the rest.
        config.lora_config = LoRAConfig(max_loras=slots - 1)
        config.lora_config.verify_with_model_config(config.model_config)
    return LLMEngine(config, Executor.get_class(config), log_stats=False, multiprocess_mode=False)


def _token_bytes(base: Base) -> int:
    """Of the keys and values of one token in all layers."""
    config = text_config(base.model)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * base.dtype.itemsize)


def without_frames(folder: Path, view: Path) -> Path:
    """A folder of links to a base's files but the frames of its prior, which vLLM would take for weights."""
    for path in folder.iterdir():
        if path.name != FRAMES:
            (view / path.name).symlink_to(path.resolve())
    return view


def _parameters(sampling: Sampling, *, max_tokens: int, logprobs: int | None, prompt_logprobs: int | None) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    seed = blake2b(f"{sampling.seed} {sampling.choice}".encode(), digest_size=7)
    # With none of the likeliest to be drawn among, the likeliest is.
    greedy = sampling.temperature == 0 or sampling.top_p == 0
    return SamplingParams(
        temperature=0.0 if greedy else sampling.temperature,
        top_p=1.0 if greedy else sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        seed=None if greedy else int.from_bytes(seed.digest()),
        repetition_penalty=sampling.repetition_penalty,
        frequency_penalty=sampling.frequency_penalty,
        presence_penalty=sampling.presence_penalty,
        logit_bias=dict(sampling.logit_bias) or None,
        max_tokens=max_tokens,
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
        # What ends an answer and what it reads like is decided where everybody's answers are.
        ignore_eos=True,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )
