"""Calls of tools: how a base is told of them, the grammar that its calls follow, and calls found in what it says.

A base is told and answers in Hermes' way, in text: ``<tool_call>`` and a JSON object in lines of their own. That is no
base's own format more than another's; the grammar sees to it that what calls look like is right.
"""

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sharedllm.serving.grammar import JSON_STYLE

BEGIN, END = "<tool_call>", "}\n</tool_call>"
MOST_CALLS = 16
"""In one answer."""
_HEAD = re.compile(r'\n\{"name": "([\w-]+)", "arguments": ')
_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
_INSTRUCTIONS = """# Tools

You may call one or more functions to assist with the user query. Their signatures are:
<tools>
{tools}
</tools>

For each function call, return a JSON object with the function's name and arguments within these tags:
<tool_call>
{{"name": <function name>, "arguments": <arguments object>}}
</tool_call>"""


def instructions(functions: Sequence[Mapping[str, Any]]) -> str:
    """What a base is told of the functions: ``name``, and ``description`` and ``parameters`` where there are any."""
    told = "\n".join(json.dumps({"type": "function", "function": each}, ensure_ascii=False) for each in functions)
    return _INSTRUCTIONS.format(tools=told)


def grammar(functions: Sequence[Mapping[str, Any]], *, required: bool, parallel: bool) -> str:
    """In llguidance's variant of Lark: text or calls, or where that is required calls alone."""
    calls = " | ".join(f"call_{number}" for number in range(len(functions)))
    lines = ["%llguidance {}"]
    more = f' ("\\n{BEGIN}" body){{0,{MOST_CALLS - 1}}}' if parallel else ""
    if required:
        lines.append(f'start: "{BEGIN}" body{more}')
    else:
        lines += [
            f"start: begun body{more} | text",
            "text: TEXT",
            r"TEXT: /(.|\n)*/",
            # It ends with the first of these, however much text could follow.
            f'begun[lazy]: TEXT "{BEGIN}"',
        ]
    lines += [f'body: "\\n{{\\"name\\": " ({calls}) {json.dumps(END)}']
    for number, function in enumerate(functions):
        schema = {**(function.get("parameters") or _NO_PARAMETERS), "x-guidance": JSON_STYLE}
        head = json.dumps(f'"{function["name"]}", "arguments": ')
        lines.append(f"call_{number}: {head} %json {json.dumps(schema)}")
    return "\n".join(lines) + "\n"


def spelled(name: str, arguments: str) -> str:
    """A call as a base would have written it."""
    return f'{BEGIN}\n{{"name": {json.dumps(name)}, "arguments": {arguments}{END}'


def answered(results: Sequence[str]) -> str:
    """What calls came to, as a base is told."""
    return "\n".join(f"<tool_response>\n{result}\n</tool_response>" for result in results)


@dataclass
class Call:
    """One call as it grows."""

    name: str
    arguments: str = ""
    id: str = field(default_factory=lambda: f"call_{secrets.token_hex(12)}")

    @property
    def told(self) -> dict[str, Any]:
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


class Listener:
    """Finds the calls in an answer as it comes; what may become part of one is held back.

    Attributes:
        calls: those that have begun.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._held = ""
        self._state = "text"

    def hear(self, text: str, *, last: bool = False) -> tuple[str, list[dict[str, Any]]]:
        """More of the answer; what it says, and what is to be told of its calls, as OpenAI's stream does.

        Args:
            text: what came.
            last: whether nothing comes after it.
        """
        self._held += text
        said = ""
        told: list[dict[str, Any]] = []
        while True:
            before = self._state, len(self._held)
            if self._state == "text":
                said += self._up_to(BEGIN, "head", last=last)
            elif self._state == "head":
                told += self._head()
            elif self._state == "arguments":
                told += self._arguments(self._up_to(END, "between", last=last))
            elif BEGIN in self._held:
                self._up_to(BEGIN, "head", last=last)
            if (self._state, len(self._held)) == before:
                return said, told

    def _up_to(self, mark: str, then: str, *, last: bool) -> str:
        """What comes before the mark, which is passed, or what cannot be part of it."""
        before, found, after = self._held.partition(mark)
        if found:
            self._held, self._state = after, then
            return before
        size = 0 if last else _overlap(self._held, mark)
        before, self._held = self._held[: len(self._held) - size], self._held[len(self._held) - size :]
        return before

    def _head(self) -> Iterator[dict[str, Any]]:
        found = _HEAD.match(self._held)
        if found:
            self._held, self._state = self._held[found.end() :], "arguments"
            self.calls.append(Call(found[1]))
            yield {"index": len(self.calls) - 1, **self.calls[-1].told}

    def _arguments(self, more: str) -> Iterator[dict[str, Any]]:
        if more:
            self.calls[-1].arguments += more
            yield {"index": len(self.calls) - 1, "function": {"arguments": more}}


def _overlap(text: str, mark: str) -> int:
    """Length of the longest end of the text that the mark begins with."""
    return next((size for size in range(min(len(text), len(mark) - 1), 0, -1) if mark.startswith(text[-size:])), 0)
