"""What vLLM calls in each of its processes, through the entry point of the group `vllm.general_plugins`.

vLLM already keeps, of every request, whose adapter answers (a LoRA request), hands the adapters of a pass and the one
of each of its tokens to a manager in its worker, and takes nobody's cached keys and values for another adapter's. Here
that manager alone is exchanged, and only where an engine was told of `sites`: vLLM's own LoRA is as it was elsewhere.
"""

from typing import Any

from sharedllm.extras import need


def register() -> None:
    """Have vLLM make `RowManager` instead of its own manager where its configuration says which sites rows have.

    To be called before an engine is made, any number of times.

    Raises:
        MissingExtra: vLLM is not installed.
    """
    need("vllm")
    from vllm.v1.worker import lora_model_runner_mixin as workers

    from sharedllm.serving.vllm.rows import TOLD, RowManager

    theirs = workers.LRUCacheWorkerLoRAManager
    if getattr(theirs, "makes_rows", False):
        return

    def manager(vllm_config: Any, device: Any, embedding_modules: Any) -> Any:
        told = isinstance(vllm_config.additional_config, dict) and TOLD in vllm_config.additional_config
        return RowManager(vllm_config, device) if told else theirs(vllm_config, device, embedding_modules)

    manager.makes_rows = True  # type: ignore[attr-defined]
    workers.LRUCacheWorkerLoRAManager = manager
