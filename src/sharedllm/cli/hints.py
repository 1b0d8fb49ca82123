"""Commands that a text tells people to type, with the options by which they found what it is about."""

import re
import shlex
from typing import Any

import click
from click.core import ParameterSource

# Where one is quoted it is known how it ends. One that was typed long ago stays: "what `sharedllm fleet pack` made".
_NAMED = re.compile(r"(?<!that )(?<!what )`sharedllm ([^`]+)`|(?<!`)\bsharedllm ([a-z][a-z-]*(?: [a-z][a-z-]*)?)")


def noted(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """The callback of an option that says where something is: `as_given` repeats it if it was typed."""
    if parameter.name and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
        context.meta.setdefault(noted.__module__, {})[parameter.opts[0]] = value
    return value


def as_given(text: str) -> str:
    """The text with what was typed of such options put into the commands it names, where those take them.

    A password in an address is left out.
    """
    context = click.get_current_context()
    typed: dict[str, str] = context.meta.get(noted.__module__, {})
    if not typed:
        return text

    def completed(named: re.Match[str]) -> str:
        command: click.Command = context.find_root().command
        quoted, bare = named.groups()
        words, rest = ["sharedllm"], (quoted or bare).split(" ")
        while rest and isinstance(command, click.Group):
            found = command.get_command(context, rest[0])
            if found is None:
                return named[0]
            command = found
            words.append(rest.pop(0))
        takes = {name for parameter in command.params for name in parameter.opts}
        options = [f"{name} {shlex.quote(_shown(value))}" for name, value in typed.items() if name in takes]
        return f"`{' '.join(words + rest + options)}`" if quoted else " ".join(words + options + rest)

    return _NAMED.sub(completed, text)


def _shown(value: str) -> str:
    from sharedllm.store.address import store_name

    return store_name(value) if value.startswith("postgresql://") else value
