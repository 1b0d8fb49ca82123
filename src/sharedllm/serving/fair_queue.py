"""A queue that is bounded, and gives everybody their turn."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from sharedllm.errors import QueueFull

Item = TypeVar("Item")

_COME_BACK_SECONDS = 1.0


class FairQueue(Generic[Item]):
    """First come, first served within one owner; one of each owner in turn."""

    def __init__(self, most: int, most_per_owner: int) -> None:
        self._most, self._most_per_owner = most, most_per_owner
        # Owners in the order of their turns; whoever is served goes to the end.
        self._queues: dict[str, deque[Item]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Item]:
        return (item for queue in self._queues.values() for item in queue)

    def of(self, owner: str) -> int:
        """How many of an owner's are waiting."""
        return len(self._queues.get(owner, ()))

    def put(self, owner: str, item: Item) -> None:
        """Add to the owner's end.

        Raises:
            QueueFull: the queue is full, or this owner's part of it.
        """
        if self._length >= self._most:
            raise QueueFull(
                f"{self._length:,} requests are waiting already",
                remedy="Come back in a moment.",
                retry_after=_COME_BACK_SECONDS,
            )
        queue = self._queues.get(owner, deque())
        if len(queue) >= self._most_per_owner:
            raise QueueFull(
                f"{len(queue):,} of your requests are waiting already",
                remedy="Wait for some of them to be answered.",
                retry_after=_COME_BACK_SECONDS,
            )
        queue.append(item)
        self._queues[owner] = queue
        self._length += 1

    def take(self, may: Callable[[str, Item], bool], fits: Callable[[Item], bool]) -> Item | None:
        """The next request of the next owner who may have theirs; None if there is none, or no room for it.

        Those behind one that does not fit wait with it: if smaller ones went ahead, there might never be room.
        """
        for owner, waiting in self._queues.items():
            if may(owner, waiting[0]):
                return self._pop(owner) if fits(waiting[0]) else None
        return None

    def remove(self, leaves: Callable[[Item], bool]) -> list[Item]:
        """Take out every request that is to leave."""
        gone = [item for item in self if leaves(item)]
        if gone:
            kept = {owner: deque(item for item in queue if not leaves(item)) for owner, queue in self._queues.items()}
            self._queues = {owner: queue for owner, queue in kept.items() if queue}
            self._length -= len(gone)
        return gone

    def _pop(self, owner: str) -> Item:
        queue = self._queues.pop(owner)
        item = queue.popleft()
        if queue:
            self._queues[owner] = queue
        self._length -= 1
        return item
