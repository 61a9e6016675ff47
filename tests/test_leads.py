"""The page Leads: which conversations a list has, in what order, and what a person corrects."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, expect

from dashboard import lists, queries, state, words
from dashboard.app_pages import leads
from dashboard.auth import SessionEndedError, Sessions, Visit
from dashboard.filters import Filters
from dashboard.lists import LISTS, Part, Selection
from dashboard.state import Dashboard
from tests.browsing import (
    DESKTOP,
    END,
    PERIOD,
    PHONE,
    START,
    plain,
    serious_findings,
    settled,
    visitor,
)
from tests.conftest import Pipeline
from tests.serving import PASSWORD, Served, serving, visits
from warehouse import users
from warehouse.build import build
from warehouse.db import open_pool

AS_OF = datetime(2026, 6, 30, 18, tzinfo=UTC)
FACTS = "select conversation_id from marts.fct_conversations where tenant_id = %s"
# A list's number as the aggregates have it.
DAILY = {
    "todas": "conversations",
    "sem-resposta": "unanswered_conversations",
    "respondidas": "first_replies",
    "leads": "leads",
    "qualificados": "qualified_leads",
    "visitas": "visits",
    "convertidas": "conversions",
    "analisadas": "scored_conversations",
    "resolvidas": "resolved_conversations",
    "reabertas": "reopened_conversations",
    "um-toque": "one_touch_conversations",
    "robo": "bot_resolved_conversations",
    "primeira-resolucao": "first_resolutions",
    "avaliadas": "csat_count",
    "satisfeitas": "csat_good",
}
# And of those that no day bounds.
UNDATED = {
    "aguardando": "select count(*) from marts.fct_conversations where tenant_id = %s and inbox_id"
    " = any(%s) and status <> 'resolved' and last_side = 'contact'",
    "esfriando": "select count(*) from marts.rpt_remarketing_queue where tenant_id = %s and"
    " inbox_id = any(%s) and last_message_at <= timestamptz '2026-06-29 18:00+00'",
    "historico": "select count(*) from marts.fct_conversations where tenant_id = %s and inbox_id"
    " = any(%s)",
    "nao-resolvidas": "select count(*) from marts.fct_conversations where tenant_id = %s and"
    " inbox_id = any(%s) and status <> 'resolved'",
}  # fmt: skip
# By the conversation's day, a condition over the facts; by other days, the conversations of rows.
MISSING = {
    "sem-telefone": "contact_phone is null",
    "sem-contato": "contact_phone is null and contact_email is null",
    "sem-nome": "coalesce(trim(contact_name), '') = ''",
    "sem-analise": "lead_score is null",
}
OF_ROWS = {
    "respostas": ("fct_replies", "replied_date", "true"),
    "primeiras-respostas": ("fct_replies", "replied_date", "is_first"),
    "respostas-no-horario": ("fct_replies", "replied_date", "wait_business_seconds is not null"),
    "mensagens-de-pessoas": ("fct_messages", "created_date", "sender_kind = 'agent'"),
    "mensagens-do-robo": ("fct_messages", "created_date", "sender_kind = 'bot'"),
    "mensagens-de-contatos": ("fct_messages", "created_date", "sender_kind = 'contact'"),
    "nao-entregues": ("fct_messages", "created_date", "delivery_status = 'failed'"),
}


def of_sample(pipeline: Pipeline, sessions: Sessions) -> dict[int, Visit]:
    """Visits right after the sample's end: ages count to the last load."""
    return {
        tenant_id: dataclasses.replace(
            visit, load_state=dataclasses.replace(visit.load_state, last_loaded_at=AS_OF)
        )
        for tenant_id, visit in visits(pipeline, sessions).items()
    }


def ids_of(
    visit: Visit, selection: Selection, filters: Filters | None = None, sort: str = "novas"
) -> list[int]:
    found = queries.leads(
        visit, filters or Filters(START, END), selection, sort=sort, page=1, size=10_000
    )
    return [int(id_) for id_ in found["conversation_id"]]


# ---- lists ------------------------------------------------------------------------------------


