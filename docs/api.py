"""Write `api.md`, the reference of what `import sharedllm` gives, from signatures and docstrings: `make docs`."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import sharedllm

REFERENCE = Path(__file__).with_name("api.md")
_PARTS = {
    "operations": "Jobs",
    "base": "The base",
    "store": "The store",
    "training": "Training recipes",
    "evaluation": "Measuring",
    "adapters": "Adapters and formats",
    "serving": "Serving",
}
"""The headings, by the folder that a name is defined in."""

_NOTES = {
    "training": """\
What a `Recipe(...)` is not told it takes from the defaults below. They differ from what the recipe called `default`
says, which `train` uses where it is given none, and which is in [`RECIPES`](#recipes). Nor does a `Recipe(...)` take a
learning rate from its format, as `--format` makes the one called `default` do.""",
}
"""What is said of all of a part."""

_TYPES = {
    "adapters.injection": ("Injection",),
    "adapters.layouts": ("Layout",),
    "base.tokens": ("Tokens",),
    "compression.int8": ("Int8",),
    "evaluation.confusion": ("Margins",),
    "evaluation.cross_validation": ("CrossValidated",),
    "evaluation.intervals": ("Estimate", "Interval"),
    "evaluation.perplexity": ("Losses", "Windows"),
    "holder": ("Derived", "Holder", "Removed"),
    "operations.exchange": ("ExchangeKind",),
    "operations.route": ("Route",),
    "operations.workplace": ("Bar",),
    "operations.worth": ("Worth",),
    "serving.engine": ("Serving",),
    "serving.request": ("DEFAULT_SAMPLING", "Deliver", "Reason", "RequestEvent", "Scored"),
    "store.contract": (
        "Change",
        "ChangeKind",
        "Event",
        "EventKind",
        "Position",
        "ReleaseSummary",
        "Stay",
        "UserState",
        "UserSummary",
    ),
    "store.erasure": ("Account", "AuditHead", "Erased"),
    "store.evidence.receipts": ("Receipt",),
    "text.repeats": ("Repeats",),
    "text.sources": ("Wrote",),
    "text.windows": ("TokenizedFold", "TokenizedText"),
    "training.checkpoints": ("Checkpoints",),
    "training.recipes": ("BASELINES", "RECIPES", "Parameter", "Schedule"),
}
"""What signatures and docstrings name and the front door does not give, by the module that it is imported from."""

_INTRODUCTION = """\
# What `import sharedllm` gives

Written by `make docs` from signatures and docstrings. Arrays are NumPy's; `P` is how many values a
format has on a base."""

_ABOUT_TYPES = """\
What the parts above take, give or name. They are imported from their modules, which may move from version to version;
of their methods the sources tell."""

Definition = ast.ClassDef | ast.FunctionDef


def definitions() -> dict[str, tuple[str, Definition]]:
    """Every public function and class but the errors: the folder it is defined in, and its source."""
    found = {}
    for name in sharedllm.__all__:
        each = getattr(sharedllm, name)
        if inspect.isfunction(each) or (inspect.isclass(each) and not issubclass(each, sharedllm.SharedLLMError)):
            found[name] = each.__module__.split(".")[1], _with_made(_definition(each), each)
    return found


def _with_made(definition: Definition, each: Any) -> Definition:
    """A class with how it is made, where it inherits that from one of ours."""
    if isinstance(definition, ast.ClassDef) and not _init(definition):
        bases = [_definition(kind) for kind in each.__mro__[1:] if kind.__module__.startswith("sharedllm")]
        definition.body += [made for base in bases if (made := _init(base))][:1]
    return definition


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
    found = definitions()
    lines = [_INTRODUCTION, "", *_index()]
    for folder, title in _PARTS.items():
        lines += ["", f"## {title}", *(["", _NOTES[folder]] if folder in _NOTES else [])]
        for name in _names(folder):
            lines += ["", f"### {name}", "", *_described(found[name][1])]
            for part in methods(name):
                lines += ["", f"#### {name}.{part.name}", "", *_described(part)]
    lines += ["", "## Types", "", _ABOUT_TYPES]
    for home, name in _types():
        module = import_module(f"sharedllm.{home}")
        kind = getattr(module, name)
        said = _described(_definition(kind)) if inspect.isclass(kind) else _assigned(module, name)
        lines += ["", f"### {name}", "", f"In `sharedllm.{home}`.", "", *said]
    tree = inspect.cleandoc(sharedllm.errors.__doc__ or "")
    return "\n".join([*lines, "", "## Errors", "", "```", tree, "```", ""])


def _names(folder: str) -> list[str]:
    """What has its place in a folder, functions first."""
    names = [name for name, (home, _) in definitions().items() if home == folder]
    return sorted(names, key=lambda name: inspect.isclass(getattr(sharedllm, name)))


def _types() -> list[tuple[str, str]]:
    """Modules and the types that are imported from them, by name."""
    pairs = [(home, name) for home, names in _TYPES.items() for name in names]
    return sorted(pairs, key=lambda pair: pair[1].lower())


def _index() -> list[str]:
    """Every name with a link to where it is described, a paragraph for each part."""
    parts = [(title, _names(folder)) for folder, title in _PARTS.items()]
    lines = [f"- {title}: {', '.join(f'[`{name}`](#{name.lower()})' for name in names)}" for title, names in parts]
    described = definitions()
    kinds = [name for name in sharedllm.__all__ if name not in described and name != "__version__"]
    types = ", ".join(f"[`{name}`](#{name.lower()})" for _, name in _types())
    return [
        *lines,
        f"- Types that these take and give: {types}",
        f"- Errors, all drawn [as one tree](#errors): {', '.join(f'`{name}`' for name in kinds)}",
        "- `__version__`, the package's version as a string",
    ]


def _assigned(module: ModuleType, name: str) -> Iterator[str]:
    """A name for a type or a constant, as its source has it, and what is said below it."""
    source = inspect.getsource(module)
    body = ast.parse(source).body
    for part, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) == name:
            yield from ("```python", ast.get_source_segment(source, part) or "", "```")
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                yield from ("", inspect.cleandoc(str(after.value.value)))


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
