"""What jobs share: the base, injections on it, general text, unfinished training, and how far they are."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sharedllm.base.resolve import DEFAULT_BASE
from sharedllm.closing import Closing
from sharedllm.text import samples
from sharedllm.text.splits import split_text
from sharedllm.text.windows import text_windows

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from sharedllm.adapters.adapter import Adapter
    from sharedllm.adapters.injection import Injection
    from sharedllm.adapters.layouts import Layout
    from sharedllm.base.loading import Base
    from sharedllm.base.tokens import Tokens
    from sharedllm.evaluation.perplexity import Windows
    from sharedllm.store.contract import Stay
    from sharedllm.training.checkpoints import Checkpoints
    from sharedllm.training.recipes import Recipe

GeneralBlock = Literal["train", "validation", "heldout"]

Bar = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Shows how far something is: given what and how much there is, it gives what to call with what was done."""


@contextmanager
def no_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show nothing."""
    yield lambda amount: None


class Workplace(Closing):
    """Where jobs are done, one after the other, from one thread. Everything is made when it is first needed.

    Closing it takes its injections off the base.

    Attributes:
        folder: of checkpoints, where `operations.locks` holds off erasures.
        bar: told how far a job is.
    """

    def __init__(
        self,
        base: "str | Base" = DEFAULT_BASE,
        *,
        load: "Callable[[str], Base] | None" = None,
        folder: Path | None = None,
        general: str | None = None,
        bar: Bar = no_bar,
    ) -> None:
        """A workplace in which nothing is loaded yet.

        Args:
            base: one that is loaded, or the name of one; see `load_base`.
            load: loads it by its name; by default `load_base`.
            folder: of checkpoints; by default the one in the user's own data folder.
            general: text that is nobody's in particular, of which adapters are asked what they cost; by default
                WikiText-2, which is fetched.
            bar: told how far a job is.
        """
        from sharedllm.training.checkpoints import checkpoint_folder

        self._name = base if isinstance(base, str) else base.name
        self._loaded = None if isinstance(base, str) else base
        self._load, self._general_text = load, general
        self.folder = checkpoint_folder() if folder is None else folder
        self.bar = bar
        self._injections: dict[Layout, Injection] = {}
        self._general: dict[tuple[str, int], Windows] = {}

    @property
    def name(self) -> str:
        """What the base was asked for by."""
        return self._name

    @property
    def base(self) -> "Base":
        """The base with its weights.

        Raises:
            BaseError, UnknownName, DownloadError: see `load_base`.
        """
        if self._loaded is None:
            from sharedllm.base.loading import load_base

            self._loaded = (self._load or load_base)(self._name)
        return self._loaded

    @property
    def fingerprint(self) -> str:
        """Of the base, which need not be loaded for it.

        Raises:
            BaseError, UnknownName, DownloadError: see `resolve_base`.
        """
        if self._loaded is not None:
            return self._loaded.fingerprint
        from sharedllm.base.fingerprint import fingerprint

        return fingerprint(self._folder)

    @property
    def has_prior(self) -> bool:
        """Whether the base, which need not be loaded for it, has a prior.

        Raises:
            BaseError, UnknownName, DownloadError: see `resolve_base` and `read_prior`.
        """
        if self._loaded is not None:
            return self._loaded.has_prior
        from sharedllm.base.frames import read_prior

        return read_prior(self._folder) is not None

    @property
    def tokens(self) -> "Tokens":
        """The rules from text to tokens, which are there in a second where the weights take many.

        Raises:
            BaseError, UnknownName, DownloadError: see `load_tokens`.
        """
        return self._tokens if self._loaded is None else self._loaded.tokens

    @cached_property
    def _tokens(self) -> "Tokens":
        from sharedllm.base.loading import load_tokens

        return load_tokens(str(self._folder))

    @cached_property
    def _folder(self) -> Path:
        from sharedllm.base.resolve import resolve_base

        return resolve_base(self._name)

    def injection(self, format: str) -> "Injection":
        """The injection of a format on the base, attached to it.

        Raises:
            BaseError, UnknownName, FormatError, DownloadError: see `load_base` and `layout_of`.
        """
        from sharedllm.adapters.injection import Injection
        from sharedllm.adapters.layouts import layout_of

        layout = layout_of(self.base, format)
        if layout not in self._injections:
            self._injections[layout] = Injection(self.base, layout)
        return self._injections[layout]

    def injection_of(self, adapter: "Adapter") -> "Injection":
        """The injection of an adapter's format, once it is known to fit the base.

        Raises:
            WrongBase: it does not.
            FormatMissing: its format is not installed here; nothing was loaded.
            BaseError, UnknownName, DownloadError: see `injection`.
        """
        from sharedllm.adapters.adapter import check_fits, check_installed

        check_installed(adapter)
        injection = self.injection(adapter.format)
        check_fits(adapter, injection.layout)
        return injection

    def curvature(self, recipe: "Recipe") -> "npt.NDArray[np.float32] | None":
        """What a recipe's optimiser divides steps by, on general text that neither gates nor reports read.

        Returns:
            None for an optimiser that takes none.

        Raises:
            BaseError, UnknownName, FormatError, DownloadError, TextError: see `injection` and `general_text`.
        """
        if recipe.optimiser != "natural":
            return None
        from sharedllm.training.curvature import kept_curvature

        windows = self.general("train", recipe.window)
        return kept_curvature(self.base, self.injection(recipe.method), windows, self.bar)

    def general_text(self, block: GeneralBlock) -> str:
        """A block of general text: ``validation`` is for the gate, ``heldout`` for reports, ``train`` for training.

        Raises:
            DownloadError: the package it comes in cannot be fetched.
            TextError: it is too short to have such blocks.
        """
        text = samples.general_text() if self._general_text is None else self._general_text
        found: str = getattr(split_text(text), block)
        return found

    def general(self, block: GeneralBlock, window: int) -> "Windows":
        """A block of general text as int64 ``[windows, window]``.

        Raises:
            DownloadError, TextError: see `general_text`.
        """
        if (block, window) not in self._general:
            self._general[block, window] = text_windows(self.general_text(block), self.base.encode, window)
        return self._general[block, window]

    def checkpoints(self, stays: "Mapping[str, Stay] | None" = None) -> "Checkpoints":
        """Of training on the base in these stays."""
        from sharedllm.training.checkpoints import Checkpoints

        return Checkpoints(self.folder, self.fingerprint, stays)

    def close(self) -> None:
        """Take its injections off the base, which can be used on."""
        for injection in self._injections.values():
            injection.remove()
        self._injections = {}
