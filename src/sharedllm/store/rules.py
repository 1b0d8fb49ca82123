"""Decisions that are the same in every store: what may be served, and what a refusal says."""

import shlex
import string
from typing import Literal

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.errors import (
    ErasedMeanwhile,
    InvalidInput,
    NotServed,
    ResetToBase,
    StoreError,
    UnknownName,
    UnknownUser,
)
from sharedllm.store.contract import KEPT_RELEASES, Standing, UserSummary
from sharedllm.user_ids import check_user_id

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def rollback_event(
    user: str, number: int, gate: GateOutcome, *, served: int | None, override_reason: str | None
) -> tuple[Literal["rolled_back", "overridden"], str]:
    """Decide whether release ``number`` may be served instead of ``served``; the event's kind and reason.

    Raises:
        NotServed: it failed its gate and there is no reason to override that.
    """
    if gate.passed:
        return "rolled_back", override_reason or f"instead of release {served}"
    if override_reason is None:
        raise NotServed(
            f"Release {number} of {user!r} did not pass its gate: {gate.finding}",
            remedy="Choose one that passed, or give a reason to override the gate, which is recorded:"
            f" {override_command(user, number)}",
        )
    return "overridden", override_reason


def unknown_user(user: str) -> UnknownUser:
    """Nobody by that id."""
    return UnknownUser(
        f"The store holds no user {user!r}",
        remedy="Train them first (sharedllm train USER FILES), or check the spelling (sharedllm users list): ids"
        " differ by letter case and by accents typed differently.",
    )


def erased_meanwhile(user: str) -> ErasedMeanwhile:
    """The user's stay is over in which the work for them began."""
    return ErasedMeanwhile(
        f"{user!r} was erased after this had begun, and nothing of it is kept",
        remedy="Begin again if they are to come back all the same.",
    )


def unknown_release(user: str, number: int, count: int) -> UnknownName:
    """The user has no release of that number."""
    return UnknownName(f"{user!r} has no release {number}", remedy=f"Their releases are numbered 1 to {count}.")


def is_old(number: int, newest: int, served: int | None) -> bool:
    """Whether a release may have gone when a later one was published. It is there where a rollback leads to it."""
    return number <= newest - KEPT_RELEASES and number != served


def not_kept(user: str, number: int) -> UnknownName:
    """The user had a release of that number once."""
    return UnknownName(
        f"Release {number} of {user!r} is not kept any more",
        remedy=f"The newest {KEPT_RELEASES} are kept and the one that is served; look at their history.",
    )


def check_limit(limit: int, of: str) -> int:
    """Return ``limit`` if a page can be of that length.

    Raises:
        InvalidInput: it is below 1.
    """
    if limit < 1:
        raise InvalidInput(f"A page of {limit} {of} was asked for", remedy="Ask for at least 1.")
    return limit


def check_people(limit: int, search: str) -> None:
    """Refuse a page of people that cannot be, or a search for what no id has in it.

    Raises:
        InvalidInput: the limit is below 1.
        InvalidUserId: the search is too long, or has what no id has.
    """
    check_limit(limit, "people")
    if search:
        check_user_id(search)


def stands(summary: UserSummary, state: Standing | None) -> bool:
    """Whether somebody stands as those do who are looked for; None: as anybody."""
    if state == "not_served":
        return summary.state == "active" and summary.served is None
    return state in (None, summary.state)


def folded(text: str) -> str:
    """A text with A to Z as a to z and all else as it is, which every database does alike."""
    return text.translate(_LOWER)


def is_found(user: str, search: str) -> bool:
    """Whether an id has a text in it that is looked for."""
    return folded(search) in folded(user)


def override_command(user: str, number: int) -> str:
    """What an operator types to serve a release that failed its gate."""
    return command("rollback", user, f"--to {number} --override REASON")


def command(name: str, user: str, options: str) -> str:
    """One of `sharedllm users`, of a user, as it is typed into a shell."""
    words = (options, quoted(user)) if user.startswith("-") else (quoted(user), options)
    return f"sharedllm users {name} {' '.join(words)}"


def quoted(user: str) -> str:
    """An id as it is typed into a shell, at the end of a command."""
    return f"-- {shlex.quote(user)}" if user.startswith("-") else shlex.quote(user)


def revoked(user: str, reason: str) -> NotServed:
    """The user is revoked."""
    return NotServed(
        f"{user!r} is revoked: {reason}", remedy=f"To serve them again: sharedllm users restore {quoted(user)}"
    )


def held_back(user: str, number: int, reason: str) -> NotServed:
    """Nothing of the user's ever passed."""
    finding = GateOutcome(False, reason).finding
    return NotServed(
        f"No release of {user!r} passed its gate; the newest, {number}, was held back: {finding}",
        remedy="Train on more text, or let it answer all the same, for a reason that is recorded:"
        f" {override_command(user, number)}",
    )


def reset_to_base(user: str) -> ResetToBase:
    """The user was put back to the base."""
    return ResetToBase(
        f"{user!r} was put back to the base",
        remedy="Roll them back to a release of theirs, or train them again.",
    )


def reset_reason(served: int | None) -> str:
    """Why an event says that somebody was put back to the base."""
    return "the base answers" if served is None else f"the base answers instead of release {served}"


def nothing_before(user: str, served: int | None) -> NotServed:
    """There is no release to go back to."""
    standing = "none is served" if served is None else f"release {served} is served"
    return NotServed(
        f"{user!r} has no earlier release that passed its gate: {standing}",
        remedy=f"Look at their history, sharedllm users history {quoted(user)}, and name a release with --to.",
    )


def interrupted(user: str, error: StoreError, then: str | None) -> StoreError:
    """What to say of an erasure in which ``error`` came up, and what to do ``then``; None while nothing is removed."""
    if then is None:
        return type(error)(
            f"{user!r} is not erased yet: {error.message}",
            remedy=f"{error.remedy} The erasure goes on when you repeat it, or when the store is next opened.",
        )
    return type(error)(
        f"{user!r} is erased, but traces of them may remain: {error.message}", remedy=f"Put that right and {then}."
    )
