"""The two protocols under which the bets' adapters are trained, and how much is trained and read."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from sharedllm.training.recipes import RECIPES, Recipe, has_gains

Protocol = Literal["documented", "tuned"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)


@dataclass(frozen=True)
class Size:
    """How much is read and trained.

    Attributes:
        window: tokens in a window, for training and evaluation.
        windows: windows read of each text, evenly spaced over its held-out block.
        max_steps: training never takes more steps than this.
    """

    window: int
    windows: int
    max_steps: int


FULL = Size(window=256, windows=32, max_steps=1_000_000)
"""8,192 tokens of each text: eight times what the documents read."""
QUICK = Size(window=32, windows=4, max_steps=2)
"""For tests alone."""

STEPS = 100
RATES: dict[str, tuple[float, ...]] = {
    # The default recipe's rate was found on these users' validation text, one for all; the others choose for each user.
    "norm": (RECIPES["adamw"].learning_rate,),
    "steering": (3e-3, 3e-2, 3e-1),
    "lora-r4": (2e-4, 5e-4, 1e-3),
    "full": (1e-5, 5e-5, 2e-4),
}
"""What each method may choose its rate from under the tuned protocol, by validation loss."""


def recipes(protocol: Protocol, method: str, *, steps: int = STEPS, seed: int = 0) -> list[Recipe]:
    """The recipes to try, one a rate; the documented protocol has one rate for every method."""
    if protocol == "documented":
        documented = RECIPES["documented"]
        # What acts on no gain trains what it adds or scales by.
        parameter = documented.parameter if has_gains(method) else "relative"
        return [replace(documented, method=method, parameter=parameter, steps=steps, seed=seed)]
    # As many tokens a step as the documented protocol, so that the two differ in how they train and not in how much.
    tokens = {name: getattr(RECIPES["documented"], name) for name in ("windows_per_step", "window")}
    tuned = replace(RECIPES["adamw"], name="tuned", method=method, steps=steps, check_every=25, seed=seed, **tokens)
    return [replace(tuned, learning_rate=rate) for rate in RATES[method]]
