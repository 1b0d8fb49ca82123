"""`sharedllm fleet pack`, `verify` and `forget`: the whole fleet in files that a serving node holds in memory."""

import sys
from dataclasses import asdict
from pathlib import Path

import click

from sharedllm.cli.options import base_option, format_option, json_option, store_option
from sharedllm.cli.printing import print_json
from sharedllm.printable import printable

_FOLDER = click.argument("folder", type=click.Path(path_type=Path))
_KEY = click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path),
    help="File of the private key that signs. By default one in your own data folder.",
)


@click.command()
@_FOLDER
@_KEY
@format_option("Of the adapters that are packed.")
@base_option
@store_option
@json_option
def pack(
    folder: Path, key_file: Path | None, format: str, base_name: str | None, store: str | None, as_json: bool
) -> None:
    """Write every adapter of a base that is served into the new FOLDER, signed, for serving nodes to map into memory.

    The key is made the first time, and its public half beside it; give that to the nodes. The store may change
    meanwhile and afterwards: nodes follow its log. Damaged releases are listed and left out, and the command then exits
    with status 2. Adapters lie in FOLDER unencrypted, whatever they are in the store.

    \b
      sharedllm fleet pack monday/
      sharedllm serve --packed monday/ --packed-key snapshots.key.pub
    """
    from sharedllm.base.fingerprint import fingerprint
    from sharedllm.base.resolve import resolve_base
    from sharedllm.operations.default_base import default_base
    from sharedllm.store import open_store
    from sharedllm.store.evidence.signing import make_key, public_half, read_private, snapshot_key_file
    from sharedllm.store.snapshots import pack

    path = key_file or snapshot_key_file()
    if not path.exists():
        make_key(path)
        click.echo(f"made the signing key {path}, and {public_half(path)} for those who check it", err=True)
    key = read_private(path)
    with open_store(store) as opened:
        base = fingerprint(resolve_base(base_name or default_base(opened)))
        report = pack(opened, folder, key, base=base, format=format)
    if as_json:
        damaged = [str(error) for error in report.damaged]
        print_json({"users": report.users, "bytes": report.bytes, "others": report.others, "damaged": damaged})
    else:
        for error in report.damaged:
            click.echo(f"left out: {printable(str(error))}")
        if report.others:
            click.echo(f"left out: {report.others:,} adapters of other bases or formats")
        click.echo(f"{report.users:,} adapters are in {printable(str(folder))}, {report.bytes / 1e6:,.1f} MB")
    if report.damaged:
        sys.exit(2)


@click.command()
@_FOLDER
@_KEY
@store_option
@json_option
def forget(folder: Path, key_file: Path | None, store: str | None, as_json: bool) -> None:
    """Remove everybody from the packed FOLDER who was erased from its store since, and sign it again.

    Nodes stopped serving them when they were erased. Run it wherever there is a copy of the folder that you keep.
    """
    from sharedllm.store import open_store
    from sharedllm.store.evidence.signing import read_private, snapshot_key_file
    from sharedllm.store.snapshots import forget_erased

    key = read_private(key_file or snapshot_key_file())
    with open_store(store) as opened:
        removed = forget_erased(opened, folder, key)
    if as_json:
        print_json({"removed": removed})
    else:
        click.echo(f"{removed:,} erased users are removed from {printable(str(folder))}")


@click.command()
@_FOLDER
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path),
    help="File of the public key. By default that of this machine's packer.",
)
@json_option
def verify(folder: Path, key_file: Path | None, as_json: bool) -> None:
    """Hash every byte of the packed FOLDER, as after copying it to another machine.

    A serving node checks the signature and the index when it starts, and each row when it is read.
    """
    from sharedllm.store.evidence.signing import public_half, read_public, snapshot_key_file
    from sharedllm.store.snapshots import Snapshot

    snapshot = Snapshot(folder, read_public(key_file or public_half(snapshot_key_file())))
    snapshot.verify()
    if as_json:
        print_json(asdict(snapshot.manifest))
    else:
        click.echo(f"{printable(str(folder))} is as it was signed: {snapshot.manifest.users:,} adapters")
