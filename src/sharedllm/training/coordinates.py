"""Contributors' coordinates while a prior is trained: in a file, so that memory does not grow with the people."""

import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sharedllm.closing import Closing
from sharedllm.errors import TrainingError
from sharedllm.files import make_folder, make_private, refused


class KeptCoordinates(Closing):
    """Everybody's coordinates and their two moments, float ``[people, 3, components]``, zeros at first.

    What was written since the last checkpoint stays in memory until the next one holds it, so that the file is never
    ahead of the checkpoint that it belongs to.
    """

    def __init__(
        self, people: int, components: int, dtype: "np.dtype[np.floating]", folder: Path | None = None
    ) -> None:
        """Those that a folder keeps, or zeros.

        Args:
            people: how many.
            components: of one.
            dtype: of a number.
            folder: where the file is; None keeps it until this is closed.
        """
        self._fresh: dict[int, npt.NDArray[np.floating]] = {}
        self._people, self._shape, self._dtype = people, (3, components), dtype
        if folder is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115
        else:
            make_folder(folder)
            path = folder / f"coordinates.f{8 * dtype.itemsize}"
            if not path.exists():
                make_private(path)
            self._file = path.open("r+b")
        self._resize(self._bytes * people)

    @property
    def _bytes(self) -> int:
        return math.prod(self._shape) * self._dtype.itemsize

    def read(self, turn: Sequence[int]) -> npt.NDArray[np.floating]:
        """The rows of some, ``[len(turn), 3, components]``."""
        return self._stacked([self._fresh[person] if person in self._fresh else self._kept(person) for person in turn])

    def write(self, turn: Sequence[int], rows: npt.NDArray[np.floating]) -> None:
        """Keep the rows of some."""
        self._fresh.update(zip(turn, rows, strict=True))

    def since(self) -> tuple[list[int], npt.NDArray[np.floating]]:
        """What was written since `settle`."""
        return list(self._fresh), self._stacked(list(self._fresh.values()))

    @property
    def unsettled(self) -> int:
        """Bytes of what was written since `settle`."""
        return len(self._fresh) * self._bytes

    def settle(self) -> None:
        """Put it into the file, where it survives a crash of the machine.

        Raises:
            DiskFull, TrainingError: the file cannot be written.
        """
        try:
            for person, row in self._fresh.items():
                self._file.seek(person * self._bytes)
                self._file.write(row.tobytes())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise refused(error, "Coordinates cannot be kept", TrainingError, remedy=_AGAIN, room=_AGAIN) from error
        self._fresh = {}

    def clear(self) -> None:
        """Begin with nothing, in place of what another training left."""
        self._fresh = {}
        self._resize(0)
        self._resize(self._bytes * self._people)

    def restore(self, turn: Sequence[int], rows: npt.NDArray[np.floating]) -> None:
        """Go on from a checkpoint's.

        Raises:
            DiskFull, TrainingError: see `settle`.
        """
        self.write(turn, rows)
        self.settle()

    def close(self) -> None:
        """What a folder keeps stays; what is since the last checkpoint does not."""
        self._file.close()

    def _kept(self, person: int) -> npt.NDArray[np.floating]:
        self._file.seek(person * self._bytes)
        return np.frombuffer(self._file.read(self._bytes), self._dtype).reshape(self._shape)

    def _stacked(self, rows: list[npt.NDArray[np.floating]]) -> npt.NDArray[np.floating]:
        return np.stack(rows) if rows else np.zeros((0, *self._shape), self._dtype)

    def _resize(self, size: int) -> None:
        # A hole takes no room on the disk.
        self._file.truncate(size)


_AGAIN = "Make room for the training, and run the same command again; it goes on from the last checkpoint."
