"""A request that runs: its row, its tokens, its pages of the cache, and what a pass is to read of it."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sharedllm.base.loading import Base
from sharedllm.serving.detokenizer import Detokenizer
from sharedllm.serving.penalties import Said
from sharedllm.serving.request import Deliver, Finished, Reason, Request, Scored, Token
from sharedllm.serving.speculation import Proposals
from sharedllm.serving.table import BASE_SLOT

if TYPE_CHECKING:
    import torch


class Sequence:
    """A request, the tokens that are known of it, and how far they are read.

    What is read is first the prompt, after which tokens are drawn; then, where the glass box was asked for, prompt and
    answer once more under the base and under the row that answered; and all of it anew when the base reads it otherwise
    because it has become longer than the original context. Each of these is a *reading*, from the first token on.

    Attributes:
        number: of the request.
        request: what was asked.
        deliver: who is told.
        deadline: when it ends at the latest, on the monotonic clock.
        own_slot: of the row that answers, in the table.
        slot: of the row that it is read under now.
        places: of its tokens in the cache, int64 ``[places]``; None before there is room.
        ids: every token that is known.
        read: how many of them this reading has read.
        cached: how many of the prompt's tokens an earlier request had read.
        given: how many of them were known when it began.
        scored: places whose logits are wanted beside those drawn from: each says how likely the token after it is.
        far: whether it is longer than the original context.
        new: every token drawn.
        said: what prompt and answer have said, for whoever penalises that.
        constraint: what the answer is held to, as far as it has come.
        ended: how the answer ended, where it is still to be compared.
        proposals: of tokens that may come next.
        prompt_scores, glass_box: what `Finished` tells of them.
    """

    def __init__(self, base: Base, number: int, request: Request, deliver: Deliver) -> None:
        self.number = number
        self.request, self.deliver = request, deliver
        self.deadline = math.inf if request.seconds is None else time.monotonic() + request.seconds
        self.own_slot = self.slot = BASE_SLOT
        self.places: torch.Tensor | None = None
        self.ids = list(request.prompt)
        self.read, self.cached, self.given = 0, 0, len(self.ids)
        self.scored = range(self.given - 1 if request.score_prompt else 0)
        self.far = False
        self.new: list[Scored] = []
        self.said = Said(request.prompt, request.max_tokens) if request.sampling.penalises else None
        self.constraint = None if request.grammar is None else request.grammar.begin()
        self.ended: Reason | None = None
        self.proposals = Proposals()
        self.prompt_scores: tuple[Scored, ...] = ()
        self.glass_box: tuple[Scored, ...] = ()
        self._scores: list[Scored] = []
        self._compared: list[list[Scored]] = []
        self._detokenizer = Detokenizer(base, request.stop, request.prompt)

    @property
    def release(self) -> str | None:
        """The release whose row it is read under now; None for the base."""
        return None if self.slot == BASE_SLOT else self.request.release

    @property
    def unread(self) -> int:
        """How many tokens that were known when this reading began it has not read."""
        return max(self.given - self.read, 0)

    @property
    def draws(self) -> bool:
        """Whether a token is drawn whenever all that are known are read."""
        return self.ended is None and self.request.max_tokens > 0

    @property
    def tops(self) -> int:
        """How many of the likeliest tokens are told beside each that is scored."""
        return 0 if self.ended else self.request.top_logprobs or 0

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended the answer, or what it is held to."""
        return self._detokenizer.stopped or (self.constraint is not None and self.constraint.complete)

    def chunk(self, length: int) -> "Chunk":
        """The next so many tokens, as a pass reads them."""
        end = self.read + length
        draws = end == len(self.ids) and self.draws
        # As most are.
        if draws and length == 1:
            return Chunk(self, self.read, end, range(self.read, end), True)
        first, last = max(self.read, self.scored.start), min(end, self.scored.stop)
        if draws:
            # What is scored of a prompt ends with the place before.
            first, last = first if first < last else end - 1, end
        return Chunk(self, self.read, end, range(first, last), draws)

    def speculative(self, most: int) -> "Chunk":
        """The last token where it alone is not read, and at most so many of those that may come after it."""
        proposed = self.proposals.propose(self.ids, min(most, self.request.max_tokens - len(self.new) - 1))
        end = len(self.ids) + len(proposed)
        return Chunk(self, self.read, end, range(self.read, end), True, proposed)

    def begin_again(self) -> None:
        """Read all that is known again, from the first token on; what is scored already is not scored again."""
        self.read, self.given = 0, len(self.ids)
        self.scored = range(0)

    def take(self, end: int, scores: Iterable[Scored], drawn: Scored | None) -> bool:
        """Keep what a pass has made of a chunk; whether this reading has come to its end.

        Args:
            end: how many tokens are read now.
            scores: of the tokens after the places that were scored.
            drawn: the token after all that are known, if one was drawn.
        """
        ends = end == len(self.ids)
        self.read = end
        self._scores += scores
        if ends and self.request.score_prompt and not self.prompt_scores:
            self.prompt_scores = (Scored(self.ids[0], None), *self._scores)
            self._scores = []
        if drawn is not None:
            self.new.append(drawn)
            self.ids.append(drawn.id)
            if self.said is not None:
                self.said.add(drawn.id)
            if self.constraint is not None:
                self.constraint.accept(drawn.id)
        return ends

    def tell(self, *, shown: bool) -> None:
        """Deliver the last token; an end token has no text."""
        text = self._detokenizer.write(self.new[-1].id) if shown else ""
        self.deliver(Token(self.new[-1], text))

    def compare(self, reason: Reason) -> bool:
        """Once the answer has ended, score it under the base, then under its own row; False when that is done."""
        if self.ended is not None:
            self._compared.append(self._scores)
        self.ended, self._scores = reason, []
        slots = sorted({BASE_SLOT, self.own_slot})
        if len(self._compared) == len(slots):
            pairs = zip(self._compared[0], self._compared[-1], strict=True)
            self.glass_box = tuple(Scored(own.id, own.logprob, (), base.logprob) for base, own in pairs)
            return False
        self.slot = slots[len(self._compared)]
        self.begin_again()
        self.scored = range(len(self.request.prompt) - 1, len(self.ids) - 1)
        return True

    def finish(self, reason: Reason, error: Exception | None = None) -> Finished:
        """What is told at the end: with the rest of the text, unless it cannot be decoded."""
        try:
            text = self._detokenizer.end()
        except Exception as undecoded:
            text, reason, error = "", "failed", error or undecoded
        return Finished(
            reason,
            text,
            len(self.request.prompt),
            len(self.new),
            self.prompt_scores,
            self.glass_box,
            error,
            self.cached,
        )


