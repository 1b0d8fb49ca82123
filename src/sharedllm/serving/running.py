"""One request on its way through the engine."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sharedllm.base.loading import Base
from sharedllm.serving.cache import places
from sharedllm.serving.request import Deliver, Reason, Request, Scored, Token
from sharedllm.serving.table import BASE_SLOT
from sharedllm.serving.writing import Writer


@dataclass
class Share:
    """What the running requests of one owner hold.

    Attributes:
        requests: how many there are.
        places: tokens of the cache that is kept for them.
    """

    requests: int = 0
    places: int = 0

    def add(self, request: Request) -> None:
        """Count one in."""
        self.requests += 1
        self.places += places(request.tokens)


class Running:
    """A request, the tokens it has so far, and the text they make.

    Attributes:
        number: of the request.
        request: what was asked.
        deliver: who is told.
        deadline: when it ends at the latest, on the monotonic clock.
        slot: of its row in the table.
        new: every token drawn.
        ended: how the answer ended, where it is still to be compared.
        compared: scores of the answer under the base, and then under the row that answered if that is another.
        prompt_scores, glass_box: what `Finished` tells of them.
    """

    def __init__(self, base: Base, number: int, request: Request, deliver: Deliver) -> None:
        self.number = number
        self.request, self.deliver = request, deliver
        self.deadline = math.inf if request.seconds is None else time.monotonic() + request.seconds
        self.slot = BASE_SLOT
        self.new: list[Scored] = []
        self.ended: Reason | None = None
        self.compared: list[Sequence[Scored]] = []
        self.prompt_scores: tuple[Scored, ...] = ()
        self.glass_box: tuple[Scored, ...] = ()
        self._writer = Writer(base, request.stop, request.prompt)

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended the answer."""
        return self._writer.stopped

    def read(self, scores: Sequence[Scored]) -> None:
        """Keep the scores of the prompt; its first token has none."""
        self.prompt_scores = (Scored(self.request.prompt[0], None), *scores)

    def add(self, token: Scored) -> None:
        """Keep a token that was drawn."""
        self.new.append(token)

    def tell(self, *, shown: bool) -> None:
        """Deliver the last token; an end token has no text."""
        text = self._writer.write(self.new[-1].id) if shown else ""
        self.deliver(Token(self.new[-1], text))

    def compare(self) -> None:
        """Keep what the base and the row that answered make of every new token."""
        pairs = zip(self.compared[0], self.compared[-1], strict=True)
        self.glass_box = tuple(Scored(own.id, own.logprob, (), base.logprob) for base, own in pairs)

    def end(self) -> str:
        """The rest of the text."""
        return self._writer.end()
