"""`sharedllm ask`: one prompt, answered with the user's own adapter."""

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from sharedllm.cli.options import base_option, json_option, store_option, weights_option
from sharedllm.cli.printing import print_json
from sharedllm.cli.telling import workplace
from sharedllm.printable import printable
from sharedllm.serving.request import DEFAULT_SAMPLING, Sampling
from sharedllm.user_ids import check_user_id

if TYPE_CHECKING:
    from sharedllm.base.loading import Weights
    from sharedllm.operations.route import Route


@click.command()
@click.argument("user")
@click.argument("prompt")
@click.option("--compare", is_flag=True, help="Show what the base, or its prior, answers beside it.")
@click.option("--base-only", is_flag=True, help="Answer with the base, whoever asks.")
@click.option("--allow-base", is_flag=True, help="Let the base answer if no release of USER's may; it says so.")
@click.option(
    "--continue", "continuing", is_flag=True, help="Continue PROMPT as text instead of answering it as a chat."
)
@click.option(
    "--temperature",
    type=click.FloatRange(0, 2),
    default=DEFAULT_SAMPLING.temperature,
    show_default=True,
    help="How freely tokens are drawn; 0 takes the likeliest, and is prone to loops.",
)
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1),
    default=DEFAULT_SAMPLING.top_p,
    show_default=True,
    help="Draw among the likeliest tokens whose probabilities add up to this.",
)
@click.option(
    "--min-p",
    type=click.FloatRange(0, 1),
    default=DEFAULT_SAMPLING.min_p,
    show_default=True,
    help="And among those that are at least this share as likely as the likeliest.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**53 - 1),
    default=DEFAULT_SAMPLING.seed,
    show_default=True,
    help="Another one draws another answer.",
)
@click.option(
    "--max-tokens", type=click.IntRange(1, 4096), default=128, show_default=True, help="How long the answer may get."
)
@base_option
@weights_option
@store_option
@json_option
def command(
    user: str,
    prompt: str,
    compare: bool,
    base_only: bool,
    allow_base: bool,
    continuing: bool,
    temperature: float,
    top_p: float,
    min_p: float,
    seed: int,
    max_tokens: int,
    base_name: str | None,
    weights: "Weights",
    store: str | None,
    as_json: bool,
) -> None:
    """Answer a prompt with a user's own adapter.

    PROMPT is put to the base with USER's served release on it. The answer goes to standard output; which release gave
    it, to the error stream. Tokens are drawn as the server draws them by default, and with the same seed, so the same
    question has the same answer.

    \b
      sharedllm ask alice "What should I write about next?" --compare
      sharedllm ask alice "What should I write about next?" --seed 1 --max-tokens 400
      sharedllm ask alice "It was late when" --continue --temperature 0.5
    """
    from sharedllm.operations.ask import ask
    from sharedllm.store import open_store

    check_user_id(user)
    streams = sys.stdout.isatty() and not (compare or as_json)
    answering = False

    def tell(decision: "Route") -> None:
        nonlocal answering
        answering = True
        if not as_json:
            click.echo(printable(decision.reason), err=True)

    try:
        with (
            nullcontext() if base_only else open_store(store) as opened,
            workplace(base_name, opened, weights) as place,
        ):
            answer = ask(
                place,
                opened,
                user,
                prompt,
                max_tokens=max_tokens,
                sampling=Sampling(temperature, top_p, min_p, seed),
                fallback=allow_base,
                continuing=continuing,
                compare=compare,
                on_route=tell,
                on_text=_write if streams else None,
            )
            alone = "prior" if place.has_prior else "base"
    finally:
        if streams and answering:
            click.echo()
    text = printable(answer.text, keep="\n\t")
    if as_json:
        decision = answer.decision
        number = decision.release.number if decision.release else None
        routed = {"kind": decision.kind, "reason": decision.reason, "release": number}
        base_answer = {"base_answer": answer.base_text} if compare else {}
        print_json({"user": user, "route": routed, "answer": answer.text} | base_answer)
    elif compare:
        base_text = printable(str(answer.base_text), keep="\n\t")
        click.echo(f"{alone}:\n{base_text}\n\n{printable(user)}:\n{text}")
    elif not streams:
        click.echo(text)


def _write(_: int, text: str) -> None:
    """Write a piece of the only answer as it comes."""
    click.echo(printable(text, keep="\n\t"), nl=False)
