"""What was read of conversations that may go on: full pages of keys and values, each of one release of one person.

Keys and values depend on the row, so a page is found by a digest of its owner, their release and every token up to its
end, and by nothing else. While a request goes on from a page, the page is that request's alone; nothing is ever shared.
"""

import struct
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from heapq import heapify, heappop, heappush
from itertools import count, islice
from typing import NamedTuple

from sharedllm.serving.cache import PAGE_TOKENS, Cache, places
from sharedllm.serving.request import Reason
from sharedllm.serving.sequence import Sequence

_WHOLE: frozenset[Reason] = frozenset({"stop", "length", "cancelled", "deadline"})
"""How requests end whose keys and values are as they should be, and those of somebody who is still there."""


class _Kept(NamedTuple):
    owner: str
    release: str
    page: int


class Prefixes:
    """Pages that ended requests leave behind, until somebody needs the room.

    Whoever holds most makes it, of theirs what was used longest ago: else one person with ever new prompts would have
    what everybody else keeps go.

    What the base as it is has read is not kept: nobody could tell later whose it was to be forgotten with.
    """

    def __init__(self, cache: Cache, *, keeps: bool) -> None:
        """Nothing is kept.

        Args:
            cache: whose pages they are.
            keeps: whether anything ever is.
        """
        self._cache, self._keeps = cache, keeps
        self._kept: dict[bytes, _Kept] = {}
        # By owner, each with when it was used, longest ago first; of one conversation its end before its beginning,
        # without which it is no use.
        self._pages: dict[str, dict[bytes, int]] = {}
        self._uses = count()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def releases(self) -> set[tuple[str, str]]:
        """Of whom and of what releases there are pages."""
        return {(each.owner, each.release) for each in self._kept.values()}

    def begin(self, sequence: Sequence) -> None:
        """Give a sequence its places, with what is known of its beginning already read; nothing while there is no room.

        Pages of other releases of its owner are let go.
        """
        owner, release = sequence.request.owner, sequence.request.release
        if release is not None:
            self._let_go(key for key in self._pages.get(owner, ()) if self._kept[key].release != release)
        found = self._known(sequence)
        begun = [self._taken(key) for key in found]
        wanted = places(sequence.request.tokens) // PAGE_TOKENS - len(begun)
        self._make_room(owner, wanted, wanted - (self._cache.tokens - self._cache.held) // PAGE_TOKENS)
        sequence.places = self._cache.take(sequence.request.tokens, begun)
        if sequence.places is not None:
            sequence.read = sequence.cached = len(begun) * PAGE_TOKENS
            return
        for key, page in reversed(list(zip(found, begun, strict=True))):
            self._keep(key, _Kept(owner, str(release), page))

    def end(self, sequence: Sequence, reason: Reason) -> None:
        """Take a sequence's places back, and keep what it has read of them if somebody may go on from there."""
        if sequence.places is None:
            return
        request, pages = sequence.request, self._cache.pages(sequence.places)
        own = self._keeps and request.release is not None and sequence.slot == sequence.own_slot and not sequence.far
        full = sequence.read // PAGE_TOKENS if own and reason in _WHOLE else 0
        keys = list(_digests(request.owner, request.release, sequence.ids[: full * PAGE_TOKENS]))
        self._cache.give_back(pages[full:])
        for key, read in reversed(list(zip(keys, pages[:full], strict=True))):
            page = self._taken(key) if key in self._kept else read
            if page != read:
                self._cache.give_back([read])
            self._keep(key, _Kept(request.owner, str(request.release), page))
        mine, most = self._pages.get(request.owner, {}), self._cache.tokens // PAGE_TOKENS // 2
        self._let_go(islice(mine, max(0, len(mine) - most)))

    def forget(self, owner: str) -> None:
        """Let go of an owner's pages, which are still to be overwritten."""
        self._let_go(self._pages.get(owner, ()))

    def _make_room(self, owner: str, wanted: int, missing: int) -> None:
        """Let go of missing pages, each of whoever holds most then; an owner holds what they want, too."""
        if missing <= 0:
            return
        # Of those who hold as much, whose page was used longest ago.
        holds = [
            (-len(keys) - wanted * (who == owner), next(iter(keys.values())), who) for who, keys in self._pages.items()
        ]
        heapify(holds)
        for _ in range(min(missing, len(self._kept))):
            held, used, who = heappop(holds)
            self._let_go(islice(self._pages[who], 1))
            if who in self._pages:
                heappush(holds, (held + 1, used, who))

    def _known(self, sequence: Sequence) -> list[bytes]:
        """The pages with which its tokens begin; the last of these is read in any case, and those that are scored."""
        request = sequence.request
        if request.release is None or request.score_prompt or sequence.far:
            return []
        found = []
        for key in _digests(request.owner, request.release, request.prompt[:-1]):
            if key not in self._kept:
                break
            found.append(key)
        return found

    def _keep(self, key: bytes, kept: _Kept) -> None:
        self._kept[key] = kept
        self._pages.setdefault(kept.owner, {})[key] = next(self._uses)

    def _taken(self, key: bytes) -> int:
        kept = self._kept.pop(key)
        theirs = self._pages[kept.owner]
        del theirs[key]
        if not theirs:
            del self._pages[kept.owner]
        return kept.page

    def _let_go(self, keys: Iterable[bytes]) -> None:
        self._cache.give_back([self._taken(key) for key in list(keys)])


def _digests(owner: str, release: str | None, ids: Iterable[int]) -> Iterator[bytes]:
    """Of every full page of tokens, with all that is before it."""
    whole = list(ids)
    # Of the length first, so that no two pairs are spelled alike.
    digest = f"{len(owner)}:{owner}{release}".encode("utf-8", "surrogatepass")
    for end in range(PAGE_TOKENS, len(whole) + 1, PAGE_TOKENS):
        page = struct.pack(f"<{PAGE_TOKENS}q", *whole[end - PAGE_TOKENS : end])
        digest = blake2b(digest + page, digest_size=16).digest()
        yield digest
