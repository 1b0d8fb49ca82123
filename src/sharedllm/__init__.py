"""One shared language model, one tiny adapter per user.

This is the front door: what a script or a notebook needs is a name in here, and `docs/api.md` describes each. What lies
below moves from version to version; these names and their arguments change on purpose only. To import this costs
nothing: a name is imported when it is first used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sharedllm import errors
    from sharedllm.adapters.adapter import Adapter, GateOutcome
    from sharedllm.adapters.formats.registry import Format, register_format
    from sharedllm.base.loading import Base, load_base
    from sharedllm.base.sites import Site, blocks, norm_sites
    from sharedllm.errors import (
        AccessError,
        AdapterError,
        BaseError,
        InvalidInput,
        MissingExtra,
        NotServed,
        ServingError,
        SharedLLMError,
        StoreError,
        TrainingError,
    )
    from sharedllm.evaluation.confusion import Confusion
    from sharedllm.evaluation.gate import Gate
    from sharedllm.operations.ask import Answer, ask
    from sharedllm.operations.authors import Author
    from sharedllm.operations.compress import Compression, compress
    from sharedllm.operations.erase import erase
    from sharedllm.operations.evaluate import Evaluation, evaluate
    from sharedllm.operations.exchange import export, import_
    from sharedllm.operations.train import Outcome, train
    from sharedllm.operations.workplace import Workplace
    from sharedllm.serving.engine import Engine
    from sharedllm.serving.request import Finished, Limits, Request, Sampling, Token
    from sharedllm.store.contract import Release, Store
    from sharedllm.store.opening import open_store
    from sharedllm.training.recipes import Recipe

__version__ = "0.1.0"

__all__ = [
    "AccessError",
    "Adapter",
    "AdapterError",
    "Answer",
    "Author",
    "Base",
    "BaseError",
    "Compression",
    "Confusion",
    "Engine",
    "Evaluation",
    "Finished",
    "Format",
    "Gate",
    "GateOutcome",
    "InvalidInput",
    "Limits",
    "MissingExtra",
    "NotServed",
    "Outcome",
    "Recipe",
    "Release",
    "Request",
    "Sampling",
    "ServingError",
    "SharedLLMError",
    "Site",
    "Store",
    "StoreError",
    "Token",
    "TrainingError",
    "Workplace",
    "__version__",
    "ask",
    "blocks",
    "compress",
    "erase",
    "errors",
    "evaluate",
    "export",
    "import_",
    "load_base",
    "norm_sites",
    "open_store",
    "register_format",
    "train",
]

# Where each name is defined: the imports above once more, which only type checkers follow.
_HOMES = {
    "adapters.adapter": ("Adapter", "GateOutcome"),
    "adapters.formats.registry": ("Format", "register_format"),
    "base.loading": ("Base", "load_base"),
    "base.sites": ("Site", "blocks", "norm_sites"),
    "errors": (
        "AccessError",
        "AdapterError",
        "BaseError",
        "InvalidInput",
        "MissingExtra",
        "NotServed",
        "ServingError",
        "SharedLLMError",
        "StoreError",
        "TrainingError",
    ),
    "evaluation.confusion": ("Confusion",),
    "evaluation.gate": ("Gate",),
    "operations.ask": ("Answer", "ask"),
    "operations.compress": ("Compression", "compress"),
    "operations.erase": ("erase",),
    "operations.evaluate": ("Evaluation", "evaluate"),
    "operations.exchange": ("export", "import_"),
    "operations.authors": ("Author",),
    "operations.train": ("Outcome", "train"),
    "operations.workplace": ("Workplace",),
    "serving.engine": ("Engine",),
    "serving.request": ("Finished", "Limits", "Request", "Sampling", "Token"),
    "store.contract": ("Release", "Store"),
    "store.opening": ("open_store",),
    "training.recipes": ("Recipe",),
}

if not TYPE_CHECKING:
    # A type checker that saw these would take any name for one of ours.

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name == "errors":
            return import_module("sharedllm.errors")
        for home, names in _HOMES.items():
            if name in names:
                found = globals()[name] = getattr(import_module(f"sharedllm.{home}"), name)
                return found
        raise AttributeError(f"module 'sharedllm' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return __all__
