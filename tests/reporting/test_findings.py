import numpy as np
import pytest

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.errors import InvalidInput
from sharedllm.evaluation.confusion import Confusion
from sharedllm.evaluation.intervals import Interval
from sharedllm.evaluation.perplexity import Losses
from sharedllm.reporting.findings import IntervalAxis, findings, gate_reason, headline, labels, percent, perplexity_text
from sharedllm.reporting.report_data import Report
from sharedllm.text.repeats import Repeats

from .reports import TOKENS, losses, make_report


def broken(report: Report, user: str) -> Report:
    """The report with losses that are not numbers under the user's own adapter."""
    rows = {text: dict(row) for text, row in report.confusion.losses.items()}
    rows[user][user] = Losses(np.full_like(rows[user][user].nats, np.nan), TOKENS)
    return Report(**{**vars(report), "confusion": Confusion(rows)})


@pytest.mark.parametrize(
    ("report_", "expected"),
    [
        (
            make_report(),
            "All 3 adapters help on held-out text and all 3 beat both the base and the best other adapter on their own "
            "user's text, with 95% intervals clear of zero; general text gets clearly worse under 2, by up to 3.2%.",
        ),
        (
            make_report(own={"programmer": 0.86, "novelist": 1.0, "scientist": 1.3}, held_back=["scientist"]),
            "1 of 3 adapters helps on held-out text and 1 of 3 beats both the base and the best other adapter on its "
            "own user's text, with 95% intervals clear of zero; 1 does worse than the base; general text gets clearly "
            "worse under 2, by up to 3.2%; 1 is held back by the gate.",
        ),
        (
            make_report(["a", "b"], own=1.2, held_back=["a", "b"]),
            "None of 2 adapters helps on held-out text and none of 2 beats both the base and the best other adapter on "
            "its own user's text, with 95% intervals clear of zero; 2 do worse than the base; general text gets "
            "clearly worse under 1, by up to 2.2%; 2 are held back by the gate.",
        ),
        (
            make_report(["a"]),
            "The adapter helps on its user's held-out text, with a 95% interval clear of zero, and there is no other "
            "to compare it with.",
        ),
        (
            make_report(["a"], own=1.2, held_back=["a"]),
            "The adapter does worse than the base on its user's held-out text, with a 95% interval clear of zero, "
            "and there is no other to compare it with; it is held back by the gate.",
        ),
        (
            make_report(["a"], own=1.0),
            "The adapter does not clearly help on its user's held-out text, and there is no other to compare it with.",
        ),
        (broken(make_report(["a"]), "a"), "The adapter could not be measured on its user's held-out text."),
        (
            broken(make_report(), "novelist"),
            "2 of 3 adapters help on held-out text and 2 of 3 beat both the base and the best other adapter on their "
            "own user's text, with 95% intervals clear of zero; 1 could not be measured; general text gets clearly "
            "worse under 2, by up to 3.2%.",
        ),
    ],
)
def test_the_headline_says_what_was_found(report_: Report, expected: str) -> None:
    assert headline(report_) == expected


def test_a_gain_without_a_lead_is_not_called_a_win() -> None:
    rows = {
        "a": {None: losses(10), "a": losses(8, seed=1), "b": losses(7, seed=2)},
        "b": {None: losses(10), "a": losses(9, seed=3), "b": losses(8, seed=4)},
    }
    report = Report(**{**vars(make_report(["a", "b"])), "confusion": Confusion(rows)})
    assert headline(report).startswith("Both adapters help on held-out text and 1 of 2 beats both the base and")
    assert [(each.best_other, each.worst_other) for each in findings(report)] == [("b", "b"), ("a", "a")]


def test_an_adapter_is_compared_with_the_base_where_every_other_is_worse_than_it() -> None:
    rows = {
        "a": {None: losses(10), "a": losses(9.9, seed=1, spread=0.04), "b": losses(13, seed=2)},
        "b": {None: losses(10), "a": losses(8, seed=3), "b": losses(7, seed=4)},
    }
    report = Report(**{**vars(make_report(["a", "b"])), "confusion": Confusion(rows)})
    first, second = findings(report)
    assert first.lead == first.gain
    assert (first.rival, first.best_other) == (None, "b")
    assert first.margins is not None and first.gain is not None
    assert first.margins.best == pytest.approx(first.gain.estimate)
    assert (second.rival, second.best_other) == ("a", "a")
    assert "1 of 2 adapters helps on held-out text and 1 of 2 beats both" in headline(report)


def test_what_flatters_the_figures_is_told_with_them() -> None:
    repeats = {
        "novelist": Repeats(24, 0.3, (), 0.4, 0.2),
        "scientist": Repeats(1, 0.25, (), 0.0, 0.5),
        "programmer": Repeats(0, 0.2, (), 0.2, 0.2),
    }
    report = Report(**{**vars(make_report()), "repeats": repeats})
    assert (
        "training text gives away much of the text kept for testing of 2, up to 50% of it, which flatters their figures"
        in headline(report)
    )
    alone = Report(**{**vars(make_report(["a"])), "repeats": {"a": Repeats(24, 0.3, (), 0.4, 0.2)}})
    assert headline(alone).endswith(
        "; 40% of the validation text and 20% of the held-out text also occur in the training text, which flatters the"
        " figures."
    )


def test_what_an_adapter_costs_is_told_of_one_as_of_several() -> None:
    report = Report(**{**vars(make_report(["a"])), "general": {"a": Interval(-0.035, -0.05, -0.02, 0.95, 32)}})
    assert headline(report).endswith("; general text gets clearly worse, by 3.5%.")


def test_an_adapter_that_could_not_be_measured_has_no_figures() -> None:
    [_, novelist, scientist] = findings(broken(make_report(), "novelist"))
    assert novelist.gain is None
    assert novelist.margins is None
    assert scientist.margins is not None


def test_a_report_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no measurements"):
        findings(Report(**{**vars(make_report()), "confusion": Confusion({})}))


def test_labels_are_short_distinct_and_visible() -> None:
    users = [
        "base",
        "x" * 999 + "y",
        "x" * 500 + "z" + "x" * 498 + "y",
        "\x1b",
        "\\x1b",
        " \u200b",
        "نورا",
        "\u202eevil",
    ]
    named = labels(users, 20)
    assert len(set(named.values()) | {"base"}) == len(users) + 1
    assert named["نورا"] == "نورا"
    assert named[" \u200b"] == "' \\u200b'"
    assert named["\u202eevil"] == "\\u202eevil"
    assert all(len(name) <= 24 and name.isprintable() for name in named.values())


def test_numbers_keep_the_digits_that_matter() -> None:
    values = [8.754, 113.42, 6922.4, 2.5e8, float("inf")]
    assert [perplexity_text(value) for value in values] == ["8.75", "113.4", "6,922", "2.5e+08", "no data"]
    assert [percent(value) for value in (0.1234, -0.5, -0.00001, float("nan"))] == [
        "+12.3%",
        "-50.0%",
        "+0.0%",
        "no data",
    ]


def test_one_broken_adapter_does_not_crush_the_scale() -> None:
    scale = IntervalAxis.of([Interval(0.1, 0.05, 0.15, 0.95, 9), Interval(-90, -99, -80, 0.95, 9), None])
    assert -1 < scale.low < scale.high < 1
    assert scale.at(-99) == 0
    assert 0.0 in scale.ticks()
    assert IntervalAxis.of([]).ticks()


def test_a_reason_does_not_repeat_its_verdict() -> None:
    assert gate_reason(GateOutcome(False, "held back: too\x07 little")) == "too\\x07 little"
