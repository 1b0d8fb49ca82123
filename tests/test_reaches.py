"""What the source reaches into that libraries do not promise to keep: each in one named place, with versions bound."""

import ast
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
from tests.serving.vllm.conftest import NO_VLLM

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "sharedllm"
CORE, EXTRAS = (
    tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][part]
    for part in ("dependencies", "optional-dependencies")
)
REACHES = {
    "torch.utils._python_dispatch.TorchDispatchMode": "serving/attention/cuda_graphs.py",
    "torch.ops.mkldnn._reorder_linear_weight": "base/weight_layouts.py",
    "torch.ops.mkldnn._linear_pointwise": "base/weight_layouts.py",
    "torch.ops.mkldnn._is_mkldnn_bf16_supported": "base/weight_layouts.py",
    "torch._make_per_channel_quantized_tensor": "base/int8_weights.py",
    "torch.ops.quantized.linear_prepack": "base/int8_weights.py",
    "torch.ops.quantized.linear_unpack": "base/int8_weights.py",
    "torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32": "base/int8_weights.py",
    "transformers.masking_utils.eager_mask": "base/cpu_attention.py",
    "transformers.convert_slow_tokenizer.bytes_to_unicode": "base/tokens.py",
    "uvicorn.protocols.http.h11_impl.H11Protocol": "http/server.py",
    "uvicorn.protocols.http.flow_control.CLOSE_HEADER": "http/server.py",
    "vllm.v1.worker.lora_model_runner_mixin.LRUCacheWorkerLoRAManager": "serving/vllm/plugin.py",
    "vllm.v1.engine.llm_engine.LLMEngine": "serving/vllm/passes.py",
}
FOREIGN = (
    "torch",
    "transformers",
    "uvicorn",
    "fastapi",
    "starlette",
    "sqlalchemy",
    "tokenizers",
    "peft",
    "gguf",
    "vllm",
)


def dotted(node):
    """``torch.ops.x`` of the nodes that spell it; nothing of what is no chain of names."""
    if isinstance(node, ast.Name):
        return node.id
    inside = dotted(node.value) if isinstance(node, ast.Attribute) else None
    return inside and f"{inside}.{node.attr}"


def private_names(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute):
            found = [dotted(node) or ""]
        else:
            continue
        for name in found:
            head, *rest = name.split(".")
            if head in FOREIGN and rest and any(re.match(r"_[a-z]", part) for part in rest):
                yield name


def test_nothing_private_of_a_library_is_used_but_where_that_is_said():
    used = {(name, path) for path in SOURCE.rglob("*.py") for name in private_names(path)}
    assert used
    for name, path in used:
        place = next((place for reach, place in REACHES.items() if name.startswith(reach)), None)
        assert place == str(path.relative_to(SOURCE)), f"{path} reaches into {name}"


@pytest.mark.parametrize(("name", "place"), REACHES.items())
def test_what_is_reached_into_is_there_and_used_in_its_one_place(name, place):
    parts = name.split(".")
    if parts[0] == "vllm" and importlib.util.find_spec("vllm") is None:
        pytest.skip(NO_VLLM)
    found = importlib.import_module(parts[0])
    for number, part in enumerate(parts[1:], start=2):
        # A module first: transformers also gives, by the module's own name, a function in it.
        try:
            found = importlib.import_module(".".join(parts[:number]))
        except ModuleNotFoundError:
            found = getattr(found, part)
    users = [path for path in SOURCE.rglob("*.py") if re.search(rf"\b{parts[-1]}\b", path.read_text())]
    assert [str(path.relative_to(SOURCE)) for path in users] == [place]
    assert f"`{place}`" in (ROOT / "CONTRIBUTING.md").read_text()


def test_only_libraries_that_are_reached_into_are_bound_at_a_minor_version():
    everything = [*CORE, *(each for name, extra in EXTRAS.items() if name != "dev" for each in extra)]
    bound = {re.match(r"[\w-]+", each)[0] for each in everything if re.search(r"<\d+\.\d", each)}
    assert bound == {name.partition(".")[0] for name in REACHES}
