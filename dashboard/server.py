"""The dashboard's ASGI app and its server: own routes and Streamlit's pages behind one guard."""

import base64
import gc
import gzip
import hashlib
import logging
import re
import signal
import socket
import threading
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from html import escape
from pathlib import Path
from typing import Any

import streamlit
import uvicorn
from anyio import to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config
from streamlit.starlette import App

from dashboard import exports, forms, frame, navigation, state
from dashboard.accounts import Accounts
from dashboard.auth import IDLE_LIMIT, SESSION_LIFETIME, Sessions, Viewer
from dashboard.guard import IDENTITY_HEADER, TENANT_PATH, Guard
from dashboard.settings_page import SettingsPage
from dashboard.state import Dashboard
from dashboard.web import guard_of, is_id, read_own_form, route
from warehouse.db import open_pool
from warehouse.errors import MiranteError, UsageError
from warehouse.settings import PROJECT_ROOT

log = logging.getLogger(__name__)

BRAND_NAME = "GeniAI Analytics"
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


# Without it Streamlit asks for its parts below each page's own address first: 404 in the console.
BASE_SCRIPT = "window.__streamlit = {BACKEND_BASE_URL: window.location.origin}"


def create_app(
    app_dsn: str,
    *,
    brand_name: str = BRAND_NAME,
    cookie_secure: bool = False,
    idle_hours: float = IDLE_LIMIT / timedelta(hours=1),
    session_days: float = SESSION_LIFETIME / timedelta(days=1),
    hash_key: str | None = None,
    public_url: str | None = None,
    chatwoot_url: str | None = None,
    export_max_rows: int = Dashboard.export_max_rows,
) -> ASGIApp:
    """The dashboard as one ASGI app, reading as the role of `app_dsn` (mirante_app).

    `cookie_secure`: it is served through TLS, so the cookie is Secure and origins are https.
    `idle_hours`, `session_days`: when a session ends by itself. `hash_key`: of the hashes of
    accounts and addresses (auth.Sessions). `public_url`: how people reach it;
    `chatwoot_url`: where Chatwoot is, for links to it. `export_max_rows`: of one file.
    One app per process, because Streamlit's configuration and runtime are the process's.
    """
    configure_streamlit()
    # Every page waits for these: nothing of one tenant's may hold them.
    session_pool = open_pool(
        app_dsn, max_size=4, options="-c lock_timeout=2s -c statement_timeout=10s"
    )
    read_pool = open_pool(app_dsn, max_size=8, options=f"-c statement_timeout={READ_TIMEOUT_MS}")
    for pool in (session_pool, read_pool):
        pool.timeout = POOL_TIMEOUT_SECONDS
    sessions = Sessions(
        session_pool,
        idle_limit=timedelta(hours=idle_hours),
        lifetime=timedelta(days=session_days),
        hash_key=hash_key.encode() if hash_key else None,
    )
    dashboard = Dashboard(
        sessions, read_pool, brand_name, cookie_secure, public_url, chatwoot_url, export_max_rows
    )
    # A file waits for none of the pages' connections, nor they for its.
    export_pool = exports.open_export_pool(app_dsn)
    state.use(dashboard)

    @asynccontextmanager
    async def lifespan(_: App) -> AsyncIterator[None]:
        # Imported once the runtime is there, and before the first visitor would wait for it.
        await to_thread.run_sync(navigation.load_pages)
        # Streamlit collects garbage after each run; what is there for good is not walked through.
        gc.collect()
        gc.freeze()
        try:
            yield
        finally:
            session_pool.close(timeout=1)
            read_pool.close(timeout=1)
            export_pool.close(timeout=1)

    shell, script_hashes = _page_shell(brand_name)

    async def page(_: Request) -> Response:
        return HTMLResponse(shell)

    app = App(
        Path(__file__).parent / "app.py",
        lifespan=lifespan,
        on_script_error=frame.failed,
        routes=[
            *_routes(dashboard),
            *exports.Exports(dashboard, export_pool).routes(),
            *(Route(path, page) for path in navigation.PATHS),
        ],
    )
    return Guard(
        _Compressing(app), dashboard, page_paths=navigation.PATHS, script_hashes=script_hashes
    )


# Answers to these are not the whole file.
PARTIAL = ("range", "if-none-match", "if-modified-since")


