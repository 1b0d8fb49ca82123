"""What of the environment a server's workers are given: they read what strangers sent, and it holds secrets."""

import os

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


def _opens_store(name: str) -> bool:
    return name in _OF_STORE or name.startswith(_BEGINNINGS_OF_STORE) or name.lower() in _PROXIES
