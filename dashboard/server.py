"""The dashboard's ASGI app and its server: own routes and Streamlit's pages behind one guard."""

import base64
import hashlib
import logging
import re
import signal
import socket
import threading
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import psycopg
import streamlit
import uvicorn
from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from streamlit import config
from streamlit.starlette import App

from dashboard import forms, frame, state
from dashboard.auth import SESSION_LIFETIME, Sessions, Viewer, cookie_name, token_hash
from dashboard.guard import IDENTITY_HEADER, LOG_IN_PATH, LOG_OUT_PATH, TENANT_PATH, Guard
from dashboard.state import Dashboard
from warehouse.db import open_pool
from warehouse.errors import MiranteError, UsageError
from warehouse.settings import PROJECT_ROOT

log = logging.getLogger(__name__)

BRAND_NAME = "GeniAI Analytics"
# Addresses of the pages in app.py; the overview is the first.
PAGE_PATHS = ("/",)
FORM_BYTES = 8192
# One slow page must not hold a connection for ever, nor a log-in wait for one.
READ_TIMEOUT_MS, POOL_TIMEOUT_SECONDS = 20_000, 3.0
# What keeps clients apart and their data at home. Given as flags, which win over every config
# file and environment variable.
FIXED_OPTIONS: dict[str, Any] = {
    "global.developmentMode": False,
    "browser.gatherUsageStats": False,
    "server.enableAgentApi": False,
    "server.enableCORS": True,
    "server.corsAllowedOrigins": [],
    "server.enableXsrfProtection": True,
    "server.enableStaticServing": False,
    "server.scriptHealthCheckEnabled": False,
    "server.baseUrlPath": "",
    "server.trustedUserHeaders": {IDENTITY_HEADER: "identity"},
}


def create_app(
    app_dsn: str, *, brand_name: str = BRAND_NAME, cookie_secure: bool = False
) -> ASGIApp:
    """The dashboard as one ASGI app, reading as the role of `app_dsn` (mirante_app).

    `cookie_secure`: it is served through TLS, so the cookie is Secure and origins are https.
    One app per process, because Streamlit's configuration and runtime are the process's.
    """
    configure_streamlit()
    session_pool = open_pool(app_dsn, max_size=4)
    read_pool = open_pool(app_dsn, max_size=8, options=f"-c statement_timeout={READ_TIMEOUT_MS}")
    for pool in (session_pool, read_pool):
        pool.timeout = POOL_TIMEOUT_SECONDS
    dashboard = Dashboard(Sessions(session_pool), read_pool, brand_name, cookie_secure)
    state.use(dashboard)

    @asynccontextmanager
    async def lifespan(_: App) -> AsyncIterator[None]:
        # Imported once the runtime is there, and before the first visitor would wait for it.
        await to_thread.run_sync(import_module, "dashboard.app_pages.overview")
        try:
            yield
        finally:
            session_pool.close(timeout=1)
            read_pool.close(timeout=1)

    shell, script_hashes = _page_shell(brand_name)

    async def page(_: Request) -> Response:
        return HTMLResponse(shell)

    app = App(
        Path(__file__).parent / "app.py",
        lifespan=lifespan,
        on_script_error=frame.failed,
        routes=[*_routes(dashboard), *(Route(path, page) for path in PAGE_PATHS)],
    )
    return Guard(app, dashboard, page_paths=PAGE_PATHS, script_hashes=script_hashes)


def configure_streamlit() -> None:
    """Load `.streamlit/config.toml` of the project, whatever folder the server is started in."""
    path = PROJECT_ROOT / ".streamlit" / "config.toml"
    with path.open("rb") as file:
        options = _flatten(tomllib.load(file))
    config.get_config_options(force_reparse=True, options_from_flags={**options, **FIXED_OPTIONS})


