"""The page Conversas: what was written, as data, in order, of nobody else's."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

from dashboard import queries, words
from dashboard.app_pages import conversations
from dashboard.auth import Sessions
from dashboard.filters import Parameters
from tests.browsing import DESKTOP, PERIOD, PHONE, plain, serious_findings, visitor
from tests.conftest import Pipeline
from tests.serving import Served, serving, visits

CHATWOOT = "https://chat.example"
INBOX = "<img src=x onerror=alert(1)><b>{a} {@[0]}</b>"
RTL = "\u202eمرحبا abc\u202c"
LONG = "W" * 10_000
HOSTILE = (
    ("contact", '<img src="https://evil.example/x.png" onerror=alert(1)><script>alert(2)</script>'),
    ("bot", "![x](https://evil.example/y.png) [clique](javascript:alert(3)) **negrito** # título"),
    ("agent", '=HYPERLINK("https://evil.example","x")\n+1\r\n@soma\n\n`code` $x$ :material/home:'),
    ("contact", RTL),
    ("contact", "zero\u200blargura\u2060 \u0007 sino"),
    ("contact", LONG),
    ("contact", "</div></span><style>*{display:none}</style>{{7*7}} %(tenant_id)s <b>&amp;"),
)  # fmt: skip


def test_messages_are_those_of_the_mart(pipeline: Pipeline, sessions: Sessions) -> None:
    for tenant_id, visit in visits(pipeline, sessions).items():
        ((longest, count),) = pipeline.query(
            "select conversation_id, message_count from marts.fct_conversations"
            " where tenant_id = %s order by message_count desc nulls last limit 1",
            tenant_id,
        )
        row = queries.records(queries.conversation(visit, longest))[0]
        assert row["message_count"] == count
        truth = pipeline.query(
            "select message_id, sender_kind, content, created_at from marts.fct_messages"
            " where tenant_id = %s and conversation_id = %s order by created_at, message_id",
            tenant_id, longest,
        )  # fmt: skip
        assert len(truth) == count
        for limit in (3, count + 1):
            shown = queries.records(queries.messages(visit, longest, limit))
            assert [
                (m["message_id"], m["sender_kind"], m["content"], m["created_at"]) for m in shown
            ] == truth[-limit:]


def test_files_are_named(pipeline: Pipeline) -> None:
    """Of every message with a file, and of no other."""
    ((without, more),) = pipeline.query(
        "select count(*) filter (where attachment_count > 0 and not is_deleted"
        " and attachment_placeholders is null), count(*) filter (where attachment_placeholders"
        " is not null and (attachment_count = 0 or is_deleted)) from marts.fct_messages"
    )
    assert (without, more) == (0, 0)
    kinds = pipeline.query(
        "select distinct unnest(string_to_array(attachment_placeholders, ' '))"
        " from marts.fct_messages"
    )
    assert {"[imagem]", "[áudio]"} <= {kind for (kind,) in kinds}


def message(**given: Any) -> dict[str, Any]:
    return {
        "message_id": 1, "sender_kind": "contact", "agent_name": None, "content": "oi",
        "attachment_placeholders": None, "attachment_count": 0, "delivery_status": "sent",
        "is_deleted": False, "created_at": datetime(2026, 6, 1, 2, 30, tzinfo=UTC), **given,
    }  # fmt: skip


def test_how_a_message_is_written() -> None:
    def written(**given: Any) -> str:
        return conversations.chat([message(**given)], set(), "America/Sao_Paulo")

    assert "23:30" in written()
    assert "domingo, 31/05/2026" in written()  # the day before, on the tenant's clock
    assert "11:30" in conversations.chat([message()], set(), "Asia/Tokyo")
    assert "mensagem apagada" in written(is_deleted=True, content=None)
    assert "não entregue" in written(sender_kind="agent", delivery_status="failed")
    assert "não entregue" not in written(delivery_status="failed")
    assert "[imagem] [áudio] <small>2 anexos" in written(
        content=None, attachment_count=2, attachment_placeholders="[imagem] [áudio]"
    )
    assert "Kelly &lt;b&gt;" in written(sender_kind="agent", agent_name="Kelly <b>")
    for kind, (icon, who) in words.SIDES.items():
        assert icon in written(sender_kind=kind)
        assert who in written(sender_kind=kind)
    assert "sustenta" not in written()
    assert "sustenta" in conversations.chat([message()], {1}, "America/Sao_Paulo")
    two = [message(), message(created_at=datetime(2026, 6, 1, 3, 0, tzinfo=UTC))]
    assert conversations.chat(two, set(), "America/Sao_Paulo").count("m-day") == 2


# ---- in a browser -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile(copied: Pipeline) -> tuple[int, int, int]:
    """A conversation full of what wants to be more than text, a long one, and a stranger's."""
    mine, other = list(copied.tenants.values())[:2]
    with psycopg.connect(copied.warehouse.dsn("owner"), autocommit=True) as connection:
        hostile, long = (
            row[0]
            for row in connection.execute(
                "select conversation_id from marts.fct_conversations where tenant_id = %s"
                " and contact_id is not null order by created_at desc limit 2",
                [mine],
            )
        )
        (foreign,) = (
            connection.execute(
                "select max(conversation_id) from marts.fct_conversations where tenant_id = %s",
                [other],
            ).fetchone()
            or ()
        )
        for id_ in (hostile, long):
            connection.execute("delete from marts.fct_messages where conversation_id = %s", [id_])
        lines = [
            *((hostile, 9_000_000 + n, *line) for n, line in enumerate(HOSTILE)),
            *((long, 9_100_000 + n, "contact", f"linha {n}") for n in range(150)),
        ]
        with connection.cursor() as cursor:
            cursor.executemany(
                "insert into marts.fct_messages (tenant_id, conversation_id, message_id,"
                " sender_kind, content, attachment_count, is_deleted, created_at, created_date)"
                " values (%s, %s, %s, %s, %s, 0, false, %s, %s)",
                [
                    (mine, id_, message_id, kind, text, at, at.date())
                    for id_, message_id, kind, text in lines
                    for at in [
                        datetime(2026, 6, 1, 12, tzinfo=UTC)
                        + timedelta(seconds=message_id % 100000)
                    ]
                ],
            )
        connection.execute(
            "update marts.fct_conversations set message_count = %s, contact_name = %s,"
            " ai_summary = %s, ai_next_step = %s, preview = %s, ai_evidence_message_ids = %s,"
            " ai_status = 'ok' where conversation_id = %s",
            [len(HOSTILE), HOSTILE[0][1], HOSTILE[1][1], HOSTILE[6][1],
             "\n".join(f"{kind}: {text}" for kind, text in HOSTILE[:2]), [9_000_001], hostile],
        )  # fmt: skip
        connection.execute(
            "update marts.dim_inboxes set name = %s where tenant_id = %s and inbox_id ="
            " (select min(inbox_id) from marts.dim_inboxes where tenant_id = %s)",
            [INBOX, mine, mine],
        )
        connection.execute(
            "update marts.fct_conversations set message_count = 150 where conversation_id = %s",
            [long],
        )
    return hostile, long, foreign


