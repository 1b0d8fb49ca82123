"""Who is near whom, from the rows of a fleet alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Map:
    """A fleet in the plane.

    Attributes:
        places: float64 ``[people, 2]``, along the two directions in which the rows differ most.
        shares: of the rows' variance, along each of the two.
        nearest: int64 ``[people]``: whose row points most nearly the same way from the fleet's mean.
    """

    places: npt.NDArray[np.float64]
    shares: tuple[float, float]
    nearest: npt.NDArray[np.int64]


def draw_map(rows: npt.NDArray[np.float32]) -> Map:
    """Principal components of rows float32 ``[people, P]`` without their mean, and everybody's nearest by cosine.

    Only products between people are needed, ``[people, people]``, whatever the length of a row. There must be two
    people or more. A row that is the mean itself points nowhere, and its nearest says nothing.
    """
    centred = rows - rows.mean(axis=0, dtype=np.float64)
    products = centred @ centred.T
    variances, directions = np.linalg.eigh(products)
    first = np.argsort(variances)[::-1][:2]
    sizes = np.sqrt(np.maximum(variances[first], 0))
    places = directions[:, first] * sizes
    # A direction's sign is arbitrary: the same rows should give the same map on every machine.
    places *= np.where(places[np.abs(places).argmax(axis=0), [0, 1]] < 0, -1, 1)
    total = float(np.trace(products)) or 1.0
    lengths = np.sqrt(np.diag(products))
    cosines = products / np.maximum(np.outer(lengths, lengths), np.finfo(np.float64).tiny)
    np.fill_diagonal(cosines, -np.inf)
    return Map(places, (float(sizes[0] ** 2 / total), float(sizes[1] ** 2 / total)), cosines.argmax(axis=1))


def chance_of_agreement(kinds: Sequence[str]) -> float:
    """How often somebody drawn at random from the others is of one's own kind, averaged over everybody."""
    counts = np.unique(np.asarray(kinds), return_counts=True)[1]
    return float((counts * (counts - 1)).sum() / (len(kinds) * (len(kinds) - 1)))
