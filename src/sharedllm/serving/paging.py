"""transformers' continuous batching, driven one pass at a time: all that we use of it and that is private there.

Its scheduler, its paged cache and its input tensors are its own. Its thread, its queue, its sampling and its prefix
sharing are not used: a shared prefix would be keyed by tokens alone, and keys and values depend on the row as well.
`tests/serving/test_paging.py` fails when what is reached for here moves.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from sharedllm.base.loading import Base
from sharedllm.errors import UnsupportedBase
from sharedllm.serving.ragged import plan, register_ragged

if TYPE_CHECKING:
    import torch

PAGE_TOKENS = 32
_NEVER_SEEN = 0


def places(tokens: int) -> int:
    """As many tokens as the pages have room for that so many take in the cache."""
    return -(-tokens // PAGE_TOKENS) * PAGE_TOKENS


@dataclass(frozen=True)
class Pass:
    """What one forward pass reads.

    Attributes:
        names: the requests, in the order of their tokens.
        lengths: tokens of each.
        draws: whether the pass reaches the end of what is known of each, so that a new token is drawn; where none is
            wanted, it has been read to its end.
    """

    names: list[str]
    lengths: list[int]
    draws: list[bool]


Rows = Callable[[Pass], AbstractContextManager[None]]
"""Applies everybody's rows to the forward pass inside the block."""
Draw = Callable[[list[str], "torch.Tensor"], list[int]]
"""From the requests that draw and their logits, float ``[requests, vocabulary]``, to their tokens."""
Take = Callable[[int, "torch.Tensor"], None]
"""Takes logits of tokens that were given, float ``[tokens, vocabulary]``, from a place among them on."""


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
        self._ragged = base.device.type == "cpu" and kinds == {"full_attention"}
        self.passed = Pass([], [], [])
        self._rows, self._draw = rows, draw
        self._read: dict[str, tuple[range, Take]] = {}
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
        # On the instance, so that the library's own step calls ours for what happens between inputs and tokens.
        self._processor.model_runner._forward_process_and_sample = self._forward

    @property
    def capacity(self) -> int:
        """Tokens whose keys and values fit the cache."""
        tokens: int = self._cache.num_blocks * PAGE_TOKENS
        return tokens

    def add(self, name: str, prompt: Sequence[int], *, max_tokens: int) -> None:
        """Queue a request that draws until it is dropped or has its tokens; it is in the next pass with room for it."""
        from transformers.generation.continuous_batching.requests import RequestState

        state = RequestState(request_id=name, initial_tokens=list(prompt), max_new_tokens=max_tokens)
        self._scheduler.add_waiting_request(state)

    def read(self, name: str, ids: Sequence[int], places: range, take: Take) -> None:
        """Queue a request that draws nothing.

        Args:
            name: of the request.
            ids: its tokens, at least one.
            places: whose logits are wanted.
            take: gets them in their order, a pass at a time; some a second time if the request has to start over.
        """
        self._read[name] = places, take
        # The library has no such requests. This one ends with a token that nobody sees.
        self.add(name, ids, max_tokens=1)

    def unread(self, name: str) -> int:
        """How many of the tokens given with a request no pass has read yet."""
        state = self._scheduler.active_requests.get(name) or self._scheduler.waiting_requests.get(name)
        # A request that draws nothing is gone once it is read.
        return len(state.remaining_prefill_tokens) if state else 0

    def drop(self, name: str) -> None:
        """Forget a request and give back its keys and values, before the next pass."""
        self._read.pop(name, None)
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

    def _forward(self, model: Any, inputs: dict[str, Any], carried: Any, before: Any, output: "torch.Tensor") -> None:
        """Stands in for the library's forward pass and sampling."""
        states = self._inputs.requests_in_batch
        self.passed = Pass(
            [each.state.request_id for each in states],
            [each.query_length for each in states],
            [each.has_new_token for each in states],
        )
        totals = [each.state.position_offset for each in states]
        kept = self._keeps(totals)
        ends = accumulate(self.passed.lengths)
        inputs["logits_to_keep"] = output.new_tensor(
            [end - total + place for end, total, wanted in zip(ends, totals, kept, strict=True) for place in wanted]
        )
        if self._ragged:
            (read,), (written,) = inputs["read_index"], inputs["write_index"]
            allocator = self._cache.cache_allocators["full_attention"]
            steps = plan(self.passed.lengths, totals, read, written, allocator.num_key_value_heads, self._base.dtype)
            inputs["ragged"] = steps, allocator._kv_token_views.__getitem__
        with self._rows(self.passed):
            logits = model(**inputs).logits[0]
        tokens = self._hand_out(kept, logits)
        output[0, : len(tokens)] = output.new_tensor(tokens)

    def _keeps(self, totals: list[int]) -> list[range]:
        """The places in each request of a pass whose logits are wanted, from how much of each is read after it."""
        kept = []
        for name, length, draws, total in zip(
            self.passed.names, self.passed.lengths, self.passed.draws, totals, strict=True
        ):
            if name in self._read:
                wanted, _ = self._read[name]
                kept.append(range(max(total - length, wanted.start), min(total, wanted.stop)))
            else:
                kept.append(range(total - draws, total))
        return kept

    def _hand_out(self, kept: list[range], logits: "torch.Tensor") -> list[int]:
        """Hand the logits out; returns a token for everyone who has been read to the end of what is known."""
        drawing, rows, row = [], [], 0
        for name, wanted in zip(self.passed.names, kept, strict=True):
            if not wanted:
                continue
            if name in self._read:
                _, take = self._read[name]
                take(wanted.start, logits[row : row + len(wanted)])
            else:
                drawing.append(name)
                rows.append(row)
            row += len(wanted)
        # Mostly they are all of the logits, which are then not to be copied.
        drawn = iter(self._draw(drawing, logits if len(rows) == row else logits[rows]) if drawing else [])
        ended = [name for name, draws in zip(self.passed.names, self.passed.draws, strict=True) if draws]
        return [_NEVER_SEEN if name in self._read else next(drawn) for name in ended]
