"""A base with a prior, made of what many people wrote: trained, measured on people outside it, and kept by a name."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharedllm import __version__
from sharedllm.base.frames import PRIOR, fold_frames, read_prior
from sharedllm.base.made import made_folder
from sharedllm.base.resolve import built_in_bases, resolve_base
from sharedllm.cache_folder import alone_with
from sharedllm.errors import BaseError, InvalidInput, ManifestError, TextError, TrainingError
from sharedllm.evaluation.intervals import improvement
from sharedllm.evaluation.perplexity import Losses, Windows, base_losses, spread
from sharedllm.extras import need
from sharedllm.files import make_folder, refused, replace_private
from sharedllm.operations.locks import in_training
from sharedllm.operations.priors import TO_BE_REBUILT, note_people, training_folder
from sharedllm.operations.workplace import Workplace
from sharedllm.text.manifest import contributors, entries_at
from sharedllm.text.windows import text_windows
from sharedllm.training.frame_gradients import GradientOf
from sharedllm.training.prior import Contributor, PriorRecipe, train_prior
from sharedllm.training.private import privacy_spent

if TYPE_CHECKING:
    from sharedllm.base.frames import Frames
    from sharedllm.base.loading import Base
    from sharedllm.base.tokens import Tokens

_OUTSIDE = 10
"""Of so many people one is kept outside a prior, to say what it does for people who are not in it."""

_BASE = "base"
_WINDOWS_EACH = 16
_WINDOWS_OF_GENERAL = 64


@dataclass(frozen=True)
class MadePrior:
    """A base with a prior that was made here.

    Attributes:
        name: what it is asked for by.
        folder: where it lies.
        about: what its `PRIOR` says.
        left_out: by user, why somebody of the manifest had no part in it.
    """

    name: str
    folder: Path
    about: Mapping[str, Any]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class _Person:
    """What a line of the manifest led to, without its text."""

    user: str
    line: int
    text_sha256: str
    characters: int

    @property
    def outside(self) -> bool:
        """Whether they are never in a prior: a function of their id alone."""
        return int.from_bytes(hashlib.sha256(self.user.encode()).digest()[:8]) % _OUTSIDE == 0

    @property
    def as_dict(self) -> dict[str, Any]:
        return {"user": self.user, "text_sha256": self.text_sha256, "characters": self.characters}


def adapt(
    workplace: Workplace,
    manifest: Path,
    name: str,
    recipe: PriorRecipe | None = None,
    *,
    gradient: "GradientOf | None" = None,
) -> MadePrior:
    """Make a base with a prior from a manifest of people who agreed to it, and keep it under a name.

    Every tenth of them, chosen by a hash of their id, is kept outside, and so is who wrote less than a window. Texts
    are read again when they are needed and never kept; until the prior is there, its training is in a folder below the
    workplace's, and the same call goes on from there. Meanwhile nobody can be erased here.

    With noise in the recipe what the frames give away of anybody is bounded, and said; and the same is trained without
    noise as well, only to say what that costs.

    A prior of the name is replaced if somebody was erased whose text is in it, and refused else.

    Args:
        workplace: where, with the bare base.
        manifest: of the people; each line says ``"shared": true``.
        name: of the new base.
        recipe: how to train; by default `PriorRecipe()`.
        gradient: computes the training's gradients, such as on workers; by default here.

    Raises:
        InvalidInput: the name is none, or taken; or the manifest leaves fewer than two people.
        ManifestError: a line is wrong, or its person did not agree, or has two; or a text changed meanwhile.
        TextError: a text cannot be read.
        BaseError: the base has a prior already, does not load, or has no frames; or the prior of that name is damaged.
        UnknownName, DownloadError: see `resolve_base`.
        MissingExtra: there is noise, and what accounts for it is not installed.
        InTraining: somebody is being erased here.
        Diverged: the loss stopped being finite.
        DiskFull, TrainingError: the training cannot be kept, or another process is making the same prior.
    """
    recipe = recipe or PriorRecipe()
    if recipe.noise:
        need("private")
    training = training_folder(workplace.folder, name)
    target = _free(name, training)
    lines = {entry.user: offset for offset, entry in contributors(manifest)}
    _check_number(len(lines), manifest)
    _check_bare(workplace)
    with in_training(workplace.folder):
        found, left_out = _read(workplace, manifest, lines, recipe.window)
        inside, outside = ([each for each in found if each.outside is side] for side in (False, True))
        _check_number(len(inside), manifest)
        run = json.dumps([workplace.fingerprint, recipe.as_dict(), [each.as_dict for each in inside]])
        with _alone(training):
            note_people(training, [each.user for each in inside], run)
            about = _make(workplace, manifest, training, inside, outside, recipe, name, gradient)
            _put(training, target)
    return MadePrior(name, target, about, left_out)


def _free(name: str, training: Path) -> Path:
    target = made_folder(name)
    if name in built_in_bases():
        raise InvalidInput(f"{name!r} is the name of a built-in base", remedy="Give the new base another name.")
    if target.exists() and not (read_prior(target) or {}).get(TO_BE_REBUILT):
        # A call that was killed once the prior was there could not drop what it was made from.
        shutil.rmtree(training, ignore_errors=True)
        raise InvalidInput(
            f"There is a base named {name!r} already, and nobody was erased who is in it",
            remedy=f"Give the new base another name, or remove {target} first.",
        )
    return target


def _check_number(count: int, manifest: Path) -> None:
    if count < 2:
        raise InvalidInput(
            f"A prior is what people have in common, and {manifest} leaves {count or 'none'}",
            remedy="Give a manifest of many people who wrote more; every tenth of them is kept outside.",
        )


def _check_bare(workplace: Workplace) -> None:
    folder = resolve_base(workplace.name)
    if read_prior(folder) is not None:
        raise BaseError(f"{workplace.name} has a prior already", remedy="Adapt the bare base instead.")


def _read(
    workplace: Workplace, manifest: Path, lines: Mapping[str, int], window: int
) -> tuple[list[_Person], dict[str, str]]:
    """Everybody who wrote enough, by their ids, and why the others have no part in it."""
    found, left_out = [], {}
    tokens = workplace.tokens
    with workplace.bar("reading texts", len(lines)) as advance:
        for user, line in sorted(lines.items()):
            text = _text(manifest, user, line)
            count = _count(tokens, user, text)
            if count < window:
                left_out[user] = f"{count:,} tokens of text, and a window takes {window:,}"
            else:
                found.append(_Person(user, line, _sha256(text), len(text)))
            advance(1)
    return found, left_out


def _text(manifest: Path, user: str, line: int) -> str:
    (entry,) = entries_at(manifest, [line])
    if entry.user != user:
        raise _changed(manifest, user)
    return entry.read(manifest.parent).text


def _count(tokens: "Tokens", user: str, text: str) -> int:
    try:
        return len(tokens.encode(text))
    except InvalidInput as error:
        raise TextError(f"The text of {user!r} cannot be read: {error.message}", remedy=error.remedy) from error


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _changed(manifest: Path, user: str) -> ManifestError:
    return ManifestError(
        f"The text of {user!r} in {manifest} has changed while it was looked at", remedy="Run the same command again."
    )


@contextmanager
def _alone(training: Path) -> Iterator[None]:
    make_folder(training)
    with alone_with(training) as alone:
        if not alone:
            raise TrainingError(
                f"Another process is making the same prior in {training}", remedy="Wait for it, or end it."
            )
        yield


def _make(
    workplace: Workplace,
    manifest: Path,
    training: Path,
    inside: Sequence[_Person],
    outside: Sequence[_Person],
    recipe: PriorRecipe,
    name: str,
    gradient: "GradientOf | None",
) -> dict[str, Any]:
    """Train and measure; the new base is in the training's folder then."""
    from sharedllm.base.context_length import check_window
    from sharedllm.base.loading import load_base

    base = workplace.base
    check_window(base, recipe.window)
    general = spread(workplace.general("heldout", recipe.window), _WINDOWS_OF_GENERAL)
    reader = _Reader(workplace, manifest, outside, general, recipe.window)
    people = [Contributor(each.user, _reading(manifest, each)) for each in inside]
    about: dict[str, Any] = {
        "name": name,
        "base": workplace.name,
        "version": __version__,
        "recipe": recipe.as_dict(),
        "contributors": [each.as_dict for each in inside],
    }
    bare = reader.read(base)

    def made(recipe: PriorRecipe, place: str, what: str) -> tuple[Path, dict[str, Any]]:
        """Train by a recipe and fold; where the new base is, and what it says of itself."""
        began = time.monotonic()
        frames = _trained(workplace, people, recipe, training / f"{place}-run", what, gradient)
        seconds = time.monotonic() - began
        folder = _fold(base.folder, frames, {**about, "seconds": seconds}, training / place)
        prior = load_base(str(folder), dtype=base.dtype, device=str(base.device))
        return folder, {**(read_prior(folder) or {}), "figures": bare.compared(reader.read(prior))}

    folder, found = made(recipe, _BASE, "training the prior")
    if recipe.noise:
        rate = recipe.rate(len(people))
        spent = privacy_spent(recipe.noise, rate, recipe.steps, len(people))
        without, plain = made(replace(recipe, noise=0.0), "without-noise", "training without noise")
        shutil.rmtree(without)
        found["privacy"] = {**asdict(spent), "rate": rate, "figures_without_noise": plain["figures"]}
    replace_private(folder / PRIOR, json.dumps(found, indent=1).encode() + b"\n")
    return found


