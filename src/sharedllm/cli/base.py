"""`sharedllm base`: the shared models on this machine."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from sharedllm.base.resolve import DEFAULT_BASE
from sharedllm.cli.options import json_option
from sharedllm.cli.printing import in_words, print_json, print_table
from sharedllm.cli.telling import workplace
from sharedllm.cli.worker_options import check_executor, executor_of, worker_options
from sharedllm.errors import InvalidInput
from sharedllm.extras import need
from sharedllm.printable import printable

_NOISE = 1.0


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


@command.command()
@click.argument("base")
@click.option(
    "--people",
    "manifest",
    type=click.Path(path_type=Path),
    required=True,
    help='A file of lines like {"user": "alice", "files": ["notes/a.md"], "shared": true}.',
)
@click.option("--name", required=True, help="Of the new base, as --base takes it.")
@click.option("--rank", type=int, metavar="N", help="Components at each projection. [default: 16]")
@click.option("--steps", type=int, metavar="N", help="Steps to take. [default: 900]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order in which the texts are read.")
@click.option(
    "--private",
    is_flag=True,
    help="Bound what the prior gives away of anybody in it: differential privacy with a person as the unit. It takes"
    " twice the time, since the same is trained without noise to say what that costs.",
)
@click.option("--noise", type=float, metavar="X", help="Of --private, in bounds of a person's part. [default: 1.0]")
@worker_options("By default this process trains, here; on Ray one a GPU or a machine.")
@json_option
def adapt(
    base: str,
    manifest: Path,
    name: str,
    rank: int | None,
    steps: int | None,
    seed: int,
    private: bool,
    noise: float | None,
    executor_name: str,
    address: str | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Make a base with a prior: what many people have in common, folded into BASE.

    Whoever is new gets the prior at once, and their own adapter says only how they differ from it. Each line of the
    manifest must say "shared": true, that its person agreed to be in what everybody gets. Every tenth person is kept
    outside, to measure what the prior does for people who are not in it. No text is kept.

    \b
      sharedllm base adapt smollm2-135m --people people.jsonl --name ours
      sharedllm train alice notes/*.md --base ours

    With workers, each step's people are divided among them: the prior is the same up to rounding. Interrupt it as you
    like, or lose workers or the machine: the same command resumes.
    """
    check_executor(executor_name, address)

    from sharedllm.operations.adapt import adapt
    from sharedllm.training.prior import PriorRecipe

    if private:
        need("private")
        noise = _NOISE if noise is None else noise
    if bool(noise) is not private:
        raise InvalidInput(
            f"--noise {noise} {'is none to be private by' if private else 'needs --private'}",
            remedy="Give both, with noise above 0, or neither.",
        )
    default = PriorRecipe()
    recipe = PriorRecipe(
        rank=default.rank if rank is None else rank,
        steps=default.steps if steps is None else steps,
        seed=seed,
        noise=noise or 0.0,
    )
    with workplace(base, None) as place, ExitStack() as stack:
        gradient = None
        if workers is not None or executor_name == "ray":
            from sharedllm.cluster.prior_gradients import GradientJob, SharedOut

            job = GradientJob(place.name, place.fingerprint, recipe.rank)
            executor = stack.enter_context(executor_of(executor_name, job, address, workers))
            gradient = SharedOut(executor, recipe).gradient
        made = adapt(place, manifest, name, recipe, gradient=gradient)
    for user, why in made.left_out.items():
        click.echo(f"left out {printable(user)}: {why}", err=True)
    if as_json:
        print_json({**made.about, "folder": str(made.folder), "left_out": made.left_out})
        return
    figures = made.about["figures"]
    lines = {
        "name": name,
        "folder": str(made.folder),
        "people in it": f"{len(made.about['contributors']):,}",
        "people outside": _gain(figures["outside"]),
        "general text": _gain(figures["general"]),
    }
    if (privacy := made.about.get("privacy")) is not None:
        lines |= {
            "privacy": f"epsilon {privacy['epsilon']:.4g} at delta {privacy['delta']:.2g}, a person as the unit",
            "without noise": _gain(privacy["figures_without_noise"]["outside"]),
        }
    print_table(None, lines.items())


def _gain(figures: Mapping[str, Any] | None) -> str:
    """What a prior changes on some texts, in words."""
    if figures is None:
        return "not measured: the manifest has nobody to keep outside"
    change = f"perplexity {figures['base_perplexity']:.4g} to {figures['prior_perplexity']:.4g}"
    return change if figures["improvement"] is None else f"{in_words(figures['improvement'])}, {change}"


@command.command("list")
@json_option
def list_bases(as_json: bool) -> None:
    """List the built-in bases and whether they have been fetched, and those with a prior that was made here."""
    from sharedllm.base.resolve import built_in_bases, is_pulled
    from sharedllm.operations.priors import made_priors

    bases = [
        {
            "name": name,
            "pulled": is_pulled(name),
            "licence": built_in.licence,
            "package": ", ".join(map(str, built_in.packages)),
        }
        for name, built_in in built_in_bases().items()
    ]
    made = made_priors()
    if as_json:
        print_json([*bases, *({"name": name, **_summary(about)} for name, about in made.items())])
        return
    print_table(
        ("NAME", "FETCHED", "LICENCE", "TO FETCH", "FROM"),
        [
            (
                str(about["name"]),
                "yes" if about["pulled"] else "no",
                str(about["licence"]),
                f"{built_in.megabytes:g} MB",
                str(built_in.packages[0]) + (f" and {more} more" if (more := len(built_in.packages) - 1) else ""),
            )
            for about, built_in in zip(bases, built_in_bases().values(), strict=True)
        ],
    )
    if made:
        click.echo()
        print_table(
            ("MADE HERE", "FROM", "PEOPLE", "GAIN OUTSIDE", "GENERAL TEXT", ""),
            [(name, *_cells(about)) for name, about in made.items()],
        )


def _summary(about: Mapping[str, Any]) -> dict[str, Any]:
    if "damaged" in about:
        return dict(about)
    shown = {name: about.get(name) for name in ("base", "figures", "privacy")}
    return {**shown, "people": len(about["contributors"]), "to_be_rebuilt": bool(about.get("to_be_rebuilt"))}


def _cells(about: Mapping[str, Any]) -> tuple[str, ...]:
    if "damaged" in about:
        return "-", "-", "-", "-", str(about["damaged"])
    measured = about.get("figures") or {}
    gains = (in_words((measured.get(text) or {}).get("improvement")) for text in ("outside", "general"))
    state = "to be rebuilt: somebody in it was erased" if about.get("to_be_rebuilt") else ""
    return str(about.get("base")), f"{len(about['contributors']):,}", *gains, state


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
