"""From text to a stored release: read, train, gate, publish, one user after the other as they finish."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sharedllm.adapters.formats.registry import check_format
from sharedllm.errors import (
    CorruptAdapter,
    CorruptStore,
    ErasedMeanwhile,
    InvalidInput,
    NotServed,
    SharedLLMError,
    TextError,
    UnknownUser,
    WrongBase,
)
from sharedllm.operations.authors import Author, authors_of, split_of, tokenized
from sharedllm.operations.grow import begun_from, check_still_answers, gain_behind, with_origin
from sharedllm.operations.known import already_added, already_trained, answers_instead
from sharedllm.operations.locks import in_training, training_into
from sharedllm.operations.workplace import Workplace
from sharedllm.store.rules import command, erased_meanwhile
from sharedllm.text.passages import Learn
from sharedllm.text.sources import Wrote
from sharedllm.text.splits import Split
from sharedllm.text.windows import TokenizedText, unreadable
from sharedllm.training.recipes import DEFAULT_RECIPE, recipe_named
from sharedllm.user_ids import check_user_id

if TYPE_CHECKING:
    from sharedllm.adapters.adapter import Adapter, GateOutcome
    from sharedllm.evaluation.gate import Gate
    from sharedllm.evaluation.perplexity import Windows
    from sharedllm.store.contract import Release, ReleaseSummary, Stay, Store
    from sharedllm.text.repeats import Repeats
    from sharedllm.training.recipes import Recipe


@dataclass(frozen=True, eq=False)
class Judged:
    """A user's trained adapter and the gate's verdict on it, or the error that kept them from having one."""

    user: str
    adapter: "Adapter | None"
    gate: "GateOutcome | None"
    error: SharedLLMError | None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one user: a release, or the error that kept them from having one.

    Attributes:
        user: the user id.
        release: theirs; None exactly where there is an error.
        error: theirs alone; everybody else goes on.
        before: the store had the release already, from the same text, recipe and base.
        instead: what answers in place of that release, which passed its gate: another, or the base; empty if it does.
    """

    user: str
    release: "Release | ReleaseSummary | None"
    error: SharedLLMError | None
    before: bool = False
    instead: str = ""

    @property
    def sentence(self) -> str:
        """What is to be told of it, after their name."""
        if self.release is None:
            return f"failed: {self.error}"
        if self.instead:
            number = self.release.number
            back = command("rollback", self.user, f"--to {number}")
            return f"nothing new: release {number} is made from it; {self.instead} answers. To go back: {back}"
        return f"release {self.release.number} {self.release.gate.reason}"

    def __str__(self) -> str:
        return f"{self.user}: {self.sentence}"


def train(
    workplace: Workplace,
    store: "Store",
    authors: Mapping[str, Wrote] | Iterable[Author],
    recipe: "Recipe | None" = None,
    *,
    add: bool = False,
    gate: "Gate | None" = None,
    on_begin: Callable[[TokenizedText], Any] | None = None,
) -> Generator[Outcome, None, None]:
    """Train whoever has no release of their text, recipe and base yet, judge each, and store it whatever the verdict.

    Everybody is read before this returns, each after their stay in the store has begun, so that nobody who is erased
    after that comes back by it. The outcomes come as they are made. First come those that take no training: what is
    known, and whose text is too little or of whom the store holds what is damaged, which keeps nobody else. Only then
    the base is loaded, and until the last outcome is taken nobody can be erased here whom it may concern. A release is
    in the store before its outcome is yielded, and before its checkpoint is dropped: a crash in between trains that
    user again from the last step, and loses nobody else. Closing the iterator writes checkpoints of everyone who is not
    done, and the same call goes on from there.

    Args:
        workplace: where. Its bar is told of the steps of everybody together.
        store: where releases go.
        authors: who, each once: by user, the text that they wrote, or where it is, which the release then remembers.
        recipe: how to train; by default the one called ``default``.
        add: whether what they wrote is new and comes to what the release that answers was made from, of which nothing
            is read again: training goes on from its row, and the new release has to be better than it. Whoever has no
            such release of this base and format cannot be added to, which is an error of theirs.
        gate: by default `Gate()`.
        on_begin: told of everyone who will be trained, before the base is loaded.

    Raises:
        InvalidInput: an id that cannot name a user, somebody who is named twice, or neither users with what they wrote
            nor authors.
        UnknownName: the recipe's format or the base is not known.
        TextError: or whatever else the reading of a text raises. Nobody is trained.
        StoreError: the store cannot be read or written.
        InTraining: somebody is being erased here.
        BaseError: the base does not load, or cannot be trained in this format or window.
        DiskFull, TrainingError: a checkpoint cannot be written.
    """
    recipe = recipe or recipe_named(DEFAULT_RECIPE)
    authors = authors_of(authors)
    check_format(recipe.method)
    named: dict[str, None] = {}
    for author in authors:
        if check_user_id(author.user) in named:
            raise InvalidInput(f"{author.user!r} is to be trained twice at once", remedy="Name everybody once.")
        named[author.user] = None
    stays = _begun(store, named, {author.user: author.stay for author in authors if author.stay is not None})
    splits = {author.user: split_of(author) for author in authors}
    sources = {author.user: author.sources for author in authors}
    return _train(workplace, store, splits, recipe, add, gate, on_begin, sources, stays)


