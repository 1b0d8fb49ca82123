"""Where results of a processor lie: those of one that multiplies no bfloat16, on which a base is in float32, apart."""

from pathlib import Path

import torch

from sharedllm.base.loading import preferred_dtype

RESULTS = Path(__file__).parent / "results"
IN_FLOAT32 = RESULTS / "float32"
NATIVE = str(preferred_dtype("cpu")).removeprefix("torch.")
"""What a base is in on this machine."""


def result_path(name: str) -> Path:
    """The file of a benchmark's result on this machine."""
    return (RESULTS if preferred_dtype("cpu") is torch.bfloat16 else IN_FLOAT32) / f"{name}.json"
