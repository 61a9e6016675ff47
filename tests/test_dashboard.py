"""The running server and its questions: who gets in, and whose numbers come out."""

import asyncio
import base64
import dataclasses
import gzip
import hashlib
import inspect
import random
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import httpx
import psycopg
import pytest
from starlette.types import Message, Receive, Scope, Send
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from dashboard import charts, definitions, formats, frame, queries, state
from dashboard import guard as guard_module
from dashboard import server as server_module
from dashboard.app_pages import overview
from dashboard.auth import COOKIE_NAME, LoadState, SessionEndedError, Sessions, Visit, token_hash
from dashboard.filters import Filters
from dashboard.guard import IDENTITY_HEADER, Guard
from dashboard.lists import Selection
from dashboard.server import serve
from dashboard.state import Dashboard
from tests.browsing import drawn
from tests.conftest import Pipeline
from tests.serving import PASSWORD, Bare, Served, bare_warehouse, serving, visits
from warehouse import users
from warehouse.db import Warehouse, open_pool, tenant_connection
from warehouse.errors import UsageError

FORGED = "A" * 43
START, END = date(2026, 6, 1), date(2026, 6, 28)
PERIOD = Filters(START, END)


@pytest.fixture(scope="module")
def bare(warehouse: Warehouse) -> Iterator[Bare]:
    with bare_warehouse(warehouse, "dashboard_bare") as bare:
        yield bare


@pytest.fixture(scope="module")
def served(bare: Bare) -> Iterator[Served]:
    with serving(bare.dsn()) as served:
        yield served


# ---- probes, serving --------------------------------------------------------------------------


def test_probes_before_the_first_build(served: Served) -> None:
    assert served.client().get("/healthz").json() == {"status": "ok"}
    answer = served.client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reason"].startswith("no successful build")


def test_ready_after_a_build(pipeline: Pipeline) -> None:
    with serving(pipeline.warehouse.dsn("app")) as served:
        assert served.client().get("/readyz").status_code == 200


