"""A fleet's held-out texts, each read four ways, and what was read kept so that nothing is read twice.

Besides the base and their own adapter, two controls read a person's text: another person's adapter, by a fixed random
derangement, and one adapter trained on everybody's text together. What is kept holds no text, only sums of losses and,
until everything is read, the unfinished training of the adapter for everybody. Each of these files owes something to
several people's adapters, so they lie in a folder of their own, and erasing anybody drops it whole.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from sharedllm.adapters.adapter import Adapter, check_fits
from sharedllm.base.loading import Base
from sharedllm.errors import ManifestError, TrainingError
from sharedllm.evaluation.perplexity import Losses, Windows, row_losses, spread
from sharedllm.operations.authors import tokenized_blocks
from sharedllm.operations.locks import in_training
from sharedllm.operations.workplace import Workplace
from sharedllm.reporting.fleet.findings import Reading
from sharedllm.reporting.fleet.members import EVERYONE_STEPS, WINDOWS, Fleet, Member, find_fleet
from sharedllm.store.contract import Store
from sharedllm.text.manifest import entries_at
from sharedllm.text.repeats import Repeats
from sharedllm.text.windows import TokenizedText, windows
from sharedllm.training.checkpoints import Checkpoints, begin_report, digest, keep, report_folder
from sharedllm.training.recipes import Recipe
from sharedllm.training.vectors import train_vectors

EVERYONE = "everyone"
_READERS = ("base", "own", "other", "everyone")


@dataclass(frozen=True, eq=False)
class _Prepared:
    """What is needed of one person's text: their part of everybody's, and what is read of theirs."""

    train: npt.NDArray[np.int32]
    validation: Windows
    heldout: Windows


def measure_fleet(workplace: Workplace, store: Store, manifest: Path) -> tuple[Fleet, dict[str, Reading]]:
    """Find the fleet of a manifest in a store, and read everybody's held-out text; nobody can be erased here meanwhile.

    Args:
        workplace: where. The base is loaded if anything is left to be read.
        store: where the fleet's releases are.
        manifest: that it was trained from.

    Raises:
        InTraining: somebody is being erased here.
        InvalidInput: nobody of the manifest has a release that could be measured.
        StoreError: the store does not answer.
        ManifestError, TextError, WrongBase, TrainingError, DiskFull: see `read_fleet`.
    """
    # From where adapters are read to where the last is used: whoever is erased meanwhile would be in the report.
    with in_training(workplace.folder):
        begin_report(store, workplace.folder)
        fleet = find_fleet(store, manifest, workplace.fingerprint)
        return fleet, read_fleet(workplace, fleet)


def read_fleet(workplace: Workplace, fleet: Fleet) -> dict[str, Reading]:
    """Read everybody's held-out text, or take what an earlier call has read and kept.

    A call that is interrupted, even while the adapter for everybody is in training, is gone on with by the next. That
    adapter is not kept once everything is read.

    Args:
        workplace: where. What was read is kept in its folder, too, which `in_training` is to hold.
        fleet: who.

    Raises:
        ManifestError, TextError: a text has changed since the fleet was found.
        WrongBase: an adapter does not fit the base.
        TrainingError: the adapter for everybody cannot be trained.
        DiskFull: there is no room for what was read.
    """
    kept, bar = _Kept(workplace.folder, fleet), workplace.bar
    readings = {number: kept.load(number) for number in range(len(fleet.members))}
    left = [number for number, reading in readings.items() if reading is None]
    if left:
        base, injection = workplace.base, workplace.injection(fleet.recipe.method)
        with bar("reading texts", len(fleet.members)) as advance:
            prepared = list(_prepare(fleet, base, advance))
        with (
            _everyone(workplace, fleet, prepared) as everyone,
            bar("measuring", len(left)) as advance,
        ):
            for number in left:
                adapters = fleet.members[number].release.adapter, fleet.other(number).release.adapter, everyone
                for adapter in adapters:
                    check_fits(adapter, injection.layout)
                table = np.stack([np.zeros_like(everyone.values), *(adapter.values for adapter in adapters)])
                reading = Reading(*row_losses(base, injection, table, prepared[number].heldout))
                kept.save(number, reading)
                readings[number] = reading
                advance(1)
    return {fleet.members[number].user: reading for number, reading in readings.items() if reading is not None}


def _prepare(fleet: Fleet, base: Base, advance: Callable[[int], None]) -> Iterator[_Prepared]:
    """Everybody's text, of which all give the same amount to everybody's."""
    recipe = _for_everyone(fleet.recipe)
    share = math.ceil(recipe.steps * recipe.windows_per_step / len(fleet.members)) + 1
    for member in fleet.members:
        text = _tokenized(fleet, member, base)
        train = spread(windows(text.train, recipe.window), share).astype(np.int32).ravel()
        yield _Prepared(train, spread(text.validation, 1), spread(text.heldout, WINDOWS))
        advance(1)


def _tokenized(fleet: Fleet, member: Member, base: Base) -> TokenizedText:
    (entry,) = entries_at(fleet.manifest, [member.line])
    split = entry.read(fleet.manifest.parent).split()
    if (entry.user, split.sha256) != (member.user, member.text_sha256):
        raise ManifestError(
            f"The text of {member.user!r} in {fleet.manifest} has changed while it was looked at",
            remedy="Run the same command again.",
        )
    return tokenized_blocks(base.tokens, member.user, split, fleet.recipe.window)


@contextmanager
def _everyone(workplace: Workplace, fleet: Fleet, prepared: list[_Prepared]) -> Iterator[Adapter]:
    """An adapter trained on everybody's text; its checkpoint is dropped only after what is done with it."""
    recipe = _for_everyone(fleet.recipe)
    base, injection = workplace.base, workplace.injection(recipe.method)
    text = TokenizedText(
        user=EVERYONE,
        train=np.concatenate([each.train for each in prepared]),
        validation=np.concatenate([each.validation for each in prepared]),
        heldout=np.concatenate([each.heldout for each in prepared]),
        sha256=fleet.texts_sha256,
        repeats=Repeats(0, 0.0, ()),
        opening=base.tokens.opening,
    )
    taken = 0

    def on_step(user: str, step: int) -> None:
        nonlocal taken
        # A resumed training's first step counts for those before it as well.
        advance(step - taken)
        taken = step

    checkpoints = Checkpoints(report_folder(workplace.folder), fleet.fingerprint)
    training = train_vectors(
        base,
        injection,
        [text],
        recipe,
        curvature=workplace.curvature(recipe),
        checkpoints=checkpoints,
        on_step=on_step,
    )
    with closing(training):
        with workplace.bar("training on everybody's text", recipe.steps) as advance:
            trained = next(training)
        if trained.adapter is None:
            raise TrainingError(
                f"No adapter can be trained on everybody's text, to compare with: {trained.error}",
                remedy="Train the fleet by a recipe with a lower learning rate.",
            )
        yield trained.adapter
        next(training, None)


