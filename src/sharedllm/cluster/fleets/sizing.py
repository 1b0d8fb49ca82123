"""What a fleet takes, reckoned from what was measured. docs/scale.md explains every formula, in this order."""

import math
from dataclasses import dataclass

from sharedllm.training.recipes import DEFAULT_RECIPE, RECIPES, Recipe

ANSWER_TOKENS = 128
"""Tokens of one answer: an assumption, to turn requests into tokens."""

TOKENS_AT_ONCE = {"cpu": 2048, "cuda": 65_536}
"""Tokens of a training pass, as `train_vectors` packs them."""

CHECK_WINDOWS, GATE_WINDOWS = 8, 32
"""Windows of a validation check, and of each of the gate's texts."""

DRIVER_BYTES = 17
"""Of a user at the most, while the driver looks for those with two lines: place of the line, digest, comparison."""

TOKENS_PER_CHARACTER = 0.25
"""Of languages that a base was trained on."""

_LORA_RANK = 4
_ROWS_IN_TRAINING = 5
"""Of a user in the batch: values, two moments, the best row, and that of the last whole step."""


@dataclass(frozen=True)
class Shape:
    """What of a decoder decides its size: RMSNorm twice a layer and once at the end, gated feed-forward.

    Attributes:
        layers: how many.
        width: of the hidden state.
        keys: width of all key heads together, and of all value heads.
        inner: width of the feed-forward.
        vocabulary: tokens.
        tied: input and output embeddings are one matrix.
    """

    layers: int
    width: int
    keys: int
    inner: int
    vocabulary: int
    tied: bool

    @property
    def sites(self) -> int:
        return 2 * self.layers + 1

    @property
    def values(self) -> int:
        """``P`` of the norm format."""
        return self.sites * self.width

    @property
    def projections(self) -> list[tuple[int, int]]:
        """Width in and out of each matrix of a layer."""
        attention = [
            (self.width, self.width),
            (self.width, self.keys),
            (self.width, self.keys),
            (self.width, self.width),
        ]
        return [*attention, (self.width, self.inner), (self.width, self.inner), (self.inner, self.width)]

    @property
    def lora_values(self) -> int:
        return self.layers * sum(_LORA_RANK * (read + written) for read, written in self.projections)

    @property
    def multiplied(self) -> int:
        """Weights that a token is multiplied with: every matrix of every layer, and the output embeddings."""
        layer = sum(read * written for read, written in self.projections)
        return self.layers * layer + self.vocabulary * self.width

    @property
    def parameters(self) -> int:
        return self.multiplied + self.values + (0 if self.tied else self.vocabulary * self.width)


SHAPES = {
    # The source documents' scale: nine norms of 256 channels; the rest is chosen to make 30 million.
    "30m": Shape(layers=4, width=256, keys=256, inner=1024, vocabulary=50_257, tied=False),
    "smollm2-135m": Shape(layers=30, width=576, keys=192, inner=1536, vocabulary=49_152, tied=True),
    "1b": Shape(layers=16, width=2048, keys=512, inner=8192, vocabulary=128_256, tied=True),
    "8b": Shape(layers=32, width=4096, keys=1024, inner=14_336, vocabulary=128_256, tied=False),
}
_MEASURED_ON = SHAPES["smollm2-135m"]


@dataclass(frozen=True)
class Quantity:
    """One line of the answer.

    Attributes:
        what: is reckoned.
        value: in its unit.
        unit: bytes, hours, users or nodes.
        source: the measurement behind it, or how it follows from the shape of the base.
    """

    what: str
    value: float
    unit: str
    source: str

    @property
    def in_words(self) -> str:
        if self.unit != "bytes":
            return f"{self.value:,.0f} {self.unit}" if self.value >= 10 else f"{self.value:.2g} {self.unit}"
        for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
            if self.value >= size:
                return (
                    f"{self.value / size:,.3g} {unit}"
                    if self.value < 1000 * size
                    else f"{self.value / size:,.0f} {unit}"
                )
        return f"{self.value:,.0f} bytes"


