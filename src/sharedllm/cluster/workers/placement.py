"""How large the workers of a cluster can be, so that every one of them finds a machine to live on."""

from collections.abc import Sequence
from dataclasses import dataclass

from sharedllm.errors import InvalidInput

_GPU_PARTS = 10_000
"""Parts of a GPU that a scheduler tells apart: a share is rounded down to one, or the last worker would not fit."""


@dataclass(frozen=True)
class Machine:
    """What one machine of a cluster has for workers: whole cores and whole GPUs."""

    cores: int
    gpus: int = 0


@dataclass(frozen=True)
class Placement:
    """How many workers there are, and what each holds: cores of one machine, and one GPU or a share of one."""

    workers: int
    cores: int
    gpus: float


def place(machines: Sequence[Machine], workers: int | None = None) -> Placement:
    """Give every worker an equal share, the largest of which all fit: a worker cannot live on two machines.

    Where there are GPUs, workers live on the machines that have them, as few on each GPU as can be. A machine without
    cores, such as the head of many clusters, holds nobody.

    Args:
        machines: of the cluster.
        workers: how many train at once; by default one a GPU, or one a machine where there is no GPU.

    Raises:
        InvalidInput: fewer cores than workers.
    """
    able = [machine for machine in machines if machine.cores]
    on_gpus = [machine for machine in able if machine.gpus]
    able = on_gpus or able
    wanted = workers or sum(machine.gpus for machine in able) or len(able)
    cores = sum(machine.cores for machine in able)
    if not 0 < wanted <= cores:
        where = "on machines with a GPU" if on_gpus else "in the cluster"
        raise InvalidInput(
            f"{max(wanted, 1)} workers take a core each, and there are {cores} {where}",
            remedy="Use fewer workers, or add machines with cores.",
        )
    if not on_gpus:
        return Placement(wanted, _most_cores(able, wanted, 0), 0.0)
    sharing = next(each for each in range(1, wanted + 1) if _holds(able, wanted, 1, each))
    return Placement(wanted, _most_cores(able, wanted, sharing), _GPU_PARTS // sharing / _GPU_PARTS)


def _most_cores(machines: Sequence[Machine], workers: int, sharing: int) -> int:
    most = max(machine.cores for machine in machines)
    return next(cores for cores in range(most, 0, -1) if _holds(machines, workers, cores, sharing))


def _holds(machines: Sequence[Machine], workers: int, cores: int, sharing: int) -> bool:
    """Whether all workers of so many cores fit, so many of them ``sharing`` a GPU; none does where that is 0."""
    rooms = (machine.cores // cores for machine in machines)
    if sharing:
        rooms = (min(room, machine.gpus * sharing) for room, machine in zip(rooms, machines, strict=True))
    return sum(rooms) >= workers
