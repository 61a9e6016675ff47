"""What our own routes share: forms, cookies, who asks from where, errors as pages."""

import hmac
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import psycopg
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from dashboard import forms
from dashboard.auth import (
    DEVICE_LIFETIME,
    Origin,
    cookie_name,
    csrf_token,
    device_cookie_name,
    token_hash,
)
from dashboard.state import Dashboard

if TYPE_CHECKING:
    from dashboard.guard import Guard

log = logging.getLogger(__name__)

FORM_BYTES = 8192
# Names for the list of one's own sessions; the first that matches.
BROWSERS = (
    ("Edg/", "Edge"), ("OPR/", "Opera"), ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"), ("FxiOS/", "Firefox"), ("CriOS/", "Chrome"), ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)  # fmt: skip
SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"),
    ("Mac OS X", "Mac"), ("CrOS", "ChromeOS"), ("Linux", "Linux"),
)  # fmt: skip


class BadFormError(Exception):
    """A body that no form of ours sends."""


class ForeignFormError(Exception):
    """A form that was not made for the session it is sent with."""


def guard_of(request: Request) -> "Guard":
    """The guard this request came through."""
    guard: Guard = request.scope["mirante.guard"]
    return guard


async def _read_body(request: Request, most: int) -> bytes:
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise BadFormError
    except ClientDisconnect:  # nobody is left to answer
        raise BadFormError from None
    return body


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a posted form, the first of each name."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise BadFormError
    body = await _read_body(request, FORM_BYTES)
    try:
        fields = parse_qs(body.decode("ascii"), errors="strict", max_num_fields=10)
    except ValueError:
        raise BadFormError from None
    return {name: values[0] for name, values in fields.items()}


async def read_own_form(request: Request, token_sha256: bytes) -> dict[str, str]:
    """The fields of a form that was made for this session. Raises ForeignFormError otherwise."""
    form = await read_form(request)
    _check_own(form, token_sha256)
    return form


async def read_own_upload(
    request: Request, token_sha256: bytes, most: int
) -> tuple[dict[str, str], dict[str, bytes]]:
    """Fields and files of a multipart form of `most` bytes in all, made for this session.

    A file that was not chosen is not among them. Raises ForeignFormError as `read_own_form`.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise BadFormError
    body = await _read_body(request, most)

    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        parsed = await MultiPartParser(
            request.headers, once(), max_files=1, max_fields=10, max_part_size=FORM_BYTES
        ).parse()
    except (MultiPartException, UnicodeError, LookupError, KeyError, ValueError):
        raise BadFormError from None
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    try:
        for name, value in parsed.multi_items():
            if isinstance(value, str):
                fields.setdefault(name, value)
            elif content := await value.read():
                files[name] = content
    finally:
        await parsed.close()
    _check_own(fields, token_sha256)
    return fields, files


def _check_own(form: dict[str, str], token_sha256: bytes) -> None:
    given = form.get("csrf", "").encode("utf-8", "replace")
    if not hmac.compare_digest(given, csrf_token(token_sha256).encode()):
        raise ForeignFormError


def session_hash(request: Request, dashboard: Dashboard) -> bytes | None:
    """Hash of the session cookie, alive or not."""
    return token_hash(request.cookies.get(cookie_name(secure=dashboard.cookie_secure)))


def origin_of(request: Request, dashboard: Dashboard) -> Origin:
    """Address, device cookie and browser of a request.

    The address is the peer's, or what a trusted proxy says of it (`MIRANTE_TRUSTED_PROXIES`).
    """
    agent = request.headers.get("user-agent", "")
    names = [
        next((name for mark, name in table if mark in agent), "") for table in (BROWSERS, SYSTEMS)
    ]
    return Origin(
        address=request.client.host if request.client else "",
        device=request.cookies.get(device_cookie_name(secure=dashboard.cookie_secure)),
        browser=" · ".join(filter(None, names)),
    )


def set_session_cookie(
    response: Response, dashboard: Dashboard, token: str, max_age: float | None = None
) -> None:
    """Give the browser its session; an empty token with max_age 0 takes it away."""
    response.set_cookie(
        cookie_name(secure=dashboard.cookie_secure), token, path="/", httponly=True,
        max_age=int(
            dashboard.sessions.lifetime.total_seconds() if max_age is None else max_age
        ),
        samesite="lax", secure=dashboard.cookie_secure,
    )  # fmt: skip


def set_device_cookie(response: Response, dashboard: Dashboard, token: str) -> None:
    """Let the browser be known again."""
    response.set_cookie(
        device_cookie_name(secure=dashboard.cookie_secure), token, path="/", httponly=True,
        max_age=int(DEVICE_LIFETIME.total_seconds()), samesite="lax",
        secure=dashboard.cookie_secure,
    )  # fmt: skip


def route(
    dashboard: Dashboard,
    path: str,
    endpoint: Callable[[Request], Awaitable[Response]],
    method: str,
) -> Route:
    """A route whose failures are pages that tell nothing internal."""

    def message(title: str, text: str, status: int) -> Response:
        page = forms.message_page(dashboard.brand_name, title, text)
        return HTMLResponse(page, status_code=status)

    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except BadFormError:
            return message("Pedido inválido", "Volte e tente de novo.", 400)
        except ForeignFormError:
            text = "Este formulário é de outra sessão. Abra a página de novo e repita."
            return message("Formulário vencido", text, 403)
        except psycopg.OperationalError as error:
            log.warning("%s: database unavailable: %s", request.method, type(error).__name__)
            if path == "/readyz":
                reason = {"status": "unavailable", "reason": "the database does not answer"}
                return JSONResponse(reason, status_code=503)
            text = "O banco de dados não responde agora. Tente de novo em instantes."
            return message("Sem acesso aos dados", text, 503)

    return Route(path, answered, methods=[method])


def is_id(text: str) -> bool:
    """Whether a form's field is an id, in the one way we write them."""
    return re.fullmatch(r"[1-9]\d{0,8}", text, flags=re.ASCII) is not None
