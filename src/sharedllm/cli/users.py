"""`sharedllm users`: who has an adapter, which release of it answers, and how to change that."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sharedllm.cli.hints import as_given
from sharedllm.cli.options import json_option, store_option
from sharedllm.cli.printing import (
    gate_in_words,
    origin_in_words,
    print_json,
    print_json_list,
    print_long_table,
    print_table,
)
from sharedllm.errors import InvalidInput, UnknownUser
from sharedllm.printable import printable

if TYPE_CHECKING:
    from sharedllm.store import Store, UserSummary


@click.group()
def command() -> None:
    """List users and manage their releases.

    Each training of a user makes a release: 1, 2, 3 and so on. Releases never change. The newest one that passed its
    gate answers; the others stay, so that you can go back.
    """


@command.command("list")
@store_option
@json_option
def list_users(store: str | None, as_json: bool) -> None:
    """Show everybody in the store, in the order they arrived."""
    with _open(store) as opened:
        if as_json:
            print_json_list(asdict(user) for user in opened.users())
        elif next(opened.users(), None) is None:
            click.echo("No users yet. Train one: " + printable(as_given("sharedllm train alice notes/*.md")))
        else:
            print_long_table(
                ("USER", "STATE", "SERVED", "RELEASES", "LAST CHANGE"),
                lambda: (
                    (u.user, u.state, _number(u.served), str(u.releases), _time(u.updated_at)) for u in opened.users()
                ),
            )


@command.command()
@click.argument("user")
@store_option
@json_option
def show(user: str, store: str | None, as_json: bool) -> None:
    """Show where USER stands: which release answers, what it was made from, and what its gate found.

    If none answers, it shows the newest one, why it was held back, and how to let it answer all the same.
    """
    from sharedllm.adapters.provenance import own
    from sharedllm.store.rules import override_command, quoted

    with _open(store) as opened:
        summary = opened.user(user)
        end = None if summary.served is None else summary.served + 1
        shown = next(iter(opened.releases(user, before=end, limit=1)), None)
    served = None if summary.served is None else shown
    if as_json:
        newest = {"newest_release": shown and asdict(shown)} if served is None else {}
        print_json(asdict(summary) | {"served_release": served and asdict(served)} | newest)
        return
    lines = {
        "user": summary.user,
        "state": summary.state if summary.reason is None else f"{summary.state}: {summary.reason}",
        "releases": str(summary.releases),
        "served": _number(summary.served),
        "last change": _time(summary.updated_at),
    }
    if shown is not None:
        lines |= {
            "release": str(shown.number),
            "  made": _time(shown.created_at),
            "  id": shown.id,
            "  adapter": f"{shown.format}, {shown.parameters:,} values, for base {shown.base}",
            "  gate": f"{shown.gate.verdict}: {shown.gate.finding}",
            **{f"    {_spaced(name)}": gate_in_words(name, value) for name, value in shown.gate.figures.items()},
            **{f"  {_spaced(name)}": origin_in_words(name, value) for name, value in own(shown.provenance).items()},
        }
    print_table(None, lines.items())
    if summary.state == "revoked":
        click.echo("\nnext: " + printable(as_given(f"sharedllm users restore {quoted(user)}")))
    elif served is None and shown is not None:
        click.echo(
            "\nnext: train on more or other text, or " + printable(as_given(override_command(user, shown.number)))
        )


@command.command()
@click.argument("user")
@click.option("--before", type=int, metavar="N", help="Show the releases before release N, if there are many.")
@store_option
@json_option
def history(user: str, before: int | None, store: str | None, as_json: bool) -> None:
    """Show USER's releases that are kept, and what happened to them.

    Kept are the newest 20, the one that is served, and the one that a rollback goes back to.
    """
    from sharedllm.store import rules

    with _open(store) as opened:
        served = opened.user(user).served
        releases = opened.releases(user, before=before)
        older = opened.releases(user, before=releases[0].number, limit=1) if releases else []
        events = opened.events(user)
    if as_json:
        print_json(
            {
                "user": user,
                "served": served,
                "releases": [asdict(release) for release in releases],
                "events": [asdict(event) for event in events],
            }
        )
        return
    print_table(
        ("RELEASE", "MADE", "GATE", ""),
        (
            (
                f"{release.number}{' *' if release.number == served else ''}",
                _time(release.created_at),
                release.gate.verdict,
                release.gate.finding,
            )
            for release in releases
        ),
    )
    if older:
        earlier = as_given(rules.command("history", user, f"--before {releases[0].number}"))
        click.echo(f"older ones: {printable(earlier)}")
    click.echo("* served\n" if served is not None else "none is served\n")
    print_table(
        ("EVENT", "RELEASE", "WHEN", "WHY"),
        ((event.kind.replace("_", " "), _number(event.number), _time(event.at), event.reason) for event in events),
    )


@command.command()
@click.argument("user")
@click.option("--to", "number", type=int, metavar="N", help="The release to serve; see `sharedllm users history`.")
@click.option(
    "--override",
    "override_reason",
    metavar="REASON",
    help="Serve it even though it failed its gate. The reason is kept in the history.",
)
@store_option
def rollback(user: str, number: int | None, override_reason: str | None, store: str | None) -> None:
    """Let another of USER's releases answer: the one before, or release N.

    Nothing is deleted, so `--to` can also go forward again. A release that failed its gate is refused unless you
    override the gate with a reason.
    """
    with _open(store) as opened:
        release = opened.rollback(user, number, override_reason=override_reason)
        standing = opened.user(user)
    _say(user, f"serves release {release.number}", standing)


@command.command()
@click.argument("user")
@store_option
def reset(user: str, store: str | None) -> None:
    """Put USER back to the base: it answers until a release of theirs passes its gate, or a rollback.

    Nothing is deleted. A request without a release of its own is otherwise refused, unless the server falls back.
    """
    from sharedllm.store import rules

    with _open(store) as opened:
        served = opened.reset(user)
        standing = opened.user(user)
        passed = any(each.number == served and each.gate.passed for each in opened.every_release(user))
    if served is None:
        click.echo(f"{printable(user)} had no release that answers; the base does.")
        return
    _say(user, "is back at the base, and their releases are kept", standing)
    undo = rules.command("rollback", user, f"--to {served}{'' if passed else ' --override REASON'}")
    click.echo(f"To undo it: {printable(as_given(undo))}")


@command.command()
@click.argument("user")
@click.option("--reason", required=True, help="Why; requests are told, and it is kept in the history.")
@store_option
def revoke(user: str, reason: str, store: str | None) -> None:
    """Stop serving USER, keeping all releases. `sharedllm users restore` undoes it."""
    with _open(store) as opened:
        opened.revoke(user, reason)
        standing = opened.user(user)
    _say(user, "is revoked", standing)


@command.command()
@click.argument("user")
@store_option
def restore(user: str, store: str | None) -> None:
    """Serve USER again after `sharedllm users revoke`."""
    with _open(store) as opened:
        opened.restore(user)
        standing = opened.user(user)
    _say(user, "is active", standing)


@command.command()
@click.argument("user")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--receipt",
    "receipt_file",
    type=click.Path(path_type=Path),
    help="Write the receipt to this new file instead of standard output.",
)
@click.option(
    "--snapshot",
    "snapshots",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A folder that `sharedllm fleet pack` wrote, to be signed again without USER. May be repeated.",
)
@store_option
def erase(user: str, yes: bool, receipt_file: Path | None, snapshots: tuple[Path, ...], store: str | None) -> None:
    """Delete USER for good: every release, their history, their id; and print a signed receipt.

    It cannot be undone. Interrupted anywhere, or if the receipt could not be written, the same command goes on from
    there and ends with the same receipt, which the store keeps under a hash that tells nobody whose it is. The store's
    file is rewritten so that no trace stays in it, which takes as long as copying it.

    A run that may be training them would write more of them, so end it first: train, fleet train or fleet report.
    Files that you exported are yours to delete, and so are backups that you made of a store that is not encrypted.
    """
    from sharedllm.cli.receipt_file import check_receipt_place, give_receipt
    from sharedllm.operations.erase import erase
    from sharedllm.operations.unwritten import held_elsewhere
    from sharedllm.store.address import store_is_there
    from sharedllm.store.evidence.signing import check_signing_key
    from sharedllm.store.rules import unknown_user
    from sharedllm.store.snapshots import SnapshotFolder

    # Nobody is erased who could not be given a receipt.
    check_signing_key()
    check_receipt_place(receipt_file, user)
    # A store that is not there is not made to find that nobody is in it.
    if not store_is_there(store) and not held_elsewhere(user):
        raise unknown_user(user)
    with _open(store) as opened:
        if not yes:
            click.echo(
                f"This deletes {printable(user)} and all of their releases ({_releases(opened, user)}) for good."
            )
            if _typed() != user:
                raise InvalidInput(
                    "That is not their id, and nothing was erased", remedy="Type it exactly, or give --yes."
                )
        packed = [SnapshotFolder(opened, folder) for folder in snapshots]
        receipt = erase(opened, user, others=packed)
    for each in packed:
        if each.failure is not None:
            click.echo(f"{printable(str(each.folder))} still holds them: {printable(str(each.failure))}", err=True)
    give_receipt(receipt, user, receipt_file)
    counts = receipt.counts
    click.echo(f"{printable(user)} is erased: releases {counts['releases']}, events {counts['events']}.", err=True)


def _typed() -> str:
    try:
        return str(click.prompt("Type their id to confirm"))
    except click.Abort as error:
        # Click raises the same for an interrupt and for the end of standard input.
        if not isinstance(error.__context__, EOFError):
            raise
        click.echo()
        raise InvalidInput(
            "Nobody typed their id, and nothing was erased", remedy="Give --yes where nobody can type."
        ) from None


def _open(store: str | None) -> "Store":
    from sharedllm.store import open_store

    return open_store(store)


def _releases(store: "Store", user: str) -> int:
    try:
        return store.user(user).releases
    except UnknownUser:
        # They may have API keys, or unfinished training.
        return 0


def _say(user: str, what: str, standing: "UserSummary") -> None:
    aside = ""
    if standing.reason is not None and what != "is revoked":
        aside = f", once restored (revoked: {printable(standing.reason)})"
    click.echo(f"{printable(user)} {what}{aside}.")


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _number(number: int | None) -> str:
    return "-" if number is None else str(number)


def _time(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