class _Compressing:
    """Streamlit's own files go out compressed, a third of their size, each packed once.

    Our pages do not: their length would tell of a session's secrets beside a visitor's own words.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        # Their names carry a hash of what is in them; all together 3 MB.
        self._packed: dict[str, tuple[Message, Message]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if not (
            scope["type"] == "http"
            and scope["path"].startswith("/static/")
            and scope["method"] == "GET"
            and "gzip" in headers.get("accept-encoding", "")
            and not any(name in headers for name in PARTIAL)
        ):
            plain = [pair for pair in scope.get("headers", ()) if pair[0] != b"accept-encoding"]
            await self._app({**scope, "headers": plain}, receive, send)
            return
        answer = self._packed.get(scope["path"]) or await self._pack(scope, receive)
        for message in answer:
            await send({**message, "headers": list(message["headers"])} if (
                "headers" in message
            ) else message)  # fmt: skip

    async def _pack(self, scope: Scope, receive: Receive) -> tuple[Message, Message]:
        """The whole answer of the app, packed where that is worth it, and then kept."""
        said: list[Message] = []

        async def hear(message: Message) -> None:
            said.append(message)

        await self._app(scope, receive, hear)
        start = {**said[0], "headers": list(said[0]["headers"])}
        body = b"".join(message.get("body", b"") for message in said[1:])
        headers = MutableHeaders(raw=start["headers"])
        # Whole: a browser that leaves in the middle has the app stop there.
        is_whole = headers.get("content-length") == str(len(body))
        is_packed = "content-encoding" in headers
        if start["status"] != 200 or len(body) < 1000 or is_packed or not is_whole:
            return start, {"type": "http.response.body", "body": body}
        packed = await to_thread.run_sync(gzip.compress, body, 6)
        headers["content-encoding"] = "gzip"
        headers["content-length"] = str(len(packed))
        headers.add_vary_header("Accept-Encoding")
        answer = (start, {"type": "http.response.body", "body": packed})
        self._packed[scope["path"]] = answer
        return answer


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
        (r"</head>", f"<script>{BASE_SCRIPT}</script></head>"),
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
    """People's routes, the agency's choice, and the probes; the guard has checked Origin."""
    sessions = dashboard.sessions

    async def show_tenants(request: Request) -> Response:
        viewer: Viewer = request.scope["mirante.viewer"]
        if viewer.role != "super_admin":
            return RedirectResponse("/", status_code=303)
        tenants = await guard_of(request).in_thread(
            sessions.selectable_tenants, viewer.token_sha256
        )
        return HTMLResponse(forms.tenant_page(dashboard.brand_name, viewer, tenants))

    async def choose_tenant(request: Request) -> Response:
        viewer: Viewer = request.scope["mirante.viewer"]
        wanted = (await read_own_form(request, viewer.token_sha256)).get("tenant_id", "")
        guard = guard_of(request)
        if not is_id(wanted) or not await guard.in_thread(
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
        load_state = await guard_of(request).in_thread(sessions.load_state)
        if load_state.last_built_at is None:
            reason = "no successful build yet: run `mirante run`"
            return JSONResponse({"status": "unavailable", "reason": reason}, status_code=503)
        return JSONResponse({"status": "ok"})

    return [
        *Accounts(dashboard).routes(),
        *SettingsPage(dashboard).routes(),
        route(dashboard, TENANT_PATH, show_tenants, "GET"),
        route(dashboard, TENANT_PATH, choose_tenant, "POST"),
        route(dashboard, "/healthz", healthz, "GET"),
        route(dashboard, "/readyz", readyz, "GET"),
    ]


def serve(
    app_dsn: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8501,
    trusted_proxies: str = "",
    ready: Callable[[str], None] | None = None,
    **options: Any,
) -> None:
    """Serve the dashboard until SIGINT or SIGTERM, then return; open pages are told to go.

    `trusted_proxies`: addresses (comma-separated) whose X-Forwarded-For and -Proto are believed.
    `options`: as of `create_app`.
    `ready` is called once with the address, when it answers (with port 0: the real port).
    Raises UsageError when the address cannot be had.
    """
    with _listen(host, port) as listener, _quiet_signals():
        app = create_app(app_dsn, **options)
        shown_host = f"[{host}]" if ":" in host else host
        address = f"http://{shown_host}:{listener.getsockname()[1]}"
        server_options = uvicorn.Config(
            app,
            # Believed of anybody, each request could claim an address of its own.
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=trusted_proxies or None,
            ws="websockets-sansio",
            ws_max_size=1 << 20,
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        _Server(server_options, ready=lambda: ready(address) if ready else None).run([listener])


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
