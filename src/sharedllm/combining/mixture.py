"""Several predictors of the same text as one, in probability space: what each gave the tokens that came.

Everything here is over natural-log probabilities of the target tokens, float64 ``[members, ..., tokens]``, which
`token_log_probabilities` measures. Time runs along the last axis.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sharedllm.errors import InvalidInput

LogProbabilities = npt.NDArray[np.float64]

_STEPS = 10_000


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
    predicted with the weights before it was seen: the exponentially weighted average forecaster at a rate of 1
    (Cesa-Bianchi and Lugosi 2006, chapter 3). Over a sequence the log-probabilities telescope to
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


def soft_bayes(predictors: LogProbabilities, rate: float) -> Mixture:
    """A mixture whose weights go a part of the way to each token's posterior, and so may settle between predictors.

    ``w_i <- w_i (1 - rate + rate p_i / sum_j w_j p_j)`` from ``w_i = 1 / N`` (Soft-Bayes, Orseau, Lattimore and Legg
    2017; at a rate of 1 it would be Bayes' rule). Over ``T`` tokens the total log-loss is at most
    `soft_bayes_regret` above that of the best fixed convex mixture, and at most ``ln N / rate`` above the best single
    predictor's.

    Args:
        predictors: float64 ``[N, ..., T]``; weights start anew on every axis but the last.
        rate: between 0 and 1, both excluded, such as `soft_bayes_rate` gives.

    Raises:
        InvalidInput: no predictors, a log-probability that is above zero or not finite, or another rate.
    """
    _check(predictors)
    _check_rate(rate)
    log_weights = np.empty_like(predictors)
    log_weights[..., 0] = -np.log(len(predictors))
    for token in range(predictors.shape[-1] - 1):
        before = log_weights[..., token]
        ratios = predictors[..., token] - _logsumexp(before + predictors[..., token])
        moved = before + np.logaddexp(np.log1p(-rate), np.log(rate) + ratios)
        # They sum to one but for rounding, which would add up.
        log_weights[..., token + 1] = moved - _logsumexp(moved)
    return _predict(predictors, log_weights)


def soft_bayes_rate(predictors: int, tokens: int) -> float:
    """The rate ``c / (1 + c)`` with ``c = sqrt(ln N / (N T))``: the regret is at most ``2 sqrt(N T ln N) + ln N``.

    Args:
        predictors: ``N``, at least two.
        tokens: ``T``, at least one: how many will be predicted.

    Raises:
        InvalidInput: there are fewer.
    """
    if predictors < 2 or tokens < 1:
        raise InvalidInput(
            f"{predictors} predictors of {tokens} tokens have no rate",
            remedy="Give two predictors and one token at least.",
        )
    odds = float(np.sqrt(np.log(predictors) / (predictors * tokens)))
    return odds / (1 + odds)


def soft_bayes_regret(predictors: int, tokens: int, rate: float) -> float:
    """How many nats `soft_bayes` may lose to the best fixed convex mixture: ``ln N / rate - N T ln(1 - rate)``.

    Of the order that Orseau, Lattimore and Legg (2017) prove, ``sqrt(N T ln N)`` at the best rate, whatever the losses.
    For a mixture ``a`` let ``r_i = p_i / sum_j w_j p_j``, ``u_i = 1 - rate + rate r_i`` the factors of the update,
    ``c = rate / (1 - rate)``, ``L_i = ln(u_i / (1 - rate)) = ln(1 + c r_i)`` and ``S = sum_i a_i L_i``. As
    ``x <= (1 + x) ln(1 + x)``, ``c sum_i a_i r_i <= S exp(sum_i L_i)``. So ``ln sum_i a_i r_i``, one token's regret, is
    at most ``ln(S / c) + sum_i L_i``, where ``ln(S / c) <= S / rate - 1 + ln(1 - rate) <= (S + ln(1 - rate)) / rate``:
    at most ``sum_i a_i ln u_i / rate + sum_i ln u_i - N ln(1 - rate)``. Summed over tokens, the first of these is at
    most ``ln N / rate``, and the second at most 0, since the weights begin equal.

    Args:
        predictors: ``N``.
        tokens: ``T``.
        rate: of the update.

    Raises:
        InvalidInput: the rate is not between 0 and 1.
    """
    _check_rate(rate)
    return float(np.log(predictors) / rate - predictors * tokens * np.log1p(-rate))


def best_fixed_mixture(predictors: LogProbabilities, *, tolerance: float = 1e-5) -> npt.NDArray[np.float64]:
    """The fixed convex weights under which all tokens together are likeliest, known only when they have been seen.

    Found by ``a_i <- a_i mean_t r_i`` with ``r_i = p_i / sum_j a_j p_j``, an expectation-maximisation step, which never
    lowers the likelihood; ``ln max_i mean_t r_i`` nats a token are the most that can be left (Cover 1984).

    Args:
        predictors: float64 ``[N, T]``.
        tolerance: how many nats a token may be left.

    Returns:
        float64 ``[N]``, summing to one.

    Raises:
        InvalidInput: not of this shape, or a log-probability is above zero or not finite.
    """
    _check(predictors)
    if predictors.ndim != 2 or not predictors.shape[1]:
        raise InvalidInput(
            f"Log-probabilities of shape {list(predictors.shape)} are not of one sequence", remedy="Give [N, T]."
        )
    weights = np.full(len(predictors), 1 / len(predictors))
    # A token's likeliest predictor has probability one after this, which changes no ratio and keeps all in range.
    likely = np.exp(predictors - predictors.max(axis=0))
    for _ in range(_STEPS):
        means = (likely / (weights @ likely)).mean(axis=1)
        if np.log(means.max()) <= tolerance:
            break
        weights = weights * means
        weights /= weights.sum()
    return weights


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


def _check_rate(rate: float) -> None:
    if not 0 < rate < 1:
        raise InvalidInput(f"The rate is {rate}", remedy="Use one between 0 and 1, such as soft_bayes_rate gives.")


def _logsumexp(values: LogProbabilities) -> LogProbabilities:
    """Over members, axis 0."""
    summed: LogProbabilities = np.logaddexp.reduce(values, axis=0)
    return summed
