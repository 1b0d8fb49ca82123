"""Differential privacy of the people in a prior: with or without any one of them, almost the same frames come out.

One person is one unit (McMahan et al. 2018, Learning differentially private recurrent language models, algorithm 1):
each step takes everybody with the same probability, bounds the norm of each person's gradient of the frames, adds up
what is left and adds Gaussian noise. Whatever follows, the optimiser and the rounding to eight bits, sees these sums
alone. A person's coordinates follow their own gradient without noise, act on nobody else's, and are thrown away.

Who is taken and the noise come from a key that nobody is told: with it the noise could be taken off again. They are
drawn by a generator that is not a cryptographic one, as floats of 32 bits.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sharedllm.extras import need

if TYPE_CHECKING:
    import torch

_PEOPLE, _NOISE = 0, 1


@dataclass(frozen=True)
class Privacy:
    """What an observer of the frames can learn of whether somebody is in them, at most.

    Attributes:
        epsilon: of (epsilon, delta)-differential privacy, where a neighbour is everybody with or without one person.
        delta: the probability with which that does not hold.
    """

    epsilon: float
    delta: float


def privacy_spent(noise: float, rate: float, steps: int, people: int) -> Privacy:
    """What so many steps spend, by the Rényi accountant of Opacus (Mironov et al. 2019), at a delta of 1 / (10 people).

    Args:
        noise: standard deviation of the noise, in bounds of a person's gradient.
        rate: probability with which a step takes a person.
        steps: of training.
        people: who may be taken.

    Raises:
        MissingExtra: Opacus is not installed.
    """
    need("private")
    from opacus.accountants import RDPAccountant

    accountant, delta = RDPAccountant(), 1 / (10 * people)
    for _ in range(steps):
        accountant.step(noise_multiplier=noise, sample_rate=rate)
    return Privacy(float(accountant.get_epsilon(delta)), delta)


@dataclass(frozen=True)
class PrivateSteps:
    """The random part of a private training.

    Attributes:
        key: 128 bits, of this training alone.
        people: who may be taken.
        rate: probability with which a step takes a person.
        bound: the largest norm of a person's gradient.
        noise: standard deviation of the noise, in bounds.
    """

    key: int
    people: int
    rate: float
    bound: float
    noise: float

    def turn(self, step: int) -> list[int]:
        """Whom a step takes, each independently of all others (Poisson sampling): perhaps nobody."""
        return [int(each) for each in np.flatnonzero(self._random(_PEOPLE, step).random(self.people) < self.rate)]

    @property
    def expected(self) -> float:
        """How many people a step takes on average, by which the sum is divided: how many it took is private, too."""
        return self.rate * self.people

    def noise_like(self, values: "torch.Tensor", step: int) -> "torch.Tensor":
        """The noise of a step, of the shape of ``values`` ``[size]`` and on their device."""
        import torch

        drawn = self._random(_NOISE, step).standard_normal(len(values), np.float32)
        return torch.from_numpy(drawn).to(values) * (self.noise * self.bound)

    def _random(self, what: int, step: int) -> np.random.Generator:
        return np.random.default_rng([self.key, what, step])