def test_database_out_of_reach() -> None:
    """Nothing is believed, the probe of the process still answers, nothing of the DSN is told."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dsn = f"postgresql://mirante_app:hidden-word@127.0.0.1:{unused.getsockname()[1]}/nowhere"
        with serving(dsn) as served:
            client = served.client(cookies={COOKIE_NAME: FORGED})
            assert client.get("/healthz").status_code == 200
            with ThreadPoolExecutor() as threads:  # each one waits for a connection
                waiting = {path: threads.submit(client.get, path) for path in ("/readyz", "/")}
                waiting["log-in"] = threads.submit(
                    served.post, client, "/entrar", email="a@b", password="c"
                )
            answers = {path: answer.result() for path, answer in waiting.items()}
            assert {answer.status_code for answer in answers.values()} == {503}
            assert answers["/readyz"].json()["reason"] == "the database does not answer"
            assert not any("hidden-word" in answer.text for answer in answers.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stops_at_once_with_pages_open(bare: Bare, number: int) -> None:
    with serving(bare.dsn()) as served:
        client = served.log_in(bare.email("um"), PASSWORD)
        with tab(served, client), tab(served, client):
            assert served.stop(number) < 2.5


def test_taken_port_is_one_clear_line(bare: Bare) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"127\.0\.0\.1:{port} .*--port"):
            serve(bare.dsn(), port=port)


# ---- the guard --------------------------------------------------------------------------------


@contextmanager
def tab(
    served: Served, client: httpx.Client | None, origin: str | None = "own", **headers: str
) -> Iterator[ClientConnection]:
    """The websocket that a page opens; the script has run once."""
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items() if client) if (
        client
    ) else ""  # fmt: skip
    with connect(
        f"ws://{served.host}/_stcore/stream",
        origin=served.address if origin == "own" else origin,  # type: ignore[arg-type]
        additional_headers={**({"Cookie": cookies} if cookies else {}), **headers},
        subprotocols=["streamlit"],  # type: ignore[list-item]
        open_timeout=10,
        max_size=None,
    ) as socket:
        yield socket


def rerun(socket: ClientConnection) -> None:
    """What a click sends."""
    message = BackMsg()
    message.rerun_script.query_string = ""
    socket.send(message.SerializeToString())


def until_finished(socket: ClientConnection) -> str:
    """All that one run of the page sent, as text."""
    texts = []
    while True:
        message = ForwardMsg()
        message.ParseFromString(socket.recv(timeout=20))  # type: ignore[arg-type]
        texts.append(str(message))
        if message.WhichOneof("type") == "script_finished":
            return "\n".join(texts)


def sent_away_to(socket: ClientConnection, *, within: float = 3) -> str | None:
    """Where the server sends the tab before it closes it; fails when it stays open."""
    until, target = time.monotonic() + within, None
    try:
        while True:
            message = ForwardMsg()
            message.ParseFromString(socket.recv(timeout=until - time.monotonic()))  # type: ignore[arg-type]
            if message.WhichOneof("type") == "auth_redirect":
                target = message.auth_redirect.url
    except ConnectionClosed:
        return target


PAGES = ("/", "/nada", "/cliente", "/_nada")
NOT_PAGES = (
    "/static/js/index.js",
    "/_stcore/health",
    "/_stcore/host-config",
    "/_stcore/metrics",
    "/_stcore/agent/openapi.json",
    "/media/abc.csv",
)


@pytest.mark.parametrize("cookie", [None, "", "lixo", FORGED, "'; drop table x; --" * 3])
def test_without_a_session_nothing_is_reached(served: Served, cookie: str | None) -> None:
    client = served.client(cookies={COOKIE_NAME: cookie} if cookie is not None else {})
    for path in PAGES:
        answer = client.get(path)
        assert (answer.status_code, answer.headers.get("location")) == (303, "/entrar"), path
    for path in NOT_PAGES:
        assert client.get(path).status_code == 401, path
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for path in ("/", "/cliente", "/_stcore/upload_file/a/b", "/_stcore/agent/interact"):
            answer = client.request(method, path, headers={"Origin": served.address})
            assert answer.status_code == 401, (method, path)
    with pytest.raises(InvalidStatus, match="403"), tab(served, client):
        pass


def test_with_a_session_only_what_the_pages_need(served: Served, bare: Bare) -> None:
    client = served.log_in(bare.email("um"), PASSWORD)
    page = client.get("/")
    assert page.status_code == 200
    assert '<html lang="pt-BR">' in page.text
    assert "<title>GeniAI Analytics</title>" in page.text
    for asset in re.findall(r'(?:src|href)="\./(static/[^"]+)"', page.text)[:3]:
        assert client.get(f"/{asset}").status_code == 200
    assert client.get("/_stcore/health").status_code == 200
    for path in (
        "/_stcore/metrics",
        "/_stcore/agent/interact",
        "/_stcore/agent/openapi.json",
        "/_stcore/agent/mcp",
        "/_stcore/agent/mcp/",
        "/x/_stcore/agent/mcp",
        "/_stcore/script-health-check",
        "/auth/login",
        "/oauth2callback",
        "/component/x/index.html",
        "/app/static/x",
        "/qualquer",
    ):
        assert client.get(path).status_code == 404, path
        headers = {"Origin": served.address}
        assert client.post(path, headers=headers, json={}).status_code == 404, path


@pytest.mark.parametrize(
    "origin", [None, "null", "https://evil.example", "http://127.0.0.1:1", "http://", "//x"]
)
def test_foreign_origin(served: Served, bare: Bare, origin: str | None) -> None:
    """No form is taken from elsewhere, and no page of elsewhere opens a websocket."""
    headers = {"Origin": origin} if origin is not None else {}
    fields = {"email": bare.email("um"), "password": PASSWORD}
    answer = served.client().post("/entrar", data=fields, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    client = served.log_in(bare.email("um"), PASSWORD)
    assert client.post("/sair", headers=headers).status_code == 403
    assert client.get("/").status_code == 200
    with pytest.raises(InvalidStatus, match="403"), tab(served, client, origin=origin):
        pass


def test_headers_of_every_answer(served: Served, bare: Bare) -> None:
    client = served.log_in(bare.email("um"), PASSWORD)
    page = client.get("/")
    asset = re.search(r'src="\./(static/js/index[^"]+)"', page.text)
    assert asset
    answers = [
        page,
        client.get(f"/{asset[1]}"),
        client.get("/_stcore/health"),
        client.get("/nada"),
        served.client().get("/entrar"),
        served.client().get("/"),
        served.client().get("/_stcore/health"),
        served.client().get("/healthz"),
        served.client().post("/entrar"),
    ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-eval" not in policy
        assert "http:" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers
        is_asset = str(answer.url).endswith(".js")
        assert ("no-store" in answer.headers["cache-control"]) is not is_asset
    scripts = re.findall(r"<script>(.*?)</script>", page.text, flags=re.DOTALL)
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in page.headers["content-security-policy"]


def test_only_streamlits_own_files_go_out_compressed(served: Served, bare: Bare) -> None:
    """A third of 10 MB for a first visit; what holds a tenant's data beside a visitor's words is
    never compressed."""
    client = served.log_in(bare.email("um"), PASSWORD)
    page = client.get("/")
    script = re.search(r'src="\./(static/js/[^"]+\.js)"', page.text)
    assert script
    answer = client.get(f"/{script[1]}")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.num_bytes_downloaded < len(answer.content) * 0.5
    for path in ("/", "/conta", "/readyz"):
        assert "content-encoding" not in client.get(path).headers


def test_a_file_that_was_left_in_the_middle_is_whole_the_next_time() -> None:
    """What a browser did not wait for is not kept for the others."""
    whole = b"function () {}" * 1000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        length = str(len(whole)).encode()
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
        )
        is_left = (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.body", "body": whole[:50] if is_left else whole})

    async def ask(kind: str) -> bytes:
        said: list[Message] = []

        async def receive() -> Message:
            return {"type": kind}

        async def send(message: Message) -> None:
            said.append(message)

        headers = [(b"accept-encoding", b"gzip")]
        await compressing(
            {"type": "http", "path": "/static/x.js", "method": "GET", "headers": headers},
            receive,
            send,
        )
        return bytes(said[1]["body"])

    compressing = server_module._Compressing(app)
    assert asyncio.run(ask("http.disconnect")) == whole[:50]
    assert gzip.decompress(asyncio.run(ask("http.request"))) == whole
    assert gzip.decompress(asyncio.run(ask("http.disconnect"))) == whole  # kept by now


def test_identity_header_is_ours_alone(bare: Bare) -> None:
    """Streamlit resumes a page's state by it: a browser must not be able to say it."""
    seen: list[tuple[bytes, bytes]] = []

    async def app(scope: dict, receive: object, send: object) -> None:
        seen.extend(pair for pair in scope["headers"] if pair[0] == IDENTITY_HEADER.encode())

    with open_pool(bare.dsn()) as pool:
        sessions = Sessions(pool)
        dashboard = Dashboard(sessions, pool, "x", cookie_secure=False)
        guard = Guard(app, dashboard, page_paths=["/"], script_hashes=[])  # type: ignore[arg-type]
        token = sessions.log_in(bare.email("um"), PASSWORD)
        assert token
        headers = [
            (b"cookie", f"{COOKIE_NAME}={token}".encode()),
            (IDENTITY_HEADER.encode(), b"someone else"),
        ]
        scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}

        async def nothing(*_: object) -> None: ...

        asyncio.run(guard(scope, nothing, nothing))  # type: ignore[arg-type]
    (token_sha256,) = [value for value in [token_hash(token)] if value]
    assert seen == [
        (IDENTITY_HEADER.encode(), f"{token_sha256.hex()}:{bare.tenants['um']}".encode())
    ]


