"""How the threads that compute wait for one another, which torch's library for that reads once, before it computes."""

import os

WAITING = {"OMP_WAIT_POLICY": "passive"}
"""By default whoever is done first spins for milliseconds, on a core that the last one may be waiting for: beside one
busy process everything took many times as long (`benchmarks/results/company.json`)."""


def share_cores() -> None:
    """Have them sleep meanwhile, here and in processes begun from here, unless the environment says otherwise.

    To be called before torch is imported.
    """
    for name, value in WAITING.items():
        os.environ.setdefault(name, value)
