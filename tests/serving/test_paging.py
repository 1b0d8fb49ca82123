"""What `paging.py` reaches for in transformers. A failure here says that the library has moved, and where."""

import inspect

import transformers
from transformers.generation.continuous_batching import (
    cache,
    continuous_api,
    input_outputs,
    model_runner,
    requests,
    scheduler,
    utils,
)
from transformers.generation.continuous_batching.cache_allocators import cache_allocator
from transformers.generation.continuous_batching.cache_allocators.full_attention import FullAttentionCacheAllocator


def parameters(function):
    return list(inspect.signature(function).parameters)


def test_the_pinned_version_is_installed():
    assert transformers.__version__.startswith("5.23.")


def test_the_runner_is_called_as_we_stand_in_for_it():
    assert parameters(model_runner.ModelRunner._forward_process_and_sample) == [
        "self",
        "model",
        "batch_data",
        "carry_over_ids",
        "prev_output_ids",
        "output_ids",
    ]
    source = inspect.getsource(model_runner.ModelRunner._get_forward_fn)
    assert "self._forward_process_and_sample" in source


def test_one_step_is_three_calls():
    processor = continuous_api.ContinuousBatchProcessor
    assert parameters(processor.prepare_next_batch) == ["self"]
    assert parameters(processor._generation_step) == ["self", "model"]
    assert parameters(processor.update_batch) == ["self"]
    body = inspect.getsource(continuous_api.ContinuousBatchingManager._generation_loop_body)
    assert body.index("prepare_next_batch") < body.index("_generation_step") < body.index("update_batch")


def test_the_constructors_take_what_we_give_them():
    assert {"cache", "scheduler", "distributed_helper", "input_queue", "output_router"} <= set(
        parameters(continuous_api.ContinuousBatchProcessor.__init__)
    )
    assert {"config", "continuous_batching_config", "distributed_helper"} <= set(
        parameters(cache.PagedAttentionCache.__init__)
    )
    assert parameters(scheduler.FIFOScheduler.__init__) == ["self", "cache", "safety_margin", "max_requests_per_batch"]


def test_requests_are_added_dropped_and_described_as_we_read_them():
    fields = requests.RequestState.__dataclass_fields__
    assert {"request_id", "initial_tokens", "max_new_tokens", "position_offset"} <= set(fields)
    assert requests.FutureRequestState.__slots__ == ("state", "has_new_token", "complete_blocks", "query_length")
    assert parameters(scheduler.Scheduler.add_waiting_request) == ["self", "state"]
    assert parameters(scheduler.Scheduler.set_request_cancellation) == ["self", "request_id"]
    assert "remaining_prefill_tokens" in fields


def test_the_scheduler_keeps_what_we_read_and_clear_under_these_names():
    reset = inspect.getsource(scheduler.Scheduler.reset)
    for kept in ("active_requests", "waiting_requests", "block_new_requests", "starved_requests"):
        assert f"self.{kept}" in reset
    # What a request that finishes in the library does, and one that is cancelled does not.
    assert "self.scheduler.block_new_requests = False" in inspect.getsource(
        continuous_api.ContinuousBatchProcessor.update_batch
    )
    assert "block_new_requests" not in inspect.getsource(scheduler.Scheduler.clear_cancelled_requests)


def test_the_inputs_forget_the_last_pass_when_they_are_reset():
    assert parameters(input_outputs.ContinuousBatchingIOs.reset) == ["self"]
    source = inspect.getsource(input_outputs.ContinuousBatchingIOs.reset)
    assert "self._reset_static_tensors(full_reset=True)" in source
    assert "self.requests_in_batch = []" in source


def test_the_cache_shows_a_layers_keys_and_values_by_place():
    source = inspect.getsource(FullAttentionCacheAllocator.update)
    assert "k_cache, v_cache = self._kv_token_views[layer_idx]" in source
    assert "k_cache.index_copy_(0, write_index, key_states)" in source


def test_the_stream_of_a_pass_can_be_taken_away_and_there_is_a_place_for_what_is_thrown_away():
    assert "compute_stream = self.inputs_and_outputs.compute_stream" in inspect.getsource(
        model_runner.ModelRunner.compute_batch
    )
    assert utils.stream_context(None).__class__.__name__ == "nullcontext"
    assert "self.write_trash_index = " in inspect.getsource(cache_allocator.CacheAllocator)