def _begun(store: "Store", users: Iterable[str], before: "Mapping[str, Stay]") -> "dict[str, Stay]":
    begin = [user for user in users if user not in before]
    return {**before, **(store.begin(begin) if begin else {})}


def _train(
    workplace: Workplace,
    store: "Store",
    splits: Mapping[str, Split | TextError],
    recipe: "Recipe",
    add: bool,
    gate: "Gate | None",
    on_begin: Callable[[TokenizedText], Any] | None,
    sources: Mapping[str, Sequence[str]],
    stays: "Mapping[str, Stay]",
) -> Generator[Outcome, None, None]:
    # Nothing is fetched for whoever has too little text for any base.
    identity = None
    texts: list[TokenizedText] = []
    starts: dict[str, Release] = {}
    for user, split in splits.items():
        try:
            if isinstance(split, TextError):
                raise split
            identity = identity or workplace.fingerprint
            if add:
                starts[user] = begun_from(store, user, identity, recipe)
                known = already_added(store, starts[user], split.sha256, recipe)
            else:
                known = already_trained(store, identity, user, split.sha256, recipe)
            if known is not None:
                yield Outcome(user, known, None, before=True, instead=answers_instead(store, known))
                continue
            # The tokenizer alone is there in a second: whoever has too little text need not wait for the weights.
            texts.append(tokenized(workplace, user, split, recipe.window))
        except (TextError, CorruptAdapter, CorruptStore, UnknownUser, NotServed, WrongBase) as error:
            yield Outcome(user, None, error)
    if on_begin is not None:
        for text in texts:
            on_begin(text)
    yield from train_tokenized(workplace, store, texts, recipe, starts=starts, gate=gate, sources=sources, stays=stays)


def train_tokenized(
    workplace: Workplace,
    store: "Store",
    texts: Sequence[TokenizedText],
    recipe: "Recipe",
    *,
    starts: "Mapping[str, Release] | None" = None,
    gate: "Gate | None" = None,
    sources: Mapping[str, Sequence[str]] | None = None,
    stays: "Mapping[str, Stay] | None" = None,
) -> Generator[Outcome, None, None]:
    """What `train` does with those who are to be trained, whatever the store has of them.

    Args:
        workplace: where.
        store: where releases go.
        texts: the users'.
        recipe: how to train.
        starts: by user, the release that answers, to which their text is added.
        gate: by default `Gate()`.
        sources: by user, where the text came from.
        stays: by user, what `Store.begin` gave before the text was read; whoever has none begins now.

    Raises:
        InTraining, BaseError, UnknownName, StoreError, DiskFull, TrainingError: as for `train`.
    """
    if not texts:
        return
    starts = starts or {}
    begun = _begun(store, [text.user for text in texts], stays or {})
    with training_into(store, workplace.folder, *(text.user for text in texts)):
        over = store.erased_since(begun[text.user] for text in texts)
        able: list[TokenizedText] = []
        for text in texts:
            gone = begun[text.user] in over
            error = erased_meanwhile(text.user) if gone else _unfit(workplace, text, recipe, starts.get(text.user))
            if error is None:
                able.append(text)
            else:
                yield Outcome(text.user, None, error)
        if not able:
            return
        taken: dict[str, int] = {}

        def on_step(user: str, step: int) -> None:
            # A resumed user's first step counts for those before it as well.
            advance(step - taken.get(user, 0))
            taken[user] = step

        with workplace.bar("training", len(able) * recipe.steps) as advance:
            judging = _judged(workplace, able, recipe, gate, None, begun, on_step, starts)
            # Closing it, not waiting for it to be collected, is what writes the others' checkpoints if this one fails.
            with closing(judging):
                for judged in judging:
                    user = judged.user
                    read = (sources or {}).get(user, ())
                    yield store_judged(store, judged, read, begun[user], starts.get(user))