def _for_everyone(recipe: Recipe) -> Recipe:
    return replace(recipe, steps=EVERYONE_STEPS * recipe.steps)


class _Kept:
    """What was read, a file for each text."""

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        self._folder, self._fleet = report_folder(folder), fleet
        recipe = _for_everyone(fleet.recipe)
        self._everyone = digest(json.dumps([fleet.texts_sha256, recipe.as_dict()], sort_keys=True))

    def load(self, number: int) -> Reading | None:
        """How a member's text was read, if it was by all four who would read it now."""
        try:
            stored = load_file(self._path(number))
        except (OSError, SafetensorError):
            return None
        found = [stored.get(reader) for reader in self._readers(number)]
        nats = [each for each in found if each is not None]
        if len(nats) < len(_READERS):
            return None
        tokens = stored.get("tokens", self._fleet.recipe.window - 1)
        return Reading(*(Losses(each, tokens) for each in nats))

    def save(self, number: int, reading: Reading) -> None:
        """Keep it, in place of what other readers made of the text."""
        nats = (getattr(reading, reader).nats for reader in _READERS)
        tokens = reading.base.tokens
        uneven = {} if isinstance(tokens, int) else {"tokens": tokens}
        data = save(dict(zip(self._readers(number), nats, strict=True)) | uneven)
        keep(self._path(number), data, f"What was read cannot be kept in {self._folder}", "it goes on")

    def _readers(self, number: int) -> tuple[str, ...]:
        """What names each reader: a release's id is never used twice."""
        own, other = self._fleet.members[number].release.id, self._fleet.other(number).release.id
        return "base", own, other, self._everyone

    def _path(self, number: int) -> Path:
        member = self._fleet.members[number]
        read = digest(json.dumps([self._fleet.fingerprint, member.text_sha256, self._fleet.recipe.window, WINDOWS]))
        return self._folder / f"{digest(member.user)}-{read}.safetensors"