def _flatten(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= (
            _flatten(value, f"{prefix}{name}.")
            if isinstance(value, dict)
            else {f"{prefix}{name}": value}
        )
    return flat


def _page_shell(brand_name: str) -> tuple[str, list[str]]:
    """Streamlit's own page, ours by name, language and icon, and the hashes of its inline scripts.

    Raises MiranteError when the page is not the one this was written for.
    """
    source = (Path(streamlit.__file__).parent / "static" / "index.html").read_text()
    replacements = (
        (r'<html lang="en">', '<html lang="pt-BR">'),
        (r"<title>Streamlit</title>", f"<title>{escape(brand_name)}</title>"),
        (r'href="\./favicon\.png"', f'href="{forms.ICON}"'),
        (r'\s*<link rel="service-desc"[^>]*>', ""),
        (
            r"<noscript>.*?</noscript>",
            "<noscript>Ative o JavaScript para ver o painel.</noscript>",
        ),
        (r"<!--.*?-->\s*", ""),
    )
    html = source
    for pattern, replacement in replacements:
        parts = re.split(pattern, html, flags=re.DOTALL)
        html = replacement.join(parts)
        if len(parts) == 1:
            raise MiranteError(
                f"streamlit {streamlit.__version__} has another start page (no {pattern}): "
                "install the version pinned in requirements.lock"
            )
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    hashes = [
        "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in scripts
    ]
    return html, hashes


def _routes(dashboard: Dashboard) -> list[Route]:
    """Log-in, log-out, the agency's choice, and the probes; the guard has checked Origin."""
    sessions = dashboard.sessions
    cookie = cookie_name(secure=dashboard.cookie_secure)
    # A quarter of a second of CPU each: more at once would only slow all of them down.
    log_ins = CapacityLimiter(2)

    def set_cookie(response: Response, token: str, max_age: int) -> None:
        response.set_cookie(
            cookie, token, max_age=max_age, path="/", httponly=True, samesite="lax",
            secure=dashboard.cookie_secure,
        )  # fmt: skip

    async def end_session(request: Request) -> None:
        token_sha256 = token_hash(request.cookies.get(cookie))
        if token_sha256:
            guard = _guard(request)
            await guard.in_thread(sessions.close, token_sha256)
            guard.recheck(token_sha256)

    async def show_log_in(request: Request) -> Response:
        token = request.cookies.get(cookie)
        token_sha256 = token_hash(token)
        if token_sha256 and await _guard(request).find(token_sha256):
            return RedirectResponse("/", status_code=303)
        response = HTMLResponse(forms.log_in_page(dashboard.brand_name))
        if token is not None:
            set_cookie(response, "", 0)
        return response

    async def log_in(request: Request) -> Response:
        form = await _form(request)
        email, password = form.get("email", ""), form.get("password", "")
        token = await to_thread.run_sync(sessions.log_in, email, password, limiter=log_ins)
        if token is None:
            problem = "E-mail ou senha não conferem."
            page = forms.log_in_page(dashboard.brand_name, email=email, problem=problem)
            return HTMLResponse(page, status_code=401)
        await end_session(request)
        response = RedirectResponse("/", status_code=303)
        set_cookie(response, token, int(SESSION_LIFETIME.total_seconds()))
        return response

    async def log_out(request: Request) -> Response:
        await end_session(request)
        response = RedirectResponse(LOG_IN_PATH, status_code=303)
        set_cookie(response, "", 0)
        return response

    async def show_tenants(request: Request) -> Response:
        viewer: Viewer = request.scope["mirante.viewer"]
        if viewer.role != "super_admin":
            return RedirectResponse("/", status_code=303)
        tenants = await _guard(request).in_thread(sessions.selectable_tenants, viewer.token_sha256)
        return HTMLResponse(forms.tenant_page(dashboard.brand_name, viewer, tenants))

    async def choose_tenant(request: Request) -> Response:
        viewer: Viewer = request.scope["mirante.viewer"]
        wanted = (await _form(request)).get("tenant_id", "")
        guard = _guard(request)
        if not re.fullmatch(r"[1-9]\d{0,8}", wanted) or not await guard.in_thread(
            sessions.view_tenant, viewer.token_sha256, int(wanted)
        ):
            text = "Este cliente não existe ou não está disponível para você."
            page = forms.message_page(dashboard.brand_name, "Cliente indisponível", text)
            return HTMLResponse(page, status_code=403)
        log.info("user %s looks at tenant %s", viewer.user_id, wanted)
        guard.recheck(viewer.token_sha256)
        return RedirectResponse("/", status_code=303)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        load_state = await _guard(request).in_thread(sessions.load_state)
        if load_state.last_built_at is None:
            reason = "no successful build yet: run `mirante run`"
            return JSONResponse({"status": "unavailable", "reason": reason}, status_code=503)
        return JSONResponse({"status": "ok"})

    def route(path: str, endpoint: Any, method: str) -> Route:
        async def answered(request: Request) -> Response:
            try:
                response: Response = await endpoint(request)
            except _BadFormError:
                page = forms.message_page(
                    dashboard.brand_name, "Pedido inválido", "Volte e tente de novo."
                )
                response = HTMLResponse(page, status_code=400)
            except psycopg.OperationalError as error:
                log.warning("%s: database unavailable: %s", path, type(error).__name__)
                if path == "/readyz":
                    reason = {"status": "unavailable", "reason": "the database does not answer"}
                    return JSONResponse(reason, status_code=503)
                page = forms.message_page(
                    dashboard.brand_name,
                    "Sem acesso aos dados",
                    "O banco de dados não responde agora. Tente de novo em instantes.",
                )
                response = HTMLResponse(page, status_code=503)
            return response

        return Route(path, answered, methods=[method])

    return [
        route(LOG_IN_PATH, show_log_in, "GET"),
        route(LOG_IN_PATH, log_in, "POST"),
        route(LOG_OUT_PATH, log_out, "POST"),
        route(TENANT_PATH, show_tenants, "GET"),
        route(TENANT_PATH, choose_tenant, "POST"),
        route("/healthz", healthz, "GET"),
        route("/readyz", readyz, "GET"),
    ]


def _guard(request: Request) -> Guard:
    guard: Guard = request.scope["mirante.guard"]
    return guard


class _BadFormError(Exception):
    """A body that no form of ours sends."""


async def _form(request: Request) -> dict[str, str]:
    """The fields of a posted form, the first of each name."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise _BadFormError
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > FORM_BYTES:
                raise _BadFormError
    except ClientDisconnect:  # nobody is left to answer
        raise _BadFormError from None
    try:
        fields = parse_qs(body.decode("ascii"), errors="strict", max_num_fields=10)
    except ValueError:
        raise _BadFormError from None
    return {name: values[0] for name, values in fields.items()}


def serve(
    app_dsn: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8501,
    brand_name: str = BRAND_NAME,
    cookie_secure: bool = False,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the dashboard until SIGINT or SIGTERM, then return; open pages are told to go.

    `ready` is called once with the address, when it answers (with port 0: the real port).
    Raises UsageError when the address cannot be had.
    """
    with _listen(host, port) as listener, _quiet_signals():
        app = create_app(app_dsn, brand_name=brand_name, cookie_secure=cookie_secure)
        shown_host = f"[{host}]" if ":" in host else host
        address = f"http://{shown_host}:{listener.getsockname()[1]}"
        options = uvicorn.Config(
            app,
            ws="websockets-sansio",
            ws_max_size=1 << 20,
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        _Server(options, ready=lambda: ready(address) if ready else None).run([listener])


class _Server(uvicorn.Server):
    """Tells when it answers."""

    def __init__(self, options: uvicorn.Config, *, ready: Callable[[], None]) -> None:
        super().__init__(options)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP: only then does asyncio set TCP_NODELAY; without, each answer waits 40 ms.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host}:{port} ({error.strerror or error}): "
                "choose another with --host and --port"
            ) from None
        listener.listen(128)
        listener.setblocking(False)
        yield listener


@contextmanager
def _quiet_signals() -> Iterator[None]:
    """Uvicorn raises the signal that stopped it once more; whoever called serve() has work left."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
