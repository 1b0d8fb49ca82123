"""What was measured, once, in one table: every constant that the size of a fleet is reckoned with.

The numbers are copies of what `benchmarks/results` holds, since an installed package has no benchmarks beside it; a
test compares them, so that a benchmark that is run again changes this table too.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """One number.

    Attributes:
        value: in the unit that the name says.
        file: the result file, below ``benchmarks/results``.
        path: keys that lead to it in there.
    """

    value: float
    file: str
    path: tuple[str, ...]

    @property
    def source(self) -> str:
        return f"benchmarks/results/{self.file}"


STEP_SECONDS = Measured(0.6147787185009292, "training.json", ("runs", "ours", "median_step_seconds"))
"""One training step of SmolLM2-135M on two cores, bfloat16."""

STEP_OPERATIONS = Measured(275414777856, "training.json", ("runs", "ours", "operations_per_step"))
"""What that step computes: four operations a weight and token."""

STEP_TOKENS = 512
"""Tokens in that step, as benchmarks/training.py says; `STEP_OPERATIONS` confirms it."""

TRAINING_PEAK_BYTES = Measured(1309040640, "training.json", ("runs", "ours", "peak_bytes"))
"""Peak memory of the process that took those steps."""

STORE_BYTES = Measured(71276, "store.json", ("store", "bytes_per_adapter"))
"""Of the SQLite file, an adapter, with its user, gate and provenance."""

STORE_PARAMETERS = Measured(35136, "store.json", ("parameters",))
"""Values of those adapters."""

PACKED_BYTES = Measured(5005.0, "packed.json", ("pack", "bytes_per_adapter"))
"""Of a packed snapshot, an adapter, with its index, provenance and checksum."""

PACKED_PARAMETERS = Measured(2304, "packed.json", ("parameters",))
"""Values of those adapters."""

PUTS_PER_SECOND = Measured(744.3, "store.json", ("store", "put_one_at_a_time_per_second"))
"""Releases stored one by one, each on the disk when the call returns."""

NORM_BYTES = Measured(70272, "quality.json", ("users", "programmer", "bytes", "norm"))
"""A norm adapter on SmolLM2-135M in float16."""

LORA_BYTES = Measured(2442240, "quality.json", ("users", "programmer", "bytes", "lora-r4"))
"""A LoRA of rank 4 on all projections of SmolLM2-135M, in float16."""

TOKENS_PER_SECOND = Measured(634.521647173904, "serving.json", ("summary", "tokens_per_second"))
"""Answers to 32 users at once from SmolLM2-135M on two cores, prompts of 64 tokens and as many new ones."""

MEASURED = {
    "STEP_SECONDS": STEP_SECONDS,
    "STEP_OPERATIONS": STEP_OPERATIONS,
    "TRAINING_PEAK_BYTES": TRAINING_PEAK_BYTES,
    "STORE_BYTES": STORE_BYTES,
    "STORE_PARAMETERS": STORE_PARAMETERS,
    "PACKED_BYTES": PACKED_BYTES,
    "PACKED_PARAMETERS": PACKED_PARAMETERS,
    "PUTS_PER_SECOND": PUTS_PER_SECOND,
    "NORM_BYTES": NORM_BYTES,
    "LORA_BYTES": LORA_BYTES,
    "TOKENS_PER_SECOND": TOKENS_PER_SECOND,
}
