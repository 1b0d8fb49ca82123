"""Personal details in a text, whosever they are: where they stand, and the text with them masked.

Telephone numbers are told by phonenumbers, Google's rules of how every country's numbers are made; bank accounts and
cards by python-stdnum, which checks their check digits; keys by the patterns of detect-secrets. Its recognisers that go
by how random a word looks are left out: of the sample users' words they take hundreds for secrets. Mail
addresses, and what somebody says their password is, are told by patterns here. Presidio, which bundles such
recognisers, cannot be had without spaCy.

Nothing finds all: a number without its country's code is looked for as `_REGIONS` write it, a password as it is given
after the word for it. Names and addresses of houses are not looked for.

A number without its country's code costs a question to each region. What else might be one is asked about once, and of
one person's text no more than `MOST_ASKED` are: of further ones whatever has the shape of a number is taken for one.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from typing import Any, Literal

from sharedllm.extras import need

MOST_ASKED = 2_000
"""Different candidates for a telephone number in one person's text about which the countries' rules are asked."""

DetailKind = Literal["mail address", "telephone number", "card number", "bank account", "key or password"]


@dataclass(frozen=True)
class Detail:
    """A personal detail in a text.

    Attributes:
        kind: what it is.
        begin: its first character.
        end: the character after its last.
    """

    kind: DetailKind
    begin: int
    end: int


class Telephones:
    """What might be a telephone number in one person's text, and whether it is: each is asked about once.

    Texts of one person share it, so that their time is bounded together and what was counted is what is masked.
    """

    def __init__(self) -> None:
        self._answers: dict[str, bool] = {}
        self._unasked: set[int] = set()

    @property
    def unasked(self) -> int:
        """How many different candidates came after `MOST_ASKED` others, and were taken for numbers unasked."""
        return len(self._unasked)

    def holds(self, candidate: str) -> bool:
        """Whether there is a number in what has the shape of one; yes where `MOST_ASKED` others were asked about."""
        if candidate not in self._answers:
            if len(self._answers) >= MOST_ASKED:
                self._unasked.add(hash(candidate))
                return True
            self._answers[candidate] = _is_telephone_number(candidate)
        return self._answers[candidate]


def find_details(text: str, telephones: Telephones | None = None) -> list[Detail]:
    """The personal details of a text in their order, none within another.

    Args:
        text: to look through.
        telephones: shared by what belongs together; by default of this text alone.

    Raises:
        MissingExtra: the packages of ``[text]`` are not installed.
    """
    _ready()
    kinds: dict[DetailKind, Callable[[str], Iterable[tuple[int, int]]]] = {
        "key or password": _keys,
        "mail address": _mail_addresses,
        "bank account": _bank_accounts,
        "card number": _cards,
        "telephone number": partial(_telephone_numbers, telephones=telephones or Telephones()),
    }
    # What is said first of two that overlap is the surer.
    free = bytearray(len(text))
    found: list[Detail] = []
    for kind, find in kinds.items():
        for begin, end in find(text):
            if not any(free[begin:end]):
                free[begin:end] = b"\1" * (end - begin)
                found.append(Detail(kind, begin, end))
    return sorted(found, key=lambda each: each.begin)


@cache
def _ready() -> None:
    # Asked once: there are as many texts as messages.
    need("text")


def count_details(texts: Iterable[str], telephones: Telephones | None = None) -> dict[DetailKind, int]:
    """How many different details of each kind the texts hold, the most first.

    Args:
        texts: of one person.
        telephones: of that person; tells afterwards how many were not asked about.

    Raises:
        MissingExtra: the packages of ``[text]`` are not installed.
    """
    telephones, met = telephones or Telephones(), _Met()
    for text in texts:
        met.add(text, find_details(text, telephones))
    return met.counts


def mask_details(text: str) -> str:
    """The text with every personal detail masked so that it still reads as what it was, and says nothing of whose.

    Mail addresses become `name@example.org`, which nobody has; digits of numbers become 0, so that their length and
    spelling stay; of bank accounts the country stays too; keys and passwords become eight asterisks. Equal texts give
    equal ones, and what is masked has nothing left to mask.

    Raises:
        MissingExtra: the packages of ``[text]`` are not installed.
    """
    (masked,), _ = mask_all([text])
    return masked


def mask_all(texts: Iterable[str], telephones: Telephones | None = None) -> tuple[list[str], dict[DetailKind, int]]:
    """The texts of one person, each as `mask_details` masks it, and what `count_details` says of them.

    Args: as for `count_details`.

    Raises:
        MissingExtra: the packages of ``[text]`` are not installed.
    """
    telephones, met = telephones or Telephones(), _Met()
    masked: list[str] = []
    for text in texts:
        details = find_details(text, telephones)
        met.add(text, details)
        masked.append(_masked(text, details))
    return masked, met.counts


class _Met:
    """Different details by kind. Of what they are, nothing is kept but whether it was there before."""

    def __init__(self) -> None:
        self._hashes: dict[DetailKind, set[int]] = {}

    def add(self, text: str, details: Iterable[Detail]) -> None:
        for detail in details:
            self._hashes.setdefault(detail.kind, set()).add(hash(_spelled(text[detail.begin : detail.end])))

    @property
    def counts(self) -> dict[DetailKind, int]:
        """How many of each kind, the most first."""
        return {kind: len(each) for kind, each in sorted(self._hashes.items(), key=lambda each: -len(each[1]))}


def _masked(text: str, details: Iterable[Detail]) -> str:
    parts: list[str] = []
    end = 0
    for detail in details:
        parts += text[end : detail.begin], _MASKS[detail.kind](text[detail.begin : detail.end])
        end = detail.end
    return "".join([*parts, text[end:]])


_NOBODYS = "name@example.org"
_HIDDEN = "*" * 8
_DIGIT = re.compile(r"\d")


def _zeros(number: str) -> str:
    return _DIGIT.sub("0", number)


_MASKS: dict[DetailKind, Callable[[str], str]] = {
    "mail address": lambda _: _NOBODYS,
    "telephone number": _zeros,
    "card number": _zeros,
    "bank account": lambda account: account[:2] + re.sub(r"[^\W\d_]", "X", _zeros(account[2:])),
    "key or password": lambda _: _HIDDEN,
}


def _spelled(detail: str) -> str:
    """A detail however it is spaced."""
    return re.sub(r"[\s().\-–/]", "", detail).casefold()


_MAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w@])")
_RESERVED = re.compile(r"[@.]example\.(?:org|com|net)$|\.(?:example|invalid|test)$", re.IGNORECASE)


def _mail_addresses(text: str) -> Iterator[tuple[int, int]]:
    for found in _MAIL.finditer(text):
        if not _RESERVED.search(found[0]):
            yield found.span()


# Groups of letters and digits with at most one space between them, as printed on paper, or none.
_IBAN = re.compile(r"(?<![^\W_])[A-Z]{2}\d{2}(?: ?[A-Z\d]{1,4}){3,8}(?![^\W_])")


def _bank_accounts(text: str) -> Iterator[tuple[int, int]]:
    from stdnum import iban

    for found in _IBAN.finditer(text):
        # Words in capitals after it look like groups of it.
        ends = [found.end(), *(space.start() + found.start() for space in reversed(list(re.finditer(" ", found[0]))))]
        for end in ends:
            account = text[found.start() : end]
            # A bank that a country's list does not know yet is a bank all the same: the check digits tell.
            if iban.is_valid(account, check_country=False) and re.search("[1-9]", account[4:]):
                yield found.start(), end
                break


_CARD = re.compile(r"(?<![\w.])\d(?:[ \u00a0-]?\d){12,18}(?![\w])")
_CARD_LENGTHS: dict[str, tuple[int, ...]] = {
    "4": (13, 16, 19),
    **dict.fromkeys(("34", "37"), (15,)),
    **dict.fromkeys(("30", "36", "38"), (14,)),
    **{str(first): (16,) for first in (*range(51, 56), *range(22, 28), 35, 60, 62, 64, 65)},
}


def _cards(text: str) -> Iterator[tuple[int, int]]:
    from stdnum import luhn

    for found in _CARD.finditer(text):
        digits = re.sub(r"\D", "", found[0])
        issued = any(digits.startswith(first) and len(digits) in lengths for first, lengths in _CARD_LENGTHS.items())
        if issued and luhn.is_valid(digits):
            yield found.span()


_REGIONS = (
    "US", "GB", "DE", "FR", "ES", "IT", "NL", "BE", "AT", "CH", "PL", "CZ", "SE", "NO", "DK", "FI", "PT", "BR", "MX",
    "AR", "RU", "UA", "TR", "IN", "ID", "JP", "KR", "CN", "AU", "ZA", "IE", "GR", "IL", "EG",
)  # fmt: skip
# Of 7 digits to 15, as many as the longest has (ITU-T E.164), and the two that are dialled for a plus.
_BETWEEN = r"[ \u00a0\u2009\u202f().\-–/]{0,2}"
_NUMBER = re.compile(rf"(?<![\w.,:/])[+(]?(?:00{_BETWEEN})?\d(?:{_BETWEEN}\d){{6,14}}(?!\w)")
_MASKED = re.compile(r"\D*(?:0\D*)+")
# Of a library's tables a thousand numbers are somebody's: one without spaces begins with + or 0, and none is a date or
# a fraction.
_OF_TABLES = re.compile(r"[1-9]\d+$|\d+\.\d+$|(?:19|20)\d\d[01]\d[0-3]\d|.*\.\d{5}")


def _telephone_numbers(text: str, telephones: Telephones) -> Iterator[tuple[int, int]]:
    for found in _NUMBER.finditer(text):
        # Nothing but zeros is a number that was masked.
        if not _OF_TABLES.match(found[0]) and not _MASKED.fullmatch(found[0]) and telephones.holds(found[0]):
            yield found.span()


def _is_telephone_number(candidate: str) -> bool:
    from phonenumbers import Leniency, PhoneNumberMatcher

    regions: tuple[str | None, ...] = (None,) if candidate.startswith("+") else _REGIONS
    # Grouped as the country groups it, or not at all: otherwise ranges of years are numbers in Denmark.
    return any(any(PhoneNumberMatcher(candidate, each, leniency=Leniency.EXACT_GROUPING)) for each in regions)


_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----[\s\w+/=.,:-]{0,16384}?-----END [A-Z ]{0,32}-----")
_IN_ADDRESS = re.compile(r"://[^\s/:@]{1,64}:(?!\*+@)([^\s/@]{1,128})@")
# Vendors begin their keys with a word, so that such recognisers find them.
_PREFIXED = re.compile(r"(?<![\w-])(?:sk|pk|rk|hf|gh[opsu]|glpat|sllm|npm|xox[abps]|AIza)[-_]?[\w-]{20,200}")
_GIVEN = re.compile(
    r"(?<![^\W_])(?:passw(?:or)?d|passwort|kennwort|passphrase|pwd|pw|mot de passe|mdp|contraseña|senha|wachtwoord"
    r"|hasło|парол[ья]|密码|パスワード|pin|api[ _-]?key|secret|token)['\"]?"
    r"(?:\s{0,3}[:=：]\s{0,3}| (?:is|ist|est|es|é|is now|lautet) )['\"“„]?([^\s'\"“”„<>()\[\]{}$,;]{4,64})",
    re.IGNORECASE,
)


def _keys(text: str) -> Iterator[tuple[int, int]]:
    for found in _PRIVATE_KEY.finditer(text):
        yield found.span()
    for found in _IN_ADDRESS.finditer(text):
        yield found.span(1)
    for pattern in _vendors():
        for found in pattern.finditer(text):
            yield found.span()
    for found in _PREFIXED.finditer(text):
        if re.search(r"\d", found[0]) and re.search("[A-Z]", found[0]):
            yield found.span()
    for found in _GIVEN.finditer(text):
        # A word is what somebody says of a password; a password has more in it than letters.
        given = found[1].rstrip(".!?:…")
        if re.search(r"\d", given) and re.search(r"\D|^\d{4,8}$", given) and "." not in given:
            yield found.start(1), found.start(1) + len(given)


_BY_VENDOR = (
    "aws", "azure_storage_key", "discord", "github_token", "gitlab_token", "jwt", "mailchimp", "npm",
    "pypi_token", "sendgrid", "slack", "square_oauth", "stripe", "telegram_token", "twilio",
)  # fmt: skip


_LONGEST_PART = 2_000
"""Characters of a key of which a pattern says only that they are many: without a bound time grows as their square."""

_PATTERN_PARTS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
"""A pattern's: what is escaped, classes of characters, and single signs."""


def _bounded(pattern: re.Pattern[str]) -> re.Pattern[str]:
    """A pattern that repeats nothing without an end."""
    ends = {"*": f"{{0,{_LONGEST_PART}}}", "+": f"{{1,{_LONGEST_PART}}}"}
    return re.compile(
        "".join(ends.get(token, token) for token in _PATTERN_PARTS.findall(pattern.pattern)), pattern.flags
    )


@cache
def _vendors() -> tuple[re.Pattern[str], ...]:
    """The patterns of detect-secrets that know a key by how its vendor writes it."""
    from importlib import import_module

    from detect_secrets.plugins.base import RegexBasedDetector

    modules = [import_module(f"detect_secrets.plugins.{name}") for name in _BY_VENDOR]
    classes = chain.from_iterable(vars(module).values() for module in modules)
    known: list[Any] = [each for each in classes if isinstance(each, type) and issubclass(each, RegexBasedDetector)]
    return tuple(_bounded(pattern) for each in known if each is not RegexBasedDetector for pattern in each.denylist)
