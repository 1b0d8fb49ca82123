"""The page that goes with an export: what it is, whose, how it is loaded, what was measured, and who may use it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharedllm import __version__
from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.base.loading import Base
from sharedllm.base.resolve import built_in_bases, hub_revision
from sharedllm.printable import printable

CARD = "README.md"
_APACHE = "https://www.apache.org/licenses/LICENSE-2.0"


@dataclass(frozen=True)
class Origin:
    """Which release an export is made of.

    Attributes:
        user: whose it is.
        release: its number.
        gate: what was found when it was judged.
    """

    user: str
    release: int
    gate: GateOutcome


@dataclass(frozen=True)
class ExportKind:
    """What one way of exporting writes.

    Attributes:
        title: what it is, as a sentence begins.
        library: what loads it, as model hubs spell it.
        loading: Python that loads it and answers, run where the files lie.
        notes: what else there is to know about loading it.
        holds_base: whether the base's weights are in it.
    """

    title: str
    library: str
    loading: str
    notes: str = ""
    holds_base: bool = True


def loading(loader: str, model: str, tokenizer: str) -> str:
    """Lines that load a model and its tokenizer and answer a prompt.

    Args:
        loader: the class that loads, as ``module.Class``.
        model: its arguments, as Python.
        tokenizer: the tokenizer's.
    """
    module, _, name = loader.rpartition(".")
    imports = sorted([f"from {module} import {name}", "from transformers import AutoTokenizer"])
    return "\n".join(
        [
            *(imports if module != "transformers" else [f"from transformers import {name}, AutoTokenizer"]),
            "",
            f"model = {name}.from_pretrained({model})",
            f"tokenizer = AutoTokenizer.from_pretrained({tokenizer})",
            'prompt = tokenizer("It was late when", return_tensors="pt").input_ids',
            "print(tokenizer.decode(model.generate(input_ids=prompt, max_new_tokens=40)[0]))",
        ]
    )


def write_card(path: Path, kind: ExportKind, base: Base, adapter: Adapter, origin: Origin | None) -> None:
    """Write the page of an export.

    Args:
        path: a file that does not exist yet.
        kind: what is exported.
        base: the adapter's base.
        adapter: what was exported.
        origin: whose it is; None where nobody said.

    Raises:
        OSError: it cannot be written.
    """
    path.write_text(_card(kind, base, adapter, origin), encoding="utf-8", newline="\n")


def base_licence(base: Base) -> str | None:
    """The licence of a base's weights, as far as the base itself says it."""
    if base.name in built_in_bases():
        return built_in_bases()[base.name].licence
    return _licence_of_gguf(Path(base.name)) if base.name.endswith(".gguf") else _licence_of_folder(base.folder)


def _card(kind: ExportKind, base: Base, adapter: Adapter, origin: Origin | None) -> str:
    whose = _code(origin.user) if origin else "one person"
    name = _code(base.name if base.name in built_in_bases() or _hub(base) else Path(base.name).resolve().name)
    release = f"release {origin.release} of it" if origin else "it"
    sections = [
        f"---\nlibrary_name: {kind.library}\nlicense: other\n---",
        f"# {kind.title}",
        f"An adapter of {adapter.values.size:,} numbers, made of text of {whose}, for the shared language model {name}."
        f" This is {release}, exported by SharedLLM {__version__} in a form that needs no SharedLLM.",
        f"## How to load it\n\nWhere these files lie, with {_tools(kind)} installed:\n\n```python\n{kind.loading}\n```",
        kind.notes,
        f"## Its base\n\n{name}, licence: {base_licence(base) or 'not stated with it; ask where it comes from'}."
        f" Fingerprint of weights, configuration and tokenizer: `{base.fingerprint}`. Over any other base the adapter"
        " means nothing.",
        _whereabouts(base) if not kind.holds_base else "",
        f"## What was measured\n\n{_measured(origin)}",
        f"## Licence\n\n{_licence(kind, base, whose)}",
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _tools(kind: ExportKind) -> str:
    return {"peft": "PEFT and transformers", "gguf": "transformers and gguf"}.get(kind.library, "transformers")


def _whereabouts(base: Base) -> str:
    if revision := _hub(base):
        return f"`adapter_config.json` names it with the revision that was used, {_code(revision)}."
    said = "`adapter_config.json` names the folder in which it lay on the machine that made this export. Elsewhere, "
    if base.name in built_in_bases():
        said += f"`sharedllm base pull {base.name}` makes the same folder, without training anything; "
    return f"{said}put the path of a copy there: no hub has this base under its name."


def _measured(origin: Origin | None) -> str:
    if origin is None:
        return "Nobody said."
    verdict = f"The gate's verdict, on text of theirs that was not trained on: {printable(origin.gate.reason)}."
    figures = origin.gate.figures
    if not {"own", "general"} <= figures.keys():
        return verdict
    return "\n".join(
        [
            verdict,
            "",
            "| perplexity of | base | with the adapter | lower by |",
            "|---|---|---|---|",
            _row("their own validation text", figures["own"], "improvement"),
            _row("general text", figures["general"], "change"),
        ]
    )


def _row(text: str, figures: dict[str, Any], difference: str) -> str:
    change = figures[difference]
    bounds = f"{change['estimate']:+.1%} ({change['low']:+.1%} to {change['high']:+.1%})"
    return f"| {text} | {figures['base']:.2f} | {figures['adapter']:.2f} | {bounds} |"


def _licence(kind: ExportKind, base: Base, whose: str) -> str:
    own = (
        f"The adapter was made of text of {whose} and is theirs. They have licensed it to nobody: ask them before you"
        " use it or hand it on."
    )
    if not kind.holds_base:
        return f"{own} The base is not part of this folder and keeps its own licence."
    licence = base_licence(base)
    where = f" ({_APACHE})" if licence and licence.lower() == "apache-2.0" else ""
    return (
        f"{own} All the other weights are the base's, and under its licence,"
        f" {licence or 'which it does not state'}{where}; those that the adapter acts on were changed."
    )


def _hub(base: Base) -> str | None:
    return hub_revision(base.name, base.folder)


def _licence_of_folder(folder: Path) -> str | None:
    """What the page of a model says in its head, as hubs have it."""
    try:
        head = (folder / CARD).read_text(encoding="utf-8", errors="replace")[:65_536]
    except OSError:
        return None
    front = re.match(r"---\n(.*?)\n---", head, re.DOTALL)
    found = front and re.search(r"^license:[ \t]*([\w.+-]+)[ \t]*$", front[1], re.MULTILINE)
    return found[1] if found else None


def _licence_of_gguf(path: Path) -> str | None:
    from gguf import GGUFReader

    try:
        field = GGUFReader(path).fields.get("general.license")
        return None if field is None else printable(str(field.contents()))
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _code(text: str) -> str:
    """Untrusted text as a code span, in which nothing is markup."""
    shown = printable(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    room = " " if "`" in shown else ""
    return f"{fence}{room}{shown}{room}{fence}"
