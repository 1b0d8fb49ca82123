"""The lasting account of each bet, ``docs/bets/NN.md``: prose by hand, and numbers from the result files.

What stands between two marks is written here and nowhere else, by ``python -m experiments.bets.00_rollup``.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from experiments.catalogue.bet import BETS, Bet, all_bets
from experiments.catalogue.results import RESULTS
from experiments.catalogue.verdict import TIERS, Measured, flag_in_words
from experiments.report.bet_results import MEASURED, NOT_RUN, BetResults, Flag, Run, read_bets
from experiments.report.meaning import meanings
from experiments.report.page import fixed_text, number_text, share_text
from sharedllm.errors import InvalidInput
from sharedllm.evaluation.intervals import CONFIDENCE
from sharedllm.files import replacing
from sharedllm.reporting.charts import Number

ACCOUNTS = BETS.parent.parent / "docs" / "bets"
DOCUMENTS = BETS.parent.parent / "tests" / "experiments" / "recorded.json"
PROSE = ("Method", "Against the document", "What it leaves open")
"""The headings that a person writes under."""

_OVER_BEST_OTHER = "margin_vs_best_other"

_BEGIN = "<!-- {}: python -m experiments.bets.00_rollup -->\n"
_END = "<!-- end of {} -->\n"


def write_accounts(results: Path = RESULTS, folder: Path = ACCOUNTS) -> None:
    """Bring the marked parts of every account up to date.

    Raises:
        InvalidInput: a bet has no account, or one without its marks; a result or the summary cannot be read.
    """
    for number, text in accounts(results, folder).items():
        with replacing(folder / f"{number}.md") as part:
            part.write_text(text)


def accounts(results: Path = RESULTS, folder: Path = ACCOUNTS) -> dict[str, str]:
    """Every account as the results have it, by the bet's number; the same errors as `write_accounts`."""
    bets = all_bets()
    return {
        reported.number: with_numbers(_read(folder / f"{reported.number}.md"), reported, bets[reported.number])
        for reported in read_bets(results, DOCUMENTS)
    }


def with_numbers(account: str, reported: BetResults, bet: Bet) -> str:
    """An account with its claim, criteria, results and decisions as they are.

    Args:
        account: Markdown with both pairs of marks.
        reported: the bet as it was recorded.
        bet: the bet as it is in the code, which says what the criteria need.

    Raises:
        InvalidInput: a mark is missing.
    """
    for name, lines in (("claim", _claim(reported)), ("result", _result(reported, bet))):
        begin, end = _BEGIN.format(name), _END.format(name)
        before, found_begin, rest = account.partition(begin)
        _, found_end, after = rest.partition(end)
        if not found_begin or not found_end:
            raise InvalidInput(
                f"The account of {reported.name} has no marks around its {name}",
                remedy=f"Put the lines {begin.strip()!r} and {end.strip()!r} where it belongs.",
            )
        account = before + begin + "\n" + "\n".join(lines) + "\n\n" + end + after
    return account


def _claim(reported: BetResults) -> list[str]:
    return [
        f"# Bet {reported.number}: {reported.title.lower()}",
        "",
        f"Claim: {reported.claim}. The code is `experiments/bets/{reported.name}.py`.",
        "",
        "## Criteria",
        "",
        *(f"- {tier.upper()}: {reported.criteria[tier]}." for tier in TIERS),
    ]


def _result(reported: BetResults, bet: Bet) -> list[str]:
    lines = ["## Result"]
    for run in reported.runs.values():
        lines += ["", f"### {run.protocol.capitalize()} protocol", ""]
        lines += ["Not run yet."] if run.state == NOT_RUN else _measured(reported, run, bet)
    decisions = [f"- {meaning.protocol}: {meaning.sentence}" for meaning in meanings(reported)]
    return [*lines, "", "## What it decides", "", *decisions]


def _measured(reported: BetResults, run: Run, bet: Bet) -> list[str]:
    lines = [_world(run), "", fixed_text(run)]
    if run.state == MEASURED:
        lines += ["", *_verdict(reported, run)]
    else:
        lines += ["", "These numbers were judged by other criteria than today's, so there are no flags."]
    shown = _shown(run, bet)
    by_text, alone = _by_text(run, shown)
    interval = f", with {CONFIDENCE:.0%} intervals over resampled windows" if run.losses else ""
    if by_text:
        lines += ["", f"Measured by text{interval}:", "", *_pivot(run, by_text, reported.documents)]
    if alone:
        lines += ["", f"Measured over all{interval}:", "", *_list(run, alone, reported.documents)]
    improved = _improvements(run)
    if improved:
        lines += ["", "Perplexity below the base's on the same windows, paired:", "", *improved]
    return lines


def _world(run: Run) -> str:
    world = run.world
    seeds = ("seed " if len(world["seeds"]) == 1 else "seeds ") + ", ".join(map(str, world["seeds"]))
    dirty = " with uncommitted changes" if world["uncommitted_changes"] else ""
    return (
        f"{world['date'][:10]}, commit `{world['commit'][:12]}`{dirty}, code `{world['code_sha256'][:12]}`,"
        f" {world['base']['name']} on {world['cpu']}, {_duration(world['seconds'])}; {world['windows']} windows of"
        f" {world['window']} tokens a text; {seeds}."
    )


def _verdict(reported: BetResults, run: Run) -> list[str]:
    document = reported.documents_say
    header = ["", "flag", "score", "asked", "distance", "share of resamples", *(["the document"] if document else [])]
    rows = []
    for tier in TIERS:
        flag = run.flags[tier]
        share = "nothing to resample" if not run.losses else "" if flag.share is None else share_text(flag.share)
        said = [flag_in_words(document.get(tier))] if document else []
        rows.append([tier, flag_in_words(flag.holds), *_compared(flag), share, *said])
    return _table(header, rows)


