"""What PostgreSQL's addresses and errors mean. A password is never shown."""

import sqlalchemy as sa

from sharedllm.errors import CorruptStore, DiskFull, InvalidInput, StoreBusy, StoreError, StoreUnreachable

# Nothing of these was done: another transaction was in the way, or the server is full, stopping or starting.
_PASSING_STATES = {"40001", "40P01", "53300", "57P01", "57P02", "57P03"}
# A server that refuses to connect says so in words only. It may say them in another language; then nobody waits.
_FULL = ("too many clients", "too many connections", "connection slots")
_PASSING_REFUSALS = (*_FULL, "starting up", "shutting down", "recovery mode", "not yet accepting")


def parsed(address: str) -> sa.URL:
    """A ``postgresql://`` address, for the driver that we use.

    Raises:
        InvalidInput: it cannot be read. The message does not quote it, since it may hold a password.
    """
    try:
        url = sa.make_url(address).set(drivername="postgresql+psycopg")
    except (sa.exc.ArgumentError, ValueError):
        url = None
    # A password with a bare @ would be cut there, and its end be taken for a host and shown.
    if url is None or "@" in (url.host or ""):
        raise InvalidInput(
            "The postgresql:// address cannot be read",
            remedy="Write it as postgresql://user:password@host:port/database, with %40 for an @ in the password.",
        )
    return url


def shown(url: sa.URL) -> str:
    """The address with its password hidden, and without options, of which one may be another password."""
    host = url.query.get("host")
    return url.set(drivername="postgresql", query={"host": host} if host else {}).render_as_string()


def passes(error: sa.exc.DBAPIError, answered: bool) -> bool:
    """Whether nothing was done, and trying again may help.

    Args:
        error: what came instead of an answer.
        answered: whether the server ever did, so that no answer at all means that it is away for a while.
    """
    if error.connection_invalidated or _state(error) in _PASSING_STATES:
        return True
    if not _refused(error):
        return False
    said = str(error.orig)
    return any(words in said for words in _PASSING_REFUSALS) or (answered and "FATAL:" not in said)


def typed(error: sa.exc.DBAPIError, shown: str) -> StoreError:
    """The error of ours that says what happened at the address ``shown``, and what to do."""
    said = " ".join(str(error.orig).split()).removeprefix("connection failed: ")
    state = _state(error) or ""
    if state == "53300" or (_refused(error) and any(words in said for words in _FULL)):
        return StoreBusy(
            f"{shown} takes no more connections: {said}", remedy="Close other clients, or raise its max_connections."
        )
    if _refused(error):
        return StoreUnreachable(f"{shown} cannot be opened: {said}", remedy=_way_in(said))
    if error.connection_invalidated or state.startswith(("57P", "08")):
        return StoreUnreachable(
            f"The connection to {shown} was lost, and nothing was changed: {said}",
            remedy="Try again once the server is up.",
        )
    match state[:2], state:
        case _, "53100":
            return DiskFull(f"The server of {shown} has no room left to write", remedy="Free some space there.")
        case ("40", _) | (_, "55P03"):
            return StoreBusy(
                f"Somebody else has been changing the same users in {shown} for too long",
                remedy="Try again when they have finished.",
            )
        case "XX", _:
            return CorruptStore(f"{shown} is damaged: {said}", remedy="Restore it from a backup.")
        case _, "25006":
            return StoreError(f"{shown} is read-only", remedy="Name the primary server, not a standby.")
        case _, "42501" | "3F000":
            return StoreError(
                f"{shown} does not allow that: {said}",
                remedy="Let the user of the address own the tables, and name a schema that they may use.",
            )
    return StoreError(f"{shown} cannot be used: {said}", remedy="Look into the server's log.")


def _way_in(said: str) -> str:
    if "password" in said:
        return "Check the user and the password in the address, or put the password into PGPASSWORD or ~/.pgpass."
    if "database" in said and "does not exist" in said:
        return "Make the database with createdb, or correct its name; the tables are made for you."
    if "role" in said and "does not exist" in said:
        return "Make the user with createuser, or correct the name."
    return "Check the host and the port, and that the server is running."


def _refused(error: sa.exc.DBAPIError) -> bool:
    # Only an attempt to connect fails without a state and without losing a connection.
    return isinstance(error, sa.exc.OperationalError) and _state(error) is None and not error.connection_invalidated


def _state(error: sa.exc.DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)