def size_fleet(users: int, base: str, requests_per_second: float | None = None) -> list[Quantity]:
    """Everything there is to know about a fleet of so many users before it is trained.

    Args:
        users: at least one.
        base: a key of `SHAPES`.
        requests_per_second: how much is asked; None leaves serving nodes out.
    """
    shape = SHAPES[base]
    row = 2 * shape.values
    figures = [
        Quantity("a user, norm float16, as stored", row, "bytes", "2 bytes a value"),
        Quantity("a user, norm float32", 2 * row, "bytes", "4 bytes a value"),
        Quantity("a user, norm int8", shape.values + 4 * shape.sites, "bytes", "1 byte a value, 4 a site"),
        Quantity("a user, LoRA-r4 float16, for comparison", 2 * shape.lora_values, "bytes", "2 bytes a value"),
        Quantity("disk, store", users * (row + _store_overhead()), "bytes", STORE_BYTES.source),
        Quantity("disk, packed snapshot", users * (row + _packed_overhead()), "bytes", PACKED_BYTES.source),
        Quantity("disk, checkpoints while training on a CPU", _checkpoints("cpu", shape), "bytes", "16 bytes a value"),
        Quantity("memory, base in bfloat16", 2 * shape.parameters, "bytes", "2 bytes a parameter"),
        Quantity("memory, all adapters in one table", users * row, "bytes", "2 bytes a value"),
        Quantity("RAM to train on a CPU, at most", _training("cpu", shape), "bytes", TRAINING_PEAK_BYTES.source),
        Quantity("GPU memory to train, at most", _training("cuda", shape), "bytes", TRAINING_PEAK_BYTES.source),
        Quantity("RAM of the driver, per fleet", DRIVER_BYTES * users, "bytes", "8 bytes a line, 9 a user"),
        Quantity("training, one machine of two cores", _training_hours(users, shape), "hours", STEP_SECONDS.source),
        Quantity(
            "users an hour, one machine of two cores",
            users / _training_hours(users, shape),
            "users",
            STEP_SECONDS.source,
        ),
        Quantity("storing all releases", users / PUTS_PER_SECOND.value / 3600, "hours", PUTS_PER_SECOND.source),
    ]
    if requests_per_second is not None:
        rate = TOKENS_PER_SECOND.value * _MEASURED_ON.multiplied / shape.multiplied
        nodes = math.ceil(requests_per_second * ANSWER_TOKENS / rate)
        figures.append(Quantity("serving, machines of two cores", nodes, "nodes", TOKENS_PER_SECOND.source))
    return figures


def _store_overhead() -> float:
    return STORE_BYTES.value - 2 * STORE_PARAMETERS.value


def _packed_overhead() -> float:
    return PACKED_BYTES.value - 2 * PACKED_PARAMETERS.value


def _slots(device: str) -> int:
    recipe = RECIPES[DEFAULT_RECIPE]
    return TOKENS_AT_ONCE[device] // (recipe.windows_per_step * recipe.window)


def _checkpoints(device: str, shape: Shape) -> int:
    return _slots(device) * 16 * shape.values


def _training(device: str, shape: Shape) -> float:
    # How much of what the process took beyond the weights is the runtime's was not measured: charged twice, at most.
    beyond = TRAINING_PEAK_BYTES.value - 2 * _MEASURED_ON.parameters
    a_token = beyond / STEP_TOKENS * (shape.layers * shape.width) / (_MEASURED_ON.layers * _MEASURED_ON.width)
    rows = _slots(device) * _ROWS_IN_TRAINING * 4 * shape.values
    return 2 * shape.parameters + beyond + TOKENS_AT_ONCE[device] * a_token + rows


def training_seconds(shape: Shape, trained: int, read: int) -> float:
    """How long one machine of two cores takes for one user who trains on so many tokens and reads so many."""
    return core_seconds(shape.multiplied, trained, read) / STEP_CORES


