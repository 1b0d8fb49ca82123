"""Rows that are alike, so that a few can stand for many. Not something that serving does; it is measured."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sharedllm.combining.average import average
from sharedllm.errors import InvalidInput
from sharedllm.text.windows import TokenizedText

Labels = npt.NDArray[np.int64]
"""int64 ``[rows]``: which cluster each row is in, numbered from 0 in the order of their first rows."""

_ROUNDS = 100


def cluster_count(rows: int) -> int:
    """How many clusters so many rows are put in: the root of half of them, rounded (Mardia, Kent and Bibby 1979).

    Raises:
        InvalidInput: there is no row.
    """
    if rows < 1:
        raise InvalidInput("No rows have no clusters", remedy="Give at least one row.")
    return max(1, round(math.sqrt(rows / 2)))


def cluster(table: npt.NDArray[np.float32], count: int | None = None) -> Labels:
    """K-means of directions: rows of length one, so that who was trained for longer is not far from everybody.

    Spherical k-means (Dhillon and Modha 2001): each row goes to the centre with the largest cosine, and each centre is
    the direction of its rows' sum, until nothing moves. It begins with the row nearest to everybody's mean, and then
    each time the row that is farthest from all so far, so that the same table has the same clusters.

    Args:
        table: float32 ``[rows, P]``, of one base and format.
        count: at most so many clusters, fewer where rows are the same; by default `cluster_count`.

    Raises:
        InvalidInput: there is no row, one is not finite or all zeros and so has no direction, or there are not so many
            rows.
    """
    # Its checks are the same.
    middle = average(table).astype(np.float64)
    lengths = np.linalg.norm(table.astype(np.float64), axis=1)
    if not lengths.all():
        raise InvalidInput(
            f"Row {int(np.flatnonzero(lengths == 0)[0])} is all zeros and like no other", remedy="Leave it out."
        )
    count = cluster_count(len(table)) if count is None else count
    if not 1 <= count <= len(table):
        raise InvalidInput(
            f"{len(table)} rows cannot be put in {count} clusters", remedy="Use from 1 to as many as there are rows."
        )
    directions = table / lengths[:, None]
    centres = directions[_first(directions, middle, count)]
    labels = np.full(len(table), -1)
    for _ in range(_ROUNDS):
        nearest = (directions @ centres.T).argmax(axis=1)
        if (nearest == labels).all():
            break
        labels = nearest
        for number in range(count):
            total = directions[labels == number].sum(axis=0)
            length = np.linalg.norm(total)
            # Nobody's centre, or one of opposites, stays where it was.
            centres[number] = total / length if length else centres[number]
    _, begins, numbered = np.unique(labels, return_index=True, return_inverse=True)
    renamed: Labels = np.argsort(np.argsort(begins))[numbered]
    return renamed


def cluster_means(table: npt.NDArray[np.float32], labels: Labels) -> npt.NDArray[np.float32]:
    """The mean row of each cluster, float32 ``[clusters, P]``.

    Args:
        table: float32 ``[rows, P]``.
        labels: as `cluster` gave them.

    Raises:
        InvalidInput: not one label for each row, or see `average`.
    """
    if labels.shape != table.shape[:1] or not len(labels):
        raise InvalidInput(
            f"Labels of shape {list(labels.shape)} are not of a table of shape {list(table.shape)}",
            remedy="Give the table that was clustered.",
        )
    return np.stack([average(table[labels == number]) for number in range(labels.max() + 1)])


def pooled(name: str, texts: Sequence[TokenizedText]) -> TokenizedText:
    """Several people's texts as one, to train a cluster's row on; as much of everybody's as the shortest has.

    Args:
        name: of the cluster.
        texts: of its people, in one tokenizer's ids and in windows of one length.

    Raises:
        InvalidInput: there are none.
    """
    if not texts:
        raise InvalidInput(f"{name} has nobody in it", remedy="Give at least one text.")
    tokens = min(len(text.train) for text in texts)
    checked, heldout = (min(len(getattr(text, block)) for text in texts) for block in ("validation", "heldout"))
    return TokenizedText(
        name,
        np.concatenate([text.train[:tokens] for text in texts]),
        np.concatenate([text.validation[:checked] for text in texts]),
        np.concatenate([text.heldout[:heldout] for text in texts]),
        hashlib.sha256(" ".join(text.sha256 for text in texts).encode()).hexdigest(),
        max((text.repeats for text in texts), key=lambda repeats: repeats.share),
        texts[0].opening,
    )


def _first(directions: npt.NDArray[np.float64], middle: npt.NDArray[np.float64], count: int) -> list[int]:
    chosen = [int((directions @ middle).argmax())]
    while len(chosen) < count:
        chosen.append(int((directions @ directions[chosen].T).max(axis=1).argmin()))
    return chosen