class Chunk(NamedTuple):
    """Tokens of a sequence that one pass reads.

    Attributes:
        sequence: whose they are.
        begin: the place of the first.
        end: the place after the last, and as many keys it has then.
        wanted: places whose logits are wanted.
        draws: whether a token is drawn from the last of them; the others are scored.
        proposed: tokens that may come after all that are known, and are read as if they had. From each place before one
            of them a token is drawn, too, if those before turn out as proposed.
    """

    sequence: Sequence
    begin: int
    end: int
    wanted: range
    draws: bool
    proposed: tuple[int, ...] = ()

    @property
    def ids(self) -> list[int]:
        """Its tokens."""
        return [*self.sequence.ids[self.begin : self.end], *self.proposed]

    @property
    def known(self) -> int:
        """The place after the last token that is known."""
        return self.end - len(self.proposed)

    @property
    def scores(self) -> int:
        """How many of the wanted places are scored."""
        return len(self.wanted) - (1 + len(self.proposed) if self.draws else 0)

    @property
    def rest(self) -> "Chunk":
        """What is left once the first token that was proposed has been drawn."""
        return self._replace(begin=self.known, wanted=range(self.known, self.end), proposed=self.proposed[1:])

    @property
    def places(self) -> "torch.Tensor":
        """Of all its sequence's tokens up to its end, in the cache."""
        assert self.sequence.places is not None, "it is planned once it has its pages"
        return self.sequence.places[: self.end]


@dataclass(frozen=True, eq=False)
class Plan:
    """What one pass of the model reads.

    Attributes:
        chunks: one of each sequence in it.
        reach: one of its tokens has to be the last of a text of so many at least, if need be one of nobody: by the
            farthest token the base decides how it reads all of them.
    """

    chunks: list[Chunk]
    reach: int
