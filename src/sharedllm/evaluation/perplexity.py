"""Perplexity of a base under rows of a vector table, window by window."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.injection import Injection
from sharedllm.base.context_length import check_window
from sharedllm.base.loading import Base
from sharedllm.errors import InvalidInput

if TYPE_CHECKING:
    import torch

Windows = npt.NDArray[np.int64]
TokenLogProbabilities = npt.NDArray[np.float64]
TokenCounts = int | npt.NDArray[np.int64]
"""How many tokens are predicted in each window, int64 ``[windows]``; one number where all have as many."""

# Tokens in one forward pass: enough to keep the matrix products large, small enough for a laptop's memory.
_TOKENS_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class Losses:
    """Total negative log-likelihood of each window.

    Attributes:
        nats: float64 ``[windows]``, summed over the window's predicted tokens.
        tokens: predicted tokens in each window, int64 ``[windows]``, or one number where all have as many: its length
            less the tokenizer's opening, or less one, since the first has no context, and less what is only read.
    """

    nats: npt.NDArray[np.float64]
    tokens: TokenCounts

    @property
    def predicted(self) -> int:
        """Predicted tokens of all windows together."""
        return int(np.broadcast_to(self.tokens, self.nats.shape).sum())

    def at(self, windows: npt.NDArray[np.integer]) -> "Losses":
        """Of some of the windows, by their numbers, each as often as it is named."""
        tokens = self.tokens if isinstance(self.tokens, int) else self.tokens[windows]
        return Losses(self.nats[windows], tokens)

    @property
    def perplexity(self) -> float:
        """``exp(total negative log-likelihood / predicted tokens)``, token-weighted over the windows.

        Raises:
            InvalidInput: there is no predicted token, so there is no perplexity.
        """
        with np.errstate(over="ignore"):
            return float(np.exp(self.nats_per_token))

    @property
    def nats_per_token(self) -> float:
        """The logarithm of `perplexity`, finite where perplexity itself overflows.

        Raises:
            InvalidInput: there is no predicted token.
        """
        predicted = self.predicted
        if predicted < 1:
            raise InvalidInput(
                "There are no windows to measure on", remedy="Give text of at least one window of two tokens."
            )
        return float(self.nats.sum() / predicted)


def spread(windows: Windows, limit: int) -> Windows:
    """At most ``limit`` windows, evenly spaced over the block they come from."""
    if len(windows) <= limit:
        return windows
    chosen: Windows = windows[np.linspace(0, len(windows) - 1, limit).round().astype(int)]
    return chosen


def counts(windows: Windows, first: int) -> TokenCounts:
    """How many tokens are predicted in windows int64 ``[n, window]``, of whose beginnings ``first`` tokens are not."""
    found: npt.NDArray[np.int64] = (windows[:, first:] >= 0).sum(axis=1)
    whole = windows.shape[1] - first
    return whole if (found == whole).all() else found


def plain_counts(tokens: TokenCounts) -> int | list[int]:
    """TokenCounts as plain JSON values."""
    return tokens if isinstance(tokens, int) else tokens.tolist()


def known_counts(stored: int | list[int]) -> TokenCounts:
    """TokenCounts from what `plain_counts` gave."""
    return stored if isinstance(stored, int) else np.array(stored, np.int64)


def base_losses(base: Base, windows: Windows, *, on_batch: Callable[[int], Any] | None = None) -> Losses:
    """Losses of the model as it stands on windows int64 ``[n, window]``; ``on_batch`` hears how many are done."""
    measured = base_token_log_probabilities(base, windows, on_batch=on_batch)
    return Losses(-measured.sum(axis=1), counts(windows, base.tokens.unpredicted))


def row_losses(
    base: Base,
    injection: Injection,
    table: npt.NDArray[np.float32],
    windows: Windows,
    *,
    on_batch: Callable[[int], Any] | None = None,
) -> list[Losses]:
    """Losses of every row of a table on every window.

    Args:
        base: the base the injection is attached to.
        injection: of the table's layout.
        table: float32 ``[rows, P]``; a row of zeros is the base.
        windows: int64 ``[n, window]``; a token that is read and never predicted is the complement of its id.
        on_batch: told how many (row, window) pairs a batch finished.

    Returns:
        One `Losses` a row, in the table's order.
    """
    measured = token_log_probabilities(base, injection, table, windows, on_batch=on_batch)
    tokens = counts(windows, base.tokens.unpredicted)
    return [Losses(-of_row.sum(axis=1), tokens) for of_row in measured]


def base_token_log_probabilities(
    base: Base, windows: Windows, *, on_batch: Callable[[int], Any] | None = None
) -> TokenLogProbabilities:
    """Natural-log probability of every token under the model as it stands, float64 ``[n, window - unpredicted]``.

    It is 0 where a token is only read.
    """
    return _measure(base, windows, lambda ids, part: base.hidden(ids), on_batch)


def token_log_probabilities(
    base: Base,
    injection: Injection,
    table: npt.NDArray[np.float32],
    windows: Windows,
    *,
    on_batch: Callable[[int], Any] | None = None,
) -> TokenLogProbabilities:
    """Natural-log probability of every predicted token under every row of a table, in one order for all rows.

    Args: as for `row_losses`.

    Returns:
        float64 ``[rows, n, window - unpredicted]``, 0 where a token is only read; the losses are computed in float32,
        or in float64 on a float64 base.
    """
    import torch

    rows = torch.from_numpy(np.ascontiguousarray(table)).to(base.device)
    index = torch.arange(len(table), device=base.device).repeat_interleave(len(windows))
    repeated = np.tile(windows, (len(table), 1))

    def hidden(ids: "torch.Tensor", part: slice) -> "torch.Tensor":
        with injection.rows(rows, index[part]):
            return base.hidden(ids)

    measured = _measure(base, repeated, hidden, on_batch)
    return measured.reshape(len(table), len(windows), measured.shape[1])


def _measure(
    base: Base,
    windows: Windows,
    hidden: Callable[["torch.Tensor", slice], "torch.Tensor"],
    on_batch: Callable[[int], Any] | None,
) -> TokenLogProbabilities:
    import torch

    from sharedllm.evaluation.likelihood import ids_of, window_losses

    check_window(base, windows.shape[1])
    batch = max(1, _TOKENS_AT_ONCE // windows.shape[1])
    first = base.tokens.unpredicted
    found = np.empty((len(windows), windows.shape[1] - first))
    with torch.inference_mode():
        for begin in range(0, len(windows), batch):
            part = slice(begin, begin + batch)
            read = torch.from_numpy(windows[part]).to(base.device)
            losses, _ = window_losses(hidden(ids_of(read), part), base.head, read, first)
            found[part] = -losses.double().cpu().numpy()
            if on_batch:
                on_batch(len(read))
    return found