def test_every_list_has_as_many_as_its_number(pipeline: Pipeline, sessions: Sessions) -> None:
    assert {*DAILY, *UNDATED, *MISSING, *OF_ROWS, "contatos", "abertas-no-fim"} == set(LISTS)
    for tenant_id, visit in of_sample(pipeline, sessions).items():
        inboxes = [int(id_) for id_ in queries.inboxes(visit)["inbox_id"]]
        for chosen in ((), tuple(inboxes[:1])):
            filters = Filters(START, END, chosen)
            asked = list(chosen) or inboxes
            for name, column in DAILY.items():
                ((expected,),) = pipeline.query(
                    f"select coalesce(sum({column}), 0) from marts.agg_daily where tenant_id = %s"
                    " and date between %s and %s and inbox_id = any(%s)",
                    tenant_id, START, END, asked,
                )  # fmt: skip
                selection = Selection(name)
                assert queries.selected(visit, filters, selection) == expected, name
                assert len(ids_of(visit, selection, filters)) == expected, name
            for name, condition in MISSING.items():
                ((expected,),) = pipeline.query(
                    "select count(*) from marts.fct_conversations where tenant_id = %s"
                    f" and created_date between %s and %s and inbox_id = any(%s) and {condition}",
                    tenant_id, START, END, asked,
                )  # fmt: skip
                assert queries.selected(visit, filters, Selection(name)) == expected, name
            for name, (mart, day, condition) in OF_ROWS.items():
                ((expected,),) = pipeline.query(
                    f"select count(distinct conversation_id) from marts.{mart} where tenant_id = %s"
                    f" and {day} between %s and %s and inbox_id = any(%s) and {condition}",
                    tenant_id, START, END, asked,
                )  # fmt: skip
                assert queries.selected(visit, filters, Selection(name)) == expected, name
            for name, sql in UNDATED.items():
                ((expected,),) = pipeline.query(sql, tenant_id, asked)
                assert expected > 0
                for dates in (filters, Filters(START, START, chosen)):
                    assert queries.selected(visit, dates, Selection(name)) == expected, name


def test_each_contact_by_its_latest_conversation(pipeline: Pipeline, sessions: Sessions) -> None:
    """Of the period and the inboxes chosen: one that wrote elsewhere or later is still there."""
    start, fewer, elsewhere = date(2026, 1, 1), 0, 0
    for tenant_id, visit in of_sample(pipeline, sessions).items():
        inboxes = [int(id_) for id_ in queries.inboxes(visit)["inbox_id"]]
        for chosen in ((), *((inbox_id,) for inbox_id in inboxes)):
            filters = Filters(start, END, chosen)
            latest: dict[int, int] = {}
            talks = pipeline.query(
                "select contact_id, conversation_id from marts.fct_conversations where tenant_id"
                " = %s and created_date between %s and %s and inbox_id = any(%s)"
                " and contact_id is not null order by created_at, conversation_id",
                tenant_id, start, END, list(chosen) or inboxes,
            )  # fmt: skip
            latest.update(talks)
            listed = ids_of(visit, Selection("contatos"), filters)
            assert sorted(listed) == sorted(latest.values())
            assert queries.overview(visit, filters).iloc[0].contacts == len(listed)
            fewer += len(talks) - len(latest)
            elsewhere += len(latest) if chosen else -len(latest)
    assert fewer > 0
    assert elsewhere > 0  # counted in each inbox they wrote to


def test_the_backlog_of_any_day_has_its_list(pipeline: Pipeline, sessions: Sessions) -> None:
    for tenant_id, visit in of_sample(pipeline, sessions).items():
        days = pipeline.query(
            "select date, sum(open_conversations)::int from marts.agg_backlog where tenant_id = %s"
            " and date between %s and %s group by 1 order by 1",
            tenant_id, START, END,
        )  # fmt: skip
        assert len(days) == (END - START).days + 1
        for day, number in days[::4]:
            assert number > 0
            for start in (day, START):  # the first day says nothing
                filters = Filters(start, day)
                assert queries.selected(visit, filters, Selection("abertas-no-fim")) == number


