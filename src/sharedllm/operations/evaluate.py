"""People's adapters on text that they never saw, against the base and against other people's adapters."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sharedllm.base.conversations import learned_ids
from sharedllm.errors import CorruptAdapter, InvalidInput
from sharedllm.operations.authors import tokenized_blocks
from sharedllm.operations.release_text import read_again, window_of
from sharedllm.operations.workplace import Workplace
from sharedllm.text.sources import Wrote

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from sharedllm.adapters.injection import Injection
    from sharedllm.base.loading import Base
    from sharedllm.evaluation.confusion import Confusion
    from sharedllm.evaluation.perplexity import Losses, Windows
    from sharedllm.evaluation.replies import Replies
    from sharedllm.operations.ask import Row
    from sharedllm.operations.worth import Worth, WorthReader
    from sharedllm.store.contract import Release, Store
    from sharedllm.text.repeats import Repeats
    from sharedllm.text.splits import Split

WINDOWS = 32
"""Windows read of each text."""

GENERAL = "general"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured.

    Attributes:
        releases: by user, those that were measured.
        heldout: by user, the windows of their text that were read, int64 ``[windows, tokens]``; what is read and never
            predicted is the complement of its id.
        repeats: by user, what their training text gives away of that.
        confusion: everybody's held-out text, read by the base, by everybody and by the others.
        general: by reader, the losses on general text of the base (None) and of everybody.
        others: who else read the texts.
        damaged: by user, why some of the others were left out.
        worth: by user, bits per character; and what was foretold and written, if that was asked for, by the base, by
            their own adapter and by another's, if there is one.
    """

    releases: "Mapping[str, Release]"
    heldout: "Mapping[str, Windows]"
    repeats: "Mapping[str, Repeats]"
    confusion: "Confusion"
    general: "Mapping[str | None, Losses]"
    others: Sequence[str]
    damaged: Mapping[str, CorruptAdapter]
    worth: "Mapping[str, Worth]"

    def __repr__(self) -> str:
        return repr(self.confusion)

    def svg(self) -> str:
        """The confusion matrix as a picture, which notebooks show by themselves."""
        from sharedllm.reporting.heat_map import heat_map

        return heat_map(self.confusion)

    def _repr_svg_(self) -> str:
        return self.svg()


