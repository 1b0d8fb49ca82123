"""Write `api.md`, the reference of what `import sharedllm` gives, from signatures and docstrings: `make docs`."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sharedllm

REFERENCE = Path(__file__).with_name("api.md")
_PARTS = {
    "operations": "Jobs",
    "base": "The base",
    "store": "The store",
    "training": "Recipes",
    "evaluation": "Measuring",
    "adapters": "Adapters and formats",
    "serving": "Serving",
}
"""The headings, by the folder that a name is defined in."""

_INTRODUCTION = """\
# What `import sharedllm` gives

Written by `make docs` from signatures and docstrings. Arrays are NumPy's; `P` is how many values a
format has on a base."""

Definition = ast.ClassDef | ast.FunctionDef


def definitions() -> dict[str, tuple[str, Definition]]:
    """Every public function and class but the errors: the folder it is defined in, and its source."""
    found = {}
    for name in sharedllm.__all__:
        each = getattr(sharedllm, name)
        if inspect.isfunction(each) or (inspect.isclass(each) and not issubclass(each, sharedllm.SharedLLMError)):
            found[name] = each.__module__.split(".")[1], _definition(each)
    return found


def methods(name: str) -> list[ast.FunctionDef]:
    """Public methods and properties of a class, those that it inherits from ours included; of a function, none."""
    each = getattr(sharedllm, name)
    found: dict[str, ast.FunctionDef] = {}
    for kind in reversed(each.__mro__ if inspect.isclass(each) else ()):
        if kind.__module__.startswith("sharedllm"):
            parts = [part for part in _definition(kind).body if isinstance(part, ast.FunctionDef)]
            found |= {part.name: part for part in parts if not part.name.startswith("_")}
    return list(found.values())


def signature(each: Definition) -> str:
    """How it is called, as its source has it; what a property gives."""
    if isinstance(each, ast.ClassDef):
        if any("dataclass" in ast.unparse(decorator) for decorator in each.decorator_list):
            fields = [
                part for part in each.body if isinstance(part, ast.AnnAssign) and "init=False" not in ast.unparse(part)
            ]
            return f"{each.name}({', '.join(map(ast.unparse, fields))})"
        made = _init(each)
        return f"{each.name}({_arguments(made)})" if made else each.name
    gives = f"{ast.unparse(each.returns)}" if each.returns else ""
    if any("property" in ast.unparse(decorator) for decorator in each.decorator_list):
        return f"{each.name}: {gives}"
    return f"{each.name}({_arguments(each)}) -> {gives}"


def reference() -> str:
    """The whole page."""
    lines = [_INTRODUCTION]
    for folder, title in _PARTS.items():
        lines += ["", f"## {title}"]
        for name, (home, each) in definitions().items():
            if home == folder:
                lines += ["", f"### {name}", "", *_described(each)]
                for part in methods(name):
                    lines += ["", f"#### {name}.{part.name}", "", *_described(part)]
    tree = inspect.cleandoc(sharedllm.errors.__doc__ or "")
    return "\n".join([*lines, "", "## Errors", "", "```", tree, "```", ""])


def _definition(each: object) -> Definition:
    (found,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body  # type: ignore[arg-type]
    assert isinstance(found, Definition)
    home = vars(sys.modules[each.__module__])
    for part in ast.walk(found):
        if isinstance(part, ast.arguments):
            part.defaults = [_value(default, home) for default in part.defaults]
            part.kw_defaults = [default and _value(default, home) for default in part.kw_defaults]
        if isinstance(part, ast.AnnAssign) and part.value:
            part.value = _value(part.value, home)
        # Types in quotes are types.
        if isinstance(part, ast.arg | ast.AnnAssign) and isinstance(part.annotation, ast.Constant):
            part.annotation = ast.Name(str(part.annotation.value))
        if isinstance(part, ast.FunctionDef) and isinstance(part.returns, ast.Constant):
            part.returns = ast.Name(str(part.returns.value))
    return found


def _value(default: ast.expr, home: dict[str, Any]) -> ast.expr:
    """A default that is a constant of its module, as what it is."""
    known = home.get(default.id) if isinstance(default, ast.Name) else None
    return ast.Constant(known) if isinstance(known, str | int | float) else default


def _init(each: Definition) -> ast.FunctionDef | None:
    made = [part for part in each.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
    return made[0] if made else None


def _arguments(each: ast.FunctionDef) -> str:
    said = ast.unparse(each.args)
    return said.removeprefix("self").removeprefix(", ")


def _described(each: Definition) -> Iterator[str]:
    yield from (
        "```python",
        *textwrap.wrap(signature(each), 116, subsequent_indent="    ", break_on_hyphens=False),
        "```",
        "",
    )
    in_list = False
    documented = [ast.get_docstring(part) for part in (each, _init(each)) if part]
    for line in "\n\n".join(filter(None, documented)).splitlines():
        if line in ("Args:", "Attributes:", "Raises:", "Returns:", "Yields:"):
            in_list = True
            yield from (f"{line[:-1]}:", "")
        elif in_list and line.startswith("    "):
            name, colon, said = line.strip().partition(": ")
            begins = not line.startswith("     ")
            yield (f"- `{name}`: {said}" if colon else f"- {name}") if begins else f"  {line.strip()}"
        else:
            in_list = False
            yield line


if __name__ == "__main__":
    REFERENCE.write_text(reference(), encoding="utf-8")