def test_parts_narrow_as_plain_sql_does(pipeline: Pipeline, sessions: Sessions) -> None:
    ((agent_id,),) = pipeline.query(
        "select agent_id from marts.fct_conversations where agent_id is not null"
        " group by 1 order by count(*) desc limit 1"
    )
    idle = "last_message_at <= timestamptz '2026-06-30 18:00+00' - interval"
    zone = "(select timezone from app.tenants where id = tenant_id)"
    cases = (
        (Part(agent_id=agent_id), f"agent_id = {agent_id}"),
        (Part(channel="whatsapp"), "channel = 'whatsapp'"),
        (Part(status="open"), "status = 'open'"),
        (Part(weekday=1), f"to_char(created_at at time zone {zone}, 'ID') = '1'"),
        (Part(hour=10), f"to_char(created_at at time zone {zone}, 'HH24') = '10'"),
        (Part(reply_from=300, reply_to=900), "first_reply_seconds >= 300"
         " and first_reply_seconds < 900"),
        (Part(idle="recente"), f"{idle} '24 hours' and not {idle} '48 hours'"),
        (Part(idle="medio"), f"{idle} '48 hours' and not {idle} '168 hours'"),
        (Part(idle="frio"), f"{idle} '168 hours'"),
        (Part(rating=5), "csat_rating = 5"),
        (Part(ai_state="ok", ai_provider="local"), "ai_status = 'ok' and ai_provider = 'local'"),
        (Part(ai_state="none"), "ai_status is null"),
    )  # fmt: skip
    seen = 0
    for tenant_id, visit in of_sample(pipeline, sessions).items():
        for part, condition in cases:
            expected = pipeline.query(
                f"{FACTS} and created_date between %s and %s and {condition}",
                tenant_id, START, END,
            )  # fmt: skip
            assert sorted(ids_of(visit, Selection(part=part))) == sorted(
                id_ for (id_,) in expected
            ), part
            seen += len(expected)
            assert lists.read(flat(Selection(part=part).parameters())).part == part
    assert seen > 1000


def test_chips_say_what_narrows_a_list(pipeline: Pipeline, sessions: Sessions) -> None:
    """Each field of a Part in words, but the status, which has a filter of its own."""
    (tenant_id, visit), *_ = of_sample(pipeline, sessions).items()
    ((agent_id, name),) = pipeline.query(
        "select agent_id, name from marts.dim_agents where tenant_id = %s and name is not null"
        " order by 1 limit 1", tenant_id,
    )  # fmt: skip
    part = Part(
        agent_id=0, channel="whatsapp", status="open", weekday=1, hour=10, reply_from=300,
        reply_to=900, idle="frio", replied_by=agent_id, rating=5, ai_state="stale",
        ai_provider="openai",
    )  # fmt: skip
    said = leads._parts(visit, Selection("respostas", part))
    assert {field: plain(text) for field, text in said.items()} == {
        "agent_id": "Pessoa: Sem agente",
        "replied_by": f"Resposta de: {name}",
        "rating": "Nota 5",
        "channel": "Canal: WhatsApp",
        "weekday": "Segunda-feira",
        "hour": "Iniciadas às 10 h",
        "reply_from": "1ª resposta em 5 min 00 s ou mais",
        "reply_to": "1ª resposta em menos de 15 min 00 s",
        "idle": "Parada: Frio",
        "ai_state": "Análise: Analisada, com mensagens novas desde então",
        "ai_provider": "Analisada por: IA externa (OpenAI)",
    }
    assert set(said) | {"status"} == set(vars(part))
    unknown = leads._parts(visit, Selection("respostas", Part(replied_by=999_999)))
    assert unknown == {"replied_by": "Resposta de: nº 999999"}


def flat(parameters: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if isinstance(value, str)}


def test_class_and_score(pipeline: Pipeline, sessions: Sessions) -> None:
    for tenant_id, visit in of_sample(pipeline, sessions).items():
        for lead_class in words.LEAD_CLASSES:
            for score in (None, 1, 50, 100):
                selection = Selection("historico", lead_class=lead_class, score_from=score)
                expected = pipeline.query(
                    f"{FACTS} and lead_class = %s and lead_score >= %s",
                    tenant_id, lead_class, score or 0,
                )  # fmt: skip
                assert sorted(ids_of(visit, selection)) == sorted(id_ for (id_,) in expected)
                assert lists.read(flat(selection.parameters())) == selection


@pytest.mark.parametrize(
    "query",
    [
        {"lista": "drop table", "agente": "-1", "hora": "1e3", "dia-da-semana": "9" * 30},
        {"lista": "", "agente": "٣", "situacao": "open", "parada": "'", "classe": "high"},
        {"score": "101", "resposta-de": "0x10", "resposta-ate": " 5", "busca": "\0 \0"},
        {"score": "-5", "busca": "", "canal": ""},
        {"score": "nan", "busca": " " * 200},
    ],
)
def test_garbage_in_an_address_names_everything(query: dict[str, str]) -> None:
    assert lists.read(query) == Selection()


