"""`sharedllm cache`: what is kept that can be fetched or made again, and how to be rid of it."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from sharedllm.cli.options import json_option
from sharedllm.cli.printing import print_json, print_table
from sharedllm.errors import InvalidInput
from sharedllm.printable import printable

if TYPE_CHECKING:
    from sharedllm.base.cache_entries import CacheEntry


@click.group()
def command() -> None:
    """Show and remove what can be fetched or made again.

    The cache folder (SHAREDLLM_CACHE) holds packages, converted bases, their fingerprints and the texts of sample
    users. None of it is anybody's: adapters, keys and unfinished training are kept elsewhere, and are not touched.
    """


@command.command("list")
@json_option
def list_entries(as_json: bool) -> None:
    """Show what is in the cache, how large it is, when it was last used and what for."""
    found = _entries()
    if as_json:
        print_json([_as_dict(entry) for entry in found])
        return
    _print(found)


@command.command()
@click.option("--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="Also what was not used for so long.")
@click.option("--all", "everything", is_flag=True, help="Whatever is not in use.")
@click.option("--yes", is_flag=True, help="Remove it. Without this it is only shown.")
@json_option
def prune(older_than: float | None, everything: bool, yes: bool, as_json: bool) -> None:
    """Show what may go, and with --yes remove it.

    That is what nothing needs any more: what was never finished, and fingerprints of folders that are gone or were
    changed. Nothing that a running command or server uses is removed. What is removed and needed again is fetched or
    made again.

    \b
      sharedllm cache prune --older-than 30
      sharedllm cache prune --older-than 30 --yes
    """
    from sharedllm.base.cache_entries import prune as remove
    from sharedllm.base.cache_entries import removable

    if everything and older_than is not None:
        raise InvalidInput("--all is whatever its age", remedy="Give --all or --older-than.")
    older = None if older_than is None else timedelta(days=older_than)
    chosen = removable(_entries(), older_than=older, everything=everything)
    if not as_json:
        _print(chosen)
    if not yes:
        if as_json:
            print_json({"removed": [], "kept": [_as_dict(entry) for entry in chosen]})
        elif chosen:
            click.echo("\nNothing was removed. To remove this, give --yes.")
        return
    outcomes = list(remove(chosen))
    removed = [entry for entry, gone in outcomes if gone]
    kept = [entry for entry, gone in outcomes if not gone]
    if as_json:
        print_json({"removed": [_as_dict(entry) for entry in removed], "kept": [_as_dict(entry) for entry in kept]})
        return
    click.echo(f"\nRemoved {len(removed):,} entries, {_size(sum(entry.bytes for entry in removed))}.")
    for entry in kept:
        click.echo(f"kept {printable(str(entry.path))}: it is in use, or cannot be removed", err=True)


def _entries() -> "list[CacheEntry]":
    from sharedllm.base.cache_entries import entries
    from sharedllm.base.resolve import BUILT_IN
    from sharedllm.text.people import CHATS, LIBRARIES, PRESIDENTS
    from sharedllm.text.public_people import sources
    from sharedllm.text.samples import SAMPLES

    purposes = {f"{source.package.stem}-": "texts of public people" for source in sources()}
    purposes |= {f"{package.stem}-": "texts for fleet people" for package in (PRESIDENTS, CHATS, *LIBRARIES)}
    purposes |= {f"{sample.package.stem}-": f"text of sample:{name}" for name, sample in SAMPLES.items()}
    purposes |= {f"{name}.txt": f"text of sample:{name}" for name in SAMPLES}
    for name, built_in in BUILT_IN.items():
        purposes |= {f"{package.stem}-": f"the base {name}" for package in built_in.packages}
    return entries(purposes)


def _print(found: "Iterable[CacheEntry]") -> None:
    from sharedllm.base.cache_entries import AGAIN
    from sharedllm.cache_folder import cache_dir

    shown = list(found)
    if not shown:
        click.echo(f"Nothing to show in {printable(str(cache_dir()))}.")
        return
    print_table(
        ("ENTRY", "SIZE", "LAST USED", "WHAT FOR", "IF IT GOES"),
        (
            (
                str(entry.path.relative_to(cache_dir())),
                _size(entry.bytes),
                entry.used_at.astimezone().strftime("%Y-%m-%d %H:%M"),
                entry.purpose if entry.useless is None else f"{entry.purpose}; {entry.useless}",
                AGAIN[entry.kind] if entry.useless is None else "not needed",
            )
            for entry in shown
        ),
    )
    click.echo(f"\n{_size(sum(entry.bytes for entry in shown))} in {printable(str(cache_dir()))}")


def _as_dict(entry: "CacheEntry") -> dict[str, Any]:
    return asdict(entry) | {"path": str(entry.path)}


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count:,} bytes"
