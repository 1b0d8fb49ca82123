"""What a server's workers are given: of its environment, which holds secrets, and of the processor, beside it."""

import os

_NICENESS = 5
"""More than the server's. Where both would compute all the time Linux gives the worker a quarter of a core then (a
weight of 335 beside 1024, kernel/sched/core.c), which is what trainings may have anyway; at 10 it is a tenth, and at 19
one part in seventy, so that beside any other work they never ended."""

_OF_ANY = (
    *("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL", "LC_CTYPE"),
    *("LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "SHAREDLLM_CACHE", "XDG_CACHE_HOME"),
)
# How a store that is sealed or far away is opened, and how what a first training lacks is fetched.
_OF_STORE = ("XDG_DATA_HOME", "SHAREDLLM_MASTER_KEY_FILE", "SHAREDLLM_VAULT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_BEGINNINGS_OF_STORE = ("PG", "PIP_", "OMP_", "KMP_", "MKL_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def worker_environment(*, store: bool) -> dict[str, str]:
    """The variables that a worker cannot do without.

    Args:
        store: whether it opens the store and trains. Which store it is, with its password, is told through a pipe.
    """
    return {name: value for name, value in os.environ.items() if name in _OF_ANY or (store and _opens_store(name))}


def give_way() -> None:
    """Have this process give way to the server that began it, which answers requests."""
    os.nice(_NICENESS)


def _opens_store(name: str) -> bool:
    return name in _OF_STORE or name.startswith(_BEGINNINGS_OF_STORE) or name.lower() in _PROXIES