def test_whatever_an_address_says_is_a_value(pipeline: Pipeline, sessions: Sessions) -> None:
    (visit, *_) = of_sample(pipeline, sessions).values()
    everything = queries.selected(visit, Filters(START, END), Selection())
    for text in ("' or true --", "%", "_", "\\", "%%s", "{0}", "a\u0000b", "👤", "%(tenant_id)s"):
        query = {"busca": text, "canal": text, "agente": "999999999"}
        assert queries.selected(visit, Filters(START, END), lists.read(query)) == 0
        found = queries.selected(visit, Filters(START, END), lists.read({"busca": text}))
        assert found < everything


def test_orders_and_pages_give_every_row_once(pipeline: Pipeline, sessions: Sessions) -> None:
    columns = {
        "novas": ("created_at", True), "ultima": ("last_message_at", True),
        "parada": ("last_message_at", False), "score": ("lead_score", True),
        "espera": ("waiting_since", False),
    }  # fmt: skip
    assert {*columns, "nome", leads.RECOMMENDED} == set(leads.ORDERS)
    assert set(leads.ORDERS) - {leads.RECOMMENDED} == set(queries.ORDERS)
    (tenant_id, visit), *_ = of_sample(pipeline, sessions).items()
    for name in ("leads", "aguardando", "esfriando"):
        selection, filters = Selection(name), Filters(START, END)
        total = queries.selected(visit, filters, selection)
        whole = sorted(ids_of(visit, selection))
        assert len(whole) == total
        for sort in queries.ORDERS:
            pages = -(-total // leads.SIZE)
            shown = [
                int(id_)
                for page in range(1, pages + 2)  # one more than there are
                for id_ in queries.leads(
                    visit, filters, selection, sort=sort, page=page, size=leads.SIZE
                )["conversation_id"]
            ]
            assert sorted(shown) == whole
            if sort == "nome":
                continue
            column, descends = columns[sort]
            values = dict(
                pipeline.query(
                    f"select conversation_id, {column} from marts.fct_conversations"
                    " where tenant_id = %s and conversation_id = any(%s)"
                    f" and {column} is not null",
                    tenant_id,
                    whole,
                )
            )
            if sort == "espera":  # those who wait first
                assert name != "aguardando" or len(values) > total / 2
            known = [values[id_] for id_ in shown if id_ in values]
            assert known == sorted(known, reverse=descends)
            assert all(id_ in values for id_ in shown[: len(known)])  # unknown ones last


def test_a_row_says_what_the_marts_say(pipeline: Pipeline, sessions: Sessions) -> None:
    for tenant_id, visit in of_sample(pipeline, sessions).items():
        rows = queries.records(
            queries.leads(
                visit, Filters(START, END), Selection("esfriando"), sort="ultima", page=1, size=5000
            )
        )
        truth = {
            row[0]: row[1:]
            for row in pipeline.query(
                """
                select queue.conversation_id, conversations.contact_name, conversations.status,
                    floor(extract(epoch from %s - queue.last_message_at)),
                    floor(extract(epoch from queue.free_window_ends_at - %s)),
                    funnel.stage, conversations.ai_provider, conversations.preview
                from marts.rpt_remarketing_queue as queue
                inner join marts.fct_conversations as conversations
                    using (tenant_id, conversation_id)
                left join lateral (
                    select stage from marts.fct_funnel_events as events
                    where events.tenant_id = queue.tenant_id
                        and events.conversation_id = queue.conversation_id
                    order by array_position(array['converted', 'visit_scheduled', 'lead'], stage)
                    limit 1
                ) as funnel on true
                where queue.tenant_id = %s
                """,
                AS_OF,
                AS_OF,
                tenant_id,
            )
        }
        assert rows
        levels = set()
        for row in rows:
            name, status, idle, window, stage, provider, preview = truth[row["conversation_id"]]
            assert (row["contact_name"], row["status"], row["stage"]) == (name, status, stage)
            assert (row["ai_provider"], row["preview"]) == (provider, preview)
            assert abs(row["idle_seconds"] - float(idle)) <= 1
            hours = row["idle_seconds"] / 3600
            level = "recente" if hours < 48 else "medio" if hours < 168 else "frio"
            assert row["idle_level"] == level
            levels.add(level)
            assert row["is_in_queue"]
            if window is not None and window > 1:
                assert abs(row["free_window_seconds"] - float(window)) <= 1
            else:
                assert not row["free_window_seconds"] or window is not None
        assert levels == set(words.IDLE_LEVELS)


def test_evidence_is_of_the_same_conversation(pipeline: Pipeline, sessions: Sessions) -> None:
    (tenant_id, visit), *_ = of_sample(pipeline, sessions).items()
    rows = queries.records(
        queries.leads(visit, Filters(START, END), Selection("leads"), sort="score", page=1, size=50)
    )
    assert any(row["evidence"] for row in rows)
    for row in rows:
        expected = pipeline.query(
            """
            select messages.sender_kind || ': ' || left(coalesce(messages.content,
                messages.attachment_placeholders, ''), 300)
            from marts.fct_conversations as conversations
            cross join unnest(conversations.ai_evidence_message_ids) as evidence (message_id)
            inner join marts.fct_messages as messages
                on messages.message_id = evidence.message_id
                and messages.conversation_id = conversations.conversation_id
            where conversations.tenant_id = %s and messages.tenant_id = %s
                and conversations.conversation_id = %s and not messages.is_deleted
            order by messages.created_at, messages.message_id limit 8
            """,
            tenant_id, tenant_id, row["conversation_id"],
        )  # fmt: skip
        assert row["evidence"] == [text for (text,) in expected]


# ---- another tenant's -------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [None, "", "0", "foreign"])
def test_questions_of_a_to_b_find_nothing(
    pipeline: Pipeline, sessions: Sessions, monkeypatch: pytest.MonkeyPatch, setting: str | None
) -> None:
    """Row security alone and the query's own condition alone both suffice."""
    mine, other, *_ = of_sample(pipeline, sessions).values()
    own = ids_of(mine, Selection("historico"))[0]

    @contextmanager
    def wrong(pool: Any, tenant_id: int) -> Iterator[psycopg.Connection]:
        with pool.connection() as connection, connection.transaction():
            if setting is not None:
                value = str(other.tenant_id) if setting == "foreign" else setting
                connection.execute("select set_config('app.current_tenant_id', %s, true)", [value])
            yield connection

    queries._answer.clear()
    monkeypatch.setattr(queries, "tenant_connection", wrong)
    for name in LISTS:
        assert queries.selected(mine, Filters(START, END), Selection(name)) == 0
        assert ids_of(mine, Selection(name)) == []
    assert queries.conversation(mine, own).empty
    assert queries.messages(mine, own, 100).empty
    assert queries.agents(mine).empty
    queries._answer.clear()


def test_foreign_ids_in_an_address_show_nothing(pipeline: Pipeline, sessions: Sessions) -> None:
    mine, other, *_ = of_sample(pipeline, sessions).values()
    foreign = ids_of(other, Selection("historico"))[0]
    assert queries.conversation(mine, foreign).empty
    assert queries.messages(mine, foreign, 100).empty
    ((foreign_inbox,),) = pipeline.query(
        "select min(inbox_id) from marts.dim_inboxes where tenant_id = %s", other.tenant_id
    )
    filters = Filters(START, END, (foreign_inbox,))
    for name in LISTS:
        assert queries.selected(mine, filters, Selection(name)) == 0


# ---- search and corrections, on a copy --------------------------------------------------------


@pytest.fixture
def copied_sessions(copied: Pipeline) -> Iterator[Sessions]:
    app_dsn = copied.warehouse.dsn("app")
    queries._answer.clear()
    with open_pool(app_dsn, max_size=4) as session_pool, open_pool(app_dsn, max_size=3) as reads:
        sessions = Sessions(session_pool)
        state.use(Dashboard(sessions, reads, "x", cookie_secure=False))
        yield sessions
    queries._answer.clear()


def change(copied: Pipeline, sql: str, *parameters: object) -> None:
    with psycopg.connect(copied.warehouse.dsn("owner"), autocommit=True) as connection:
        connection.execute(sql, parameters or None)
    queries._answer.clear()


def test_text_is_found_in_name_phone_and_number(
    copied: Pipeline, copied_sessions: Sessions
) -> None:
    (visit, *_) = of_sample(copied, copied_sessions).values()
    first, second, third, *_ = sorted(ids_of(visit, Selection("historico")))
    names = {
        first: ("José ÁÇÃO Müller", "+5511987654321"),
        second: ("Jose\u0301 100% _Loja_", "+5521912345678"),
        third: ("x\\y 'aspas' {0}", None),
    }
    for id_, (name, phone) in names.items():
        change(
            copied,
            "update marts.fct_conversations set contact_name = %s, contact_phone = %s,"
            " display_id = %s where conversation_id = %s",
            name, phone, 900_000 + id_, id_,
        )  # fmt: skip

    def found(text: str) -> set[int]:
        selection = Selection("historico", text=text)
        return set(ids_of(visit, selection)) & set(names)

    assert found("jose acao") == found("JOSÉ AÇÃO") == found("muller") == {first}
    assert found("jose\u0301") == {first, second} == found("josé")
    assert found("11 98765") == found("+55 (11) 98765-4321") == found("119 8765.4321") == {first}
    assert found("100%") == found("_loja_") == {second}
    assert found("10_%") == found("j%e") == found("jo_e") == set()
    assert found("x\\y") == found("'aspas'") == found("{0}") == {third}
    assert found(f"#{900_000 + first}") == found(str(900_000 + first)) == {first}
    assert found("   ") == set(names)


@pytest.fixture(scope="module")
def people(copied: Pipeline) -> dict[str, tuple[str, str]]:
    """An admin of each of two tenants, and a reader of the first: e-mail and password."""
    owner = copied.warehouse.dsn("owner")
    slugs = list(copied.tenants)
    made = {}
    for name, role, slug in (
        ("admin", "admin", slugs[0]),
        ("stranger", "admin", slugs[1]),
        ("reader", "client", slugs[0]),
    ):  # fmt: skip
        email = f"{name}@leads.example"
        users.add_user(owner, email=email, password=PASSWORD, role=role, tenant_slug=slug)
        made[name] = (email, PASSWORD)
    return made


def scored(copied: Pipeline, tenant_id: int) -> list[int]:
    """Conversations of class low that nobody corrected, by id."""
    rows = copied.query(
        f"{FACTS} and lead_class = 'low' and ai_status = 'ok' and conversation_id not in"
        " (select conversation_id from ai.corrections) order by 1 desc limit 20",
        tenant_id,
    )
    return [id_ for (id_,) in rows]


def test_who_may_correct_what(
    copied: Pipeline, copied_sessions: Sessions, people: dict[str, tuple[str, str]]
) -> None:
    visits_ = {
        name: copied_sessions.visit(copied_sessions.log_in(*who)) for name, who in people.items()
    }
    admin, stranger, reader = (visits_[name] for name in ("admin", "stranger", "reader"))
    (target, other, *_) = scored(copied, admin.tenant_id)
    before = copied.query("select * from ai.corrections")
    correct = copied_sessions.correct
    assert correct(reader, target, lead_class="high") == "denied"
    assert correct(stranger, target, lead_class="high") == "missing"
    assert correct(admin, 2**60, lead_class="high") == "missing"
    assert correct(admin, target) == "invalid"
    assert correct(admin, target, lead_class="huge") == "invalid"
    # The page of another client, though the session is one's own.
    forged = dataclasses.replace(
        stranger, viewer=dataclasses.replace(stranger.viewer, tenant_id=admin.tenant_id)
    )
    assert correct(forged, target, lead_class="high") == "switched"
    nobody = dataclasses.replace(
        admin, viewer=dataclasses.replace(admin.viewer, token_sha256=b"0" * 32)
    )
    assert correct(nobody, target, lead_class="high") == "denied"
    assert copied.query("select * from ai.corrections") == before

    state = copied_sessions.load_state
    version, others = state(admin.tenant_id).data_version, state(stranger.tenant_id).data_version
    assert correct(admin, target, lead_class="high", visit_scheduled=True) == "ok"
    assert correct(admin, target, sentiment="negative") == "ok"  # the rest stays
    # What its own pages had cached is asked again, and nobody else's.
    assert state(admin.tenant_id).data_version == version + 2
    assert state(stranger.tenant_id).data_version == others
    ((tenant_id, by, *labels, is_present),) = copied.query(
        "select corrections.tenant_id, corrected_by, sentiment, intent, lead_class, lead_score,"
        " visit_scheduled, corrections.transcript_sha256 = transcripts.transcript_sha256"
        " from ai.corrections inner join intermediate.int_conversation_transcripts as transcripts"
        " using (tenant_id, conversation_id) where conversation_id = %s",
        target,
    )
    assert (tenant_id, by, is_present) == (admin.tenant_id, people["admin"][0], True)
    assert labels == ["negative", None, "high", None, True]
    lines = copied.query(
        "select actor_kind, actor_id, tenant_id, target, after from app.audit_log"
        " where action = 'correction.set' order by id"
    )
    who = ("user", str(admin.viewer.user_id), admin.tenant_id, f"conversation:{target}")
    assert lines == [
        (*who, {"lead_class": "high", "visit_scheduled": True}),
        (*who, {"sentiment": "negative"}),
    ]

    # Pending at once for its own tenant, on both pages; the score itself is as it was.
    visit = copied_sessions.visit(copied_sessions.log_in(*people["reader"]))
    row = queries.records(queries.conversation(visit, target))[0]
    assert row["is_correction_pending"]
    assert (row["lead_class"], row["corrected_lead_class"]) == ("low", "high")
    listed = queries.records(
        queries.leads(
            visit, Filters(START, END), Selection("historico", text=f"#{row['display_id']}"),
            sort="novas", page=1, size=25,
        )
    )  # fmt: skip
    assert [row["is_correction_pending"] for row in listed if row["conversation_id"] == target] == [
        True
    ]
    assert not queries.records(queries.conversation(visit, other))[0]["is_correction_pending"]

    build(copied.settings, copied.warehouse, only_if_changed=True)
    visit = copied_sessions.visit(copied_sessions.log_in(*people["reader"]))
    row = queries.records(queries.conversation(visit, target))[0]
    assert not row["is_correction_pending"]
    assert (row["lead_class"], row["sentiment"], row["ai_status"]) == (
        "high", "negative", "corrected",
    )  # fmt: skip
    assert row["stage"] in {"visit_scheduled", "converted"}
    # A full build makes the transcripts anew: the function still finds them.
    with psycopg.connect(copied.warehouse.dsn("owner"), autocommit=True) as connection:
        connection.execute(
            "create table intermediate.anew as table intermediate.int_conversation_transcripts"
        )
        connection.execute("drop table intermediate.int_conversation_transcripts cascade")
        connection.execute("alter table intermediate.anew rename to int_conversation_transcripts")
    assert correct(admin, target, intent="support") == "ok"
    copied_sessions.close(admin.viewer.token_sha256)
    assert correct(admin, target, intent="support") == "denied"
    with pytest.raises(SessionEndedError):
        queries.conversation(admin, target)


# ---- in a browser -----------------------------------------------------------------------------


def heading(page: Any) -> str:
    return plain(page.locator(".m-what strong").inner_text())


@pytest.mark.browser
@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_the_list_in_a_browser(
    browser: Browser, served: Served, pipeline: Pipeline, size: tuple[int, int], scheme: str
) -> None:
    slug, who = next(iter(pipeline.users.items()))
    tenant_id = pipeline.tenants[slug]
    truth = dict(
        pipeline.query(
            "select name, n from (select 'waiting' as name, count(*) filter (where is_waiting) as n"
            " from marts.fct_conversations where tenant_id = %(t)s union all select 'leads',"
            " count(*) from marts.fct_conversations where tenant_id = %(t)s and is_lead and"
            " created_date between %(s)s and %(e)s) as counts".replace("%(t)s", str(tenant_id))
            .replace("%(s)s", f"'{START}'").replace("%(e)s", f"'{END}'")
        )
    )  # fmt: skip
    with visitor(browser, served, size, scheme) as someone:
        page = someone.page
        someone.let_in(*who)
        someone.open(f"/leads{PERIOD.removeprefix('/')}&lista=aguardando")
        expect(page.locator(".m-leads tbody tr")).to_have_count(leads.SIZE)
        assert heading(page) == f"{truth['waiting']} conversas"
        ((longest,),) = pipeline.query(
            "select display_id from marts.fct_conversations where tenant_id = %s and is_waiting"
            " order by waiting_since nulls last limit 1",
            tenant_id,
        )
        first = page.locator(".m-leads tbody tr").first
        assert f"nº {longest}" in plain(first.inner_text())
        assert "IA local" in page.locator(".m-leads").inner_text()
        assert serious_findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]

        page.get_by_role("radio", name="Leads").click()
        expect(page.locator(".m-what strong")).to_have_text(f"{truth['leads']} conversas")
        assert "lista=leads" in page.url
        expect(page.get_by_text(f"1 a 25 de {truth['leads']}")).to_be_visible()
        # until then the pages below are those of the list before
        settled(page)
        page.get_by_role("button", name="Page 2").click()
        expect(page.get_by_text(f"26 a 50 de {truth['leads']}")).to_be_visible()
        page.reload()
        expect(page.get_by_text(f"26 a 50 de {truth['leads']}")).to_be_visible()
        assert "pagina=2" in page.url
        search = page.get_by_role("searchbox")
        search.fill("zzzz")
        search.press("Enter")
        expect(page.get_by_text("Nenhuma conversa aqui")).to_be_visible()
        assert "busca=zzzz" in page.url
        assert serious_findings(page) == []

        someone.open(
            f"/leads{PERIOD.removeprefix('/')}&lista=sem-resposta&hora=10&canal=<b>x</b>&agente=1"
            "&parada=zz&classe=<i>&score=1e9&ordem=--&pagina=99999&corrigir=1&caixa=Outra"
        )
        expect(page.locator(".m-chip")).to_have_count(4)
        expect(page.get_by_text("pede uma caixa de entrada que não existe mais")).to_be_visible()
        assert "Canal: <b>x</b>" in page.locator(".m-what").inner_text()
        page.get_by_label("Tirar: Canal: <b>x</b>").click()
        expect(page.locator(".m-chip")).to_have_count(3)
        assert "canal=" not in page.url
        expect(page.get_by_text("Corrigir a análise")).to_have_count(0)  # a client only reads


