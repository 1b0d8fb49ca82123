"""Write SUMMARY.md and SUMMARY.json from the official results: every bet, its flags, `no data` where there is none.

And bring the numbers in the bets' accounts, docs/bets/NN.md, up to date.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from experiments.catalogue.bet import all_bets
from experiments.catalogue.results import RESULTS, load_result
from experiments.catalogue.verdict import TIERS, flag_in_words
from experiments.report.accounts import ACCOUNTS, write_accounts
from experiments.report.bet_results import MEASURED, NOT_RUN, STALE, SUMMARY
from sharedllm.files import replacing


def summary(results: Path = RESULTS) -> list[dict[str, Any]]:
    """A row for each bet and protocol; a result judged by other criteria than today's is `stale` and has no flags."""
    rows = []
    for bet in all_bets().values():
        path = results / f"{bet.name}.json"
        stored = load_result(path)["protocols"] if path.exists() else {}
        for protocol in bet.protocols:
            found = stored.get(protocol)
            stale = found is not None and found["criteria_sha256"] != bet.criteria_sha256
            known = found is not None and not stale
            rows.append(
                {
                    "bet": bet.name,
                    "claim": bet.claim,
                    "criteria": {criterion.tier: criterion.statement for criterion in bet.criteria},
                    "decision": asdict(bet.decision),
                    "criteria_sha256": bet.criteria_sha256,
                    "protocol": protocol,
                    "state": STALE if stale else MEASURED if known else NOT_RUN,
                    "flags": {tier: found["verdict"][tier]["holds"] if found and known else None for tier in TIERS},
                    "holds_in_resamples": {
                        tier: found["verdict"][tier].get("holds_in_resamples") if found and known else None
                        for tier in TIERS
                    },
                    "commit": found["world"]["commit"] if found else None,
                    "date": found["world"]["date"] if found else None,
                }
            )
    return rows


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as one table."""
    lines = [
        "# Every bet, as measured",
        "",
        "Three independent flags; in brackets, the share of resampled evaluation windows in which the flag is set."
        " Regenerate with `PYTHONPATH=src python -m experiments.bets.00_rollup`.",
        "",
        "| bet | claim | protocol | strict | lenient | catastrophic | state |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        flags = [_cell(row["flags"][tier], row["holds_in_resamples"][tier]) for tier in TIERS]
        lines.append(f"| {row['bet']} | {row['claim']} | {row['protocol']} | {' | '.join(flags)} | {row['state']} |")
    return "\n".join(lines) + "\n"


def write(results: Path = RESULTS) -> None:
    """Both files, beside the results."""
    rows = summary(results)
    for name, text in (("SUMMARY.md", as_markdown(rows)), (SUMMARY, json.dumps(rows, indent=1) + "\n")):
        with replacing(results / name) as part:
            part.write_text(text)
        click.echo(f"written: {results / name}")


def _cell(flag: bool | None, share: float | None) -> str:
    return flag_in_words(flag) + (f" ({share:.0%})" if share is not None else "")


if __name__ == "__main__":
    write()
    write_accounts()
    click.echo(f"up to date: {ACCOUNTS}")
