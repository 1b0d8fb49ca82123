"""`sharedllm base`: the shared models on this machine."""

import click

from sharedllm.base.resolve import DEFAULT_BASE
from sharedllm.cli.options import json_option
from sharedllm.cli.printing import print_json, print_table


@click.group()
def command() -> None:
    """Fetch, list and inspect base models."""


@command.command()
@click.argument("name")
@json_option
def pull(name: str, as_json: bool) -> None:
    """Fetch base NAME into the cache, so that loading it later needs no network.

    NAME is a built-in name, a folder, a .gguf file or a hub id. What is there already is not fetched again. What trains
    or measures an adapter also reads general text, as the gate does, and fetches that once, 85 MB.
    """
    from sharedllm.base.fingerprint import fingerprint
    from sharedllm.base.resolve import resolve_base

    folder = resolve_base(name)
    about = {"name": name, "folder": str(folder), "fingerprint": fingerprint(folder)}
    print_json(about) if as_json else print_table(None, about.items())


@command.command("list")
@json_option
def list_bases(as_json: bool) -> None:
    """List the built-in bases, and whether they have been fetched."""
    from sharedllm.base.resolve import built_in_bases, is_pulled

    bases = [
        {"name": name, "pulled": is_pulled(name), "licence": built_in.licence, "package": str(built_in.package)}
        for name, built_in in built_in_bases().items()
    ]
    if as_json:
        print_json(bases)
        return
    print_table(
        ("NAME", "FETCHED", "LICENCE", "FROM"),
        [(str(b["name"]), "yes" if b["pulled"] else "no", str(b["licence"]), str(b["package"])) for b in bases],
    )


@command.command()
@click.argument("name", default=DEFAULT_BASE)
@json_option
def info(name: str, as_json: bool) -> None:
    """Show what base NAME is and how large each adapter format is on it."""
    from sharedllm.adapters.formats.registry import format_names
    from sharedllm.adapters.layouts import layout_of
    from sharedllm.base.loading import load_base
    from sharedllm.errors import FormatError, UnsupportedBase

    base = load_base(name)
    config = base.model.config.get_text_config()
    formats: dict[str, int | None] = {}
    for format in format_names():
        try:
            formats[format] = layout_of(base, format).size
        except (FormatError, UnsupportedBase):
            formats[format] = None
    about = {
        "name": name,
        "folder": str(base.folder),
        "fingerprint": base.fingerprint,
        "architecture": type(base.model).__name__,
        "parameters": sum(parameter.numel() for parameter in base.model.parameters()),
        "hidden_size": getattr(config, "hidden_size", None),
        "layers": getattr(config, "num_hidden_layers", None),
        "vocabulary": getattr(config, "vocab_size", None),
        "context": getattr(config, "max_position_embeddings", None),
        "computes_in": str(base.dtype).removeprefix("torch."),
        "device": str(base.device),
        "adapter_values": formats,
    }
    if as_json:
        print_json(about)
        return
    lines = {key: f"{value:,}" if isinstance(value, int) else str(value) for key, value in about.items()}
    for format, size in formats.items():
        lines[f"  {format}"] = "not on this base" if size is None else f"{size:,} values, {2 * size:,} bytes a user"
    del lines["adapter_values"]
    print_table(None, lines.items())
