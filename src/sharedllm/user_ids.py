"""What may name a user."""

from sharedllm.errors import InvalidUserId

MAX_USER_ID_CHARACTERS = 1024


def check_user_id(user: str) -> str:
    """Return ``user`` unchanged if it can name a user.

    Any non-empty Unicode string of at most `MAX_USER_ID_CHARACTERS` is an id. Ids are compared code point by code
    point, never normalised, so that two people whose names look alike stay two people; and they are never paths.

    Raises:
        InvalidUserId: empty, too long, or holding a NUL or an unpaired surrogate, which no database stores.
    """
    if not user:
        raise InvalidUserId("A user id is empty", remedy="Give every user a name of at least one character.")
    if len(user) > MAX_USER_ID_CHARACTERS:
        raise InvalidUserId(
            f"The user id {user[:24]!r}… has {len(user):,} characters",
            remedy=f"Use at most {MAX_USER_ID_CHARACTERS:,}.",
        )
    if "\0" in user or any("\ud800" <= character <= "\udfff" for character in user):
        raise InvalidUserId(
            f"The user id {user!a} is not valid Unicode text",
            remedy="Remove NUL characters and unpaired surrogates.",
        )
    return user