def evaluate(
    workplace: Workplace,
    store: "Store",
    users: str | Iterable[str] | Mapping[str, Wrote],
    *,
    numbers: Mapping[str, int] | None = None,
    others: int = 0,
    worth: bool = False,
) -> Evaluation:
    """Measure users' adapters on the held-out blocks of their texts, and on general text.

    Their texts are not kept, so they are read again.

    Args:
        workplace: where.
        store: where releases are.
        users: at least one, with adapters of one format; by user, the text that their release was trained on, or where
            it is now. By default it is read where the release remembers it.
        numbers: by user, which release; by default the one that is served, or the newest.
        others: at most so many other people's served adapters read the texts too, to tell what is a person's own from
            what any adapter would do: those of the same base and format who arrived first.
        worth: whether words are foretold, with the keystrokes that saves, and texts gone on with, to compare styles:
            see `Worth`. It takes some minutes a user.

    Raises:
        InvalidInput: nobody is named; the releases' formats differ; or a text is not what the release was trained on,
            or was too little to hold any of it out.
        UnknownUser, UnknownName, CorruptAdapter: there is no such release, or it is damaged.
        TextError: a text cannot be found, or not be read.
        WrongBase: a release was made for another base.
        BaseError, DownloadError: see `load_base`.
        UnsupportedBase, EngineStopped: what is worth cannot be measured on this base: see `measure_worth`.
    """
    from sharedllm.evaluation.confusion import confusion
    from sharedllm.evaluation.perplexity import spread
    from sharedllm.evaluation.style import shipped_reference
    from sharedllm.operations.worth import FORETOLD, measure_worth

    wrote: Mapping[str, Wrote] = (
        users if isinstance(users, Mapping) else dict.fromkeys([users] if isinstance(users, str) else users, ())
    )
    if not wrote:
        raise InvalidInput("Nobody is named whose adapter is to be measured", remedy="Name at least one user.")
    releases = {user: _release(store, user, (numbers or {}).get(user)) for user in wrote}
    first = next(iter(releases.values()))
    if len({release.adapter.format for release in releases.values()}) > 1:
        raise InvalidInput(
            f"The releases of {', '.join(map(repr, releases))} are of different formats", remedy="Measure them apart."
        )
    beside, damaged = _others(store, releases, others)
    splits = {user: read_again(release, wrote[user]) for user, release in releases.items()}
    for release in releases.values():
        injection = workplace.injection_of(release.adapter)
    base = workplace.base
    heldout = {
        user: spread(tokenized_blocks(base.tokens, user, split, window_of(releases[user])).heldout, WINDOWS)
        for user, split in splits.items()
    }
    general = spread(workplace.general("heldout", window_of(first)), WINDOWS)
    own = {user: release.adapter.values for user, release in releases.items()}
    read = (1 + len(own) + len(beside)) * sum(map(len, heldout.values()))
    with workplace.bar("measuring", read + (1 + len(own)) * len(general)) as advance:
        matrix = confusion(base, injection, own | beside, heldout, on_batch=advance)
        on_general = confusion(base, injection, own, {GENERAL: general}, on_batch=advance).losses[GENERAL]
    repeats = {user: split.repeats for user, split in splits.items()}
    found: dict[str, Worth] = {}
    for user, windows in heldout.items():
        # Another's adapter is the control: what it brings is not this person's own.
        control = [other for other in (*beside, *own) if other != user][:1]
        rows: dict[WorthReader, Row | None] = {None: None, user: own[user]}
        rows |= {other: (own | beside)[other] for other in control}
        found[user] = measure_worth(
            base,
            rows,
            {reader: matrix.losses[user][reader] for reader in rows},
            windows,
            format=first.adapter.format,
            foretold=FORETOLD if worth else 0,
            reference=shipped_reference() if worth else None,
            replies=_replies(base, injection, rows, splits[user], windows.shape[1]) if worth else None,
            bar=workplace.bar,
        )
    return Evaluation(releases, heldout, repeats, matrix, on_general, list(beside), damaged, found)


def _replies(
    base: "Base", injection: "Injection", rows: "Mapping[WorthReader, Row | None]", split: "Split", window: int
) -> "tuple[Replies, Mapping[WorthReader, tuple[Losses, Losses]]] | None":
    """The person's replies in held-out conversations, others' in the same places, and how every reader reads both."""
    import numpy as np

    from sharedllm.evaluation.perplexity import row_losses
    from sharedllm.evaluation.replies import find_replies

    found = find_replies(split.blocks[2], partial(learned_ids, base.tokens), window, base.tokens.opening)
    if found is None:
        return None
    table = np.stack([np.zeros(injection.layout.size, np.float32) if row is None else row for row in rows.values()])
    own, other = (row_losses(base, injection, table, windows) for windows in (found.own, found.other))
    return found, dict(zip(rows, zip(own, other, strict=True), strict=True))


def _release(store: "Store", user: str, number: int | None) -> "Release":
    if number is None:
        number = store.user(user).served or store.user(user).releases
    return store.release(user, number)


def _others(
    store: "Store", releases: "Mapping[str, Release]", most: int
) -> "tuple[dict[str, npt.NDArray[np.float32]], dict[str, CorruptAdapter]]":
    adapter = next(iter(releases.values())).adapter
    found: dict[str, npt.NDArray[np.float32]] = {}
    damaged: dict[str, CorruptAdapter] = {}
    for summary in store.users() if most else ():
        if len(found) == most:
            break
        if summary.user in releases or summary.served is None or summary.state != "active":
            continue
        try:
            other = store.served(summary.user).adapter
        except CorruptAdapter as error:
            # A damaged release of somebody else's is no reason to measure nothing.
            damaged[summary.user] = error
            continue
        if (other.base, other.format) == (adapter.base, adapter.format):
            found[summary.user] = other.values
    return found, damaged
