"""Every error a caller can meet, as one tree.

SharedLLMError
├── InvalidInput          the caller's value cannot be used
│   ├── InvalidUserId
│   ├── TextError         a user's text: missing, empty, binary, undecodable
│   │   └── TooLittleText
│   ├── ManifestError     a bad line in a manifest, with its number
│   └── UnknownName       a name that is not registered: base, format, recipe, sample user, release
├── BaseError             the shared model
│   ├── UnsupportedBase   loads, but has no sites our injection can act on
│   └── DownloadError     could not be fetched, or is not what was pinned
├── AdapterError
│   ├── WrongBase         made for another base, or another format
│   └── CorruptAdapter    damaged, truncated, or not an adapter
├── TrainingError
│   └── Diverged          a user's loss stopped being a number
├── StoreError
│   ├── UnknownUser
│   ├── CorruptStore
│   ├── StoreBusy         another process is writing
│   └── DiskFull
├── NotServed             the user exists, but no release of theirs may answer
└── ServingError
    ├── QueueFull         too many requests are waiting; says when to come back
    └── EngineStopped     the engine is shutting down, or has failed

An error says which value was wrong and what to do about it: the message names the value, the remedy the way out.
"""


class SharedLLMError(Exception):
    """Base of every error raised on purpose; the command line prints it and exits with status 2."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}"


class InvalidInput(SharedLLMError):
    """A value given by the caller cannot be used."""


class InvalidUserId(InvalidInput):
    """Not a usable user id: empty, too long, or not valid Unicode."""


class TextError(InvalidInput):
    """A user's text cannot be read."""


class TooLittleText(TextError):
    """There is not enough text to train on and to hold some out."""


class ManifestError(InvalidInput):
    """A manifest line is wrong; the message carries its number."""


class UnknownName(InvalidInput):
    """A name that nothing is registered under."""


class BaseError(SharedLLMError):
    """The shared base model cannot be used."""


class UnsupportedBase(BaseError):
    """The base loads, but its architecture has no sites that the injection can act on."""


class DownloadError(BaseError):
    """A pinned package could not be fetched, or its hash is not the pinned one."""


class AdapterError(SharedLLMError):
    """An adapter cannot be used."""


class WrongBase(AdapterError):
    """An adapter belongs to another base or another layout."""


class CorruptAdapter(AdapterError):
    """An adapter is damaged, truncated or not an adapter at all."""


class TrainingError(SharedLLMError):
    """Training cannot go on."""


class Diverged(TrainingError):
    """One user's loss is no longer a finite number."""


class StoreError(SharedLLMError):
    """The store cannot do what was asked."""


class UnknownUser(StoreError):
    """The store holds nothing for this user."""


class CorruptStore(StoreError):
    """The store's file is damaged or is not a store."""


class StoreBusy(StoreError):
    """Another process holds the store's write lock."""


class DiskFull(StoreError):
    """There is no room left to write."""


class NotServed(SharedLLMError):
    """The user is known, but no release of theirs may answer: revoked, or none passed its gate."""


class ServingError(SharedLLMError):
    """The engine cannot take a request."""


class QueueFull(ServingError):
    """Too many requests are waiting, of everybody or of this owner.

    Attributes:
        retry_after: seconds after which there is likely to be room.
    """

    def __init__(self, message: str, *, remedy: str, retry_after: float) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class EngineStopped(ServingError):
    """The engine is shutting down, or its thread has failed."""
