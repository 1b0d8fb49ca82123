"""What the HTTP API stands on: an engine, a store, who may ask, and how much."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition
from typing import TYPE_CHECKING

from fastapi import Request

from sharedllm.holder import Derived, Holder, Removed
from sharedllm.http.arrivals import Arrivals
from sharedllm.http.headcounts import Headcounts
from sharedllm.http.off_loop import Turns
from sharedllm.operations.quotas import WRITES, WRITES_PER_HOUR, Quotas
from sharedllm.serving.grammar import Grammars
from sharedllm.store import Store

if TYPE_CHECKING:
    from sharedllm.http.jobs import Jobs
    from sharedllm.http.jwt import JWT
    from sharedllm.http.visits import Visits
    from sharedllm.serving.engine import AnyEngine
    from sharedllm.store.api_keys import Keys


@dataclass(frozen=True)
class Policy:
    """How much one request may ask for, and who answers when a user's release cannot.

    Attributes:
        fallback: whether the base answers then; every response says when it did.
        body_bytes: a longer body is refused with 413, while it is being read.
        bodies_bytes: of long bodies that are held at once, of everybody together; one sender may have half of them.
        body_seconds: a body that takes longer to arrive is refused with 408.
        seconds: deadline of a request that names none.
        max_seconds: the longest deadline a request may name.
        answers: prompts times ``n`` of one request; never more than the engine lets one owner have waiting.
        chat_tokens: length of a chat answer for which no length was asked, where the context allows it.
        send_seconds: a client that takes next to nothing of an answer for this long is given up.
        notice_seconds: how long a server that was told to end says so on `/readyz` before it takes nothing new.
        origins: of pages in browsers that may use this server from elsewhere, such as ``https://example.com``.
        writes: uploads, trainings and erasures that one user may send at once; an erasure counts as several.
        writes_per_hour: of them that one user may send from then on.
    """

    fallback: bool = False
    body_bytes: int = 4 * 1024**2
    bodies_bytes: int = 64 * 1024**2
    body_seconds: float = 30.0
    seconds: float = 300.0
    max_seconds: float = 3600.0
    answers: int = 64
    chat_tokens: int = 1024
    send_seconds: float = 60.0
    notice_seconds: float = 5.0
    origins: tuple[str, ...] = ()
    writes: int = WRITES
    writes_per_hour: int = WRITES_PER_HOUR


def _reading() -> Turns:
    # A process each, of up to 2 GiB, for minutes; whoever changes their mind about a file needs one more to wait.
    return Turns(2, waiting=16, waiting_per_owner=2)


@dataclass(eq=False)
class Service(Holder):
    """All that a request can reach; of a user it holds what they have running, and their rows on the device.

    With neither ``keys``, ``jwt`` nor ``visits``, whoever connects may be any user.

    Attributes:
        engine: not yet started; the app starts it, and closes it at its end.
        store: adapters at rest; stays the caller's to close.
        keys: API keys at rest.
        jwt: verifies tokens of another issuer.
        visits: keys of whoever opened the page from a terminal; where there are, no other is looked for.
        jobs: trains users in the background; stays the caller's to close. None where the server does not train.
        policy: limits, and the fallback.
        disks: places whose disk may become full, by what lies there.
        draining: set when the process has been told to end; `/readyz` then says so.
        model: the one model id: the base's name, without the path where that is a local folder.
        arrivals: bodies on their way that will change somebody.
        quotas: how often each user may change what there is of them.
        headcounts: how many people there are.
        grammars: what answers are held to, as far as somebody has asked for it.
        turns: who parses, routes, encodes and stores next.
        reading: whose files are looked at next, which may take minutes.
        tending: who is shown, cancelled or erased next, which may wait for the engine or for a training.
    """

    holds = "requests"

    engine: "AnyEngine"
    store: Store
    keys: "Keys | None" = None
    jwt: "JWT | None" = None
    visits: "Visits | None" = None
    jobs: "Jobs | None" = None
    policy: Policy = field(default_factory=Policy)
    disks: Mapping[str, Path] = field(default_factory=dict)
    draining: bool = False
    model: str = field(init=False)
    arrivals: Arrivals = field(init=False, repr=False)
    quotas: Quotas = field(init=False, repr=False)
    headcounts: Headcounts = field(init=False, repr=False)
    grammars: Grammars = field(init=False, repr=False)
    turns: Turns = field(default_factory=Turns, init=False, repr=False)
    tending: Turns = field(default_factory=Turns, init=False, repr=False)
    reading: Turns = field(default_factory=_reading, init=False, repr=False)
    _admitting: set[object] = field(default_factory=set, init=False, repr=False)
    _admitted: Condition = field(default_factory=Condition, init=False, repr=False)

    def __post_init__(self) -> None:
        self.arrivals = Arrivals(self.store)
        self.headcounts = Headcounts(self.store.headcount)
        self.grammars = Grammars(self.engine.base)
        self.quotas = Quotas(self.policy.writes, self.policy.writes_per_hour)
        name = self.engine.base.name
        # Found out once: where a folder was is not to be told when it is there no more.
        self.model = Path(name).resolve().name if Path(name).exists() else name

    @property
    def open(self) -> bool:
        """Whether nobody has to say who they are."""
        return self.keys is None and self.jwt is None and self.visits is None

    @property
    def answers(self) -> int:
        """How many answers one request may ask for."""
        return min(self.policy.answers, self.engine.limits.waiting_per_owner)

    @contextmanager
    def admission(self) -> Iterator[None]:
        """Stand around a request's way from the store's answer to the engine, so that `forget` can wait for its end."""
        ticket = object()
        with self._admitted:
            self._admitting.add(ticket)
        try:
            yield
        finally:
            with self._admitted:
                self._admitting.remove(ticket)
                self._admitted.notify_all()

    @property
    def holders(self) -> list[Holder]:
        """All of this process that hold something of users, beside the store."""
        return [each for each in (self.arrivals, self.jobs, self) if each is not None]

    def forget(self, user: str) -> list[Removed | Derived]:
        """Stop what an erased user has running; call it once the store has let go of them.

        What was routed to their release before that is in the engine by then, and what comes later is not routed to it:
        when this returns nothing of theirs is answered any more, nor on the device.
        """
        with self._admitted:
            under_way = set(self._admitting)
            self._admitted.wait_for(lambda: under_way.isdisjoint(self._admitting))
        self.grammars.forget(user)
        return self.engine.forget(user)


def service_of(request: Request) -> Service:
    """The service that a request came to.

    Endpoints do not have it from a closure: FastAPI remembers them for as long as the process lives, and whatever they
    hold.
    """
    service: Service = request.app.state.service
    return service
