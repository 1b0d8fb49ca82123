"""`sharedllm compress`: one user's adapter in int8, if measurement says that it survives."""

import math
from typing import TYPE_CHECKING, Any

import click

from sharedllm.cli.hints import as_given
from sharedllm.cli.options import base_option, json_option, store_option
from sharedllm.cli.printing import print_json, print_table
from sharedllm.cli.progress import progress_bar
from sharedllm.errors import InvalidInput
from sharedllm.printable import printable
from sharedllm.users import check_user_id

if TYPE_CHECKING:
    from sharedllm.adapters.adapter import GateOutcome
    from sharedllm.compression.int8 import Int8
    from sharedllm.evaluation.perplexity import Losses
    from sharedllm.operations.workplace import Workplace
    from sharedllm.store import Release, Stay, Store


@click.command()
@click.argument("user")
@click.argument("sources", nargs=-1)
@base_option
@store_option
@json_option
def command(user: str, sources: tuple[str, ...], base_name: str, store: str | None, as_json: bool) -> None:
    """Quantise a user's adapter to int8, if it survives that.

    Some adapters do and some end up worse than none, so it is decided user by user. No adapter, the one that USER is
    served and its int8 form read the validation block of USER's text, which is read again from where it was when it was
    trained on, or from SOURCES. int8 is kept only if its perplexity is at most 1.5 times the raw one's and below that
    of no adapter. It then becomes a new release and has to pass the gate like any other; `sharedllm users rollback`
    goes back. Otherwise nothing changes, and you are told why.

    The store keeps 16 bits a value either way, so nothing is saved in it. The sizes shown are of the values packed;
    the release records the scales that lead back to the int8 integers.
    """
    from sharedllm.adapters.adapter import check_fits
    from sharedllm.cli.telling import workplace
    from sharedllm.compression.int8 import quantise
    from sharedllm.evaluation.gate import mind_repeats
    from sharedllm.operations.compress import decide
    from sharedllm.operations.release_text import read_again, window_of
    from sharedllm.store import open_store
    from sharedllm.store.rules import override_command

    check_user_id(user)
    with open_store(store) as opened_store:
        # Asked first, since nothing is to begin for somebody who is not here.
        opened_store.user(user)
        stay = opened_store.begin([user])[user]
        release = opened_store.served(user)
        if "compression" in release.adapter.provenance:
            raise InvalidInput(
                f"Release {release.number} of {user!r} is int8 already",
                remedy="There is nothing to do, unless you roll the user back to a release that is not.",
            )
        split = read_again(release, sources)
        opened = workplace(base_name)
        check_fits(release.adapter, opened.injection(release.adapter.format).layout)
        packed = quantise(release.adapter.values, opened.injection(release.adapter.format).layout.widths)
        window = window_of(release)
        none, raw, int8 = _measure(opened, release, packed, split, window)
        decision = decide(none.perplexity, raw.perplexity, int8.perplexity)
        published = None
        if decision.kept == "int8":
            verdict = mind_repeats(_judge(opened, release, packed, window, [none, int8]), split.repeats)
            published = _publish(opened_store, stay, release, packed, verdict)
    stopped = published is not None and not published.gate.passed
    reason = decision.reason
    if stopped:
        reason = f"raw stays: the gate holds int8 back, though {reason.removeprefix('int8 is kept: ')}"
    about: dict[str, Any] = {
        "user": user,
        "release": release.number,
        "window": window,
        "windows": len(raw.nats),
        "perplexity": {name: _finite(each) for name, each in (("none", none), ("raw", raw), ("int8", int8))},
        "bytes": {"raw": 2 * len(release.adapter.values), "int8": packed.bytes},
        "kept": "raw" if stopped else decision.kept,
        "reason": reason,
        "published": published
        and {"release": published.number, "served": published.gate.passed, "gate": published.gate.reason},
    }
    if as_json:
        print_json(about)
        return
    click.echo(f"{printable(user)}, release {release.number}, windows of {window} tokens\n")
    print_table(
        ("ADAPTER", "PERPLEXITY", "BYTES"),
        [
            ("none", f"{none.perplexity:.2f}", "0"),
            ("raw", f"{raw.perplexity:.2f}", f"{about['bytes']['raw']:,}"),
            ("int8", f"{int8.perplexity:.2f}", f"{about['bytes']['int8']:,}"),
        ],
    )
    click.echo(f"\n{reason}")
    if published is not None:
        click.echo(f"release {published.number} {published.gate.verdict}: {printable(published.gate.finding)}")
        if stopped:
            click.echo(
                "next: nothing need be done, or " + printable(as_given(override_command(user, published.number)))
            )
        answers = published if published.gate.passed else release
        click.echo(f"release {answers.number} answers")


def _measure(opened: "Workplace", release: "Release", packed: "Int8", split: Any, window: int) -> "list[Losses]":
    """No adapter, raw and int8 on the validation windows that the gate reads."""
    import numpy as np

    from sharedllm.evaluation.gate import MAX_WINDOWS
    from sharedllm.evaluation.perplexity import row_losses, spread
    from sharedllm.text.windows import tokenize

    raw = release.adapter.values
    table = np.stack([np.zeros_like(raw), raw, packed.dequantised()])
    validation = tokenize(release.user, split, opened.base.encode, window=window).validation
    windows = spread(validation, MAX_WINDOWS)
    with progress_bar("measuring", len(table) * len(windows)) as advance:
        return row_losses(opened.base, opened.injection(release.adapter.format), table, windows, on_batch=advance)


def _judge(opened: "Workplace", release: "Release", packed: "Int8", window: int, own: "list[Losses]") -> "GateOutcome":
    import numpy as np

    from sharedllm.evaluation.gate import MAX_WINDOWS, Gate
    from sharedllm.evaluation.perplexity import row_losses, spread

    values = packed.dequantised()
    table = np.stack([np.zeros_like(values), values])
    general = spread(opened.general("validation", window), MAX_WINDOWS)
    with progress_bar("judging", len(table) * len(general)) as advance:
        return Gate().decide(
            own, row_losses(opened.base, opened.injection(release.adapter.format), table, general, on_batch=advance)
        )


def _publish(store: "Store", stay: "Stay", release: "Release", packed: "Int8", verdict: "GateOutcome") -> "Release":
    """Store the values that int8 stands for, with the scales that lead back to its integers.

    Raises:
        InvalidInput: somebody changed which release answers in the meantime; theirs must not be replaced by this one.
    """
    from dataclasses import replace

    if store.served(release.user).id != release.id:
        raise InvalidInput(
            f"Another release of {release.user!r} began to answer while release {release.number} was measured",
            remedy="Run it again.",
        )
    compression = {"method": "int8", "of": release.number, "bytes": packed.bytes, "scales": packed.scales.tolist()}
    provenance = {**release.adapter.provenance, "compression": compression}
    adapter = replace(release.adapter, values=packed.dequantised(), provenance=provenance)
    return store.publish(release.user, adapter, verdict, stay)


def _finite(losses: "Losses") -> float | None:
    """A perplexity that JSON can hold."""
    return losses.perplexity if math.isfinite(losses.perplexity) else None