@pytest.fixture(scope="module")
def served_copy(copied: Pipeline, hostile: object) -> Iterator[Served]:
    with serving(copied.warehouse.dsn("app"), chatwoot_url=CHATWOOT) as served:
        yield served


@pytest.mark.browser
def test_a_tooltip_is_text(browser: Browser, served_copy: Served, copied: Pipeline) -> None:
    """What stands beside the pointer is HTML of ours and words of other people."""
    with visitor(browser, served_copy) as someone:
        page = someone.page
        someone.let_in(*next(iter(copied.users.values())))
        address = f"/canais{PERIOD.removeprefix('/')}"
        for path, key in (
            (address, "ranking"),
            (f"{PERIOD}&caixas=Separadas", "conversations-per-day"),
        ):
            someone.open(path)
            canvas = page.locator(f".st-key-panel-{key} canvas").first
            expect(canvas).to_be_visible()
            page.wait_for_timeout(1000)
            size = canvas.bounding_box()
            assert size
            tips = page.locator(f".st-key-panel-{key} canvas").locator("xpath=../../div[2]")
            seen = ""
            for row in range(1, 12):  # over every bar
                canvas.hover(position={"x": size["width"] * 0.25, "y": size["height"] * row / 12})
                page.wait_for_timeout(60)
                if tips.count():
                    seen += tips.first.text_content() or ""
                    assert tips.locator("img, script, b b, a").count() == 0
            assert (INBOX if key == "ranking" else INBOX[:20]) in seen
            # Streamlit's way to a picture of the chart, which no audit would know of.
            assert page.locator("[data-testid=stElementToolbar]:visible").count() == 0


def texts(page: Page) -> list[str]:
    return page.locator(".m-text").evaluate_all("all => all.map(one => one.textContent)")


