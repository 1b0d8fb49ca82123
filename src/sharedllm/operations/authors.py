"""Who is to be trained on what, and what they wrote, cut into blocks and made tokens."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from sharedllm.base.conversations import learned_ids
from sharedllm.errors import InvalidInput, TextError
from sharedllm.operations.workplace import Workplace
from sharedllm.text.folds import tokenize_to_train
from sharedllm.text.passages import Learn, Passage, plain
from sharedllm.text.sources import Wrote, learned, read_sources, remembered
from sharedllm.text.splits import Split, split_passages
from sharedllm.text.windows import TokenizedText, tokenize

if TYPE_CHECKING:
    from sharedllm.base.tokens import Tokens
    from sharedllm.store.contract import Stay


@dataclass(frozen=True)
class Author:
    """Somebody who is to be trained.

    Attributes:
        user: the user id.
        read: reads what they wrote, as text or passages. It is called once, after their stay in the store has begun.
        sources: where it is read from, kept as provenance so that it can be read again for an evaluation.
        stay: the one in which their text began to arrive; None where nothing of it has been read.
        learn: what the passages are to teach: to write as they do, or to answer as they like to be answered.
    """

    user: str
    read: Callable[[], str | Sequence[Passage]] = field(repr=False)
    sources: Sequence[str] = ()
    stay: "Stay | None" = None
    learn: Learn = "writing"


def authors_of(given: Mapping[str, Wrote] | Iterable[Author]) -> list[Author]:
    """Who is meant by what each user wrote, or by authors as they are.

    Raises:
        InvalidInput: it is neither.
    """
    if isinstance(given, Mapping):
        return [_author(*each) for each in given.items()]
    # What is given instead may be what somebody wrote, and is not repeated.
    wrong: object = given
    if isinstance(given, Iterable) and not isinstance(given, str):
        authors = list(given)
        strangers = [each for each in authors if not isinstance(each, Author)]
        if not strangers:
            return authors
        wrong = strangers[0]
    raise InvalidInput(
        f"A value of type {type(wrong).__name__} does not say who is to be trained on what",
        remedy='Give {"alice": [Path("notes")]}, what each user wrote or a list of where it is, or a list of Author.',
    )


def _author(user: str, wrote: Wrote) -> Author:
    learn = learned(user, wrote)
    return Author(user, lambda: read_sources(user, wrote).passages, remembered(wrote), learn=learn)


def split_of(author: Author) -> Split | TextError:
    """The blocks of what an author wrote, which is read; or why it cannot be cut.

    Raises:
        TextError: or whatever else the reading raises.
    """
    passages = plain(wrote) if isinstance(wrote := author.read(), str) else wrote
    try:
        return split_passages(passages, user=author.user, learn=author.learn)
    except TextError as error:
        return error


def tokenized(workplace: Workplace, user: str, split: Split, window: int) -> TokenizedText:
    """A user's split, ready to train on: `tokenize_to_train` by the tokenizer and chat template of the base.

    Raises:
        TooLittleText, TextError: see `tokenize_to_train`.
        BaseError, UnknownName, DownloadError: see `Workplace.tokens`.
    """
    tokens = workplace.tokens
    return tokenize_to_train(user, split, tokens.encode, converse=partial(learned_ids, tokens), window=window)


def tokenized_blocks(tokens: "Tokens", user: str, split: Split, window: int = 256) -> TokenizedText:
    """A user's split, ready to measure on: `tokenize` by the tokenizer and chat template of a base.

    Raises:
        TooLittleText, TextError: see `tokenize`.
    """
    return tokenize(user, split, tokens.encode, converse=partial(learned_ids, tokens), window=window)
