"""What a bet is, and how the catalogue finds them."""

import hashlib
import importlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.catalogue.figures import Figure
from experiments.catalogue.protocols import PROTOCOLS, Protocol
from experiments.catalogue.readings import Readings
from experiments.catalogue.verdict import Criterion, criteria_hash
from sharedllm.errors import InvalidInput, UnknownName

if TYPE_CHECKING:
    from experiments.catalogue.context import Context

BETS = Path(__file__).parent.parent / "bets"
USERS = ("programmer", "novelist", "scientist")
"""The documents' three; their texts are the sample users of the same names."""


@dataclass(frozen=True)
class Decision:
    """What follows for a deployment, which goes by `lenient and not catastrophic`.

    Attributes:
        met: what may be done where that is so.
        unmet: what is done where it is not.
    """

    met: str
    unmet: str


@dataclass(frozen=True)
class Bet:
    """One pre-registered experiment.

    Attributes:
        name: the stem of its file, number first.
        claim: what is bet, in one sentence.
        criteria: one of each tier, fixed before the first run.
        run: reads what there is to read, from a context.
        measure: the named measurements of these readings: a pure function, so that anyone can recompute them.
        decision: what its flags decide, fixed before the first run, too.
        figures: what its report shows, likewise.
        protocols: how its adapters are trained, one result each.
        users: whose adapters.
        seeds: of the training, one repetition each.
    """

    name: str
    claim: str
    criteria: tuple[Criterion, ...]
    run: Callable[["Context"], Readings]
    measure: Callable[[Readings], Mapping[str, float]]
    decision: Decision
    figures: tuple[Figure, ...]
    protocols: tuple[Protocol, ...] = PROTOCOLS
    users: tuple[str, ...] = USERS
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if sorted(criterion.tier for criterion in self.criteria) != ["catastrophic", "lenient", "strict"]:
            raise InvalidInput(f"{self.name} does not have one criterion of each tier", remedy="State all three.")

    @property
    def number(self) -> str:
        """Two digits."""
        return self.name[:2]

    @property
    def criteria_sha256(self) -> str:
        """SHA-256 (hex) over all that was fixed before the first run: criteria, decision and figures."""
        stated = [criteria_hash(self.criteria), self.decision.met, self.decision.unmet, repr(self.figures)]
        return hashlib.sha256(json.dumps(stated).encode()).hexdigest()


def all_bets(folder: Path = BETS) -> dict[str, Bet]:
    """Every bet by its number; a file ``NN_name.py`` in the folder is one, and 00 is the roll-up."""
    bets = {}
    for path in sorted(folder.glob("[0-9][0-9]_*.py")):
        if not path.name.startswith("00"):
            bet = importlib.import_module(f"experiments.bets.{path.stem}").BET
            bets[bet.number] = bet
    return bets


def bet_named(number: str, folder: Path = BETS) -> Bet:
    """The bet of a number.

    Raises:
        UnknownName: there is none.
    """
    bets = all_bets(folder)
    if not re.fullmatch(r"\d\d?", number) or number.zfill(2) not in bets:
        raise UnknownName(f"{number!r:.40} is not a bet", remedy=f"Choose one of {', '.join(bets)}.")
    return bets[number.zfill(2)]