@pytest.mark.browser
@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "dark"), (PHONE, "light")])
def test_a_conversation_is_text(
    browser: Browser, served_copy: Served, copied: Pipeline, hostile: tuple[int, int, int],
    size: tuple[int, int], scheme: str,
) -> None:  # fmt: skip
    """`visitor` fails on a request elsewhere, a dialog, and whatever the console complains of."""
    who = next(iter(copied.users.values()))
    with visitor(browser, served_copy, size, scheme) as someone:
        page = someone.page
        someone.let_in(*who)
        someone.open(f"/conversas?conversa={hostile[0]}")
        expect(page.locator(".m-message")).to_have_count(len(HOSTILE))
        for shown, (_, text) in zip(texts(page), HOSTILE, strict=True):
            assert shown.replace("\r", "") == text.replace("\r", "")
        chat = page.locator(".m-chat")
        assert chat.locator("img, script, style, a, strong, code, h1").count() == 0
        assert page.locator(".m-message.m-evidence").count() == 1
        assert page.locator("h2 bdi").last.text_content() == HOSTILE[0][1]
        assert HOSTILE[1][1] in (page.locator("aside.m-facts").text_content() or "")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        box = chat.bounding_box()
        assert box
        assert box["width"] <= size[0]
        direction = (
            page.locator(".m-text").nth(3).evaluate("one => getComputedStyle(one).unicodeBidi")
        )
        assert direction in {"isolate", "plaintext", "isolate-override"}
        assert serious_findings(page) == []
        ((account_id, display_id),) = copied.query(
            "select account_id, display_id from marts.fct_conversations where conversation_id = %s",
            hostile[0],
        )
        link = page.get_by_role("link", name="Abrir no Chatwoot")
        expect(link).to_have_attribute(
            "href", f"{CHATWOOT}/app/accounts/{account_id}/conversations/{display_id}"
        )
        expect(link).to_have_attribute("target", "_blank")
        rel = link.get_attribute("rel") or ""
        assert {"noopener", "noreferrer"} <= set(rel.split())

        someone.open("/leads?lista=historico&ordem=Mais+novas+primeiro")
        expect(page.locator(".m-leads tbody tr")).to_have_count(25)
        first = page.locator(".m-leads tbody tr").first
        assert first.locator("bdi").first.text_content() == HOSTILE[0][1]
        assert page.locator(".m-leads").locator("img, script, style, strong.x").count() == 0
        assert HOSTILE[1][1] in (first.text_content() or "")


@pytest.mark.browser
def test_which_conversations_open(
    browser: Browser, served_copy: Served, copied: Pipeline, hostile: tuple[int, int, int]
) -> None:
    tenant_id = next(iter(copied.tenants.values()))
    who = next(iter(copied.users.values()))
    ids = [
        id_
        for (id_,) in copied.query(
            "select conversation_id from marts.fct_conversations where tenant_id = %s"
            " and message_count > 0 order by conversation_id limit 11",
            tenant_id,
        )
    ]
    _, long, foreign = hostile
    with visitor(browser, served_copy) as someone:
        page = someone.page
        someone.let_in(*who)
        someone.open("/conversas")
        expect(page.locator(".m-found li")).to_have_count(conversations.FOUND)
        assert serious_findings(page) == []

        someone.open(address(ids))
        expect(page.locator(".m-chat")).to_have_count(conversations.OPEN_AT_ONCE)
        expect(page.get_by_text("Até 10 conversas abrem ao mesmo tempo")).to_be_visible()
        page.get_by_role("link", name="Fechar").first.click()
        expect(page.locator(".m-chat")).to_have_count(9)
        assert f"conversa={ids[0]}&" not in f"{page.url}&"

        # Neither says whether it is somewhere else.
        said = []
        for id_ in (foreign, 10**18 - 1, 0):
            someone.open(address([id_]))
            missing = page.locator(".m-empty")
            expect(missing).to_contain_text("Conversa não encontrada")
            said.append(plain(missing.inner_text()).replace(str(id_), "N"))
            assert page.locator(".m-chat").count() == 0
        assert len(set(said)) == 1

        someone.open("/conversas?conversa=abc&conversa=-1&conversa=1e5&conversa=%00&conversa=٣"
                     "&conversa=99999999999999999999&mensagens=x")  # fmt: skip
        expect(page.locator(".m-found li")).to_have_count(conversations.FOUND)
        assert page.locator(".m-empty").count() == 0

        someone.open(address([long]))
        expect(page.locator(".m-message")).to_have_count(conversations.FIRST_MESSAGES)
        assert texts(page)[-1] == "linha 149"
        page.get_by_role("button", name="Mostrar anteriores (90)").click()
        expect(page.locator(".m-message")).to_have_count(150)
        assert texts(page) == [f"linha {n}" for n in range(150)]
        page.reload()
        expect(page.locator(".m-message")).to_have_count(150)

        ((name, number),) = copied.query(
            "select contact_name, display_id from marts.fct_conversations"
            " where conversation_id = %s",
            ids[0],
        )
        search = page.get_by_role("searchbox")
        search.fill(f"#{number}")
        search.press("Enter")
        expect(page.locator(".m-found li").first).to_contain_text(name or "Sem nome")
        page.locator(".m-found a").last.click()
        expect(page.locator(".m-chat")).to_have_count(2)


def address(ids: list[int]) -> str:
    given: Parameters = {"conversa": [str(id_) for id_ in ids]}
    return conversations.filters.href(conversations.PATH, given)


@pytest.mark.browser
def test_without_an_address_of_chatwoot_there_is_no_link(
    browser: Browser, served: Served, pipeline: Pipeline
) -> None:
    tenant_id = next(iter(pipeline.tenants.values()))
    ((id_,),) = pipeline.query(
        "select max(conversation_id) from marts.fct_conversations where tenant_id = %s", tenant_id
    )
    with visitor(browser, served) as someone:
        someone.let_in(*next(iter(pipeline.users.values())))
        someone.open(f"/conversas?conversa={id_}")
        expect(someone.page.locator(".m-chat")).to_be_visible()
        assert someone.page.get_by_role("link", name="Fechar").count() == 1
        assert someone.page.get_by_role("link", name="Chatwoot").count() == 0
