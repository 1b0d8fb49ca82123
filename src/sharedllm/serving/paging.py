"""transformers' continuous batching, driven one pass at a time: all that we use of it and that is private there.

Its scheduler, its paged cache and its input tensors are its own. Its thread, its queue, its sampling and its prefix
sharing are not used: a shared prefix would be keyed by tokens alone, and keys and values depend on the row as well.
`tests/serving/test_paging.py` fails when what is reached for here moves.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from sharedllm.base.loading import Base
from sharedllm.errors import UnsupportedBase
from sharedllm.serving.cuda_graphs import recorder
from sharedllm.serving.decoding import Decoding
from sharedllm.serving.passes import Draw, Pass, Take, Wanted
from sharedllm.serving.ragged import plan, register_ragged
from sharedllm.serving.rows import Rows

if TYPE_CHECKING:
    import torch

PAGE_TOKENS = 32


def places(tokens: int) -> int:
    """As many tokens as the pages have room for that so many take in the cache."""
    return -(-tokens // PAGE_TOKENS) * PAGE_TOKENS


class Pager:
    """Requests in, one pass of the model at a time.

    Attributes:
        passed: what the last pass read.
    """

    def __init__(
        self, base: Base, *, running: int, cache_tokens: int, batch_tokens: int, rows: Rows, draw: Draw
    ) -> None:
        from transformers.generation.continuous_batching import cache

        if not base.model._supports_logits_to_keep():
            raise UnsupportedBase(
                f"{type(base.model).__name__} computes logits for every token of a prompt",
                remedy="Use a base whose forward pass takes logits_to_keep.",
            )
        self._base = base
        self._attention = base.model.config._attn_implementation
        config = base.model.config.get_text_config()
        kinds = set(cache.group_layers_by_attn_type(config))
        self._ragged = kinds == {"full_attention"}
        self.passed = Pass([], [], [])
        self._rows, self._wanted = rows, Wanted(draw)
        self._decoding: Decoding | None = None
        base.model.set_attn_implementation(register_ragged() if self._ragged else "sdpa")
        with ExitStack() as undo:
            undo.callback(self.close)
            self._make(config, running=running, cache_tokens=cache_tokens, batch_tokens=batch_tokens)
            undo.pop_all()

    def _make(self, config: Any, *, running: int, cache_tokens: int, batch_tokens: int) -> None:
        """Make the library's own parts, for the attention that the model has now."""
        from transformers import ContinuousBatchingConfig, LogitsProcessorList
        from transformers.generation.continuous_batching import cache, cb_logits_processors, continuous_api, scheduler
        from transformers.generation.continuous_batching.distributed import DistributedHelper
        from transformers.generation.continuous_batching.initialization import resolve_continuous_batching_config

        base = self._base
        processors = cb_logits_processors.ContinuousBatchingLogitsProcessorList(LogitsProcessorList())
        settings = resolve_continuous_batching_config(
            config=config,
            cb_config=ContinuousBatchingConfig(
                page_size=PAGE_TOKENS,
                num_blocks=-(-cache_tokens // PAGE_TOKENS),
                max_batch_tokens=batch_tokens,
                max_requests_per_batch=running,
                max_blocks_per_request=0,
                allow_block_sharing=False,
                use_async_batching=False,
                use_cuda_graph=False,
            ),
            workload_hints=None,
            has_logit_processors=False,
            device=base.device,
        )
        # It would keep every answer for a reader whom there is not: in memory, for ever, and after an erasure too.
        nobody = continuous_api.OutputRouter()
        nobody.deliver = nobody.deliver_batch = lambda _: None
        alone = DistributedHelper(device_mesh=None, cpu_group_timeout=None)
        self._cache = cache.PagedAttentionCache(
            config=config,
            continuous_batching_config=settings,
            device=base.device,
            distributed_helper=alone,
            dtype=base.dtype,
            model_supports_logits_to_keep=True,
        )
        self._scheduler = scheduler.FIFOScheduler(
            cache=self._cache, safety_margin=0.0, max_requests_per_batch=settings.max_requests_per_batch
        )
        self._processor = continuous_api.ContinuousBatchProcessor(
            cache=self._cache,
            config=config,
            generation_config=base.model.generation_config,
            continuous_batching_config=settings,
            logit_processor=processors,
            input_queue=None,
            cancel_queue=None,
            output_router=nobody,
            background_thread_status=continuous_api.BackgroundThreadStatus(),
            model_device=base.device,
            model_dtype=base.dtype,
            scheduler=self._scheduler,
            distributed_helper=alone,
        )
        self._inputs = self._processor.inputs_and_outputs
        # Its passes would overtake on a GPU what is copied and overwritten between them.
        self._inputs.compute_stream = None
        record = recorder(base.device)
        if self._ragged and record is not None:
            allocator = self._cache.cache_allocators["full_attention"]
            self._decoding = Decoding(base, allocator, self._rows.gathered, record)
        # On the instance, so that the library's own step calls ours for what happens between inputs and tokens.
        self._processor.model_runner._forward_process_and_sample = self._forward

    @property
    def capacity(self) -> int:
        """Tokens whose keys and values fit the cache."""
        tokens: int = self._cache.num_blocks * PAGE_TOKENS
        return tokens

    def add(
        self, name: str, ids: Sequence[int], *, max_tokens: int, places: range = range(0), take: Take | None = None
    ) -> None:
        """Queue a request; it is in the next pass with room for it.

        Args:
            name: of the request.
            ids: its tokens, at least one.
            max_tokens: it draws until it is dropped or has as many; with 0 it is only read.
            places: of the tokens whose logits are wanted; if it draws, they end with the one before the last.
            take: gets them in their order, a pass at a time; some a second time if the request has to start over.
        """
        from transformers.generation.continuous_batching.requests import RequestState

        self._wanted.add(name, draws=max_tokens > 0, places=places, take=take)
        # The library has no requests that draw nothing: they end with a token that nobody sees.
        state = RequestState(request_id=name, initial_tokens=list(ids), max_new_tokens=max(max_tokens, 1))
        self._scheduler.add_waiting_request(state)

    def unread(self, name: str) -> int:
        """How many of the tokens given with a request no pass has read yet."""
        state = self._scheduler.active_requests.get(name) or self._scheduler.waiting_requests.get(name)
        # A request that draws nothing is gone once it is read.
        return len(state.remaining_prefill_tokens) if state else 0

    def drop(self, name: str) -> None:
        """Forget a request and give back its keys and values, before the next pass."""
        self._wanted.drop(name)
        self._scheduler.set_request_cancellation(name)
        # Set when the cache overflowed; the library takes it back for requests that end of themselves alone.
        self._scheduler.block_new_requests = False

    def step(self) -> bool:
        """Run one pass of the model; False if there was nothing to run."""
        import torch

        with torch.inference_mode():
            if not self._processor.prepare_next_batch():
                return False
            self._processor._generation_step(self._base.model)
            self._processor.update_batch()
        return True

    def wipe(self) -> None:
        """Overwrite all keys and values but those of running requests, and all tokens of the last pass."""
        if self._decoding is not None:
            self._decoding.forget()
        # Requests that were dropped hold theirs until the next pass, and its inputs are there until then.
        self._scheduler.clear_cancelled_requests()
        self._scheduler.starved_requests = []
        self._inputs.reset()
        kept = []
        for allocator in self._cache.cache_allocators.values():
            blocks = sorted({block for held in allocator.block_table.values() for block in held})
            kept.append((allocator._copy_view, blocks, allocator._copy_view[blocks]))
        self._cache.cache_tensor.zero_()
        for view, blocks, values in kept:
            view[blocks] = values

    def close(self) -> None:
        """Leave the model as it was."""
        self._base.model.set_attn_implementation(self._attention)
        self._decoding = None

    def _forward(self, model: Any, inputs: dict[str, Any], carried: Any, before: Any, output: "torch.Tensor") -> None:
        """Stands in for the library's forward pass and sampling."""
        states = self._inputs.requests_in_batch
        self.passed = Pass(
            [each.state.request_id for each in states],
            [each.query_length for each in states],
            [each.has_new_token for each in states],
        )
        totals = [each.state.position_offset for each in states]
        kept = self._wanted.places(self.passed, totals)
        decoding = self._decoding
        if decoding is not None and not decoding.given_up and max(self.passed.lengths) == 1:
            logits = decoding(self._rows.slots(self.passed), totals, inputs)
            if not all(kept):
                logits = logits[[row for row, places in enumerate(kept) if places]]
        else:
            logits = self._logits(model, inputs, totals, kept)
        tokens = self._wanted.hand_out(self.passed, kept, logits)
        output[0, : len(tokens)] = output.new_tensor(tokens)

    def _logits(self, model: Any, inputs: dict[str, Any], totals: list[int], kept: list[range]) -> "torch.Tensor":
        """Run the model over a pass; the logits that are wanted, one after the other."""
        ends = accumulate(self.passed.lengths)
        inputs["logits_to_keep"] = inputs["input_ids"].new_tensor(
            [end - total + place for end, total, wanted in zip(ends, totals, kept, strict=True) for place in wanted]
        )
        if self._ragged:
            (read,), (written,) = inputs["read_index"], inputs["write_index"]
            allocator = self._cache.cache_allocators["full_attention"]
            heads = allocator.num_key_value_heads
            steps = plan(self.passed.lengths, totals, read.cpu(), written.cpu(), heads, self._base.dtype)
            inputs["ragged"] = steps.to(self._base.device), allocator._kv_token_views.__getitem__
        with self._rows.applied(self.passed):
            logits: torch.Tensor = model(**inputs).logits[0]
        return logits