def _reading(manifest: Path, person: _Person) -> Callable[[], str]:
    def read() -> str:
        text = _text(manifest, person.user, person.line)
        if _sha256(text) != person.text_sha256:
            raise _changed(manifest, person.user)
        return text

    return read


def _trained(
    workplace: Workplace,
    people: Sequence[Contributor],
    recipe: PriorRecipe,
    folder: Path,
    what: str,
    gradient: "GradientOf | None",
) -> "Frames":
    taken = 0

    def on_step(step: int, loss: float) -> None:
        nonlocal taken
        # A resumed training's first step counts for those before it as well.
        advance(step - taken)
        taken = step

    with workplace.bar(what, recipe.steps) as advance:
        return train_prior(workplace.base, people, recipe, folder=folder, on_step=on_step, gradient=gradient)


def _fold(bare: Path, frames: "Frames", about: Mapping[str, Any], folder: Path) -> Path:
    # What an interrupted call left is of the same training, and not known to be whole.
    shutil.rmtree(folder, ignore_errors=True)
    fold_frames(bare, frames, about, folder)
    return folder


def _put(training: Path, target: Path) -> None:
    """Let the new base be found by its name, in place of one that was to be rebuilt; then the training may go."""
    try:
        make_folder(target.parent)
        if target.exists():
            shutil.rmtree(training / "before", ignore_errors=True)
            target.rename(training / "before")
        (training / _BASE).rename(target)
    except OSError as error:
        raise refused(error, f"The new base cannot be kept in {target}") from error
    shutil.rmtree(training)


