"""Whose rows are put in clusters, and strangers who are read with what comes of it, for bets 70 and 71.

Of each kind of people (`sharedllm.text.people`) the first six in the order of their ids' hashes are known, and the next
four strangers. A held-out window is taken as the beginning of a conversation: in each, the weights begin anew.
"""

from functools import cache

import numpy as np

from experiments.catalogue.context import Context
from experiments.catalogue.readings import BASE, Readings
from experiments.catalogue.specialists import Row
from experiments.catalogue.verdict import Measured
from sharedllm.combining.clusters import cluster, cluster_means, pooled
from sharedllm.combining.mixture import bayesian_mixture, soft_bayes, soft_bayes_rate
from sharedllm.evaluation.perplexity import Losses
from sharedllm.text.people import people
from sharedllm.text.samples import sample_text

KNOWN = (
    "president George W. Bush",
    "president Dwight D. Eisenhower",
    "president Martin Van Buren",
    "president John Tyler",
    "president Ronald Reagan",
    "president Donald J. Trump",
    "chat 994e94a5",
    "chat 4562c16f",
    "chat 94e95939",
    "chat a3e9e5cd",
    "chat 70501b84",
    "chat 504e02e0",
    "library xlsxwriter",
    "library asciimatics",
    "library markdown2",
    "library boltons",
    "library parso",
    "library mpmath",
)
STRANGERS = (
    "president Andrew Johnson",
    "president Chester A. Arthur",
    "president Benjamin Harrison",
    "president James Buchanan",
    "chat 95677b7a",
    "chat fae17844",
    "chat 6dd41fff",
    "chat f3314e6b",
    "library python-statemachine",
    "library anyio",
    "library pycparser",
    "library skyfield",
)

GAINS = tuple(f"gain/{name}" for name in STRANGERS)
_STUDENT = 2.201
"""The quantile of Student's t that an interval of 95 % over twelve people takes: eleven degrees of freedom."""


def text_of(name: str) -> str:
    """The text of one of these people, whose names here are their ids with a space for the stroke, or of a sample user.

    Raises:
        UnknownName: it is neither.
        DownloadError: a package cannot be fetched.
    """
    return _people()[name] if name in (*KNOWN, *STRANGERS) else sample_text(name)


@cache
def _people() -> dict[str, str]:
    return {person.user.replace("/", " "): person.text for person in people()}


def cluster_rows(context: Context, trained: bool) -> dict[str, Row]:
    """A row for each cluster of the known users' rows: their mean, or one trained on their text, and nobody's first."""
    table = context.table(context.adapters())
    labels = cluster(table)
    rows = {f"cluster {number}": row for number, row in enumerate(cluster_means(table, labels))}
    if trained:
        for number, name in enumerate(rows):
            members = [context.text(user) for user, label in zip(context.users, labels, strict=True) if label == number]
            rows[name] = context.adapter(context.keep(pooled(name, members)).user)
    return {BASE: context.zeros(), **rows}


def read_mixtures(context: Context, readings: Readings, rows: dict[str, Row], ending: str = "") -> None:
    """Add what both mixtures make of every stranger's windows, and the base."""
    for name in STRANGERS:
        read = context.read_tokens(name, rows)
        rate = soft_bayes_rate(len(rows), read.shape[-1])
        mixtures = {
            "soft-bayes" + ending: soft_bayes(read, rate).log_probabilities,
            "bayes" + ending: bayesian_mixture(read[0], read[1:]).log_probabilities,
        }
        for reader, found in {BASE: read[0], **mixtures}.items():
            readings.add(name, reader, Losses(-found.sum(axis=1), found.shape[1]))


def gain_low(m: Measured) -> float:
    """The lower end of the interval over strangers of how far perplexity is lower."""
    gains = [m[name] for name in GAINS]
    return float(np.mean(gains) - _STUDENT * np.std(gains, ddof=1) / len(gains) ** 0.5)