def test_tab_is_looked_after_without_a_click(bare: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session ended elsewhere ends its quiet tabs too, within guard.RECHECK_SECONDS."""
    monkeypatch.setattr(guard_module, "RECHECK_SECONDS", 0.05)
    sent: list[dict] = []

    async def app(scope: dict, receive: object, send: object) -> None:
        assert (await receive())["type"] == "websocket.connect"  # type: ignore[operator]
        bare.execute("delete from app.sessions")
        while not [message for message in sent if message["type"] == "websocket.close"]:
            await asyncio.sleep(0.01)
        await send({"type": "websocket.send", "bytes": b"too late"})  # type: ignore[operator]

    async def receive() -> dict:
        return {"type": "websocket.connect"}

    async def send(message: dict) -> None:
        sent.append(message)

    with open_pool(bare.dsn()) as pool:
        sessions = Sessions(pool)
        token = sessions.log_in(bare.email("um"), PASSWORD)
        guard = Guard(
            app,  # type: ignore[arg-type]
            Dashboard(sessions, pool, "x", cookie_secure=False),
            page_paths=["/"],
            script_hashes=[],
        )
        headers = [
            (b"host", b"here"),
            (b"origin", b"http://here"),
            (b"cookie", f"{COOKIE_NAME}={token}".encode()),
        ]
        scope = {"type": "websocket", "path": "/_stcore/stream", "headers": headers}
        asyncio.run(asyncio.wait_for(guard(scope, receive, send), 10))  # type: ignore[arg-type]
    assert [message["type"] for message in sent] == ["websocket.send", "websocket.close"]
    assert b"/entrar" in sent[0]["bytes"]


def test_failing_page_tells_the_viewer_nothing_internal(served: Served, bare: Bare) -> None:
    """Loads that claim success, and no marts: what psycopg says stays in the log."""
    bare.execute("insert into app.sync_runs (pass, status) values ('tick', 'succeeded')")
    bare.execute("insert into app.builds (status, finished_at) values ('succeeded', now())")
    try:
        client = served.log_in(bare.email("um"), PASSWORD)
        with tab(served, client) as socket:
            rerun(socket)
            shown = until_finished(socket)
            assert "vel ler os dados agora" in shown
            assert "dim_tenants" not in shown
            assert "Traceback" not in shown
    finally:
        bare.execute("delete from app.sync_runs")
        bare.execute("delete from app.builds")


# ---- log-in and sessions ----------------------------------------------------------------------


def test_log_in_cookie_and_what_is_stored(served: Served, bare: Bare) -> None:
    answer = served.post(
        served.client(), "/entrar", email=f"  {bare.email('um').upper()} ", password=PASSWORD
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert re.match(rf"{COOKIE_NAME}=[\w-]{{43}};", cookie)
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert "Domain" not in cookie
    token = answer.cookies[COOKIE_NAME]
    stored = bare.execute("select * from app.sessions")
    assert token not in str(stored)
    assert hashlib.sha256(token.encode()).digest() in {row[0] for row in stored}


def test_behind_tls(bare: Bare) -> None:
    with serving(bare.dsn(), cookie_secure=True) as served:
        https = {"Origin": served.address.replace("http:", "https:")}
        fields = {"email": bare.email("um"), "password": PASSWORD}
        assert served.post(served.client(), "/entrar", **fields).status_code == 403
        answer = served.client().post("/entrar", data=fields, headers=https)
        assert answer.status_code == 303
        assert re.match(r"__Host-mirante_session=[\w-]{43};", answer.headers["set-cookie"])
        assert "Secure" in answer.headers["set-cookie"].split("; ")
        assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_every_log_in_checks_one_hash_of_one_cost(
    bare: Bare, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = []
    original = users.verify_password

    def counting(password: str, stored: str) -> bool:
        checked.append(stored)
        return original(password, stored)

    monkeypatch.setattr(users, "verify_password", counting)
    with open_pool(bare.dsn()) as pool:
        sessions = Sessions(pool)
        assert sessions.log_in(bare.email("um"), "another password") is None
        assert sessions.log_in("nobody@bare.example", PASSWORD) is None
        assert sessions.log_in("no\0body", PASSWORD) is None
        assert sessions.log_in(bare.email("um"), PASSWORD)
    assert len(checked) == 4
    assert len({stored[:7] for stored in checked}) == 1


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"email=a%00b%40c.d&password=x", "application/x-www-form-urlencoded", 401),
        (b"", "application/x-www-form-urlencoded", 401),
        (b"email=" + b"a" * 9000, "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a=1" for _ in range(50)), "application/x-www-form-urlencoded", 400),
        (b"email=\xff", "application/x-www-form-urlencoded", 400),
        (b"email=%ff", "application/x-www-form-urlencoded", 400),
        (b'{"email": "a@b.c"}', "application/json", 400),
        (b"--x--", "multipart/form-data; boundary=x", 400),
    ],
)
def test_odd_forms(served: Served, content: bytes, content_type: str, status: int) -> None:
    headers = {"Origin": served.address, "Content-Type": content_type}
    answer = served.client().post("/entrar", content=content, headers=headers)
    assert answer.status_code == status
    assert "set-cookie" not in answer.headers


def test_email_comes_back_escaped(served: Served) -> None:
    text = served.post(served.client(), "/entrar", email='"><script>x</script>', password="y").text
    assert "<script>" not in text
    assert "&quot;&gt;&lt;script&gt;" in text


def test_new_log_in_ends_the_browsers_old_session(served: Served, bare: Bare) -> None:
    client = served.log_in(bare.email("um"), PASSWORD)
    first = client.cookies[COOKIE_NAME]
    served.post(client, "/entrar", email=bare.email("dois"), password=PASSWORD)
    assert client.cookies[COOKIE_NAME] != first
    assert served.client(cookies={COOKIE_NAME: first}).get("/").status_code == 303
    assert client.get("/entrar").headers["location"] == "/"


def test_log_out_ends_cookie_pages_and_tabs(served: Served, bare: Bare) -> None:
    client = served.log_in(bare.email("um"), PASSWORD)
    token = client.cookies[COOKIE_NAME]
    with tab(served, client) as socket:
        rerun(socket)
        until_finished(socket)
        answer = served.post(client, "/sair")
        assert (answer.status_code, answer.headers["location"]) == (303, "/entrar")
        assert "Max-Age=0" in answer.headers["set-cookie"]
        assert sent_away_to(socket, within=1.5) == "/entrar"
    stale = served.client(cookies={COOKIE_NAME: token})
    assert stale.get("/").status_code == 303
    assert stale.get("/_stcore/health").status_code == 401
    assert "Max-Age=0" in stale.get("/entrar").headers["set-cookie"]
    with pytest.raises(InvalidStatus, match="403"), tab(served, stale):
        pass


@pytest.mark.parametrize(
    ("ending", "undoing"),
    [
        ("delete from app.sessions", "select 1"),
        ("update app.sessions set expires_at = now()", "select 1"),
        ("update app.sessions set last_seen_at = now() - interval '25 hours'", "select 1"),
        ("update app.users set is_active = false", "update app.users set is_active = true"),
        (
            "update app.tenants set status = 'suspended'",
            "update app.tenants set status = 'active'",
        ),
        (
            "update app.tenants set status = 'cancelled'",
            "update app.tenants set status = 'active'",
        ),
    ],
)
def test_session_dies_with_what_it_stands_on(
    served: Served, bare: Bare, ending: str, undoing: str
) -> None:
    """Ended from outside this server: the open tab finds out at its next click."""
    client = served.log_in(bare.email("um"), PASSWORD)
    with tab(served, client) as socket:
        rerun(socket)
        until_finished(socket)
        try:
            bare.execute(ending)
            rerun(socket)
            assert sent_away_to(socket) == "/entrar"
            assert client.get("/").status_code == 303
        finally:
            bare.execute(undoing)


def test_activity_restarts_the_idle_clock(served: Served, bare: Bare) -> None:
    client = served.log_in(bare.email("um"), PASSWORD)
    digest = hashlib.sha256(client.cookies[COOKIE_NAME].encode()).digest()
    old = (
        "update app.sessions set last_seen_at = now() - interval '23 hours' where token_sha256 = %s"
    )
    recent = (
        "select last_seen_at > now() - interval '1 minute' from app.sessions"
        " where token_sha256 = %s"
    )
    bare.execute(old, digest)
    assert client.get("/healthz").status_code == 200
    assert bare.execute(recent, digest) == [(False,)]
    assert client.get("/").status_code == 200
    assert bare.execute(recent, digest) == [(True,)]
    bare.execute(old, digest)
    with tab(served, client) as socket:
        rerun(socket)
        until_finished(socket)
    assert bare.execute(recent, digest) == [(True,)]


# ---- the agency -------------------------------------------------------------------------------


def test_agency_chooses_a_client(served: Served, bare: Bare) -> None:
    client = served.log_in(bare.agency, PASSWORD)
    assert client.get("/").headers["location"] == "/cliente"
    with pytest.raises(InvalidStatus, match="403"), tab(served, client):
        pass
    listing = client.get("/cliente").text
    assert "Academia Um" in listing
    assert "Clínica Dois" in listing
    assert "<img src=x" not in listing
    assert "&lt;img src=x" in listing
    chosen = str(bare.tenants["um"])
    foreign = client.post("/cliente", data={"tenant_id": chosen}, headers={"Origin": "http://x"})
    assert foreign.status_code == 403
    assert client.get("/").status_code == 303
    for wrong in ("0", "-1", "999999", "1 or 1=1", "", "9" * 40, "１"):
        assert served.post(client, "/cliente", tenant_id=wrong).status_code == 403, wrong
    assert served.post(client, "/cliente", tenant_id=chosen).headers["location"] == "/"
    assert client.get("/").status_code == 200
    with tab(served, client) as socket:
        rerun(socket)
        shown = until_finished(socket)
        assert "Academia Um" in shown
        assert "Trocar cliente" in shown
        served.post(client, "/cliente", tenant_id=str(bare.tenants["dois"]))
        assert sent_away_to(socket, within=1.5) == "/"
    with tab(served, client) as socket:
        rerun(socket)
        shown = until_finished(socket)
        assert "nica Dois" in shown
        assert "Academia Um" not in shown


def test_a_client_chooses_nobody(served: Served, bare: Bare) -> None:
    client = served.log_in(bare.email("um"), PASSWORD)
    assert client.get("/cliente").headers["location"] == "/"
    for tenant_id in bare.tenants.values():
        answer = served.post(client, "/cliente", tenant_id=str(tenant_id))
        assert answer.status_code == 403
    with tab(served, client) as socket:
        message = BackMsg()
        message.rerun_script.query_string = f"tenant_id={bare.tenants['dois']}&tenant=dois"
        socket.send(message.SerializeToString())
        shown = until_finished(socket)
        assert "Academia Um" in shown
        assert "nica Dois" not in shown
        assert "Trocar cliente" not in shown


# ---- questions --------------------------------------------------------------------------------


def as_of(visit: Visit, moment: datetime) -> Visit:
    return dataclasses.replace(
        visit, load_state=dataclasses.replace(visit.load_state, last_loaded_at=moment)
    )


OVERVIEW_TRUTH = """
select
    count(*), count(*) filter (where is_lead), count(*) filter (where is_converted),
    count(first_reply_seconds),
    percentile_cont(0.5) within group (order by first_reply_seconds),
    percentile_cont(0.9) within group (order by first_reply_seconds)
from marts.fct_conversations
where tenant_id = %s and created_date between %s and %s
"""


def test_overview_is_what_the_marts_say(pipeline: Pipeline, sessions: Sessions) -> None:
    """Every tenant, by other SQL and another role; the day before START is the day after."""
    days = END - START + timedelta(days=1)
    for tenant_id, visit in visits(pipeline, sessions).items():
        row = queries.overview(visit, PERIOD).iloc[0]
        ((total, leads, won, replies, median, p90),) = pipeline.query(
            OVERVIEW_TRUTH, tenant_id, START, END
        )
        assert total > 0
        assert (row.conversations, row.leads, row.conversions) == (total, leads, won)
        assert row.first_replies == replies
        assert row.lead_rate == pytest.approx(leads / total)
        assert formats.is_missing(row.crm_rate) if not leads else (
            row.crm_rate == pytest.approx(won / leads)
        )  # fmt: skip
        assert row.first_reply_median_seconds == pytest.approx(median)
        assert row.first_reply_p90_seconds == pytest.approx(p90)
        ((daily, daily_leads, daily_won),) = pipeline.query(
            "select sum(conversations), sum(leads), sum(conversions) from marts.agg_daily"
            " where tenant_id = %s and date between %s and %s",
            tenant_id, START, END,
        )  # fmt: skip
        assert (row.conversations, row.leads, row.conversions) == (daily, daily_leads, daily_won)

        assert (row.previous_start, row.previous_end) == (START - days, END - days)
        ((total, leads, won, _, before, _),) = pipeline.query(
            OVERVIEW_TRUTH, tenant_id, START - days, END - days
        )
        assert (row.previous_conversations, row.previous_leads) == (total, leads)
        assert row.previous_conversions == won
        assert row.conversations_change == pytest.approx(row.conversations / total - 1)
        assert row.lead_rate_change == pytest.approx(row.lead_rate - leads / total)
        assert row.first_reply_change == pytest.approx(median / before - 1)


def test_running_day_is_compared_up_to_the_same_hour(
    pipeline: Pipeline, sessions: Sessions
) -> None:
    for tenant_id, visit in visits(pipeline, sessions).items():
        noon = as_of(visit, datetime(2026, 6, 28, 15, tzinfo=UTC))
        row = queries.overview(noon, PERIOD).iloc[0]
        ((expected,),) = pipeline.query(
            "select count(*) from marts.fct_conversations where tenant_id = %s"
            " and created_date between %s and %s and created_at < %s",
            tenant_id, date(2026, 5, 4), date(2026, 5, 31), datetime(2026, 5, 31, 15, tzinfo=UTC),
        )  # fmt: skip
        assert row.previous_conversations == expected
        running = queries.conversations_per_day(noon, PERIOD).is_running
        assert running.tolist() == [False] * 27 + [True]


def test_conversations_per_day_has_every_day(pipeline: Pipeline, sessions: Sessions) -> None:
    start, end = date(2025, 12, 20), date(2026, 7, 10)  # longer than the sample
    for tenant_id, visit in visits(pipeline, sessions).items():
        frame_ = queries.conversations_per_day(visit, Filters(start, end))
        assert frame_["date"].tolist() == [
            start + timedelta(days=n) for n in range((end - start).days + 1)
        ]
        truth = dict(
            pipeline.query(
                "select created_date, count(*) from marts.fct_conversations"
                " where tenant_id = %s group by 1",
                tenant_id,
            )
        )
        shown = dict(zip(frame_["date"], frame_["conversations"], strict=True))
        assert {day: n for day, n in shown.items() if n} == {
            day: n for day, n in truth.items() if start <= day <= end
        }
        assert 0 in shown.values()
        first = frame_.iloc[0]
        assert first.total == sum(shown.values())
        assert first.busiest_conversations == max(shown.values())
        assert shown[first.busiest_date] == first.busiest_conversations
        assert first.mean_per_day == pytest.approx(first.total / len(shown))


def test_empty_period_gives_no_rates(pipeline: Pipeline, sessions: Sessions) -> None:
    (visit, *_) = visits(pipeline, sessions).values()
    long_ago = Filters(date(2020, 1, 1), date(2020, 1, 7))
    row = queries.overview(visit, long_ago).iloc[0]
    assert row.conversations == 0
    written = overview.kpi_cards(row)
    assert [card.value for card in written] == [*"00––0––––"]
    assert [card.previous for card in written] == [*"00––0––––"]
    assert [card.change for card in written] == [None] * 9


def test_a_visit_cannot_be_turned_to_another_tenant(pipeline: Pipeline, sessions: Sessions) -> None:
    (mine, other, *_) = visits(pipeline, sessions).values()
    assert queries.overview(mine, PERIOD).iloc[0].conversations > 0
    for changed in (
        dataclasses.replace(mine.viewer, tenant_id=other.tenant_id),
        dataclasses.replace(mine.viewer, role="super_admin"),
        dataclasses.replace(mine.viewer, token_sha256=b"0" * 32),
    ):
        with pytest.raises(SessionEndedError):
            queries.overview(Visit(changed, mine.load_state), PERIOD)
    sessions.close(mine.viewer.token_sha256)
    with pytest.raises(SessionEndedError):  # though the answer is in the cache
        queries.overview(mine, PERIOD)
    assert queries.overview(other, PERIOD).iloc[0].conversations > 0


@pytest.mark.parametrize("setting", [None, "", "0", "999999", "foreign"])
def test_questions_of_a_to_b_find_nothing(
    pipeline: Pipeline, sessions: Sessions, monkeypatch: pytest.MonkeyPatch, setting: str | None
) -> None:
    """Row security alone and the query's own condition alone both suffice."""
    mine, other, *_ = visits(pipeline, sessions).values()

    @contextmanager
    def wrong(pool: object, tenant_id: int) -> Iterator[psycopg.Connection]:
        with pool.connection() as connection, connection.transaction():  # type: ignore[attr-defined]
            if setting is not None:
                value = str(other.tenant_id) if setting == "foreign" else setting
                connection.execute("select set_config('app.current_tenant_id', %s, true)", [value])
            yield connection

    monkeypatch.setattr(queries, "tenant_connection", wrong)
    assert queries.overview(mine, PERIOD).iloc[0].conversations == 0
    assert queries.conversations_per_day(mine, PERIOD).conversations.sum() == 0
    coverage = queries.coverage(mine).iloc[0]
    assert not coverage.is_built
    assert not coverage.has_inboxes
    assert coverage.last_date is None
    assert queries.export_counts(mine, PERIOD, Selection()).iloc[0].tolist() == [0, 0, 0, 0]
    assert queries.export_preview(mine, "remarketing", PERIOD, Selection()).empty
    assert queries.export_preview(mine, "conversas", PERIOD, Selection()).empty


def test_many_threads_on_a_small_pool(pipeline: Pipeline, sessions: Sessions) -> None:
    own = visits(pipeline, sessions)
    truth = {
        (tenant_id, end): pipeline.query(OVERVIEW_TRUTH, tenant_id, START, end)[0][:2]
        for tenant_id in own
        for end in (END, date(2026, 6, 7))
    }
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    asked = random.Random(seed).choices(list(truth), k=240)

    def ask(position: int) -> None:
        tenant_id, end = asked[position]
        if position % 20 == 0:
            queries._answer.clear()
        row = queries.overview(own[tenant_id], Filters(START, end)).iloc[0]
        assert (row.conversations, row.leads) == truth[tenant_id, end]

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(ask, range(len(asked))))


