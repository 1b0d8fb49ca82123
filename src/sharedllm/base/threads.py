"""How the threads that compute wait for one another, which torch's library for that reads once, before it computes."""

import os

WAITING = {"GOMP_SPINCOUNT": "1000"}
"""Turns of a loop that whoever is done first waits in, before it sleeps. By default these are milliseconds, on a core
that the last one may be waiting for: beside one busy process everything was three to four times as slow. With so few
it is twice as fast there, and alone a training loses a twentieth and a single stream a fifth (`benchmarks/company.py`).
"""
_POLICY = "OMP_WAIT_POLICY"


def share_cores() -> None:
    """Have them wait so, here and in processes begun from here, unless the environment says how to wait.

    To be called before torch is imported.
    """
    if _POLICY not in os.environ:
        for name, value in WAITING.items():
            os.environ.setdefault(name, value)
