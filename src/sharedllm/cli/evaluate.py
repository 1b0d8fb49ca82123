"""`sharedllm evaluate`: a user's adapter on text it never saw, against the base and against other people's adapters."""

from typing import TYPE_CHECKING, Any

import click

from sharedllm.cli.options import base_option, json_option, store_option
from sharedllm.cli.printing import print_json, print_table
from sharedllm.cli.telling import workplace
from sharedllm.printable import printable
from sharedllm.user_ids import check_user_id

if TYPE_CHECKING:
    from sharedllm.evaluation.intervals import Estimate
    from sharedllm.operations.worth import Worth

OTHERS = 7

_MEASURES = {
    "bits_per_character": ("bits per character", ".3f"),
    "next_word_1": ("next word, the first guess", ".1%"),
    "next_word_3": ("next word, one of three", ".1%"),
    "saved_1": ("keystrokes saved, one suggestion", ".1%"),
    "saved_3": ("keystrokes saved, three", ".1%"),
    "style": ("distance of style", ".3f"),
    "reply_bits": ("own replies, bits per character", ".3f"),
    "reply_chosen": ("own replies likelier than others'", ".1%"),
}
"""What people read for each measure, and how its numbers are written."""


@click.command()
@click.argument("user")
@click.argument("sources", nargs=-1)
@click.option("--release", "number", type=int, metavar="N", help="Which release; by default the served or newest one.")
@click.option(
    "--worth",
    is_flag=True,
    help="Also foretell the words of that text, with the keystrokes that saves, go on with it, to compare styles, and"
    " compare replies of conversations with others': some five minutes on two cores.",
)
@base_option
@store_option
@json_option
def command(
    user: str,
    sources: tuple[str, ...],
    number: int | None,
    worth: bool,
    base_name: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Measure a user's adapter on text it never saw.

    That is the held-out block of USER's text, and general text. The text itself is not kept, so it is read again from
    where it was when it was trained on, or from SOURCES. It must be the same text: otherwise what is held out now could
    have been trained on before. Up to seven other users' adapters read the same text, to tell what is theirs from what
    any adapter would do.
    """
    from sharedllm.adapters.provenance import learn_in
    from sharedllm.evaluation.intervals import improvement
    from sharedllm.operations.evaluate import evaluate
    from sharedllm.operations.release_text import window_of
    from sharedllm.reporting.findings import BASE_LABEL, finding_of, sentence
    from sharedllm.store import open_store

    check_user_id(user)
    numbers = {} if number is None else {user: number}
    with open_store(store) as opened, workplace(base_name, opened) as place:
        measured = evaluate(place, opened, {user: sources}, numbers=numbers, others=OTHERS, worth=worth)
    for other, error in measured.damaged.items():
        click.echo(f"left out {printable(other)}: {printable(error.message)}", err=True)
    release, matrix, others = measured.releases[user], measured.confusion, measured.others
    window, repeats = window_of(release), measured.repeats[user]
    on_general = measured.general[None], measured.general[user]
    found = finding_of(matrix, user, improvement(*on_general), release.gate, repeats)
    margins = matrix.margins(user)
    about: dict[str, Any] = {
        "user": user,
        "release": release.number,
        "learn": learn_in(release.adapter.provenance),
        "window": window,
        "heldout": {
            "windows": len(measured.heldout[user]),
            "base": matrix.perplexity(user, None),
            "own": matrix.perplexity(user, user),
            "improvement": matrix.improvement(user, user).as_dict(),
        },
        "general": {
            "windows": len(on_general[0].nats),
            "base": on_general[0].perplexity,
            "own": on_general[1].perplexity,
            "improvement": improvement(*on_general).as_dict(),
        },
        "others": {other: matrix.perplexity(user, other) for other in others},
        "rival": None if found.lead is None else {"user": found.rival, "improvement": found.lead.as_dict()},
        "repeats": {
            "lines": repeats.lines,
            "share": repeats.share,
            "validation": repeats.validation,
            "heldout": repeats.heldout,
        },
        "worth": measured.worth[user].as_dict(),
        "margins": None if margins is None else {"mean": margins.mean, "best": margins.best, "worst": margins.worst},
    }
    if as_json:
        print_json(about)
        return
    trained = ", trained to answer, of which answers alone are read" if about["learn"] == "answers" else ""
    click.echo(f"{printable(user)}, release {release.number}{trained}, windows of {window} tokens\n")
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
    click.echo()
    print_table(*_worth_table(measured.worth[user], user))
    if margins is not None:
        rival = BASE_LABEL if found.rival is None else found.rival
        click.echo(
            f"\nThe own adapter's perplexity is lower by {margins.best:.1%} than the best of the others and the base"
            f" ({printable(rival)}), by {margins.mean:.1%} than the others' mean, by {margins.worst:.1%} than the worst"
            " other's."
        )
    click.echo(f"\n{sentence([found])}")


def _worth_table(worth: "Worth", user: str) -> "tuple[tuple[str, ...], list[tuple[str, ...]]]":
    """What was measured beside perplexity, a measure a line."""
    from sharedllm.operations.worth import MEASURES

    others = [reader for reader in worth.losses if reader not in (None, user)]
    rows = []
    for measure in MEASURES:
        found = [worth.of(measure, reader) for reader in (None, user, *others)]
        if found[0] is None:
            continue
        name, form = _MEASURES[measure]
        told = ["" if each is None else format(each.estimate, form) for each in found]
        rows.append((name, *told[:2], _with_interval(worth.of(measure, user, None), form), *told[2:]))
    return ("HELD-OUT", "BASE", "OWN ADAPTER", "HIGHER BY", *(printable(each).upper() for each in others)), rows


def _with_interval(change: "Estimate | None", form: str) -> str:
    if change is None:
        return ""
    ends = [format(each, f"+{form}") for each in (change.low, change.high) if each is not None]
    return format(change.estimate, f"+{form}") + (f" [{', '.join(ends)}]" if ends else "")
