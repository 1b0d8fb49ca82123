"""The adapters on the device: one row a release, copied there when it is first needed."""

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sharedllm.errors import InvalidInput

if TYPE_CHECKING:
    import torch

BASE_SLOT = 0
"""The row of zeros, which is the base."""


class Table:
    """Rows by release, as float16, which is what releases are stored in.

    A row that a running request uses is never overwritten; of the others the one used longest ago makes room.

    Attributes:
        rows: float16 ``[slots, P]`` on the device.
        hits, misses: how often a release was, and was not, there already.
    """

    def __init__(self, width: int, slots: int, device: "torch.device") -> None:
        import torch

        self.rows = torch.zeros(slots, width, dtype=torch.float16, device=device)
        self.hits = self.misses = 0
        self._free = list(range(slots - 1, BASE_SLOT, -1))
        self._slots: OrderedDict[str, int] = OrderedDict()
        self._owners: dict[str, str] = {}
        self._pins: dict[str, int] = {}
        self._doomed: set[str] = set()

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, release: str) -> bool:
        return release in self._slots

    @property
    def room(self) -> int:
        """How many releases can be there at once."""
        return len(self.rows) - 1

    @property
    def releases(self) -> set[tuple[str, str]]:
        """What rows are there: owners and releases."""
        return {(owner, release) for release, owner in self._owners.items()}

    def acquire(self, release: str, owner: str, values: npt.NDArray[np.float32]) -> int:
        """The slot of an owner's release, held until as many calls of `give_back`.

        Raises:
            InvalidInput: the values are not those of a stored release, or every row is in use.
        """
        if release in self._slots:
            self.hits += 1
            self._slots.move_to_end(release)
        else:
            narrow = values.astype(np.float16)
            fits = values.shape == self.rows.shape[1:] and bool(np.isfinite(narrow).all())
            if not fits or not np.array_equal(narrow.astype(np.float32), values):
                raise InvalidInput(
                    f"The values of release {release} are not {self.rows.shape[1]:,} finite float16 deviations",
                    remedy="Serve what the store returns.",
                )
            slot = self._slot()
            self._copy(slot, release, narrow)
            self._slots[release], self._owners[release] = slot, owner
            self.misses += 1
        self._pins[release] = self._pins.get(release, 0) + 1
        return self._slots[release]

    def give_back(self, release: str) -> None:
        """Let go of a release; its row stays until another needs the room, unless it was to be forgotten."""
        self._pins[release] -= 1
        if not self._pins[release]:
            del self._pins[release]
            if release in self._doomed:
                self._doomed.discard(release)
                self._clear(release)

    def forget(self, owner: str) -> None:
        """Overwrite an owner's rows with zeros: now, or as soon as nobody holds them."""
        for release in [release for release, whose in self._owners.items() if whose == owner]:
            if release in self._pins:
                self._doomed.add(release)
            else:
                self._clear(release)

    def _slot(self) -> int:
        if self._free:
            return self._free.pop()
        oldest = next((release for release in self._slots if release not in self._pins), None)
        if oldest is None:
            raise InvalidInput(
                f"All {len(self._slots):,} rows of the table are in use",
                remedy="Give the table more memory, or run fewer requests at once.",
            )
        del self._owners[oldest]
        return self._slots.pop(oldest)

    def _clear(self, release: str) -> None:
        del self._owners[release]
        slot = self._slots.pop(release)
        self.rows[slot].zero_()
        self._free.append(slot)

    def _copy(self, slot: int, release: str, values: npt.NDArray[np.float16]) -> None:
        import torch

        self.rows[slot].copy_(torch.from_numpy(values))
