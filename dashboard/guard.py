"""The outermost door: nothing behind it is reached without a live session of the right origin."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

import anyio
import psycopg
from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from dashboard import forms
from dashboard.auth import Viewer, cookie_name, token_hash
from dashboard.state import Dashboard

log = logging.getLogger(__name__)
T = TypeVar("T")

LOG_IN_PATH = "/entrar"
LOG_OUT_PATH = "/sair"
CODE_PATH = "/entrar/codigo"
ENROL_PATH = "/entrar/ativar"
LINK_PREFIX = "/acesso/"
TENANT_PATH = "/cliente"
ACCOUNT_PATH = "/conta"
USERS_PATH = "/usuarios"
SETTINGS_PATH = "/configuracoes"
EXPORT_PATH = "/exportar/arquivo"
# The second steps look for a session that waits for them, and links for their own secret.
OPEN_PATHS = frozenset({LOG_IN_PATH, LOG_OUT_PATH, CODE_PATH, ENROL_PATH, "/healthz", "/readyz"})
LINK = re.compile(LINK_PREFIX + r"[A-Za-z0-9_-]{43}")
PLAIN_PATHS = frozenset({TENANT_PATH, ACCOUNT_PATH, USERS_PATH, SETTINGS_PATH, EXPORT_PATH})
# What the pages fetch from Streamlit. Whatever else it serves (agent API, metrics, log-in of its
# own, custom components) answers 404, and so does what a later version adds.
FILES = re.compile(
    r"/static/.+|/media/[^/]+|/favicon\.png"
    r"|/_stcore/(health|host-config|upload_file/[^/]+/[^/]+)"
)
SOCKET_PATH = "/_stcore/stream"
# Streamlit resumes a page's state only for the same value of this header; never the browser's.
IDENTITY_HEADER = "x-mirante-identity"
RECHECK_SECONDS = 30.0
TOUCH_SECONDS = 60.0
POLICY_VIOLATION, TRY_AGAIN_LATER = 1008, 1013


class Guard:
    """Pure ASGI, so that it sees websockets message by message and the other end of each.

    `page_paths` are the pages; every other path that is neither ours nor in FILES is unknown.
    """

    def __init__(
        self,
        app: ASGIApp,
        dashboard: Dashboard,
        *,
        page_paths: Iterable[str],
        script_hashes: Iterable[str],
    ) -> None:
        self._app = app
        self._dashboard = dashboard
        self._sessions = dashboard.sessions
        self._page_paths = frozenset(page_paths)
        self._headers = security_headers(script_hashes, dashboard.cookie_secure)
        # As many as the sessions' pool has connections: more would only wait in threads.
        self._database = CapacityLimiter(4)
        self._open_sockets: dict[bytes, set[asyncio.Event]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or websocket, or let it through."""
        if scope["type"] == "http":
            await self._http(scope, receive, self._with_headers(scope, send))
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        """Run database work off the event loop."""
        return await to_thread.run_sync(partial(function, *arguments), limiter=self._database)

    def recheck(self, token_sha256: bytes) -> None:
        """Look again at the session behind its open tabs, now: it ended, or changed its tenant."""
        for changed in self._open_sockets.get(token_sha256, ()):
            changed.set()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        is_read = scope["method"] in {"GET", "HEAD"}
        is_file = path.startswith(("/static/", "/media/", "/_stcore/", "/favicon"))
        response: Response | None = None
        try:
            if not is_read and not self._is_own_origin(scope):
                response = PlainTextResponse("Origem não permitida.", status_code=403)
            elif path in OPEN_PATHS or LINK.fullmatch(path):
                await self._app(self._identified(scope, None), receive, send)
                return
            else:
                viewer = await self._viewer(scope)
                if viewer is None:
                    response = (
                        RedirectResponse(LOG_IN_PATH, status_code=303)
                        if is_read and not is_file
                        else PlainTextResponse("Sessão encerrada.", status_code=401)
                    )
                elif path in self._page_paths or path in PLAIN_PATHS:
                    if viewer.tenant_id is None and path not in {TENANT_PATH, ACCOUNT_PATH}:
                        response = RedirectResponse(TENANT_PATH, status_code=303)
                    else:
                        await self.in_thread(self._sessions.touch, viewer.token_sha256)
                elif not FILES.fullmatch(path):
                    text = "Confira o endereço, ou volte à página inicial."
                    response = self._message("Página não encontrada", text, 404)
                if response is None:
                    await self._app(self._identified(scope, viewer), receive, send)
                    return
        except psycopg.OperationalError as error:
            log.warning("session not checked, database unavailable: %s", type(error).__name__)
            text = "O banco de dados não responde agora. Tente de novo em instantes."
            response = self._message("Sem acesso aos dados", text, 503)
        await response(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            viewer = (
                await self._viewer(scope)
                if scope["path"] == SOCKET_PATH and self._is_own_origin(scope)
                else None
            )
        except psycopg.OperationalError:
            viewer = None
        if viewer is None or viewer.tenant_id is None:
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return

        changed = asyncio.Event()
        sockets = self._open_sockets.setdefault(viewer.token_sha256, set())
        sockets.add(changed)
        socket = _GuardedSocket(self, viewer, receive, send, changed)
        watcher = asyncio.create_task(socket.watch(), name="mirante-session-watch")
        try:
            await self._app(self._identified(scope, viewer), socket.receive, socket.send)
        finally:
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher
            sockets.discard(changed)
            if not sockets:
                self._open_sockets.pop(viewer.token_sha256, None)

    async def _viewer(self, scope: Scope) -> Viewer | None:
        name = cookie_name(secure=self._dashboard.cookie_secure)
        token_sha256 = token_hash(HTTPConnection(scope).cookies.get(name))
        return await self.find(token_sha256) if token_sha256 else None

    async def find(self, token_sha256: bytes) -> Viewer | None:
        """The live session behind a hash, asked of the database each time."""
        return await self.in_thread(self._sessions.find, token_sha256)

    async def touch(self, token_sha256: bytes) -> None:
        """Restart the idle clock of a session."""
        await self.in_thread(self._sessions.touch, token_sha256)

    def _message(self, title: str, text: str, status: int) -> Response:
        page = forms.message_page(self._dashboard.brand_name, title, text)
        return HTMLResponse(page, status_code=status)

    def _is_own_origin(self, scope: Scope) -> bool:
        """Browsers send Origin with every POST and websocket; without one it is not ours."""
        headers = Headers(scope=scope)
        try:
            origin = urlsplit(headers.get("origin", ""))
        except ValueError:
            return False
        schemes = {"https"} if self._dashboard.cookie_secure else {"http", "https"}
        return (
            origin.scheme in schemes
            and bool(origin.netloc)
            and origin.netloc.lower() == headers.get("host", "").lower()
        )

    def _identified(self, scope: Scope, viewer: Viewer | None) -> Scope:
        """The scope with `viewer`, and with our identity header in place of any the client sent."""
        headers = [pair for pair in scope["headers"] if pair[0] != IDENTITY_HEADER.encode()]
        if viewer is not None:
            identity = f"{viewer.token_sha256.hex()}:{viewer.tenant_id}"
            headers.append((IDENTITY_HEADER.encode(), identity.encode()))
        return {**scope, "headers": headers, "mirante.viewer": viewer, "mirante.guard": self}

    def _with_headers(self, scope: Scope, send: Send) -> Send:
        is_asset = scope["path"].startswith("/static/")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if not is_asset or message["status"] != 200:
                    # Nothing of a tenant stays in a browser's cache, nor behind its back button.
                    headers["cache-control"] = "no-store"
                del headers["access-control-allow-origin"]
            await send(message)

        return send_with_headers


class _GuardedSocket:
    """One open tab: its session is looked at before each message is believed."""

    def __init__(
        self, guard: Guard, viewer: Viewer, receive: Receive, send: Send, changed: asyncio.Event
    ) -> None:
        self._guard = guard
        self._viewer = viewer
        self._receive = receive
        self._send = send
        self._changed = changed
        self._is_open = True
        self._touched_at = -TOUCH_SECONDS

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.receive":
            if not await self._check():
                return {"type": "websocket.disconnect", "code": POLICY_VIOLATION}
            # A message is a person at work: pages that refresh themselves must not come here.
            if time.monotonic() - self._touched_at >= TOUCH_SECONDS:
                self._touched_at = time.monotonic()
                with suppress(psycopg.OperationalError):
                    await self._guard.touch(self._viewer.token_sha256)
        return message

    async def send(self, message: Message) -> None:
        if self._is_open:
            await self._send(message)

    async def watch(self) -> None:
        """End the tab without waiting for a click: at once when told, else within half a minute."""
        while self._is_open:
            with anyio.move_on_after(RECHECK_SECONDS):
                await self._changed.wait()
            self._changed.clear()
            await self._check()

    async def _check(self) -> bool:
        """Whether the session still stands for the same tenant; if not, send the tab away."""
        if not self._is_open:
            return False
        try:
            viewer = await self._guard.find(self._viewer.token_sha256)
        except psycopg.OperationalError:
            await self._end(None, TRY_AGAIN_LATER)  # the browser tries again by itself
            return False
        if viewer is None:
            await self._end(LOG_IN_PATH, POLICY_VIOLATION)
        elif viewer.tenant_id != self._viewer.tenant_id:
            await self._end("/", POLICY_VIOLATION)
        return self._is_open

    async def _end(self, path: str | None, code: int) -> None:
        if not self._is_open:
            return
        self._is_open = False
        with suppress(Exception):  # the browser may be gone already
            if path is not None:
                redirect = ForwardMsg()
                redirect.auth_redirect.url = path
                await self._send({"type": "websocket.send", "bytes": redirect.SerializeToString()})
            await self._send({"type": "websocket.close", "code": code})


def security_headers(script_hashes: Iterable[str], cookie_secure: bool) -> dict[str, str]:
    """Headers of every answer. `script_hashes`: `sha256-…` of the page's inline scripts."""
    scripts = " ".join(["'self'", *(f"'{value}'" for value in script_hashes)])
    headers = {
        "content-security-policy": (
            f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; "
            "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ),
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        # Not no-referrer: with it browsers send `Origin: null` from our own forms.
        "referrer-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=()",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }
    if cookie_secure:
        headers["strict-transport-security"] = "max-age=31536000"
    return headers
