"""The files of the page, served as they lie here, to whoever asks: nothing in them is anybody's.

The page runs under a policy that lets it load and reach nothing but this server, and run no script that is not a file
of it. Text that somebody or a model wrote never becomes markup: ``require-trusted-types-for`` makes the browser refuse
whatever would make it so.
"""

from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from sharedllm.reporting.html import templates
from sharedllm.reporting.palette import DARK, LIGHT

STATIC = Path(__file__).parent / "static"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-cache",
}
"""Of every file of the page. A browser asks each time whether it is the newest, and is mostly told 304."""

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_STYLE = "style.css"
"""Every page's style and palette, reports' among them; what the page alone needs comes after it in its own file."""

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page(request: Request) -> Response:
    """The page itself."""
    return _answer(request, "index.html")


@router.get("/console/{name:path}")
async def asset(request: Request, name: str) -> Response:
    """A file that the page asks for."""
    return _answer(request, name)


@cache
def assets() -> Mapping[str, bytes]:
    """Every file by its name below ``/console/``."""
    found = {str(path.relative_to(STATIC)): path.read_bytes() for path in STATIC.rglob("*") if path.suffix in _KINDS}
    style = templates().get_template("style.css.j2").render(light=LIGHT, dark=DARK)
    return found | {_STYLE: style.encode()}


def _answer(request: Request, name: str) -> Response:
    content = assets().get(name)
    if content is None:
        raise HTTPException(404)
    tag = f'"{sha256(content).hexdigest()[:32]}"'
    headers = {**HEADERS, "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_KINDS[Path(name).suffix])
