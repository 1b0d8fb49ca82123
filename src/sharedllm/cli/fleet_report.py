"""`sharedllm fleet report`: what became of a fleet, on a page and in numbers."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sharedllm import __version__
from sharedllm.cli.options import base_option, store_option
from sharedllm.cli.printing import print_json, print_table
from sharedllm.cli.telling import workplace
from sharedllm.printable import printable

if TYPE_CHECKING:
    from sharedllm.reporting.fleet.findings import FleetReport


@click.command()
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    default=Path("people.jsonl"),
    show_default=True,
    help="Who: the file that the fleet was trained from, with the texts as they were.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("sharedllm-fleet.html"),
    show_default=True,
    help="Where to write the page.",
)
@base_option
@store_option
@click.option("--json", "as_json", is_flag=True, help="Print every number as JSON, for programs.")
def report(manifest: Path, out: Path, base_name: str | None, store: str | None, as_json: bool) -> None:
    """Write what became of a fleet as one HTML page that needs no network.

    How many improved on text that nobody trained on, and by how much; what the gate held back; how much of the gain is
    their own and not what another person's adapter, or one for all, would bring; whether more text helps; who is near
    whom. Everybody's held-out text is read once, which takes some ten seconds a person, and one adapter is trained on
    all their texts. Interrupt it as you like: the same command goes on, and reads nobody twice.
    """
    from datetime import UTC, datetime

    from sharedllm.operations.measure_fleet import measure_fleet
    from sharedllm.reporting.fleet.findings import report_on
    from sharedllm.reporting.fleet.page import write_fleet_page
    from sharedllm.store import open_store

    with open_store(store) as opened, workplace(base_name, opened) as place:
        fleet, readings = measure_fleet(place, opened, manifest)
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    found = report_on(fleet, readings, base=place.name, made_at=made_at, version=__version__)
    page = write_fleet_page(found, out).resolve()
    if as_json:
        print_json(found.as_dict())
        click.echo(f"report page: {page}", err=True)
        return
    _summarise(found)
    click.echo(f"\nreport page: {page}")


def _summarise(report: "FleetReport") -> None:
    from sharedllm.reporting.findings import percent
    from sharedllm.reporting.fleet.page import groups, headline

    click.echo(f"{printable(headline(report))}\n")
    print_table(
        ("PEOPLE", "", "IMPROVED", "MEDIAN", "P10", "P90", "WORST", "GENERAL WORSE", "HELD BACK"),
        [
            (
                kind,
                f"{group.people:,}",
                f"{group.improved:,}",
                *(percent(value) for value in (group.median, group.p10, group.p90, group.worst)),
                f"{group.general_worse:,}",
                f"{group.held_back:,}",
            )
            for kind, group in groups(report).items()
        ],
    )
    if report.missing:
        click.echo(f"\n{len(report.missing):,} of the manifest are not among them; the page says why")