@pytest.mark.browser
def test_an_admin_corrects_from_the_page(
    browser: Browser, copied: Pipeline, people: dict[str, tuple[str, str]]
) -> None:
    (tenant_id, *_) = copied.tenants.values()
    target = scored(copied, tenant_id)[3]
    with (
        serving(copied.warehouse.dsn("app")) as served,
        visitor(browser, served) as someone,
    ):
        page = someone.page
        someone.let_in(*people["admin"])
        someone.open(f"/leads?lista=historico&corrigir={target}")
        panel = page.locator(".st-key-panel-correct")
        expect(panel).to_be_visible()
        assert serious_findings(page) == []
        panel.get_by_role("button", name="Guardar correção").click()
        expect(page.get_by_text("Escolha ao menos um rótulo")).to_be_visible()
        settled(page)
        panel.get_by_role("combobox").first.click()
        page.get_by_role("option", name="Alto").click()
        panel.get_by_role("button", name="Guardar correção").click()
        expect(page.get_by_text("Correção guardada")).to_be_visible()
        expect(panel.locator(".m-pending")).to_have_text("Correção pendente: classe Alto")
        ((kept,),) = copied.query(
            "select lead_class from ai.corrections where conversation_id = %s", target
        )
        assert kept == "high"
        page.get_by_role("button", name="Fechar").click()
        expect(panel).to_have_count(0)
        foreign = scored(copied, list(copied.tenants.values())[1])[0]
        someone.open(f"/leads?lista=historico&corrigir={foreign}")
        expect(page.locator(".m-leads")).to_be_visible()
        expect(panel).to_have_count(0)


def test_the_waiting_list_is_read_by_index(pipeline: Pipeline, sessions: Sessions) -> None:
    """However many conversations there are: no sort of all, as the app role under row security."""
    (visit, *_) = of_sample(pipeline, sessions).values()
    selection = Selection("aguardando")
    sql = queries.SELECTED.format(condition=selection.condition)
    with open_pool(pipeline.warehouse.dsn("app"), max_size=1) as pool, pool.connection() as found:
        found.execute(
            "select set_config('app.current_tenant_id', %s, true)", [str(visit.tenant_id)]
        )
        found.execute("set local enable_seqscan = off")
        plan = found.execute(
            f"explain {sql}",
            {
                **selection.values, "tenant_id": visit.tenant_id, "inbox_ids": None,
                "as_of": AS_OF, "timezone": "America/Sao_Paulo", "start": START,
                "end": END + timedelta(days=1),
            },
        ).fetchall()  # fmt: skip
    assert any("is_waiting = true" in line for (line,) in plan), plan
