"""Adapters to and from other tools and machines."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from sharedllm.adapters.adapter import UNTESTED, GateOutcome
from sharedllm.errors import UnknownName
from sharedllm.operations.authors import tokenized_blocks
from sharedllm.operations.workplace import Workplace
from sharedllm.text.sources import Wrote, read_sources

if TYPE_CHECKING:
    from sharedllm.adapters.adapter import Adapter
    from sharedllm.store.contract import Release, Store

ExchangeKind = Literal["peft", "merged", "gguf", "adapter"]


def export(
    workplace: Workplace, store: "Store", user: str, kind: ExchangeKind, out: str | Path, *, number: int | None = None
) -> "Release":
    """Write a user's adapter for other tools; the release that was written.

    Args:
        workplace: where. For an adapter alone its base is not loaded.
        store: where releases are.
        user: whose.
        kind: PEFT's folder, a folder or a GGUF file with the whole model, or a file with the adapter alone; `import_`
            reads the first and the last.
        out: must not exist yet, or be an empty folder.
        number: of the release; by default the one that answers for them.

    Raises:
        UnknownName: nothing of the kind can be written.
        UnknownUser, NotServed, UnknownName, CorruptAdapter: there is no such release, or it is damaged.
        WrongBase: it was made for another base.
        InvalidInput: the place is taken, or cannot be written to.
        UnsupportedBase, AdapterError: the tool cannot express the base, or the adapter's format.
    """
    out = Path(out)
    if kind not in get_args(ExchangeKind):
        raise UnknownName(f"{kind!r} cannot be exported to", remedy=f"Use one of: {', '.join(get_args(ExchangeKind))}.")
    release, adapter = _taken_along(store, user, number)
    if kind == "adapter":
        from sharedllm.adapters.adapter_file import save_adapter

        save_adapter(adapter, out)
        return release
    from sharedllm.adapters.exchange.card import Origin

    origin = Origin(user, release.number, release.gate)
    layout, base = workplace.injection_of(adapter).layout, workplace.base
    match kind:
        case "peft":
            from sharedllm.adapters.exchange.peft import export_peft

            export_peft(base, layout, adapter, out, origin=origin)
        case "merged":
            from sharedllm.adapters.exchange.merged import export_merged

            export_merged(base, layout, adapter, out, origin=origin)
        case "gguf":
            from sharedllm.adapters.exchange.gguf import export_gguf, gguf_source

            export_gguf(gguf_source(base), base, layout, adapter, out, origin=origin)
    return release


def exported_bytes(store: "Store", user: str, *, number: int | None = None) -> bytes:
    """The file with the adapter alone that `export` writes.

    Raises:
        UnknownUser, NotServed, UnknownName, CorruptAdapter: as for `export`.
    """
    from sharedllm.adapters.adapter_file import adapter_bytes

    return adapter_bytes(_taken_along(store, user, number)[1])


def _taken_along(store: "Store", user: str, number: int | None) -> "tuple[Release, Adapter]":
    """A release, and its adapter as whoever gets it may have it."""
    release = store.served(user) if number is None else store.release(user, number)
    # Where a user's own files lie is no business of whoever gets the export.
    provenance = {name: value for name, value in release.adapter.provenance.items() if name != "sources"}
    return release, replace(release.adapter, provenance=provenance)


def import_(
    workplace: Workplace, store: "Store", user: str, path: str | Path, *, wrote: Wrote | None = None
) -> "Release":
    """Store an adapter from elsewhere as a new release, which answers if it passes the gate here.

    Args:
        workplace: where; its base is the adapter's.
        store: where the release goes.
        user: whose it is.
        path: a folder with a PEFT adapter, ``LN_TUNING`` or one of ours, or a file that `export` wrote.
        wrote: text of theirs to test it on, or where it is; of it the block is read that training validates on.
            Without, it is held back.

    Raises:
        InvalidUserId: the user cannot be named so.
        AdapterError: the file is damaged, or no such adapter.
        WrongBase: it was made for another base.
        TextError: the text is too little; or whatever else the reading of it raises.
        ErasedMeanwhile: the user was erased meanwhile.
        BaseError, DownloadError: see `load_base`.
    """
    # Before anything of theirs is read: who is erased after that is not to come back by this.
    stay = store.begin([user])[user]
    adapter = _read(workplace, Path(path))
    return store.publish(user, adapter, _judge(workplace, user, adapter, wrote), stay)


def _read(workplace: Workplace, path: Path) -> "Adapter":
    from sharedllm.adapters.adapter_file import as_imported, load_adapter
    from sharedllm.adapters.exchange.peft import import_peft, peft_format

    if path.is_dir():
        format = peft_format(workplace.base, path)
        return import_peft(workplace.base, workplace.injection(format).layout, path)
    adapter = load_adapter(path)
    return as_imported(adapter, workplace.injection_of(adapter).layout)


def _judge(workplace: Workplace, user: str, adapter: "Adapter", wrote: Wrote | None) -> GateOutcome:
    from sharedllm.evaluation.gate import Gate, mind_repeats

    if wrote is None:
        return GateOutcome(False, UNTESTED)
    own = tokenized_blocks(workplace.base.tokens, user, read_sources(user, wrote).split())
    general = workplace.general("validation", own.validation.shape[1])
    injection = workplace.injection_of(adapter)
    return mind_repeats(Gate().judge(workplace.base, injection, adapter, own.validation, general), own.repeats)
