"""From tokenized text to a stored release: train, gate, publish, one user after the other as they finish."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.adapters.injection import Injection
from sharedllm.adapters.provenance import text_in
from sharedllm.base.loading import Base
from sharedllm.errors import ErasedMeanwhile, InvalidInput, SharedLLMError, UnknownUser
from sharedllm.evaluation.gate import Gate, mind_repeats
from sharedllm.evaluation.perplexity import Windows
from sharedllm.store.contract import Release, ReleaseSummary, Stay, Store
from sharedllm.text.repeats import Repeats
from sharedllm.text.windows import TokenizedText
from sharedllm.training.checkpoints import Checkpoints
from sharedllm.training.recipes import Recipe, recipe_in
from sharedllm.training.vectors import own_failure, train_vectors


@dataclass(frozen=True, eq=False)
class Judged:
    """A user's trained adapter and the gate's verdict on it, or the error that kept them from having one."""

    user: str
    adapter: Adapter | None
    gate: GateOutcome | None
    error: SharedLLMError | None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one user: a release, or the error that kept them from having one."""

    user: str
    release: Release | None
    error: SharedLLMError | None


def train_and_store(
    base: Base,
    injection: Injection,
    store: Store,
    texts: Iterable[TokenizedText],
    recipe: Recipe,
    general: Windows,
    *,
    gate: Gate | None = None,
    checkpoints: Checkpoints | None = None,
    sources: Mapping[str, Sequence[str]] | None = None,
    stays: Mapping[str, Stay] | None = None,
    on_step: Callable[[str, int], Any] | None = None,
) -> Iterator[Outcome]:
    """Train every text's user, judge each adapter as it is done, and store it whatever the verdict.

    A release is in the store before its outcome is yielded, and before its checkpoint is dropped: a crash in between
    trains that user again from the last step, and loses nobody else.

    Args:
        base: the frozen base.
        injection: of the layout to train, attached to it.
        store: where releases go.
        texts: the users.
        recipe: how to train.
        general: int64 ``[windows, tokens]`` of general text, for the gate.
        gate: by default `Gate()`.
        checkpoints: where unfinished training is kept.
        sources: by user, where the text came from, kept as provenance so that it can be read again for an evaluation.
        stays: what `Store.begin` gave before the texts were read. Whoever has none there begins when their text is
            drawn. Somebody who is erased meanwhile has an error for an outcome.
        on_step: told the user and the steps taken, after each step.
    """
    begun = dict(stays or {})

    def beginning(each: Iterable[TokenizedText]) -> Iterator[TokenizedText]:
        for text in each:
            if text.user not in begun:
                begun.update(store.begin([text.user]))
            yield text

    training = train_and_judge(
        base, injection, beginning(texts), recipe, general, gate or Gate(), checkpoints=checkpoints, on_step=on_step
    )
    with closing(training):
        for judged in training:
            yield store_judged(store, judged, (sources or {}).get(judged.user, ()), begun.get(judged.user))


def train_and_judge(
    base: Base,
    injection: Injection,
    texts: Iterable[TokenizedText],
    recipe: Recipe,
    general: Windows,
    gate: Gate,
    *,
    checkpoints: Checkpoints | None = None,
    on_step: Callable[[str, int], Any] | None = None,
) -> Generator[Judged, None, None]:
    """Train every text's user and judge each adapter as it is done; nothing is stored.

    A checkpoint is dropped when the consumer comes back for the next one, and is written when it closes the iterator.

    Args: as for `train_and_store`.
    """
    kept: dict[str, tuple[Windows, Repeats]] = {}

    def noting(each: Iterable[TokenizedText]) -> Iterator[TokenizedText]:
        for text in each:
            kept[text.user] = text.validation, text.repeats
            yield text

    training = train_vectors(base, injection, noting(texts), recipe, checkpoints=checkpoints, on_step=on_step)
    # Closing it, not waiting for it to be collected, is what writes the others' checkpoints if this one fails.
    with closing(training):
        for trained in training:
            windows, repeats = kept.pop(trained.user)
            if trained.adapter is None:
                yield Judged(trained.user, None, None, trained.error)
                continue
            try:
                verdict = gate.judge(base, injection, trained.adapter, windows, general)
            except Exception as error:
                yield Judged(trained.user, None, None, own_failure(trained.user, "The gate", error))
                continue
            yield Judged(trained.user, trained.adapter, mind_repeats(verdict, repeats), None)


def store_judged(store: Store, judged: Judged, sources: Sequence[str], stay: Stay | None) -> Outcome:
    """Publish one user's adapter, whatever the verdict on it.

    Args:
        store: where releases go.
        judged: what training made.
        sources: where the text came from.
        stay: in which the training began.
    """
    if judged.adapter is None or judged.gate is None:
        return Outcome(judged.user, None, judged.error)
    adapter = replace(judged.adapter, provenance={**judged.adapter.provenance, "sources": list(sources)})
    try:
        return Outcome(judged.user, store.publish(judged.user, adapter, judged.gate, stay), None)
    except (InvalidInput, ErasedMeanwhile) as error:
        # Values that cannot be stored, as after a rate far too high, are this user's failure alone.
        return Outcome(judged.user, None, error)


def already_trained(store: Store, base: str, user: str, text: str, recipe: Recipe) -> ReleaseSummary | None:
    """The user's newest release made from this very text, recipe and base, if there is one.

    Args:
        store: where releases are.
        base: the base's fingerprint.
        user: whose release.
        text: the text's SHA-256.
        recipe: how it would be trained.
    """
    wanted = base, text, recipe
    with suppress(UnknownUser):
        for release in store.every_release(user):
            made_from = release.base, text_in(release.provenance), recipe_in(release.provenance)
            if made_from == wanted:
                return release
    return None
