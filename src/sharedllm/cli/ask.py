"""`sharedllm ask`: one prompt, answered with the user's own adapter."""

import sys

import click

from sharedllm.cli.options import base_option, json_option, store_option
from sharedllm.cli.printing import print_json
from sharedllm.errors import InvalidInput
from sharedllm.printable import printable
from sharedllm.serving.request import DEFAULT_SAMPLING, Sampling
from sharedllm.users import check_user_id


@click.command()
@click.argument("user")
@click.argument("prompt")
@click.option("--compare", is_flag=True, help="Show the base's answer beside it.")
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
    base_name: str,
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
    from sharedllm.adapters.adapter import check_fits
    from sharedllm.adapters.formats.registry import DEFAULT_FORMAT
    from sharedllm.adapters.layouts import layout_of
    from sharedllm.base.conversations import Turn, chat_ids
    from sharedllm.base.fingerprint import fingerprint
    from sharedllm.base.resolve import resolve_base
    from sharedllm.cli.telling import load
    from sharedllm.operations.ask import generate
    from sharedllm.operations.route import Decision, route
    from sharedllm.store import open_store

    check_user_id(user)
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        raise InvalidInput(f"The prompt {prompt[:40]!a} is not valid Unicode text", remedy="Give it in UTF-8.")
    if base_only:
        decision = Decision("base", user, None, "The base answers, as asked.")
    else:
        with open_store(store) as opened_store:
            # Whoever has no release that may answer is told so before a base is fetched for them.
            route(opened_store, user, fallback=allow_base)
            identity = fingerprint(resolve_base(base_name))
            decision = route(opened_store, user, base=identity, fallback=allow_base)
    base = load(base_name)
    format, row = DEFAULT_FORMAT, None
    if decision.release is not None:
        format, row = decision.release.adapter.format, decision.release.adapter.values
        check_fits(decision.release.adapter, layout_of(base, format))
    chats = base.tokenizer.chat_template and not continuing
    ids = chat_ids(base, [Turn("user", prompt)]) if chats else base.encode(prompt)
    if not as_json:
        click.echo(printable(decision.reason), err=True)
    streams = sys.stdout.isatty() and not (compare or as_json)
    prompts = [(ids, row), (ids, None)] if compare else [(ids, row)]
    try:
        answer, *rest = generate(
            base,
            prompts,
            max_tokens=max_tokens,
            sampling=Sampling(temperature, top_p, min_p, seed),
            format=format,
            on_text=_write if streams else None,
        )
    finally:
        if streams:
            click.echo()
    if as_json:
        routed = {"kind": decision.kind, "reason": decision.reason}
        number = decision.release.number if decision.release else None
        print_json({"user": user, "route": routed | {"release": number}, "answer": answer} | _base_answer(rest))
    elif compare:
        shown = [printable(text, keep="\n\t") for text in (*rest, answer)]
        click.echo(f"base:\n{shown[0]}\n\n{printable(user)}:\n{shown[1]}")
    elif not streams:
        click.echo(printable(answer, keep="\n\t"))


def _write(_: int, text: str) -> None:
    """Write a piece of the only answer as it comes."""
    click.echo(printable(text, keep="\n\t"), nl=False)


def _base_answer(rest: list[str]) -> dict[str, str]:
    return {"base_answer": rest[0]} if rest else {}
