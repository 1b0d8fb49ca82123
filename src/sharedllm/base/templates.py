"""A base's chat template: the Jinja program that comes with its tokenizer and writes a conversation as one text."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sharedllm.errors import InvalidInput

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
        InvalidInput: there is no template, or it refuses these messages.
    """
    if template_of(tokenizer) is None:
        raise InvalidInput(
            "The base has no chat template", remedy="Ask for a completion instead, or use a base made for chat."
        )
    try:
        text: str = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=asking)
    except Exception as error:
        # It is a program, of which anything may fail.
        raise InvalidInput(
            f"The base's chat template refuses these messages: {error or type(error).__name__}",
            remedy="Use the roles in the order it expects.",
        ) from None
    return text


@lru_cache(maxsize=8)
def literals_of(template: str) -> str:
    """All that a template writes of its own, its pieces a line each; the template itself if it cannot be read."""
    from jinja2 import Environment, TemplateError, nodes

    try:
        parsed = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(template)
    except TemplateError:
        return template
    written = [node.data for node in parsed.find_all(nodes.TemplateData)]
    constants = [node.value for node in parsed.find_all(nodes.Const) if isinstance(node.value, str)]
    return "\n".join([*written, *constants])
