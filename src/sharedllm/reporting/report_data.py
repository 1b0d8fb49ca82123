"""What a report page is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.evaluation.confusion import Confusion
from sharedllm.evaluation.intervals import Interval
from sharedllm.text.repeats import Repeats


@dataclass(frozen=True)
class Voice:
    """One prompt, continued by the base and by a user's own adapter."""

    user: str
    prompt: str
    base: str
    own: str


@dataclass(frozen=True, eq=False)
class Report:
    """One run's results.

    Attributes:
        base: the base's name.
        fingerprint: its fingerprint.
        recipe: name of the recipe that trained the adapters.
        window: tokens in a window, without which a perplexity means nothing.
        confusion: everybody's held-out text read by everybody's adapter.
        general: by user, the change of perplexity on held-out general text under their adapter.
        repeats: by user, what their training text gives away of their validation and held-out text.
        gates: by user, what the gate found on validation text.
        voices: continuations to compare.
        made_at: ISO time.
        version: of sharedllm.
    """

    base: str
    fingerprint: str
    recipe: str
    window: int
    confusion: Confusion
    general: Mapping[str, Interval]
    repeats: Mapping[str, Repeats]
    gates: Mapping[str, GateOutcome]
    voices: Sequence[Voice]
    made_at: str
    version: str

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, from which `from_dict` makes the same report."""
        shallow = {field.name: getattr(self, field.name) for field in fields(self)}
        return shallow | {
            "confusion": self.confusion.as_dict(),
            "general": {user: interval.as_dict() for user, interval in self.general.items()},
            "repeats": {user: asdict(repeats) for user, repeats in self.repeats.items()},
            "gates": {user: asdict(outcome) for user, outcome in self.gates.items()},
            "voices": [asdict(voice) for voice in self.voices],
        }

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> "Report":
        """Read back what `as_dict` gave."""
        deep = {
            "confusion": Confusion.from_dict(stored["confusion"]),
            "general": {user: Interval(**interval) for user, interval in stored["general"].items()},
            "repeats": {
                user: Repeats(**(repeats | {"examples": tuple(repeats["examples"])}))
                for user, repeats in stored["repeats"].items()
            },
            "gates": {user: GateOutcome(**outcome) for user, outcome in stored["gates"].items()},
            "voices": [Voice(**voice) for voice in stored["voices"]],
        }
        return Report(**(dict(stored) | deep))
