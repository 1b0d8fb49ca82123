"""What runs of every request: its answer, and given tokens that are scored. Handed to the pager in turn."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sharedllm.serving.paging import Pager
from sharedllm.serving.running import Running
from sharedllm.serving.scoring import Reading


@dataclass(frozen=True, eq=False)
class Part:
    """One thing that is done for a request.

    Attributes:
        each: the request.
        slot: of the row that it is done under.
        draws: whether an answer is drawn after what is given.
        reading: what scores the tokens that are given; None for an answer alone.
    """

    each: Running
    slot: int
    draws: bool
    reading: Reading | None = None

    @property
    def owner(self) -> str:
        """Whose request it is."""
        return self.each.request.owner

    @property
    def given(self) -> Sequence[int]:
        """Tokens that are to be read before anything is drawn."""
        return self.each.request.prompt if self.reading is None else self.reading.ids


class Parts:
    """All that run or are about to, under names that are never used twice."""

    def __init__(self, pager: Pager, *, pass_tokens: int) -> None:
        """There are none yet.

        Args:
            pager: what runs them.
            pass_tokens: as many tokens fill a pass.
        """
        self._pager, self._pass_tokens = pager, pass_tokens
        self._numbers = itertools.count()
        self._parts: dict[str, Part] = {}
        self._pending: list[str] = []

    def __getitem__(self, name: str) -> Part:
        return self._parts[name]

    def __contains__(self, name: str) -> bool:
        return name in self._parts

    def enter(self, part: Part) -> None:
        """Add one."""
        name = str(next(self._numbers))
        self._parts[name] = part
        self._pending.append(name)

    def hand_in(self) -> None:
        """Give the pager what it is to read next.

        So that everybody is soon read, nobody's next tokens follow while those that they have there fill a pass.
        """
        if not self._pending:
            return
        unread: Counter[str] = Counter()
        for name, part in self._parts.items():
            unread[part.owner] += self._pager.unread(name)
        pending, self._pending = self._pending, []
        for name in pending:
            part = self._parts[name]
            if unread[part.owner] >= self._pass_tokens:
                self._pending.append(name)
                continue
            unread[part.owner] += len(part.given)
            most = part.each.request.max_tokens if part.draws else 0
            if part.reading is None:
                self._pager.add(name, part.given, max_tokens=most)
            else:
                wanted = part.reading
                self._pager.add(name, part.given, max_tokens=most, places=wanted.places, take=wanted.take)

    def leave(self, each: Running) -> None:
        """Take all of a request out, before the next pass."""
        for name in [name for name, part in self._parts.items() if part.each is each]:
            del self._parts[name]
            if name in self._pending:
                self._pending.remove(name)
            else:
                self._pager.drop(name)
