"""`sharedllm train`: from text to a release that has passed its gate, or that says why it has not."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sharedllm.cli.hints import as_given
from sharedllm.cli.options import base_option, chosen_recipe, json_option, recipe_options, store_option
from sharedllm.cli.printing import exit_status, print_json
from sharedllm.cli.progress import progress_bar
from sharedllm.errors import CorruptAdapter, CorruptStore, InvalidInput, SharedLLMError, StoreError, TextError
from sharedllm.printable import printable
from sharedllm.users import check_user_id

if TYPE_CHECKING:
    from sharedllm.base.tokens import Tokens
    from sharedllm.store import Release, ReleaseSummary, Stay, Store
    from sharedllm.text.reading import UserText
    from sharedllm.text.splits import Split
    from sharedllm.text.windows import TokenizedText
    from sharedllm.training.recipes import Recipe

    Results = dict[str, Release | ReleaseSummary | SharedLLMError]

_FILES_SHOWN = 20

# Longer names cannot be files, and asking about one is an error.
_LONGEST_PATH = 255


@click.command()
@click.argument("user", required=False)
@click.argument("sources", nargs=-1)
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help='Train many users at once: a file of lines like {"user": "alice", "files": ["notes/a.md"]}.',
)
@recipe_options
@base_option
@store_option
@json_option
def command(
    user: str | None,
    sources: tuple[str, ...],
    manifest: Path | None,
    recipe_name: str,
    steps: int | None,
    learning_rate: float | None,
    format: str | None,
    seed: int,
    base_name: str,
    store: str | None,
    as_json: bool,
) -> None:
    """Train adapters from users' text, gate them and store them.

    SOURCES of USER's text are files, folders, - for standard input, or sample:programmer, sample:novelist and so on.
    About 80 % of the text trains; the rest, in blocks of its own, decides whether the adapter helps. One that does not
    is stored but not served, and you are told why.

    It takes some 50,000 characters of English. What is counted is tokens: 4 windows of 256, so 1,024, in each of the
    two blocks that are kept for testing, which have a tenth of the text each.

    \b
      sharedllm train alice notes/*.md
      sharedllm train --manifest users.jsonl

    Interrupt it as you like: the same command resumes. The same text and recipe are not trained twice. Of a manifest
    everybody is trained who can be, and the others are listed with the reason; but if a line of it is wrong, or names a
    file that cannot be read, nobody is.

    \b
    It exits with 0 if everybody's new release is served, with 3 if one is held back by the gate, and with 2 if
    somebody could not be trained or nothing was done.
    """
    from sharedllm.store import open_store
    from sharedllm.store.rules import override_command

    recipe = chosen_recipe(recipe_name, steps, learning_rate, format, seed)
    with open_store(store) as opened:
        texts, origins, stays = _read(opened, user, sources, manifest)
        for text in texts:
            _tell_what_was_read(text)
        results = train_users(opened, base_name, texts, origins, recipe, stays)
    for result in results.values():
        # Of one person there is nobody else to tell of: what their text lacks is the command's own error.
        if manifest is None and isinstance(result, TextError):
            raise result
    if as_json:
        print_json([_as_dict(user, result) for user, result in results.items()])
    else:
        for trained, result in results.items():
            click.echo(f"{printable(trained)}: {printable(as_given(_sentence(result)))}")
            if not isinstance(result, SharedLLMError) and not result.gate.passed:
                click.echo(
                    "  next: train on more or other text, or "
                    + printable(as_given(override_command(trained, result.number)))
                )
    failed = any(isinstance(result, SharedLLMError) for result in results.values())
    held_back = any(not isinstance(result, SharedLLMError) and not result.gate.passed for result in results.values())
    sys.exit(exit_status(failed=failed, held_back=held_back))


def _tell_what_was_read(text: "UserText") -> None:
    """Every file with its share, and what does not look like a person's words; nothing of one file that does."""
    for path, why in zip(text.skipped, text.why_skipped, strict=True):
        _, _, what = why.message.removeprefix(f"{str(path)!r} is ").partition(": ")
        click.echo(
            f"skipped {printable(str(path))}: not UTF-8 text: {printable(what)}. {printable(why.remedy)}", err=True
        )
    total = sum(part.characters for part in text.parts)
    if len(text.parts) > 1 or text.skipped:
        files = "1 file" if len(text.parts) == 1 else f"{len(text.parts):,} files"
        click.echo(f"{printable(text.user)}: {total:,} characters of {files}", err=True)
        largest = sorted(text.parts, key=lambda part: -part.characters)[:_FILES_SHOWN]
        for part in largest:
            click.echo(f"  {part.characters / total:6.1%}  {printable(part.source)}", err=True)
        if len(text.parts) > len(largest):
            rest = total - sum(part.characters for part in largest)
            click.echo(f"  {rest / total:6.1%}  {len(text.parts) - len(largest):,} smaller files", err=True)
    doubted = sorted((part for part in text.parts if part.doubt is not None), key=lambda part: -part.characters)
    for part in doubted[:_FILES_SHOWN]:
        click.echo(
            f"{printable(text.user)}: {printable(part.source)} ({part.characters / total:.1%} of the text) does not"
            f" look like a person's words: {part.doubt}. Leave it out unless they shall sound like it.",
            err=True,
        )
    if len(doubted) > _FILES_SHOWN:
        more = doubted[_FILES_SHOWN:]
        share = sum(part.characters for part in more) / total
        click.echo(f"{printable(text.user)}: nor do {len(more):,} smaller files ({share:.1%} of the text)", err=True)


def train_users(
    store: "Store",
    base_name: str,
    texts: "Sequence[UserText]",
    origins: dict[str, list[str]],
    recipe: "Recipe",
    stays: "Mapping[str, Stay]",
) -> "Results":
    """Train whoever has no release of this text, base and recipe yet; everyone's release, or what went wrong.

    Whose text is too little or cannot be used, and of whom the store holds what is damaged, is found out before the
    base is loaded, and keeps nobody else.

    Args:
        store: where releases are.
        base_name: as for `load_base`.
        texts: the users.
        origins: by user, where the text came from.
        recipe: how to train.
        stays: what `Store.begin` gave before the texts were read.

    Raises:
        InTraining: somebody is being erased.
    """
    from sharedllm.base.fingerprint import fingerprint
    from sharedllm.base.loading import load_tokens
    from sharedllm.base.resolve import resolve_base
    from sharedllm.operations.locks import in_training
    from sharedllm.operations.train import already_trained
    from sharedllm.text.splits import split_text
    from sharedllm.training.checkpoints import checkpoint_folder, forget_erased

    results: Results = {}
    splits: dict[str, Split] = {}
    for text in texts:
        try:
            splits[text.user] = split_text(text.text, user=text.user)
        except TextError as error:
            results[text.user] = error
    identity = fingerprint(resolve_base(base_name))
    for user, split in splits.items():
        try:
            known = already_trained(store, identity, user, split.sha256, recipe)
        except (CorruptAdapter, CorruptStore) as error:
            results[user] = error
            continue
        if known is not None:
            click.echo(f"{printable(user)}: nothing new in the text; release {known.number} is made from it", err=True)
            results[user] = known
    new = {user: split for user, split in splits.items() if user not in results}
    if new:
        # The tokenizer alone is there in a second: whoever has too little text need not wait for the weights.
        tokenized = _tokenized(new, load_tokens(base_name), recipe)
        results |= {user: found for user, found in tokenized.items() if isinstance(found, SharedLLMError)}
        enough = [found for found in tokenized.values() if not isinstance(found, SharedLLMError)]
        if enough:
            with in_training(checkpoint_folder(), *(text.user for text in enough)):
                forget_erased(store, checkpoint_folder())
                try:
                    results |= _train(store, base_name, enough, origins, recipe, stays)
                finally:
                    # Whoever was erased from another machine meanwhile may have been written since.
                    with suppress(StoreError):
                        forget_erased(store, checkpoint_folder())
    return {text.user: results[text.user] for text in texts}


def _tokenized(
    splits: "dict[str, Split]", tokens: "Tokens", recipe: "Recipe"
) -> "dict[str, TokenizedText | SharedLLMError]":
    from sharedllm.text.windows import tokenize

    found: dict[str, TokenizedText | SharedLLMError] = {}
    for user, split in splits.items():
        try:
            found[user] = tokenize(user, split, tokens.encode, window=recipe.window)
        except TextError as error:
            found[user] = error
    return found


def _train(
    store: "Store",
    base_name: str,
    texts: "list[TokenizedText]",
    origins: dict[str, list[str]],
    recipe: "Recipe",
    stays: "Mapping[str, Stay]",
) -> "Results":
    import numpy as np

    from sharedllm.base.context import check_window
    from sharedllm.cli.opening import open_base
    from sharedllm.evaluation.gate import REPEATS_HELD_BACK, flattering, given_away_in_words
    from sharedllm.operations.train import train_and_store
    from sharedllm.text.general import general_windows
    from sharedllm.training.checkpoints import Checkpoints, checkpoint_folder

    for text in texts:
        if flattering(text.repeats):
            fate = (
                ", so the release will be held back: leave out what is there more than once"
                if text.repeats.validation > REPEATS_HELD_BACK
                else ""
            )
            click.echo(f"{printable(text.user)}: {given_away_in_words(text.repeats)}{fate}", err=True)
    opened = open_base(base_name, recipe.method)
    check_window(opened.base, recipe.window)
    results: Results = {}
    for text in texts:
        # How many embeddings there are is not known before the weights are.
        used = [int(id) for block in (text.train, text.validation, text.heldout) for id in np.unique(block)]
        try:
            opened.base.tokens.check(used)
        except InvalidInput as error:
            what = f"The text of {text.user!r} cannot be read: {error.message}"
            results[text.user] = TextError(what, remedy=error.remedy)
    texts = [text for text in texts if text.user not in results]
    taken = dict.fromkeys((text.user for text in texts), 0)

    def on_step(user: str, step: int) -> None:
        # A resumed user's first step counts for those before it as well.
        advance(step - taken[user])
        taken[user] = step

    with progress_bar("training", len(texts) * recipe.steps) as advance:
        outcomes = train_and_store(
            opened.base,
            opened.injection,
            store,
            texts,
            recipe,
            general_windows(opened.base, "validation", recipe.window),
            checkpoints=Checkpoints(checkpoint_folder(), opened.base.fingerprint, stays),
            sources=origins,
            stays=stays,
            on_step=on_step,
        )
        for outcome in outcomes:
            result = outcome.release or outcome.error
            if result is not None:
                results[outcome.user] = result
    return results


def _read(
    store: "Store", user: str | None, sources: tuple[str, ...], manifest: Path | None
) -> "tuple[list[UserText], dict[str, list[str]], dict[str, Stay]]":
    """The texts, where they came from, and the stays in which their users' training begins, before anything is read."""
    from sharedllm.cli.sources import MANIFEST, read_sources, remembered
    from sharedllm.text.manifest import entries, read_manifest

    if manifest is not None:
        if user is not None:
            raise InvalidInput(f"Both {user!r} and a manifest are given", remedy="Give one or the other.")
        stays = store.begin([entry.user for _, entry in entries(manifest)])
        texts = read_manifest(manifest)
        return texts, {text.user: [f"{MANIFEST}{manifest.absolute()}"] for text in texts}, stays
    if user is None or not sources:
        raise InvalidInput(
            "No text is given", remedy="Name a user and their files, `sharedllm train alice notes/*.md`, or --manifest."
        )
    check_user_id(user)
    if len(user) <= _LONGEST_PATH and Path(user).is_file():
        # `train notes/*.md` without a user would otherwise quietly train a person called notes/a.md.
        raise InvalidInput(
            f"{user!r} is a file here, and it stands where the user's name goes",
            remedy="Name the user first: sharedllm train alice notes/*.md (or --manifest, for a user of that name).",
        )
    stays = store.begin([user])
    return [read_sources(user, sources)], {user: remembered(sources)}, stays


def _sentence(result: "Release | ReleaseSummary | SharedLLMError") -> str:
    if isinstance(result, SharedLLMError):
        return f"failed: {result}"
    return f"release {result.number} {result.gate.reason}"


def _as_dict(user: str, result: "Release | ReleaseSummary | SharedLLMError") -> dict[str, Any]:
    if isinstance(result, SharedLLMError):
        return {"user": user, "release": None, "error": str(result)}
    gate = {"passed": result.gate.passed, "reason": result.gate.reason, "figures": result.gate.figures}
    return {"user": user, "release": result.number, "gate": gate}