def core_seconds(multiplied: int, trained: int, read: int) -> float:
    """How long one core takes for it, of a base that multiplies a token with so many weights."""
    operations = multiplied * (4 * trained + 2 * read)
    return STEP_CORES * operations / (STEP_OPERATIONS.value / STEP_SECONDS.value)


def tokens_of_training(recipe: Recipe, characters: int | None = None) -> tuple[int, int]:
    """Tokens that one user's training trains on, and those that it and its gate read beside, if it takes every step.

    Args:
        recipe: how.
        characters: of a text that is too little to hold any of it out, and so is tested by parts; None for any other.
    """
    gate = GATE_WINDOWS * recipe.window
    if characters is None:
        checks = recipe.steps // recipe.check_every if recipe.check_every else 0
        trained = recipe.steps * recipe.windows_per_step * recipe.window
        # The gate reads the user's text with and without the adapter, and general text with it.
        return trained, checks * CHECK_WINDOWS * recipe.window + 3 * gate
    from sharedllm.text.folds import FOLDS
    from sharedllm.training import little

    tokens = round(characters * TOKENS_PER_CHARACTER)
    # Half of what a row has that is trained on all parts but one.
    window = min(recipe.window, tokens * (FOLDS - 1) // FOLDS // 2)
    often = sum(little.checks(recipe, step) for step in range(1, recipe.steps + 1))
    block = min(tokens, FOLDS * little.BLOCK_WINDOWS * recipe.window)
    trained = recipe.steps * recipe.windows_per_step * window * (1 + FOLDS)
    return trained, (2 + often * len(little.SCALES)) * block + gate


def _training_hours(users: int, shape: Shape) -> float:
    return users * training_seconds(shape, *tokens_of_training(RECIPES[DEFAULT_RECIPE])) / 3600


@dataclass(frozen=True)
class Measurement:
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


STEP_SECONDS = Measurement(0.6147787185009292, "training.json", ("runs", "ours", "median_step_seconds"))
"""One training step of SmolLM2-135M on two cores, bfloat16."""

STEP_OPERATIONS = Measurement(275414777856, "training.json", ("runs", "ours", "operations_per_step"))
"""What that step computes: four operations a weight and token."""

STEP_CORES = 2
"""Of the machine that took it."""

STEP_TOKENS = 512
"""Tokens in that step, as benchmarks/training.py says; `STEP_OPERATIONS` confirms it."""

TRAINING_PEAK_BYTES = Measurement(1309040640, "training.json", ("runs", "ours", "peak_bytes"))
"""Peak memory of the process that took those steps."""

STORE_BYTES = Measurement(71276, "store.json", ("store", "bytes_per_adapter"))
"""Of the SQLite file, an adapter, with its user, gate and provenance."""

STORE_PARAMETERS = Measurement(35136, "store.json", ("parameters",))
"""Values of those adapters."""

PACKED_BYTES = Measurement(5005.0, "packed.json", ("pack", "bytes_per_adapter"))
"""Of a packed snapshot, an adapter, with its index, provenance and checksum."""

PACKED_PARAMETERS = Measurement(2304, "packed.json", ("parameters",))
"""Values of those adapters."""

PUTS_PER_SECOND = Measurement(744.3, "store.json", ("store", "put_one_at_a_time_per_second"))
"""Releases stored one by one, each on the disk when the call returns."""

NORM_BYTES = Measurement(70272, "quality.json", ("users", "programmer", "norm by adamw on the bare base", "bytes"))
"""A norm adapter on SmolLM2-135M in float16."""

LORA_BYTES = Measurement(2442240, "quality.json", ("users", "programmer", "lora-r4 on the bare base", "bytes"))
"""A LoRA of rank 4 on all projections of SmolLM2-135M, in float16."""

TOKENS_PER_SECOND = Measurement(634.521647173904, "serving.json", ("summary", "tokens_per_second"))
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
