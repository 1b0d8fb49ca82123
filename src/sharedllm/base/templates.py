"""A base's chat template: the Jinja program that comes with its tokenizer and writes a conversation as one text.

It is somebody else's program, and runs where others wait: within bounds on its time and on how large a thing it makes.
What it may use is what transformers documents for templates.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache, wraps
from typing import Any

from sharedllm.errors import InvalidInput

_SECONDS = 2.0
_CHARACTERS = 2**24
_BITS = 1024
_WIDTH = re.compile(r"\d{5,}|\*")
"""A format that pads to a great width, or to one that is given with what it formats."""

Message = Mapping[str, str]
"""``role`` and ``content``."""


def template_of(tokenizer: Any) -> str | None:
    """The template for conversations without tools; None where the tokenizer has none."""
    if not tokenizer.chat_template:
        return None
    try:
        template: str = tokenizer.get_chat_template()
    except ValueError:
        return None
    return template


def rendered(tokenizer: Any, messages: Sequence[Message], *, asking: bool) -> str:
    """A conversation as the template writes it.

    Args:
        tokenizer: whose template it is.
        messages: what was said.
        asking: go on to where the assistant's next words begin.

    Raises:
        InvalidInput: there is no template, it refuses these messages, or it fails on them or takes too much for them.
    """
    template = template_of(tokenizer)
    if template is None:
        raise InvalidInput(
            "The base has no chat template", remedy="Ask for a completion instead, or use a base made for chat."
        )
    given = {"messages": list(messages), "tools": None, "documents": None, "add_generation_prompt": asking}
    pieces = []
    left = _CHARACTERS
    try:
        with _limited(_SECONDS):
            for piece in _compiled(template).generate(**tokenizer.special_tokens_map, **given):
                pieces.append(piece)
                left -= len(piece)
                if left < 0:
                    raise _TooMuch(f"it writes more than {_CHARACTERS:,} characters")
    except Exception as error:
        # It is a program, of which anything may fail.
        raise InvalidInput(
            f"The base's chat template refuses these messages: {str(error) or type(error).__name__}",
            remedy="Use the roles in the order it expects.",
        ) from None
    return "".join(pieces)


@lru_cache(maxsize=8)
def literals_of(template: str) -> str:
    """All that a template writes of its own, its pieces a line each; the template itself if it cannot be read."""
    from jinja2 import TemplateError, nodes

    try:
        parsed = _environment().parse(template)
    except (TemplateError, RecursionError):
        return template
    written = [node.data for node in parsed.find_all(nodes.TemplateData)]
    constants = [node.value for node in parsed.find_all(nodes.Const) if isinstance(node.value, str)]
    return "\n".join([*written, *constants])


class _TooMuch(Exception):
    """A template takes more than it may."""


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """End what a template does in the block once it has had so many seconds of this thread's processor time."""
    until = time.thread_time() + seconds

    def look(frame: Any, event: str, argument: Any) -> Any:
        if time.thread_time() > until:
            raise _TooMuch(f"it takes more than {seconds:g} seconds")
        return look if frame.f_code.co_filename == "<template>" else None

    before = sys.gettrace()
    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)


@lru_cache(maxsize=8)
def _compiled(template: str) -> Any:
    return _environment().from_string(template)


@lru_cache(maxsize=1)
def _environment() -> Any:
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Bounded(ImmutableSandboxedEnvironment):
        # Operators that can make something large in one step, in which nobody looks at the time.
        intercepted_binops = frozenset(["+", "*", "**", "%"])

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            _check_operands(operator, left, right)
            return super().call_binop(context, operator, left, right)

        def wrap_str_format(self, value: Any) -> Any:
            wrapped = super().wrap_str_format(value)
            if wrapped is not None and _WIDTH.search(value.__self__):
                raise _TooMuch("it pads something too far")
            return wrapped

        def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
            of = getattr(obj, "__self__", None)
            _check_call(getattr(obj, "__name__", ""), [of, *args, *kwargs.values()])
            return _checked(super().call(context, obj, *args, **kwargs))

    class Generation(Extension):
        """Marks what an assistant said, which only training asks about."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = Bounded(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation])
    environment.filters["tojson"] = tojson
    environment.filters = {name: _bounded(name, each) for name, each in environment.filters.items()}
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
    return environment


def _bounded(name: str, filter: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(filter)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        _check_call(name, [*args, *kwargs.values()])
        return _checked(filter(*args, **kwargs))

    return bounded


def _check_operands(operator: str, left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        if operator == "**" and left.bit_length() * abs(right) > _BITS:
            raise _TooMuch("its numbers are too large")
        if left.bit_length() + right.bit_length() > _BITS:
            raise _TooMuch("its numbers are too large")
    elif operator == "*":
        sizes = [len(each) if hasattr(each, "__len__") else each for each in (left, right)]
        if all(isinstance(size, int) for size in sizes) and sizes[0] * sizes[1] > _CHARACTERS:
            raise _TooMuch("it repeats something too often")
    elif operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
        if len(left) + len(right) > _CHARACTERS:
            raise _TooMuch("it makes something too long")
    elif operator == "%" and isinstance(left, str) and _WIDTH.search(left):
        raise _TooMuch("it pads something too far")


def _check_call(name: str, given: Sequence[Any]) -> None:
    """Refuse what makes something large of little: wide padding, long replacements."""
    if any(isinstance(each, int) and abs(each) > _CHARACTERS for each in given):
        raise _TooMuch(f"it gives {name or 'something'} too large a number")
    texts = [each for each in given if isinstance(each, str)]
    if name == "format" and texts and _WIDTH.search(texts[0]):
        raise _TooMuch("it pads something too far")
    if name == "replace" and len(texts) >= 3 and (texts[0].count(texts[1]) + 1) * len(texts[2]) > _CHARACTERS:
        raise _TooMuch("it replaces something by too much")


def _checked(made: Any) -> Any:
    if hasattr(made, "__len__") and len(made) > _CHARACTERS:
        raise _TooMuch("it makes something too long")
    return made
