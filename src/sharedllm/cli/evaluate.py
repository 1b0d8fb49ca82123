"""`sharedllm evaluate`: a user's adapter on text it never saw, against the base and against other people's adapters."""

from typing import TYPE_CHECKING, Any

import click

from sharedllm.cli.options import base_option, json_option, store_option
from sharedllm.cli.printing import print_json, print_table
from sharedllm.cli.progress import progress_bar
from sharedllm.errors import CorruptAdapter
from sharedllm.printable import printable
from sharedllm.users import check_user_id

if TYPE_CHECKING:
    from sharedllm.store import Release, Store

OTHERS = 7
WINDOWS = 32


@click.command()
@click.argument("user")
@click.argument("sources", nargs=-1)
@click.option("--release", "number", type=int, metavar="N", help="Which release; by default the served or newest one.")
@base_option
@store_option
@json_option
def command(
    user: str, sources: tuple[str, ...], number: int | None, base_name: str, store: str | None, as_json: bool
) -> None:
    """Measure a user's adapter on text it never saw.

    That is the held-out block of USER's text, and general text. The text itself is not kept, so it is read again from
    where it was when it was trained on, or from SOURCES. It must be the same text: otherwise what is held out now could
    have been trained on before. Up to seven other users' adapters read the same text, to tell what is theirs from what
    any adapter would do.
    """
    from sharedllm.adapters.adapter import check_fits
    from sharedllm.cli.telling import workplace
    from sharedllm.evaluation.confusion import confusion
    from sharedllm.evaluation.perplexity import row_losses, spread
    from sharedllm.operations.release_text import read_again, window_of
    from sharedllm.store import open_store
    from sharedllm.text.windows import tokenize

    check_user_id(user)
    with open_store(store) as opened_store:
        release = _release(opened_store, user, number)
        others = _others(opened_store, release)
    split = read_again(release, sources)
    opened = workplace(base_name)
    injection = opened.injection(release.adapter.format)
    check_fits(release.adapter, injection.layout)
    window = window_of(release)
    heldout = spread(tokenize(user, split, opened.base.encode, window=window).heldout, WINDOWS)
    general = spread(opened.general("heldout", window), WINDOWS)
    adapters = {user: release.adapter.values} | others
    with progress_bar("measuring", (1 + len(adapters)) * len(heldout) + 2 * len(general)) as advance:
        matrix = confusion(opened.base, injection, adapters, {user: heldout}, on_batch=advance)
        table = _base_and(release)
        on_general = row_losses(opened.base, injection, table, general, on_batch=advance)
    from sharedllm.evaluation.intervals import improvement
    from sharedllm.reporting.findings import BASE_LABEL, finding_of, sentence

    found = finding_of(matrix, user, improvement(*on_general), release.gate, split.repeats)
    margins = matrix.margins(user)
    about: dict[str, Any] = {
        "user": user,
        "release": release.number,
        "window": window,
        "heldout": {
            "windows": len(heldout),
            "base": matrix.perplexity(user, None),
            "own": matrix.perplexity(user, user),
            "improvement": matrix.improvement(user, user).as_dict(),
        },
        "general": {
            "windows": len(general),
            "base": on_general[0].perplexity,
            "own": on_general[1].perplexity,
            "improvement": improvement(*on_general).as_dict(),
        },
        "others": {other: matrix.perplexity(user, other) for other in others},
        "rival": None if found.lead is None else {"user": found.rival, "improvement": found.lead.as_dict()},
        "repeats": {
            "lines": split.repeats.lines,
            "share": split.repeats.share,
            "validation": split.repeats.validation,
            "heldout": split.repeats.heldout,
        },
        "margins": None if margins is None else {"mean": margins.mean, "best": margins.best, "worst": margins.worst},
    }
    if as_json:
        print_json(about)
        return
    click.echo(f"{printable(user)}, release {release.number}, windows of {window} tokens\n")
    print_table(
        ("TEXT", "READ BY", "PERPLEXITY", "LOWER THAN THE BASE'S BY"),
        [
            ("held-out", "base", f"{about['heldout']['base']:.2f}", ""),
            ("held-out", "own adapter", f"{about['heldout']['own']:.2f}", str(matrix.improvement(user, user))),
            *(
                ("held-out", other, f"{matrix.perplexity(user, other):.2f}", str(matrix.improvement(user, other)))
                for other in others
            ),
            ("general", "base", f"{about['general']['base']:.2f}", ""),
            ("general", "own adapter", f"{about['general']['own']:.2f}", str(improvement(*on_general))),
        ],
    )
    if margins is not None:
        rival = BASE_LABEL if found.rival is None else found.rival
        click.echo(
            f"\nThe own adapter's perplexity is lower by {margins.best:.1%} than the best of the others and the base"
            f" ({printable(rival)}), by {margins.mean:.1%} than the others' mean, by {margins.worst:.1%} than the worst"
            " other's."
        )
    click.echo(f"\n{sentence([found])}")


def _release(store: "Store", user: str, number: int | None) -> "Release":
    if number is None:
        number = store.user(user).served or store.user(user).releases
    return store.release(user, number)


def _others(store: "Store", release: "Release") -> dict[str, Any]:
    """Served values of other users of the same base and format, the first few in the order they arrived."""
    found: dict[str, Any] = {}
    for summary in store.users():
        if len(found) == OTHERS:
            break
        if summary.user == release.user or summary.served is None or summary.state != "active":
            continue
        try:
            adapter = store.served(summary.user).adapter
        except CorruptAdapter as error:
            # A damaged release of somebody else's is no reason to measure nothing.
            click.echo(f"left out {printable(summary.user)}: {printable(error.message)}", err=True)
            continue
        if (adapter.base, adapter.format) == (release.adapter.base, release.adapter.format):
            found[summary.user] = adapter.values
    return found


def _base_and(release: "Release") -> Any:
    import numpy as np

    return np.stack([np.zeros_like(release.adapter.values), release.adapter.values])
