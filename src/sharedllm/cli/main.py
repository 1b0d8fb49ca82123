"""The `sharedllm` command: one lazily imported file per subcommand."""

import importlib
import sys
from typing import NoReturn

import click

from sharedllm import __version__
from sharedllm.base.threads import share_cores
from sharedllm.cli.checkout import checkout
from sharedllm.cli.hints import as_given
from sharedllm.errors import SharedLLMError
from sharedllm.printable import printable

# Found in the checkout around the current folder, and imported by this name alone: no part of the package.
EXPERIMENTS = "experiments.cli"

# Command name -> (module under sharedllm.cli, one line for --help). The line is repeated here, and tested against the
# command's own, so that --help need not import a single subcommand.
COMMANDS = {
    "base": ("base", "Fetch, list and inspect base models."),
    "train": ("train", "Train adapters from users' text, gate them and store them."),
    "text": ("text", "Look at people's text before anything is trained on it."),
    "fleet": ("fleet", "Train thousands of users at once, and reckon what that takes."),
    "evaluate": ("evaluate", "Measure a user's adapter on text it never saw."),
    "ask": ("ask", "Answer a prompt with a user's own adapter."),
    "try": ("try_", "Open the page at USER's own place, on this machine."),
    "serve": ("serve", "Serve everybody's own model through the API that OpenAI's clients speak."),
    "users": ("users", "List users and manage their releases."),
    "keys": ("keys", "Create, list and revoke API keys."),
    "store": ("store", "Encrypt what the store holds, and change the key that opens it."),
    "receipts": ("receipts", "Check what was signed when somebody was erased."),
    "audit": ("audit", "Read and verify the log of what happened in an encrypted store."),
    "compress": ("compress", "Quantise a user's adapter to int8, if it survives that."),
    "export": ("export", "Write a user's adapter for other tools: PEFT, merged, GGUF."),
    "import": ("import_", "Store an adapter that another tool or machine wrote."),
    "formats": ("formats", "List the adapter formats, ours and those of installed packages."),
    "cache": ("cache", "Show and remove what can be fetched or made again."),
    "bets": (EXPERIMENTS, "Run, read and report the pre-registered experiments of a checkout."),
    "demo": ("demo", "Train, prove and compare three sample users, from nothing."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are run, never to list them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        if module == EXPERIMENTS:
            sys.path.insert(0, str(checkout()))
        else:
            module = f"sharedllm.cli.{module}"
        command = importlib.import_module(module).command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except SharedLLMError as error:
            error.remedy = as_given(error.remedy)
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sharedllm")
def sharedllm() -> None:
    """One shared language model, one tiny adapter per user.

    Begin with `sharedllm demo`, or with your own text: `sharedllm train alice notes/*.md`, then
    `sharedllm ask alice "…"`.
    """


def main() -> NoReturn:
    """Run the command line. Errors of ours print one line and exit with status 2, an interrupt with 130."""
    share_cores()
    try:
        sharedllm(standalone_mode=False)
    except SharedLLMError as error:
        click.echo("error: " + printable(str(error), keep="\n"), err=True)
        sys.exit(2)
    except click.exceptions.Exit as request:
        sys.exit(request.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted: nothing is half-written, and the same command goes on from here", err=True)
        sys.exit(130)
    sys.exit(0)
