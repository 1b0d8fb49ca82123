"""The source of a function as data that stays the same while its meaning does."""

import ast
import inspect
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from sharedllm.errors import InvalidInput

_OURS = Path(__file__).resolve().parent.parent
_DATA = (bool, int, float, str, tuple, type(None))


def canonical_source(function: Callable[..., Any]) -> str:
    """The syntax tree of a function, of functions of this repository that it calls, and of constants that it reads.

    Names of modules and of others' functions stand for themselves. Formatting, comments, docstrings, annotations and
    the function's own name are left out.

    Raises:
        InvalidInput: it is no plain named function, closes over variables, or reads a global that is neither constant
            data nor code; the hash could not tell when its meaning changes.
    """
    found: dict[str, Any] = {}
    _collect(function, found)
    return json.dumps(list(found.values()))


def _collect(function: Callable[..., Any], found: dict[str, Any]) -> None:
    if not isinstance(function, FunctionType) or function.__name__ == "<lambda>" or function.__closure__:
        raise InvalidInput(
            f"{function!r} is not a plain function of a module", remedy="Define it with def at the top of the file."
        )
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    body = getattr(tree, "body", [])
    found[function.__name__] = _canonical(tree)
    names = dict.fromkeys(node.id for part in body for node in ast.walk(part) if isinstance(node, ast.Name))
    for name in names:
        if name in found or name not in function.__globals__:
            continue
        value = function.__globals__[name]
        if isinstance(value, _DATA):
            found[name] = repr(value)
        elif isinstance(value, FunctionType) and Path(value.__code__.co_filename).resolve().is_relative_to(_OURS):
            _collect(value, found)
        elif isinstance(value, ModuleType) or callable(value):
            found[name] = name
        else:
            raise InvalidInput(
                f"{function.__name__} reads {name}, which may change while the program runs",
                remedy="Use a number, a string or a tuple.",
            )


def _canonical(node: Any) -> Any:
    """Type and filled fields of a syntax tree; versions of Python add fields that are empty in older code."""
    if isinstance(node, list):
        return [_canonical(each) for each in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value is not None and value != []}
    if isinstance(node, ast.FunctionDef):
        fields = {"args": node.args, "body": _without_docstring(node.body)}
    if isinstance(node, ast.arg):
        fields = {"arg": node.arg}
    return [type(node).__name__, {name: _canonical(value) for name, value in sorted(fields.items())}]


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    is_text = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return body[1:] if is_text else body
