"""One request on its way through the engine."""

import math
import time
from collections.abc import Sequence

from sharedllm.base.loading import Base
from sharedllm.serving.request import Deliver, Request, Scored, Token
from sharedllm.serving.table import BASE_SLOT
from sharedllm.serving.writing import Writer


class Running:
    """A request, the tokens it has so far, and the text they make.

    Attributes:
        number: of the request.
        name: the same, as the pager wants it.
        request: what was asked.
        deliver: who is told.
        deadline: when it ends at the latest, on the monotonic clock.
        slot: of its row in the table.
        new: every token drawn.
        prompt_scores, glass_box: what `Finished` tells of them.
    """

    def __init__(self, base: Base, number: int, request: Request, deliver: Deliver) -> None:
        self.number, self.name = number, str(number)
        self.request, self.deliver = request, deliver
        self.deadline = math.inf if request.seconds is None else time.monotonic() + request.seconds
        self.slot = BASE_SLOT
        self.new: list[Scored] = []
        self.prompt_scores: tuple[Scored, ...] = ()
        self.glass_box: tuple[Scored, ...] = ()
        self._writer = Writer(base, request.stop)

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

    def compare(self, base: Sequence[Scored], own: Sequence[Scored]) -> None:
        """Keep what the base and the row that answered make of every new token.

        Args:
            base: the prompt's tokens after the first and the new ones, under the base.
            own: the same under the row.
        """
        begin = len(self.request.prompt) - 1
        pairs = zip(base[begin:], own[begin:], strict=True)
        self.glass_box = tuple(Scored(mine.id, mine.logprob, (), theirs.logprob) for theirs, mine in pairs)

    def end(self) -> str:
        """The rest of the text."""
        return self._writer.end()