def _compared(flag: Flag) -> list[str]:
    if flag.score is None:
        return ["no data" + (f": {', '.join(flag.missing)}" if flag.missing else ""), "", ""]
    return [number_text(flag.score), f"{flag.relation} {number_text(flag.bound)}", number_text(flag.score - flag.bound)]


def _shown(run: Run, bet: Bet) -> list[str]:
    """All measurements, and then those repetitions, such as those of one seed, of what a criterion needs."""
    measured = Measured(run.users, {})
    needed = {name for criterion in bet.criteria for need in criterion.needs for name in measured.names(need)}
    repeats = {name: name.partition("/")[2] for name in run.numbers if name.partition("/")[2] in run.numbers}
    judged = [name for name, repeated in repeats.items() if repeated in needed]
    return [name for name in run.numbers if name not in repeats] + judged


def _by_text(run: Run, names: Iterable[str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Names of measurements by the rest of the name, then by the text or pair in it; and those with neither."""
    texts, pairs = {*run.users, *run.losses}, {*Measured(run.users, {}).pairs}
    found: dict[str, dict[str, str]] = {}
    alone = []
    for name in names:
        parts = name.split("/")
        # Whose text it is comes before whose adapter; a pair is a column only where no single text is.
        column = next((part for part in parts if part in texts), next((part for part in parts if part in pairs), None))
        if column is None:
            alone.append(name)
        else:
            place = parts.index(column)
            found.setdefault("/".join([*parts[:place], "…", *parts[place + 1 :]]), {})[column] = name
    return found, alone


def _pivot(run: Run, rows: Mapping[str, Mapping[str, str]], documents: Mapping[str, float]) -> list[str]:
    """A table for each set of columns: users and other texts in one, pairs in another."""
    lines: list[str] = []
    bars = {name: bar for cells in rows.values() for name in cells.values() if (bar := _over_the_better(run, name))}
    pairs = Measured(run.users, {}).pairs
    for group in (False, True):
        chosen = {rest: cells for rest, cells in rows.items() if (next(iter(cells)) in pairs) is group}
        columns = list(dict.fromkeys(column for cells in chosen.values() for column in cells))
        table = []
        for rest, cells in chosen.items():
            names = [cells.get(column, "") for column in columns]
            table.append([f"`{rest}`", *(_cell(run.numbers[name]) if name else "" for name in names)])
            if any(name in bars for name in names):
                told = [_cell(bars.get(name, run.numbers[name])) if name else "" for name in names]
                table.append(["– over the better of base and best other", *told])
            if any(name in documents for name in names):
                said = [number_text(documents[name]) if name in documents else "" for name in names]
                table.append(["– the document", *said])
        if table:
            lines += [*([""] if lines else []), *_table(["", *columns], table)]
    return lines


def _over_the_better(run: Run, name: str) -> Number | None:
    """A margin over the best other, where the base does better than that: the margin over the base. Else None.

    The criteria are about the best other, as they were registered; this is told beside them.
    """
    before, found, rest = name.partition(_OVER_BEST_OTHER)
    setting, _, user = rest.partition("/")
    if not found:
        return None
    # A bet's own adapter reads under its user's name where others' adapters are named, too.
    own = run.number(f"{before}ppl{setting}/{user}/{user}"), run.number(f"{before}ppl{setting}/{user}")
    read = next((each for each in own if each.known), Number())
    over_base = 1 - read.value / run.number(f"ppl/{user}/base").value
    return Number(over_base) if over_base < run.numbers[name].value else None


def _list(run: Run, names: Iterable[str], documents: Mapping[str, float]) -> list[str]:
    rows = [[f"`{name}`", _cell(run.numbers[name]), _or_blank(documents.get(name))] for name in names]
    if any(row[-1] for row in rows):
        return _table(["", "measured", "the document"], rows)
    return _table(["", "measured"], [row[:-1] for row in rows])


def _improvements(run: Run) -> list[str]:
    """By reader and text; repetitions, which have a ``/`` in their names, are measurements' business."""
    found: dict[str, dict[str, Number]] = {}
    for text, readers in run.improvements.items():
        for reader, number in readers.items():
            if "/" not in reader:
                method, _, user = reader.partition(":")
                # One text that several users' adapters have read has a column for each of them.
                found.setdefault(f"{method} on {text} text" if user else method, {})[user or text] = number
    columns = list(dict.fromkeys(column for cells in found.values() for column in cells))
    rows = [
        [label, *(_percent(cells[column]) if column in cells else "" for column in columns)]
        for label, cells in found.items()
    ]
    return _table(["", *columns], rows) if rows else []


def _cell(number: Number) -> str:
    if not number.bounded or number.low == number.value == number.high:
        return number_text(number.value)
    # With an interval, what lies beyond the fourth decimal says nothing.
    value, low, high = (number_text(round(each, 4) + 0.0) for each in (number.value, number.low, number.high))
    return f"{value} ({low} to {high})"


def _percent(number: Number) -> str:
    return f"{_signed(number.value)} ({_signed(number.low)} to {_signed(number.high)})"


def _signed(share: float) -> str:
    return f"{round(share, 3) + 0.0:.1%}".replace("-", "−")


def _or_blank(value: float | None) -> str:
    return "" if value is None else number_text(value)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise InvalidInput(f"{path.name} cannot be read: {error}", remedy=f"Write {path}.") from error
