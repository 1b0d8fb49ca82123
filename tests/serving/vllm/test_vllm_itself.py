"""What the plug-in needs of vLLM: this fails when vLLM changes."""

import dataclasses
import inspect
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from sharedllm.serving.vllm import rows
from sharedllm.serving.vllm.plugin import register

pytestmark = pytest.mark.usefixtures("installed")


def test_whatever_vllm_calls_of_its_manager_rows_have():
    import vllm.v1.worker

    called = set()
    for path in Path(vllm.v1.worker.__file__).parent.rglob("*.py"):
        called |= set(re.findall(r"\blora_manager\.(\w+)", path.read_text()))
    assert "set_active_adapters" in called
    assert called <= set(dir(rows.RowManager))


def test_vllms_manager_has_them_with_the_same_arguments():
    from vllm.lora.worker_manager import LRUCacheWorkerLoRAManager
    from vllm.v1.worker.lora_model_runner_mixin import LoRAModelRunnerMixin

    for name, own in inspect.getmembers(rows.RowManager, inspect.isfunction):
        if name.startswith("_") or name in ("write", "clear"):
            continue
        theirs = getattr(LRUCacheWorkerLoRAManager, name)
        assert len(inspect.signature(own).parameters) == len(inspect.signature(theirs).parameters), name
    made = inspect.getsource(LoRAModelRunnerMixin.load_lora_model)
    assert re.search(r"LRUCacheWorkerLoRAManager\(\s*vllm_config,\s*device,\s*model.embedding_modules,?\s*\)", made)


def test_the_plug_in_is_exchanged_once_and_leaves_loras_of_others_to_vllm():
    from types import SimpleNamespace

    from vllm.lora.worker_manager import LRUCacheWorkerLoRAManager
    from vllm.v1.worker import lora_model_runner_mixin as workers

    register()
    made = workers.LRUCacheWorkerLoRAManager
    register()
    assert workers.LRUCacheWorkerLoRAManager is made
    with pytest.raises(AttributeError):
        made(SimpleNamespace(additional_config={}), None, {})
    assert LRUCacheWorkerLoRAManager is not made


def test_configurations_say_what_is_refused_and_what_is_set():
    from vllm import EngineArgs
    from vllm.config import CompilationConfig, LoRAConfig, ParallelConfig, SchedulerConfig, VllmConfig

    def names(config):
        return {field.name for field in dataclasses.fields(config)}

    assert {name for name, _, _ in rows._REFUSED} <= names(ParallelConfig)
    assert {"additional_config", "lora_config", "model_config"} <= names(VllmConfig)
    assert "max_loras" in names(LoRAConfig)
    assert "max_num_batched_tokens" in names(SchedulerConfig)
    assert "max_cudagraph_capture_size" in names(CompilationConfig)
    assert {"additional_config", "worker_extension_cls", "num_gpu_blocks_override"} <= names(EngineArgs)


def test_requests_carry_a_number_and_a_name_by_which_blocks_are_kept():
    from vllm.lora.request import LoRARequest
    from vllm.v1.core import kv_cache_utils

    request = LoRARequest("ann-1", 3, "sharedllm")
    assert (request.lora_int_id, request.lora_name) == (3, "ann-1")
    assert "lora_request.lora_name" in inspect.getsource(kv_cache_utils._gen_lora_extra_hash_keys)
    assert "_gen_lora_extra_hash_keys(request)" in inspect.getsource(kv_cache_utils.generate_block_hash_extra_keys)


def test_every_process_of_vllm_loads_the_plug_in():
    (ours,) = [each for each in entry_points(group="vllm.general_plugins") if each.name == "sharedllm"]
    assert ours.load() is register
