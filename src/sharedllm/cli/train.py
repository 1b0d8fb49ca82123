"""`sharedllm train`: from text to a release that has passed its gate, or that says why it has not."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sharedllm.cli.options import base_option, json_option, store_option
from sharedllm.cli.printing import print_json
from sharedllm.cli.progress import progress_bar
from sharedllm.errors import InvalidInput, SharedLLMError, StoreError, TextError, TooLittleText
from sharedllm.printable import printable
from sharedllm.users import check_user_id

if TYPE_CHECKING:
    from sharedllm.store import Release, ReleaseSummary, Stay, Store
    from sharedllm.text.reading import UserText
    from sharedllm.training.recipes import Recipe

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
@click.option(
    "--recipe", "recipe_name", default="default", show_default=True, help="How to train: default, documented."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order in which the text is read.")
@base_option
@store_option
@json_option
def command(
    user: str | None,
    sources: tuple[str, ...],
    manifest: Path | None,
    recipe_name: str,
    seed: int,
    base_name: str,
    store: str | None,
    as_json: bool,
) -> None:
    """Train adapters from users' text, gate them and store them.

    SOURCES of USER's text are files, folders, - for standard input, or sample:programmer, sample:novelist and so on.
    About 80 % of the text trains; the rest, in blocks of its own, decides whether the adapter helps. One that does not
    is stored but not served, and you are told why.

    \b
      sharedllm train alice notes/*.md
      sharedllm train --manifest users.jsonl

    Interrupt it as you like: the same command resumes. The same text and recipe are not trained twice.
    """
    from dataclasses import replace

    from sharedllm.store import open_store
    from sharedllm.training.recipes import recipe_named

    recipe = replace(recipe_named(recipe_name), seed=seed)
    with open_store(store) as opened:
        texts, origins, stays = _read(opened, user, sources, manifest)
        for text in texts:
            for path in text.skipped:
                click.echo(f"skipped {printable(str(path))}: not UTF-8 text", err=True)
        results = train_users(opened, base_name, texts, origins, recipe, stays)
    if as_json:
        print_json([_as_dict(user, result) for user, result in results.items()])
    else:
        for trained, result in results.items():
            click.echo(f"{printable(trained)}: {printable(_sentence(result))}")
    if any(isinstance(result, SharedLLMError) for result in results.values()):
        sys.exit(2)


def train_users(
    store: "Store",
    base_name: str,
    texts: "Sequence[UserText]",
    origins: dict[str, list[str]],
    recipe: "Recipe",
    stays: "Mapping[str, Stay]",
) -> "dict[str, Release | ReleaseSummary | SharedLLMError]":
    """Train whoever has no release of this text, base and recipe yet; everyone's release, or what went wrong.

    Args:
        store: where releases are.
        base_name: as for `load_base`.
        texts: the users.
        origins: by user, where the text came from.
        recipe: how to train.
        stays: what `Store.begin` gave before the texts were read.

    Raises:
        TooLittleText: one of the users has too little text. Nobody is trained.
        InTraining: somebody is being erased.
    """
    from sharedllm.base.fingerprint import fingerprint
    from sharedllm.base.resolve import resolve_base
    from sharedllm.text.splits import split_text
    from sharedllm.training.checkpoints import checkpoint_folder, forget_erased
    from sharedllm.training.holding import in_training
    from sharedllm.training.pipeline import already_trained

    splits = {text.user: split_text(text.text, user=text.user) for text in texts}
    identity = fingerprint(resolve_base(base_name))
    results: dict[str, Release | ReleaseSummary | SharedLLMError] = {}
    for user, split in splits.items():
        known = already_trained(store, identity, user, split.sha256, recipe)
        if known is not None:
            click.echo(f"{printable(user)}: nothing new in the text; release {known.number} is made from it", err=True)
            results[user] = known
    new = {user: split for user, split in splits.items() if user not in results}
    if new:
        with in_training(checkpoint_folder(), *new):
            forget_erased(store, checkpoint_folder())
            try:
                results |= _train(store, base_name, new, origins, recipe, stays)
            finally:
                # Whoever was erased from another machine meanwhile may have been written since.
                with suppress(StoreError):
                    forget_erased(store, checkpoint_folder())
    return {user: results[user] for user in splits}


def _train(
    store: "Store",
    base_name: str,
    splits: dict[str, Any],
    origins: dict[str, list[str]],
    recipe: "Recipe",
    stays: "Mapping[str, Stay]",
) -> "dict[str, Release | SharedLLMError]":
    from sharedllm.cli.opening import open_base
    from sharedllm.evaluation.gate import flattering, given_away_in_words
    from sharedllm.text.general import general_windows
    from sharedllm.text.windows import tokenize
    from sharedllm.training.checkpoints import Checkpoints, checkpoint_folder
    from sharedllm.training.pipeline import train_and_store

    opened = open_base(base_name)
    results: dict[str, Release | SharedLLMError] = {}
    texts = []
    for user, split in splits.items():
        try:
            texts.append(tokenize(user, split, opened.base.encode, window=recipe.window))
        except TooLittleText:
            raise
        except TextError as error:
            results[user] = error
    for text in texts:
        if flattering(text.repeats):
            click.echo(f"{printable(text.user)}: {given_away_in_words(text.repeats)}", err=True)
    taken = dict.fromkeys(splits, 0)

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