def test_slow_questions_of_one_tenant_leave_the_others_alone(
    pipeline: Pipeline, sessions: Sessions
) -> None:
    """Ten at once of one tenant, all slow; another's page is answered while they run."""
    slow, other, *_ = visits(pipeline, sessions).values()
    with (
        open_pool(pipeline.warehouse.dsn("app"), max_size=4) as reads,
        ThreadPoolExecutor(12) as threads,
    ):
        reads.timeout = 5
        state.use(Dashboard(sessions, reads, "x", cookie_secure=False))
        waiting = [
            threads.submit(
                queries._answer, f"select pg_sleep(4) as n{number}", slow.tenant_id, "client", 1, ()
            )
            for number in range(10)
        ]
        for _ in range(3):
            queries._answer.clear()
            row = threads.submit(queries.overview, other, PERIOD).result(timeout=20).iloc[0]
            assert row.conversations > 0
        assert len([one for one in waiting if not one.done()]) >= 7
        assert len([one.result(timeout=60) for one in waiting]) == 10


def test_cache_key(pipeline: Pipeline, sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that tells answers apart is in the key; nothing else asks the database."""
    cached = [value for value in vars(queries).values() if type(value).__name__ == "CachedFunc"]
    assert cached == [queries._answer]
    names = list(inspect.signature(queries._answer).parameters)
    assert {"sql", "tenant_id", "role", "data_version", "parameters"} == set(names)
    assert not [name for name in names if name.startswith("_")]

    asked: list[int] = []
    original = tenant_connection

    def counting(pool: object, tenant_id: int) -> object:
        asked.append(tenant_id)
        return original(pool, tenant_id)  # type: ignore[arg-type]

    monkeypatch.setattr(queries, "tenant_connection", counting)
    mine, other, *_ = visits(pipeline, sessions).values()
    for visit in (mine, other, mine, other):
        queries.overview(visit, PERIOD)
    assert asked == [mine.tenant_id, other.tenant_id]
    newer = LoadState(
        mine.load_state.last_loaded_at,
        mine.load_state.last_built_at,
        mine.load_state.data_version + 1,
    )
    queries.overview(dataclasses.replace(mine, load_state=newer), PERIOD)
    queries.overview(mine, Filters(START, END - timedelta(days=1)))
    assert asked == [mine.tenant_id, other.tenant_id, mine.tenant_id, mine.tenant_id]


# ---- how it is written ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (formats.number(1234567), "1.234.567"),
        (formats.number(1234.56, 1), "1.234,6"),
        (formats.number(None), "–"),
        (formats.number(float("nan")), "–"),
        (formats.percent(0.12345), "12,3\u00a0%"),
        (formats.percent(1), "100,0\u00a0%"),
        (formats.percent(None), "–"),
        (formats.change(-0.0561), "-5,6\u00a0%"),
        (formats.change(12.5), "+1.250,0\u00a0%"),
        (formats.change(0.0001), "0\u00a0%"),
        (formats.points(0.0123), "+1,2\u00a0p.p."),
        (formats.points(None), None),
        (formats.duration(0), "0\u00a0s"),
        (formats.duration(59.9), "59\u00a0s"),
        (formats.duration(369), "6\u00a0min\u00a009\u00a0s"),
        (formats.duration(7500), "2\u00a0h\u00a005\u00a0min"),
        (formats.duration(86_400 * 3 + 4 * 3600 + 5), "3\u00a0d\u00a04\u00a0h"),
        (formats.duration(None), "–"),
        (formats.day(date(2026, 3, 9)), "09/03/2026"),
        (formats.weekday(date(2026, 3, 9)), "segunda-feira"),
        (
            formats.moment(datetime(2026, 3, 9, 1, 30, tzinfo=UTC), "America/Sao_Paulo"),
            "08/03/2026 22:30",
        ),
        (formats.age(timedelta(seconds=20)), "agora"),
        (formats.age(timedelta(minutes=12, seconds=30)), "há\u00a012\u00a0min"),
        (formats.age(timedelta(minutes=125)), "há\u00a02\u00a0h\u00a005\u00a0min"),
        (formats.count(1, "conversa", "conversas"), "1 conversa"),
        (formats.count(2000, "conversa", "conversas"), "2.000 conversas"),
    ],
)
def test_brazilian_formats(written: str | None, expected: str | None) -> None:
    assert written == expected


@pytest.mark.parametrize(
    ("minutes", "level"), [(-5, "green"), (0, "green"), (59, "green"), (61, "amber"), (181, "red")]
)
def test_stale_data_is_marked(
    pipeline: Pipeline, sessions: Sessions, minutes: int, level: str
) -> None:
    (visit, *_) = visits(pipeline, sessions).values()
    moment = datetime.now(UTC) - timedelta(minutes=minutes)
    assert frame._freshness(as_of(visit, moment))[0] == level


def test_cards_quote_the_kpi_dictionary(pipeline: Pipeline, sessions: Sessions) -> None:
    (visit, *_) = visits(pipeline, sessions).values()
    cards = overview.kpi_cards(queries.overview(visit, PERIOD).iloc[0])
    labels = [definitions.definition(card.kpi).label for card in cards]
    assert labels == [
        "Conversas",
        "Contatos únicos",
        "Resolvidas",
        "Taxa de conversão (leads)",
        "Leads qualificados",
        "Taxa de conversão (CRM)",
        "Tempo até a 1ª resposta",
        "Sem resposta",
        "Score IA médio",
    ]
    # Fewer leads are bad, a longer wait is too.
    assert [card.good for card in cards] == [*["up"] * 6, "down", "down", "up"]


def test_chart_and_sentence(pipeline: Pipeline, sessions: Sessions) -> None:
    (visit, *_) = visits(pipeline, sessions).values()
    days = queries.conversations_per_day(visit, PERIOD)
    for dark in (False, True):
        chart = charts.conversations_per_day(days, dark=dark)
        assert drawn(chart) == days["conversations"].tolist()
        assert [point[2][-10:] for point in chart.option["series"][0]["data"]] == [
            formats.day(day) for day in days["date"]
        ]
    sentence = overview.conversations_sentence(days.iloc[0])
    assert sentence.startswith(formats.count(days.total[0], "conversa", "conversas"))
    assert formats.day(days.busiest_date[0]) in sentence