def _unfit(
    workplace: Workplace, text: TokenizedText, recipe: "Recipe", start: "Release | None"
) -> TextError | WrongBase | None:
    """What is wrong with a text or the row it is added to, which is not known before the weights are."""
    if start is not None:
        from sharedllm.adapters.adapter import check_fits

        try:
            check_fits(start.adapter, workplace.injection(recipe.method).layout)
        except WrongBase as error:
            return error
    try:
        workplace.base.tokens.check(text.ids)
    except InvalidInput as error:
        return unreadable(text.user, error)
    return None


def train_and_judge(
    workplace: Workplace,
    texts: Iterable[TokenizedText],
    recipe: "Recipe",
    *,
    gate: "Gate | None" = None,
    general: "Windows | None" = None,
    stays: "Mapping[str, Stay] | None" = None,
    on_step: Callable[[str, int], Any] | None = None,
) -> Generator[Judged, None, None]:
    """Train every text's user and judge each adapter as it is done; nothing is stored. Meanwhile nobody is erased here.

    A checkpoint is dropped when the consumer comes back for the next one, and is written when it closes the iterator.

    Args:
        workplace: where.
        texts: the users', read lazily.
        recipe: how to train.
        gate: by default `Gate()`.
        general: int64 ``[windows, tokens]`` for the gate; by default the workplace's.
        stays: by user, in which their training began.
        on_step: told the user and the steps taken, after each step.

    Raises:
        InTraining, BaseError, UnknownName, DiskFull, TrainingError: as for `train`.
    """
    with in_training(workplace.folder):
        yield from _judged(workplace, texts, recipe, gate, general, stays, on_step)


def _judged(
    workplace: Workplace,
    texts: Iterable[TokenizedText],
    recipe: "Recipe",
    gate: "Gate | None",
    general: "Windows | None",
    stays: "Mapping[str, Stay] | None",
    on_step: Callable[[str, int], Any] | None,
    starts: "Mapping[str, Release] | None" = None,
) -> Generator[Judged, None, None]:
    from sharedllm.evaluation.gate import Gate, Start, harms_general_alone, mind_repeats, say_what_was_learned
    from sharedllm.training.vectors import own_failure, train_vectors

    kept: dict[str, tuple[Windows, Repeats, Learn, bool]] = {}

    def noting(each: Iterable[TokenizedText]) -> Iterator[TokenizedText]:
        for text in each:
            kept[text.user] = text.validation, text.repeats, text.learn, text.chats
            yield text

    gate = gate or Gate()
    base, injection = workplace.base, workplace.injection(recipe.method)
    checkpoints = workplace.checkpoints(stays)
    begun = {user: Start(release.adapter, gain_behind(release)) for user, release in (starts or {}).items()}
    rows = {user: start.adapter for user, start in begun.items()}
    training = train_vectors(
        base,
        injection,
        noting(texts),
        recipe,
        curvature=workplace.curvature(recipe),
        starts=rows,
        checkpoints=checkpoints,
        on_step=on_step,
    )
    with closing(training):
        general = workplace.general("validation", recipe.window) if general is None else general
        for trained in training:
            validation, repeats, learn, chats = kept.pop(trained.user)
            if trained.adapter is None:
                yield Judged(trained.user, None, None, trained.error)
                continue
            try:
                start = begun.get(trained.user)
                shown = base, injection, trained.adapter, trained.cross_validated or validation, general
                adapter, verdict = trained.adapter, gate.judge(*shown, start)
                if harms_general_alone(verdict):
                    adapter, verdict = gate.gentler(*shown, verdict, start)
            except Exception as error:
                yield Judged(trained.user, None, None, own_failure(trained.user, "The gate", error))
                continue
            verdict = say_what_was_learned(mind_repeats(verdict, repeats), learn, chats)
            yield Judged(trained.user, adapter, verdict, None)


def store_judged(
    store: "Store", judged: Judged, sources: Sequence[str], stay: "Stay | None", start: "Release | None" = None
) -> Outcome:
    """Publish one user's adapter, whatever the verdict on it.

    Args:
        store: where releases go.
        judged: what training made.
        sources: where the text came from.
        stay: in which the training began.
        start: what the adapter grew from, which it takes the place of only if that answers still.
    """
    if judged.adapter is None or judged.gate is None:
        return Outcome(judged.user, None, judged.error)
    provenance = {**judged.adapter.provenance, "sources": list(sources)}
    try:
        if start is not None:
            check_still_answers(store, start)
            provenance = with_origin(provenance, start)
        adapter = replace(judged.adapter, provenance=provenance)
        return Outcome(judged.user, store.publish(judged.user, adapter, judged.gate, stay), None)
    except (InvalidInput, ErasedMeanwhile) as error:
        # Values that cannot be stored, as after a rate far too high, are this user's failure alone.
        return Outcome(judged.user, None, error)