@dataclass(frozen=True, eq=False)
class _Reading:
    """How people outside a prior, and general text, are read by one base.

    Attributes:
        people: mean nats per predicted token of each person, float64 ``[people]``.
        general: of windows of general text.
    """

    people: npt.NDArray[np.float64]
    general: Losses

    def compared(self, prior: "_Reading") -> dict[str, Any]:
        """What the prior changes, as it is kept with it.

        Every person counts alike: a perplexity of people is the geometric mean of theirs, and the interval is over
        people.
        """
        return {
            "outside": _figures(Losses(self.people, 1), Losses(prior.people, 1)) if len(self.people) else None,
            "general": _figures(self.general, prior.general),
        }


def _figures(bare: Losses, prior: Losses) -> dict[str, Any]:
    return {
        "count": len(bare.nats),
        "base_perplexity": bare.perplexity,
        "prior_perplexity": prior.perplexity,
        "improvement": improvement(bare, prior).as_dict() if len(bare.nats) > 1 else None,
    }


@dataclass(frozen=True, eq=False)
class _Reader:
    """Reads the same texts by one base after the other."""

    workplace: Workplace
    manifest: Path
    outside: Sequence[_Person]
    general: Windows
    window: int

    def read(self, base: "Base") -> _Reading:
        """How a base reads them."""
        nats = []
        with self.workplace.bar("measuring", len(self.outside) + 1) as advance:
            for person in self.outside:
                text = _reading(self.manifest, person)()
                windows = spread(text_windows(text, base.encode, self.window), _WINDOWS_EACH)
                nats.append(base_losses(base, windows).nats_per_token)
                advance(1)
            general = base_losses(base, self.general)
            advance(1)
        return _Reading(np.array(nats, np.float64), general)
