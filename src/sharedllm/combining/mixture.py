"""Several predictors of the same text as one, in probability space: what each gave the tokens that came.

Everything here is over natural-log probabilities of the target tokens, float64 ``[members, ..., tokens]``, which
`token_log_probabilities` measures. Time runs along the last axis.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sharedllm.errors import InvalidInput

LogProbabilities = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture's prediction of each token.

    Attributes:
        log_probabilities: float64 ``[..., tokens]``, what the mixture gave each token.
        log_weights: float64 ``[members, ..., tokens]``, the weights it predicted that token with; at each token their
            exponentials sum to one.
    """

    log_probabilities: LogProbabilities
    log_weights: LogProbabilities


def uniform_mixture(members: LogProbabilities) -> Mixture:
    """``logsumexp(l_i) - log N``: every member's probability counts the same at every token.

    Its log-probability is at least the members' mean, so its perplexity is at most the geometric mean of theirs; at no
    token is it above the best member's. Where every member is worse than the base, so is the mixture: nothing in it
    protects (Bet 55).

    Args:
        members: float64 ``[members, ..., tokens]``.

    Raises:
        InvalidInput: no members, or a log-probability that is above zero or not finite.
    """
    _check(members)
    log_weights = np.full_like(members, -np.log(len(members)))
    return _predict(members, log_weights)


def bayesian_mixture(base: LogProbabilities, members: LogProbabilities) -> Mixture:
    """A mixture whose weights are each predictor's posterior probability given the tokens so far.

    The base is one of the predictors by construction, with the same prior ``1 / (N + 1)`` as each member. A token is
    predicted with the weights before it was seen. Over a sequence the log-probabilities telescope to
    ``logsumexp(total l_i) - log(N + 1)``, so the total log-loss is at most ``log(N + 1)`` above the best predictor's,
    and so above the base's, whatever the text.

    Args:
        base: float64 ``[..., tokens]``.
        members: float64 ``[members, ..., tokens]``. Weights carry along the last axis and start anew on every other: to
            carry them from window to window, give one long axis.

    Returns:
        A mixture whose ``log_weights`` have the base first.

    Raises:
        InvalidInput: the shapes differ, or a log-probability is above zero or not finite.
    """
    if members.shape[1:] != base.shape:
        raise InvalidInput(
            f"Members of shape {list(members.shape)} did not read the base's tokens, {list(base.shape)}",
            remedy="Measure the base and every member on the same windows.",
        )
    predictors = np.concatenate([base[None], members])
    _check(predictors)
    evidence = np.zeros_like(predictors)
    np.cumsum(predictors[..., :-1], axis=-1, out=evidence[..., 1:])
    log_weights = evidence - _logsumexp(evidence)
    return _predict(predictors, log_weights)


def attributions(members: LogProbabilities, log_weights: LogProbabilities) -> LogProbabilities:
    """How many nats of a mixture's log-probability each member answers for, token by token.

    With responsibilities ``r_i = w_i exp(l_i) / sum_j w_j exp(l_j)``, the posterior probability that member ``i`` made
    the token, a member's attribution is ``r_i (log w_i + l_i - log r_i)``. Summed over members that is the mixture's
    log-probability (the equality case of the variational bound, Neal and Hinton 1998, section 2), and the difference
    from a mixture computed elsewhere is the residual that Bet 18 bounds. A token that one member alone expected is
    attributed to it alone.

    Args:
        members: float64 ``[members, ..., tokens]``, of the predictors in the order of the weights.
        log_weights: as in `Mixture`.

    Returns:
        float64 ``[members, ..., tokens]``, in nats, none above zero but for rounding.

    Raises:
        InvalidInput: the shapes differ, or a log-probability is above zero or not finite.
    """
    _check(members)
    if members.shape != log_weights.shape:
        raise InvalidInput(
            f"Weights of shape {list(log_weights.shape)} are not those of predictors of shape {list(members.shape)}",
            remedy="Give the predictors in the mixture's own order; a Bayesian mixture's first is the base.",
        )
    joint = members + log_weights
    log_responsibilities = joint - joint.max(axis=0)
    log_responsibilities -= np.log(np.exp(log_responsibilities).sum(axis=0))
    credited: LogProbabilities = np.exp(log_responsibilities) * (joint - log_responsibilities)
    return credited


def _predict(members: LogProbabilities, log_weights: LogProbabilities) -> Mixture:
    # Rounding can lift a sum of probabilities just above one, which a mixture of mixtures would then refuse.
    return Mixture(np.minimum(_logsumexp(members + log_weights), 0), log_weights)


def _check(members: LogProbabilities) -> None:
    if members.ndim < 2 or not len(members):
        raise InvalidInput(
            f"Log-probabilities of shape {list(members.shape)} are not a mixture's",
            remedy="Give [members, tokens], with at least one member.",
        )
    # NaN fails both comparisons.
    if not ((members <= 0) & (members > -np.inf)).all():
        raise InvalidInput(
            "A log-probability is above zero or not finite, so no mixture follows",
            remedy="Measure again; if it persists, an adapter is broken and must be left out.",
        )


def _logsumexp(values: LogProbabilities) -> LogProbabilities:
    """Over members, axis 0."""
    summed: LogProbabilities = np.logaddexp.reduce(values, axis=0)
    return summed
