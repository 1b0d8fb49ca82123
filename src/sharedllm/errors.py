"""Every error a caller can meet, as one tree.

SharedLLMError
├── InvalidInput          the caller's value cannot be used
│   ├── InvalidUserId
│   ├── TextError         a user's text: missing, empty, binary, undecodable
│   │   └── TooLittleText
│   ├── ManifestError     a bad line in a manifest, with its number
│   ├── UnknownName       a name that is not registered: base, format, recipe, sample user, release
│   ├── FormatError       a vector format that cannot be used: its name is taken, or its sites are not where it says
│   ├── GrammarError      what an answer is to be held to cannot be used, or takes too much to use
│   ├── ReceiptError      an erasure receipt that cannot be read, or that was not signed as it stands
│   └── UnknownJob        a training job that this server does not know, or that is somebody else's
├── MissingExtra          what was asked for needs packages that are not installed
├── BaseError             the shared model
│   ├── UnsupportedBase   loads, but cannot be used for what was asked: no sites, or not exact when served
│   └── DownloadError     could not be fetched, or is not what was pinned
├── AdapterError
│   ├── WrongBase         made for another base, or another format
│   ├── FormatMissing     of a format that is not installed here
│   └── CorruptAdapter    damaged, truncated, or not an adapter
├── TrainingError
│   ├── Diverged          a user's loss stopped being a number
│   └── InTraining        a run that trains and an erasure would be in each other's way
├── StoreError
│   ├── UnknownUser
│   ├── ErasedMeanwhile   the user was erased after the work that is to be stored for them had begun
│   ├── UnknownKey        an API key that was never made here, or is revoked
│   ├── CorruptStore
│   ├── StaleStore        the store's file went back to an earlier state
│   ├── MasterKeyError    the key or the vault that opens what is encrypted is missing, or is another one
│   ├── AuditError        the audit log is not what was written
│   ├── StoreBusy         another process is writing
│   ├── StoreUnreachable  the database does not answer, or does not let us in
│   ├── OutcomeUnknown    the connection was lost while a change was being confirmed
│   ├── SnapshotError     a packed snapshot that does not verify, or is of another store
│   └── DiskFull
├── NotServed             the user exists, but no release of theirs may answer
│   └── ResetToBase       on purpose: the base answers them, until they are given a release again
├── AccessError           who asks over the network may not have it
│   ├── NotAuthenticated  no key or token, or one that is not valid
│   └── Forbidden         a valid one, asking for somebody else
│       └── OperatorOnly  or for what only whoever runs the server may decide
└── ServingError
    ├── QueueFull         too many requests are waiting; says when to come back
    │   └── RateLimited   one user has changed more in a while than one may
    ├── RequestFailed     one request could not be computed; nobody else's noticed
    │   └── GrammarFailed what its answer was held to left nothing to say
    └── EngineStopped     the engine is shutting down, or has failed

An error says which value was wrong and what to do about it: the message names the value, the remedy the way out.
"""

import copyreg
from typing import Any


class SharedLLMError(Exception):
    """Base of every error raised on purpose; the command line prints it and exits with status 2."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are copied by calling their class with their arguments, and ours take keywords: a worker's error
        # would fail on its way to the process that waits for it.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}"


class InvalidInput(SharedLLMError):
    """A value given by the caller cannot be used."""


class GrammarError(InvalidInput):
    """What an answer is to be held to, such as a JSON Schema, cannot be compiled within the bounds."""


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


class UnknownJob(InvalidInput):
    """This server has no such training job of this user's."""


class FormatError(InvalidInput):
    """A vector format cannot be used: its name is taken, or it does not fit the base as it says."""


class ReceiptError(InvalidInput):
    """A file is not an erasure receipt, or not as it was signed."""


class MissingExtra(SharedLLMError):
    """Packages are not installed that only some jobs need; the remedy is the command that installs them."""


class BaseError(SharedLLMError):
    """The shared base model cannot be used."""


class UnsupportedBase(BaseError):
    """The base loads, but its architecture has no sites to act on, or is not exact when requests share passes."""


class DownloadError(BaseError):
    """A pinned package could not be fetched, or its hash is not the pinned one."""


class AdapterError(SharedLLMError):
    """An adapter cannot be used."""


class WrongBase(AdapterError):
    """An adapter belongs to another base or another layout."""


class FormatMissing(AdapterError):
    """An adapter's format is not installed here, so nobody knows where its values act."""


class CorruptAdapter(AdapterError):
    """An adapter is damaged, truncated or not an adapter at all."""


class TrainingError(SharedLLMError):
    """Training cannot go on."""


class Diverged(TrainingError):
    """One user's loss is no longer a finite number."""


class InTraining(TrainingError):
    """A user cannot be erased while a run may train them, nor trained while they are being erased."""


class StoreError(SharedLLMError):
    """The store cannot do what was asked."""


class UnknownUser(StoreError):
    """The store holds nothing for this user."""


class ErasedMeanwhile(StoreError):
    """The user was erased since the work for them began; nothing of it is stored."""


class UnknownKey(StoreError):
    """An API key was never made here, or is revoked; whoever shows it is not told which."""


class CorruptStore(StoreError):
    """The store's file is damaged or is not a store."""


class StaleStore(StoreError):
    """The store's file is an earlier state of itself: what was confirmed since is not in it."""


class MasterKeyError(StoreError):
    """What is encrypted cannot be opened: the master key or the vault is missing, or is another store's."""


class AuditError(StoreError):
    """The audit log was edited, or is damaged."""


class StoreBusy(StoreError):
    """Another process holds the store's write lock."""


class StoreUnreachable(StoreError):
    """The store's database does not answer, or does not let us in. Nothing was changed."""


class OutcomeUnknown(StoreError):
    """The connection was lost while the database confirmed a change, which may have happened or not."""


class SnapshotError(StoreError):
    """A packed snapshot is not what was signed, or was not packed from this store."""


class DiskFull(StoreError):
    """There is no room left to write."""


class NotServed(SharedLLMError):
    """The user is known, but no release of theirs may answer: revoked, or none passed its gate."""


class ResetToBase(NotServed):
    """The user was put back to the base, which answers them until a release of theirs does again."""


class AccessError(SharedLLMError):
    """Who asks over the network may not have what they ask for."""


class NotAuthenticated(AccessError):
    """There is no key or token, or it is not valid; whoever shows it is not told why."""


class Forbidden(AccessError):
    """The key or token is valid, and does not speak for the user who is asked for."""


class OperatorOnly(Forbidden):
    """A user asks for what only whoever runs the server may decide, such as to serve what the gate held back."""


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


class RequestFailed(ServingError):
    """One request's own tokens, row or numbers cannot be computed with."""


class GrammarFailed(RequestFailed):
    """What an answer was held to left nothing that could come next."""


class RateLimited(QueueFull):
    """A user has sent more uploads, trainings and erasures than one may in a while."""


class EngineStopped(ServingError):
    """The engine is shutting down, or its thread has failed."""
