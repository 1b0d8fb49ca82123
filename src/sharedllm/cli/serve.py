"""`sharedllm serve`: the OpenAI-compatible server, every request answered with its own user's adapter."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sharedllm.cli.hints import as_given
from sharedllm.cli.options import base_option, format_option, store_option, weights_option
from sharedllm.cli.telling import load
from sharedllm.errors import InvalidInput
from sharedllm.extras import need
from sharedllm.operations.quotas import ERASURE, WRITES, WRITES_PER_HOUR
from sharedllm.printable import printable
from sharedllm.serving.request import Limits

if TYPE_CHECKING:
    from click.decorators import FC

    from sharedllm.base.loading import Weights
    from sharedllm.http.jwt import JWT
    from sharedllm.serving.engine import AnyEngine
    from sharedllm.store.api_keys import Keys
    from sharedllm.store.snapshots import Snapshot

# Not an option, because whoever may list processes sees their options.
JWT_SECRET = "SHAREDLLM_JWT_SECRET"

_MB = 1024**2
_BODY_MB = 4
_DEFAULT = Limits()


def _limit(name: str, default: int, help: str) -> "Callable[[FC], FC]":
    return click.option(name, type=click.IntRange(min=1), default=default, show_default=True, help=help)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address of this machine to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@format_option("Of the adapters that answer, and that are trained over HTTP.")
@base_option
@weights_option
@store_option
@click.option(
    "--engine",
    type=click.Choice(["sharedllm", "vllm"]),
    default="sharedllm",
    show_default=True,
    help="What computes: this package, or vLLM with a row for each user (see docs/vllm.md).",
)
@click.option("--fallback", is_flag=True, help="Let the base answer where no release may; every answer then says so.")
@click.option(
    "--packed",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Answer from this snapshot (see sharedllm fleet pack) while the store says that it still holds.",
)
@click.option(
    "--packed-key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Public key that the snapshot must be signed with. By default that of this machine's packer.",
)
@click.option(
    "--deterministic",
    is_flag=True,
    help="Read each request apart from the others: a seed gives the same answer in any company, to the bit, and many at"
    " once take several times as long.",
)
@click.option("--insecure-no-auth", is_flag=True, help="Ask nobody who they are. For a laptop: only it can connect.")
@click.option("--jwt-issuer", metavar="ISSUER", help="Whose JSON Web Tokens are valid, beside API keys.")
@click.option("--jwt-audience", metavar="AUDIENCE", help="Whom those tokens must be meant for.")
@click.option("--jwt-jwks", metavar="FILE|URL", help=f"The issuer's public keys; for a shared secret set {JWT_SECRET}.")
@click.option(
    "--jwt-algorithm",
    "jwt_algorithms",
    multiple=True,
    metavar="NAME",
    help="An algorithm that tokens may be signed with; may be repeated. By default any with public keys, else HS256.",
)
@_limit("--running", _DEFAULT.running, "Requests answered at once.")
@_limit("--waiting", _DEFAULT.waiting, "Requests that may wait, of everybody together.")
@_limit("--cache-tokens", _DEFAULT.cache_tokens, "Tokens whose keys and values are held, over all running requests.")
@_limit("--writes", WRITES, f"Uploads, trainings and erasures of one user at once; an erasure counts as {ERASURE}.")
@_limit("--writes-per-hour", WRITES_PER_HOUR, "Of those that one user may send from then on.")
@click.option(
    "--body-mb",
    type=click.IntRange(1, 256),
    default=_BODY_MB,
    show_default=True,
    help="Longest body that is taken, dropped files among them, in MiB; 16 times that, or 1 GiB, of all at once.",
)
@_limit("--table-mb", _DEFAULT.table_bytes // _MB, "Memory for adapters on the device, in MiB.")
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="A site whose pages may use this server from browsers, as https://example.com, or * for any; may be repeated.",
)
@click.option(
    "--notice-seconds",
    type=click.FloatRange(0, 3600),
    default=5.0,
    show_default=True,
    help="After SIGTERM, how long /readyz says 503 while everything is still answered.",
)
def command(
    host: str,
    port: int,
    format: str,
    base_name: str | None,
    weights: "Weights",
    store: str | None,
    engine: str,
    fallback: bool,
    packed: Path | None,
    packed_key: Path | None,
    deterministic: bool,
    insecure_no_auth: bool,
    jwt_issuer: str | None,
    jwt_audience: str | None,
    jwt_jwks: str | None,
    jwt_algorithms: tuple[str, ...],
    running: int,
    waiting: int,
    cache_tokens: int,
    writes: int,
    writes_per_hour: int,
    body_mb: int,
    table_mb: int,
    origins: tuple[str, ...],
    notice_seconds: float,
) -> None:
    """Serve everybody's own model through the API that OpenAI's clients speak.

    Whose adapter answers is decided by who asks: by an API key (see sharedllm keys) or a JSON Web Token. New releases,
    rollbacks and erasures count from the next request on. It ends on SIGTERM or Ctrl-C, once running requests are done;
    after SIGTERM it first gives notice on /readyz.

    \b
      sharedllm keys create --user alice
      sharedllm serve
    """
    from contextlib import ExitStack, closing

    from sharedllm.http.free_memory import bound_shapes
    from sharedllm.http.listen_address import check_address

    bound_shapes()
    check_address(host, port, open=insecure_no_auth)
    if engine == "vllm":
        need("vllm")
    if insecure_no_auth and "*" in origins:
        raise InvalidInput(
            "--allow-origin * beside --insecure-no-auth would let any page in a browser use anybody's adapter",
            remedy="Name the site, or leave out one of the two.",
        )
    jwt = _jwt(jwt_issuer, jwt_audience, jwt_jwks, jwt_algorithms)
    if insecure_no_auth and jwt is not None:
        raise InvalidInput(
            "--insecure-no-auth asks nobody who they are, and tokens say who somebody is",
            remedy=f"Leave out that option, or the --jwt ones and {JWT_SECRET}.",
        )

    from sharedllm.store import open_keys, open_store
    from sharedllm.store.address import store_name

    with ExitStack() as open_here:
        opened = open_here.enter_context(open_store(store))
        keys = None if insecure_no_auth else open_here.enter_context(open_keys(store))
        _warn(keys, jwt)
        snapshot = None if packed is None else _snapshot(packed, packed_key)
        held = ""
        if snapshot is not None:
            from sharedllm.store.snapshots import SnapshotStore

            opened = open_here.enter_context(SnapshotStore(snapshot, opened))
            held = f", {snapshot.manifest.users} users packed"

        from sharedllm.http.jobs import Jobs
        from sharedllm.http.server import serve
        from sharedllm.http.service import Policy, Service
        from sharedllm.operations.default_base import default_base

        base = load(base_name or default_base(opened), weights)
        if snapshot is not None:
            snapshot.check_base(base.fingerprint, format)
        limits = Limits(
            running=running,
            waiting=waiting,
            cache_tokens=cache_tokens,
            table_bytes=table_mb * _MB,
            deterministic=deterministic,
        )
        jobs = open_here.enter_context(closing(Jobs(base.folder, store)))
        policy = Policy(
            fallback=fallback,
            notice_seconds=notice_seconds,
            origins=origins,
            writes=writes,
            writes_per_hour=writes_per_hour,
            body_bytes=body_mb * _MB,
            bodies_bytes=min(16 * body_mb, 1024) * _MB,
            body_seconds=min(max(30.0, 30.0 * body_mb / _BODY_MB), 300.0),
        )
        service = Service(
            _engine(engine)(base, limits, format=format),
            opened,
            keys=keys,
            jwt=jwt,
            jobs=jobs,
            policy=policy,
            disks=_disks(store),
        )

        def ready(address: str) -> None:
            where = printable(store_name(store))
            click.echo(f"Serving {printable(service.model)} at {address}/v1 (store {where}{held})")

        serve(service, host, port, ready)


def _engine(name: str) -> "type[AnyEngine]":
    if name == "vllm":
        from sharedllm.serving.vllm.vllm_engine import VllmEngine

        return VllmEngine
    from sharedllm.serving.engine import Engine

    return Engine


def _disks(store: str | None) -> dict[str, Path]:
    from sharedllm.cache_folder import data_dir
    from sharedllm.store.address import address_of

    file = Path(address_of(store))
    return {"trainings": data_dir()} | ({"the store": file.parent} if file.is_file() else {})


def _snapshot(folder: Path, key: Path | None) -> "Snapshot":
    from sharedllm.store.evidence.signing import public_half, read_public, snapshot_key_file
    from sharedllm.store.snapshots import Snapshot

    return Snapshot(folder, read_public(key or public_half(snapshot_key_file())))


def _jwt(issuer: str | None, audience: str | None, jwks: str | None, algorithms: tuple[str, ...]) -> "JWT | None":
    from sharedllm.http.jwt import JWT

    secret = os.environ.get(JWT_SECRET)
    if not (issuer or audience or jwks or secret or algorithms):
        return None
    if not (issuer and audience):
        raise InvalidInput(
            "Tokens cannot be checked without knowing whose they are and whom they are meant for",
            remedy=f"Give --jwt-issuer and --jwt-audience, with --jwt-jwks or {JWT_SECRET}.",
        )
    return JWT(issuer=issuer, audience=audience, jwks=jwks, secret=secret, algorithms=algorithms)


def _warn(keys: "Keys | None", jwt: "JWT | None") -> None:
    if keys is None:
        click.echo(
            "INSECURE: nobody is asked who they are. Whatever runs on this machine can use, train and erase anybody's"
            " adapter.",
            err=True,
        )
    elif jwt is None and all(key.revoked_at for key in keys.all()):
        click.echo(
            "No API key opens this store, so every request will be refused. Make one, even while the server runs:"
            f" {printable(as_given('sharedllm keys create --user alice'))}",
            err=True,
        )
