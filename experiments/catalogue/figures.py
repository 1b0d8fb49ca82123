"""What a bet shows, stated beforehand as data, so that it is under the bet's hash; how it is drawn is the report's.

``{user}`` in a text, a reader or a measurement stands for each user of a run, and so do the other names in braces for
what the figure lists.
"""

from dataclasses import dataclass

Names = tuple[tuple[str, str], ...]
"""Pairs of what something is called in the readings and what it is called in the figure."""


@dataclass(frozen=True)
class AgainstBase:
    """Every reader of every text as a multiple of the base's perplexity on it.

    Attributes:
        title: what it shows.
        ending: of the readers' names, if not all of them are shown.
    """

    title: str = "Against the base"
    ending: str = ""


@dataclass(frozen=True)
class Multiple:
    """A perplexity as a multiple of another reader's on the same windows.

    Attributes:
        label: what is compared.
        text: whose text is read.
        reader: who is compared.
        over: with whom.
        document: the source documents' measurements of the two.
    """

    label: str
    text: str
    reader: str
    over: str
    document: tuple[str, str] | None = None


@dataclass(frozen=True)
class Complement:
    """A measurement ``1 - a / b`` as the multiple ``a / b``, and the documents' of the same name."""

    label: str
    measurement: str


@dataclass(frozen=True)
class Multiples:
    """Rows of multiples on one axis, user by user.

    Attributes:
        title: what it shows.
        of: whose perplexity they are multiples of.
        rows: what is compared.
    """

    title: str
    of: str
    rows: tuple[Multiple | Complement, ...]


@dataclass(frozen=True)
class Sizes:
    """Adapters' sizes against perplexity, as a multiple of the base's.

    Attributes:
        title, caption: what it shows.
        text: whose text is read.
        reader: name of a method's adapter, from ``{method}`` and ``{user}``.
        methods: each is measured as ``adapter_bytes/{method}``.
    """

    title: str
    caption: str
    text: str
    reader: str
    methods: Names


@dataclass(frozen=True)
class Bars:
    """A bar for each form of each user.

    Attributes:
        title, caption: what it shows.
        measurement: from ``{user}`` and ``{form}``.
        forms: in their order.
        up: what is measured.
    """

    title: str
    caption: str
    measurement: str
    forms: Names
    up: str


@dataclass(frozen=True)
class Lines:
    """A line for each user over named places.

    Attributes:
        title, caption: what it shows.
        measurement: from ``{user}`` and ``{place}``.
        places: in their order.
        across: what they are.
        up: what is measured, as a share.
    """

    title: str
    caption: str
    measurement: str
    places: Names
    across: str
    up: str


@dataclass(frozen=True)
class Trace:
    """Token by token, the nats that readers save against the base, and their sums.

    Attributes:
        title, caption: what it shows.
        note: of the readings: log-probabilities by reader.
        readers: whose; the first one's are shown token by token, too.
    """

    title: str
    caption: str
    note: str
    readers: tuple[str, ...]


@dataclass(frozen=True)
class Matrix:
    """Whose adapter reads whose text: a heat map of ``ppl/{text}/{author}``.

    Attributes:
        title, caption: what it shows.
        controls: authors besides the users.
    """

    title: str
    caption: str
    controls: Names


Figure = AgainstBase | Multiples | Sizes | Bars | Lines | Trace | Matrix
