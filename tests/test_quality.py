"""The page "Qualidade dos dados": parity, coverage, loads; who may know what; the page itself."""

import dataclasses
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import psycopg
import pytest
import yaml
from playwright.sync_api import Browser, expect

from dashboard import formats, lists, queries, state, words
from dashboard.app_pages import quality
from dashboard.auth import COOKIE_NAME, Sessions, Visit
from dashboard.filters import Filters
from dashboard.lists import Part
from dashboard.state import Dashboard
from extract.tables import TABLES
from tests.browsing import DESKTOP, END, PERIOD, PHONE, START, plain, serious_findings, visitor
from tests.conftest import Pipeline
from tests.serving import HOSTILE_NAME, PASSWORD, bare_warehouse, serving, visits
from tests.test_service import behind
from warehouse import users
from warehouse.db import Warehouse, fetch_all, open_pool
from warehouse.settings import PROJECT_ROOT

A, B, WHOLE_ACCOUNT = "academia-movimento", "loja-dona-flor", "imobiliaria-porto-sereno"
HOUR = "interval '1 hour'"
SECRET = "db-interno.example"
OURS = ("source_loads", "pipeline_state", "ai_budget", "inbox_gaps")


def cases(pipeline: Pipeline, sessions: Sessions) -> Iterator[tuple[int, Visit, Filters]]:
    """Every tenant, all inboxes and one."""
    for tenant_id, visit in visits(pipeline, sessions).items():
        ((inbox_id,),) = pipeline.query(
            "select min(inbox_id) from marts.dim_inboxes where tenant_id = %s", tenant_id
        )
        for inbox_ids in ((), (inbox_id,)):
            yield tenant_id, visit, Filters(START, END, inbox_ids)


def of_period(pipeline: Pipeline, what: str, tenant_id: int, chosen: Filters) -> list[tuple]:
    """Rows of `what` (columns, and the table) of the period and inboxes, as the owner."""
    dated = "created_date" if "fct_" in what else "date"
    rows = pipeline.query(f"select inbox_id, {dated}, {what} where tenant_id = %s", tenant_id)
    return [
        row[2:] for row in rows
        if chosen.start <= row[1] <= chosen.end
        and (not chosen.inbox_ids or row[0] in chosen.inbox_ids)
    ]  # fmt: skip


# ---- parity -----------------------------------------------------------------------------------


def total(rows: list[tuple], metric: str, column: int) -> Any:
    return sum(row[column] or 0 for row in rows if row[0] == metric)


def test_parity_is_what_the_marts_say_and_reasons_add_up(
    pipeline: Pipeline, sessions: Sessions
) -> None:
    for tenant_id, visit, chosen in cases(pipeline, sessions):
        truth = of_period(
            pipeline,
            "metric, chatwoot_count, chatwoot_sum, our_count, our_sum"
            " from marts.rpt_chatwoot_parity",
            tenant_id, chosen,
        )  # fmt: skip
        frame = queries.parity(visit, chosen).set_index("metric")
        reasons = queries.parity_reasons(visit, chosen)
        assert set(frame.index) == {row[0] for row in truth}
        assert set(frame.index) <= set(quality.METRICS)
        for metric, row in frame.iterrows():
            name = str(metric)
            assert row.chatwoot_count == total(truth, name, 1)
            assert row.our_count == total(truth, name, 3)
            own = reasons[reasons["metric"] == name]
            assert own["count_delta"].sum() == row.our_count - row.chatwoot_count
            assert row.count_difference == row.our_count - row.chatwoot_count
            if not quality.is_time(name):
                assert formats.is_missing(row.our_seconds)
                continue
            assert row.chatwoot_seconds == pytest.approx(float(total(truth, name, 2)))
            assert row.our_seconds == pytest.approx(float(total(truth, name, 4)))
            assert own["seconds_delta"].sum() == pytest.approx(
                row.our_seconds - row.chatwoot_seconds
            )
            if row.our_count and row.chatwoot_count:
                ours = row.our_seconds / row.our_count
                theirs = row.chatwoot_seconds / row.chatwoot_count
                assert row.our_mean == pytest.approx(ours)
                assert row.mean_difference == pytest.approx(ours - theirs)


def from_clock(text: str) -> int:
    """Seconds of `-1.234:05:06`."""
    hours, minutes, seconds = text.lstrip("+-").replace(".", "").split(":")
    value = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    return -value if text.startswith("-") else value


def cells(html: str) -> list[list[str]]:
    """Texts of a table's rows, without its head."""
    body = html.split("<tbody>")[1]
    return [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in body.split("<tr>")[1:]
    ]  # fmt: skip


def test_what_is_written_adds_up_too(pipeline: Pipeline, sessions: Sessions) -> None:
    """From Chatwoot's line over the reasons to ours, as a reader with a pencil would."""
    added = 0
    for _, visit, chosen in cases(pipeline, sessions):
        reasons = queries.parity_reasons(visit, chosen)
        for _, metric in queries.parity(visit, chosen).iterrows():
            rows = cells(quality.reasons_of(metric, reasons))
            counts = [int(row[1].replace(".", "").replace("+", "")) for row in rows]
            assert sum(counts[:-1]) == counts[-1], metric["metric"]
            if quality.is_time(metric["metric"]):
                seconds = [from_clock(row[2]) for row in rows]
                # Chatwoot keeps fractions of seconds: each line may be half a second off.
                assert abs(sum(seconds[:-1]) - seconds[-1]) <= len(seconds) // 2
            added += len(rows) - 2
    assert added > 50


def test_every_metric_reason_and_table_has_its_words() -> None:
    path = PROJECT_ROOT / "models" / "marts" / "rpt_chatwoot_parity_reasons.yml"
    (model,) = yaml.safe_load(path.read_text())["models"]
    (reason,) = (column for column in model["columns"] if column["name"] == "reason")
    accepted = reason["data_tests"][0]["accepted_values"]["arguments"]["values"]
    assert set(quality.REASONS) == {*accepted, "other"}
    assert {table.name for table in TABLES} == set(quality.TABLES)
    assert quality.clock(-4445106) == "-1.234:45:06"
    assert quality.clock(59.6) == "0:01:00"
    assert quality.signed_clock(59.6) == "+0:01:00"
    assert (quality.signed(3), quality.signed(0), quality.signed(-1200)) == ("+3", "0", "-1.200")


# ---- gaps -------------------------------------------------------------------------------------


def test_gaps_are_what_the_marts_say(pipeline: Pipeline, sessions: Sessions) -> None:
    failed = 0
    for tenant_id, visit, chosen in cases(pipeline, sessions):
        talks = of_period(
            pipeline,
            "contact_phone, contact_email, contact_name from marts.fct_conversations",
            tenant_id, chosen,
        )  # fmt: skip
        messages = of_period(
            pipeline, "conversation_id, delivery_status from marts.fct_messages", tenant_id, chosen
        )
        lost = [message[0] for message in messages if message[1] == "failed"]
        row = queries.gaps(visit, chosen).iloc[0]
        without_phone = [talk for talk in talks if talk[0] is None]
        assert row.conversations == len(talks)
        assert row.without_phone == len(without_phone)
        assert row.without_phone_share == pytest.approx(len(without_phone) / len(talks))
        assert row.without_address == sum(talk[1] is None for talk in without_phone)
        assert row.without_name == sum(not (talk[2] or "").strip() for talk in talks)
        assert (row.failed_messages, row.failed_conversations) == (len(lost), len(set(lost)))
        if not chosen.inbox_ids:  # the list each number links to
            for name, number in (
                ("sem-telefone", row.without_phone), ("sem-contato", row.without_address),
                ("sem-nome", row.without_name), ("nao-entregues", row.failed_conversations),
            ):  # fmt: skip
                assert behind(pipeline, tenant_id, name, Part()) == number, name
        failed += len(lost)
    assert failed > 0


# ---- coverage of the scores, roles: on a copy that may be changed ------------------------------


@dataclass(frozen=True)
class Desk:
    """A copied warehouse, and whoever visits its dashboard."""

    pipeline: Pipeline
    sessions: Sessions

    def execute(self, sql: str, *values: object) -> None:
        with psycopg.connect(self.pipeline.warehouse.dsn("owner"), autocommit=True) as connection:
            connection.execute(sql, values or None)

    def token(self, role: str, slug: str, stage: str = "full") -> str:
        """A session's token; a super_admin looks at the tenant."""
        email, is_agency = f"{role}@{slug}.example", role == "super_admin"
        owner, tenant_id = self.pipeline.warehouse.dsn("owner"), self.pipeline.tenants[slug]
        if not self.pipeline_query("select 1 from app.users where email = %s", email):
            users.add_user(
                owner, email=email, password=PASSWORD, role=role,  # type: ignore[arg-type]
                tenant_slug=None if is_agency else slug,
            )  # fmt: skip
        token = secrets.token_urlsafe(32)
        self.execute(
            "insert into app.sessions (token_sha256, user_id, expires_at, stage, viewed_tenant_id)"
            " select %s, id, now() + interval '1 day', %s, %s from app.users where email = %s",
            users.token_digest(token), stage, tenant_id if is_agency else None, email,
        )  # fmt: skip
        return token

    def visit(self, role: str, slug: str = A) -> Visit:
        return self.sessions.visit(self.token(role, slug))

    def pipeline_query(self, sql: str, *values: object) -> list[tuple]:
        return fetch_all(self.pipeline.warehouse.dsn("owner"), sql, list(values) or None)


@pytest.fixture
def desk(copied: Pipeline) -> Iterator[Desk]:
    app_dsn = copied.warehouse.dsn("app")
    queries._answer.clear()
    with open_pool(app_dsn, max_size=4) as session_pool, open_pool(app_dsn, max_size=3) as reads:
        sessions = Sessions(session_pool)
        state.use(Dashboard(sessions, reads, "x", cookie_secure=False))
        yield Desk(copied, sessions)
    queries._answer.clear()


def text_of(value: object) -> str | None:
    """A frame has NaN where SQL said NULL."""
    return value if isinstance(value, str) else None


def test_coverage_is_what_the_marts_and_the_tries_say(desk: Desk) -> None:
    tenant_id, other_id = desk.pipeline.tenants[A], desk.pipeline.tenants[B]
    chosen = Filters(date(2026, 1, 1), END)
    talks = [
        row[0] for row in desk.pipeline_query(
            "select conversation_id from marts.fct_conversations where tenant_id = %s"
            " and created_date between %s and %s order by 1 limit 30",
            tenant_id, chosen.start, chosen.end,
        )
    ]  # fmt: skip
    desk.execute("delete from ai.conversation_scores where conversation_id = any (%s)", talks[:9])
    desk.execute(
        "update marts.fct_conversations set lead_score = null, ai_status = null,"
        " ai_provider = null, ai_scored_at = null where conversation_id = any (%s)", talks[:9],
    )  # fmt: skip
    desk.execute(
        "update marts.fct_conversations set ai_status = 'stale', ai_provider = 'openai'"
        " where conversation_id = any (%s)", talks[10:15],
    )  # fmt: skip
    desk.execute(  # of no provider: a person alone judged
        "update marts.fct_conversations set ai_status = 'corrected', ai_provider = null"
        " where conversation_id = any (%s)", talks[15:17],
    )  # fmt: skip
    tries = (
        "insert into ai.conversation_scores (tenant_id, conversation_id, transcript_sha256,"
        " prompt_version, provider, model, status, scored_at, error)"
        " select %s, id, %s, 'x', 'openai', 'x', %s, now() + %s * interval '1 s', 'texto'"
        " from unnest(%s::bigint[]) as talks (id)"
    )
    desk.execute(tries, tenant_id, "1", "failed", 1, talks[:6])
    desk.execute(tries, tenant_id, "2", "refused", 2, talks[:3])  # later, so it counts
    desk.execute(tries, tenant_id, "3", "skipped_budget", 3, talks[:1])
    desk.execute(tries, other_id, "4", "failed", 4, talks[6:9])  # of another tenant: not seen
    visit = desk.visit("client")
    truth: dict[tuple[bool, str, str | None], int] = {}
    for score, status, provider, talk in desk.pipeline_query(
        "select lead_score, ai_status, ai_provider, conversation_id"
        " from marts.fct_conversations where tenant_id = %s and created_date between %s and %s",
        tenant_id, chosen.start, chosen.end,
    ):  # fmt: skip
        place = talks.index(talk) if talk in talks else 99
        tried = "skipped_budget" if place < 1 else "refused" if place < 3 else "failed"
        found = status or (tried if place < 6 else "none")
        key = (score is not None, found, (provider or "none") if score is not None else None)
        truth[key] = truth.get(key, 0) + 1
    frame = queries.ai_coverage(visit, chosen)
    seen = {
        (bool(row.is_scored), row.state, text_of(row.provider)): row.conversations
        for row in frame.itertuples()
    }
    assert seen == truth
    assert {key[1] for key in seen} >= {
        "ok", "stale", "corrected", "none", "failed", "refused", "skipped_budget",
    }  # fmt: skip
    for _, row in frame.iterrows():  # the list each number links to
        href = quality._of_ai_state(row)
        assert href
        query = {name: values[-1] for name, values in parse_qs(urlsplit(href).query).items()}
        assert queries.selected(visit, chosen, lists.read(query)) == row["conversations"], href
    assert quality._of_ai_state(frame.iloc[0].replace({frame["state"].iloc[0]: "new"})) is None
    scored = sum(count for key, count in truth.items() if key[0])
    first = frame.iloc[0]
    assert (first.scored, first.total) == (scored, sum(truth.values()))
    assert first.coverage == pytest.approx(scored / first.total)
    assert set(frame["state"]) <= set(words.AI_STATES)
    ((latest,),) = desk.pipeline_query(
        "select max(ai_scored_at) from marts.fct_conversations where tenant_id = %s"
        " and created_date between %s and %s",
        tenant_id, chosen.start, chosen.end,
    )  # fmt: skip
    assert first.last_scored_at == latest


def test_the_period_before_is_as_new_as_the_present_one(desk: Desk) -> None:
    """A late reply or import changes earlier days: kept until the next build, not longer."""
    tenant_id, chosen = desk.pipeline.tenants[A], Filters(START, END)
    days = timedelta(days=chosen.days)

    def numbers() -> tuple[Any, ...]:
        visit = desk.visit("client")
        row = queries.overview(visit, chosen).iloc[0]
        service = queries.service(visit, chosen).iloc[0]
        return (
            row.conversations, row.previous_conversations, row.previous_contacts,
            row.previous_first_reply_median_seconds, service.previous_first_reply_median_seconds,
        )  # fmt: skip

    present, earlier, people, *medians = numbers()
    assert earlier > 0
    desk.execute(
        "update marts.agg_daily set conversations = conversations + 7 where tenant_id = %s"
        " and (date, inbox_id) = (select date, inbox_id from marts.agg_daily where tenant_id = %s"
        " and date between %s and %s and conversations > 0 limit 1)",
        tenant_id, tenant_id, START - days, END - days,
    )  # fmt: skip
    desk.execute(
        "update marts.fct_conversations set first_reply_seconds = first_reply_seconds + 60,"
        " contact_id = -1 where tenant_id = %s and created_date between %s and %s",
        tenant_id, START - days, END - days,
    )  # fmt: skip
    assert numbers() == (present, earlier, people, *medians)
    desk.pipeline_query("select nextval('app.data_version')")
    assert numbers() == (present, earlier + 7, 1, *(median + 60 for median in medians))
    # While the last day runs it follows each load: more of the earlier day has its counterpart.
    visit = desk.visit("client")
    following = []
    for hour in (4, 12, 23):
        moment = datetime(2026, 6, 28, hour, tzinfo=UTC)
        state_then = dataclasses.replace(visit.load_state, last_loaded_at=moment)
        then = dataclasses.replace(visit, load_state=state_then)
        following.append(int(queries.overview(then, chosen).iloc[0].previous_conversations))
    assert following == sorted(following)
    assert following[0] < following[-1]


def test_tries_without_a_score_are_seen_by_their_tenant_alone(desk: Desk) -> None:
    """And nothing but how they ended."""
    app, tenant_id = desk.pipeline.warehouse.dsn("app"), desk.pipeline.tenants[A]
    assert desk.pipeline_query(
        "select reloptions from pg_class where oid = 'ai.score_failures'::regclass"
    ) == [(["security_barrier=true"],)]
    tenants = {
        row[0] for row in desk.pipeline_query(
            "select distinct tenant_id from ai.conversation_scores where status <> 'ok'"
        )
    }  # fmt: skip
    assert len(tenants) > 1
    with psycopg.connect(app, autocommit=True) as connection:
        query = "select distinct tenant_id from ai.score_failures"
        for setting in (None, "", "0", "999999", str(tenant_id)):
            if setting is not None:
                connection.execute(
                    "select set_config('app.current_tenant_id', %s, false)", [setting]
                )
            own = [(tenant_id,)] if setting == str(tenant_id) else []
            assert connection.execute(query).fetchall() == own
        cursor = connection.execute("select * from ai.score_failures limit 1")
        assert [column.name for column in cursor.description or ()] == [
            "tenant_id", "conversation_id", "provider", "status", "scored_at",
        ]  # fmt: skip
        for statement in (
            "select * from ai.conversation_scores", "delete from ai.score_failures",
            "update ai.score_failures set status = 'ok'", "select * from ai.ledger",
            "select app.inbox_gaps_of(1, true)", "select app.ai_spending_of(1)",
        ):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


@pytest.mark.parametrize("function", OURS)
def test_a_function_answers_a_live_session_alone(desk: Desk, function: str) -> None:
    app = desk.pipeline.warehouse.dsn("app")
    query = f"select * from app.{function}(%s, {HOUR})"
    pending = desk.token("admin", A, stage="code")
    expired, idle = desk.token("admin", A), desk.token("admin", A)
    disabled = desk.token("admin", B)
    for sql, token in (
        ("update app.sessions set expires_at = now() where token_sha256 = %s", expired),
        ("update app.sessions set last_seen_at = now() - interval '2 h' where token_sha256 = %s",
         idle),
    ):  # fmt: skip
        desk.execute(sql, users.token_digest(token))
    desk.execute("update app.users set is_active = false where email = %s", f"admin@{B}.example")
    for token in (pending, expired, idle, disabled, secrets.token_urlsafe(32)):
        assert fetch_all(app, query, [users.token_digest(token)]) == []  # type: ignore[arg-type]
    for value in (None, b"", b"\0" * 32):
        assert fetch_all(app, query, [value]) == []  # type: ignore[arg-type]
    # An agency that has chosen nobody is nobody's manager.
    nobody = desk.token("super_admin", A)
    desk.execute(
        "update app.sessions set viewed_tenant_id = null where token_sha256 = %s",
        users.token_digest(nobody),
    )
    if function in ("ai_budget", "inbox_gaps"):
        assert fetch_all(app, query, [users.token_digest(nobody)]) == []  # type: ignore[arg-type]
    with (
        psycopg.connect(desk.pipeline.warehouse.dsn("super")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(query, [users.token_digest(nobody)])  # type: ignore[call-overload]


def test_loads_tell_times_to_all_and_rows_to_the_agency(desk: Desk) -> None:
    truth = desk.pipeline_query(
        "select source_table, rows_read, rows_inserted + rows_updated + rows_deleted,"
        " watermark::timestamp at time zone 'utc' from app.sync_tables where sync_run_id ="
        " (select max(id) from app.sync_runs where status = 'succeeded') order by 1"
    )
    assert len(truth) == len(TABLES)
    for role in ("client", "admin", "super_admin"):
        loads = queries.source_loads(desk.visit(role))
        assert loads["source_table"].tolist() == [row[0] for row in truth]
        assert loads["loaded_at"].tolist() == [row[3] for row in truth]
        assert (loads["age_seconds"] > 0).all()
        if role == "super_admin":
            assert loads["rows_read"].tolist() == [row[1] for row in truth]
            assert loads["rows_changed"].tolist() == [row[2] for row in truth]
        else:
            assert loads["rows_read"].isna().all()
            assert loads["rows_changed"].isna().all()


def test_a_failure_is_told_in_plain_words(desk: Desk) -> None:
    """Its text, which may name hosts and tables, to the agency alone."""
    client, agency = desk.visit("client"), desk.visit("super_admin")
    steps = queries.pipeline_state(client)
    assert [quality.step_state(step, client) for _, step in steps.iterrows()] == ["Tudo certo."] * 2
    assert steps["succeeded_at"].tolist() == [
        desk.pipeline_query(f"select max(finished_at) from app.{table} where status = 'succeeded'")[
            0
        ][0]
        for table in ("sync_runs", "builds")
    ]
    try:
        for error, kind in (
            (f"source: could not connect to {SECRET}", "source"),
            (f"warehouse: the disk of {SECRET} is full", "warehouse"),
            ("the process ended before the run did", "interrupted"),
            (f"model fct_messages failed on {SECRET}", "other"),
        ):
            for table, columns in (("sync_runs", "pass, "), ("builds", "")):
                values = "'tick', " if columns else ""
                desk.execute(
                    f"insert into app.{table} ({columns}status, finished_at, error)"
                    f" values ({values}'failed', now(), %s)", error,
                )  # fmt: skip
            for visit in (client, agency):
                steps = queries.pipeline_state(visit)
                assert steps["failure"].tolist() == [kind, kind]
                for _, step in steps.iterrows():
                    text = quality.step_state(step, visit)
                    assert "falhou" in text
                    assert quality.FAILURES[kind] in text
                    assert text_of(step["error"]) == (error if visit is agency else None)
                assert (SECRET in str(steps.to_dict())) == (visit is agency and SECRET in error)
        desk.execute("insert into app.sync_runs (pass, status) values ('tick', 'running')")
        (load, _) = (step for _, step in queries.pipeline_state(client).iterrows())
        assert quality.step_state(load, client).startswith("Em andamento. A tentativa de")
    finally:
        desk.execute("delete from app.sync_runs where status <> 'succeeded'")
        desk.execute("delete from app.builds where status <> 'succeeded'")


def test_the_budget_is_the_tenants_own_and_an_admins_to_know(desk: Desk) -> None:
    tenant_id, other_id = desk.pipeline.tenants[A], desk.pipeline.tenants[B]
    client, admin, agency = (desk.visit(role) for role in ("client", "admin", "super_admin"))
    ledger = (
        "insert into ai.ledger (tenant_id, day, provider, model, cost_usd, uncertain_usd)"
        " values (%s, (now() at time zone 'utc')::date - %s, 'openai', %s, %s, 0.5)"
    )
    assert queries.ai_budget(client).empty

    def sentence(visit: Visit) -> str:
        return quality.budget_sentence(queries.ai_budget(visit).iloc[0])

    try:
        assert "não tem orçamento próprio" in sentence(admin)
        desk.execute(ledger, other_id, 0, "x", 1000)  # another tenant's
        desk.execute(ledger, tenant_id, 40, "x", 500)  # another month's
        for budget, share, words in (
            (100, 0.205, "20,5"), (25, 0.82, "já foi usado"), (20, 1.025, "acabou"),
        ):  # fmt: skip
            desk.execute("delete from ai.ledger where tenant_id = %s and model = 'y'", tenant_id)
            desk.execute(ledger, tenant_id, 0, "y", 20)
            desk.execute(
                "update app.tenants set ai_budget_usd = %s where id = %s", budget, tenant_id
            )
            row = queries.ai_budget(admin).iloc[0]
            assert row.used_share == pytest.approx(share)
            assert formats.is_missing(row.budget_usd)
            assert formats.is_missing(row.used_usd)
            assert words in sentence(admin)
            assert "US" not in sentence(admin)
            assert f"US\\$ 20,50 de US\\$ {budget},00" in sentence(agency)
        # None of its own: its plan's.
        desk.execute("update app.tenants set ai_budget_usd = null where id = %s", tenant_id)
        desk.execute("update app.plans set max_ai_budget_usd = 41")
        assert queries.ai_budget(admin).iloc[0].used_share == pytest.approx(0.5)
        assert "US\\$ 20,50 de US\\$ 41,00" in sentence(agency)
        desk.execute("update app.tenants set ai_budget_usd = 82 where id = %s", tenant_id)
        assert "US\\$ 20,50 de US\\$ 82,00" in sentence(agency)
        desk.execute("update app.plans set max_ai_budget_usd = null")
        desk.execute("update app.tenants set ai_budget_usd = 0 where id = %s", tenant_id)
        assert "orçamento é zero" in sentence(admin)
        desk.execute("update app.tenants set ai_outside_allowed = false where id = %s", tenant_id)
        assert "Nenhum texto desta conta sai" in sentence(admin)
        assert "não tem orçamento próprio" in sentence(desk.visit("admin", WHOLE_ACCOUNT))
    finally:
        desk.execute("delete from ai.ledger")
        desk.execute("update app.tenants set ai_budget_usd = null, ai_outside_allowed = true")
        desk.execute("update app.plans set max_ai_budget_usd = null")


def test_an_admin_learns_of_its_own_inboxes_alone(desk: Desk) -> None:
    tenant_id = desk.pipeline.tenants[A]
    unowned = desk.pipeline_query(
        "select inboxes.id, inboxes.name, (select count(*) from raw_chatwoot.conversations"
        " where inbox_id = inboxes.id and _deleted_at is null) from raw_chatwoot.inboxes as inboxes"
        " where _deleted_at is null and id not in (select inbox_id from app.tenant_inboxes)"
        " and account_id not in (select account_id from app.tenant_accounts) order by 3 desc, 1"
    )
    assert len(unowned) >= 1
    assert queries.inbox_gaps(desk.visit("client")).empty
    assert queries.inbox_gaps(desk.visit("admin")).empty
    found = queries.inbox_gaps(desk.visit("super_admin"))
    columns = ["inbox_id", "inbox_name", "conversations"]
    assert [tuple(row) for row in found[columns].itertuples(index=False)] == unowned
    assert set(found["gap"]) == {"unowned"}
    try:
        desk.execute("insert into app.tenant_inboxes values (99001, %s)", tenant_id)
        desk.execute(
            "insert into raw_chatwoot.inboxes (id, account_id, name, channel_type, created_at,"
            " updated_at) values (99002, 2, 'Caixa nova', 'Channel::Api', now(), now()),"
            " (99003, 1, 'Caixa de outro cliente', 'Channel::Api', now(), now())"
        )
        expected: list[tuple[str, str, list[tuple[str, int]]]] = [
            ("client", A, []),
            ("admin", A, [("missing", 99001)]),
            ("admin", B, []),
            ("admin", WHOLE_ACCOUNT, [("waiting", 99002)]),
            ("super_admin", WHOLE_ACCOUNT,
             [*(("unowned", row[0]) for row in unowned), ("unowned", 99003), ("waiting", 99002)]),
        ]  # fmt: skip
        desk.execute("update app.users set is_active = true")
        for role, slug, gaps in expected:
            frame = queries.inbox_gaps(desk.visit(role, slug))
            assert list(zip(frame.get("gap", []), frame.get("inbox_id", []), strict=True)) == gaps
            if role != "super_admin":
                assert "outro cliente" not in str(frame.to_dict())
    finally:
        desk.execute("delete from app.tenant_inboxes where inbox_id = 99001")
        desk.execute("delete from raw_chatwoot.inboxes where id > 99000")


def test_before_the_first_load_there_is_nothing_to_tell(warehouse: Warehouse) -> None:
    """Not one of the functions fails where Chatwoot's tables are not there."""
    with bare_warehouse(warehouse, "quality_bare") as bare:
        owner = bare.warehouse.dsn("owner")
        users.add_user(owner, email="a@b.example", password=PASSWORD, role="admin",
                       tenant_slug="um")  # fmt: skip
        with open_pool(bare.dsn(), max_size=2) as pool:
            token = Sessions(pool).log_in("a@b.example", PASSWORD)
        assert token
        rows = {
            function: fetch_all(
                bare.dsn(), f"select * from app.{function}(%s, {HOUR})",  # type: ignore[arg-type]
                [users.token_digest(token)],
            )
            for function in OURS
        }  # fmt: skip
        assert rows["source_loads"] == rows["inbox_gaps"] == []
        assert [row[:3] for row in rows["pipeline_state"]] == [
            ("load", None, False), ("build", None, False),
        ]  # fmt: skip
        assert rows["ai_budget"] == [(False, None, True, None, None)]


# ---- in the browser ---------------------------------------------------------------------------

PAGE = "/qualidade" + PERIOD.removeprefix("/")
PANELS = ("pipeline", "loads", "ai", "parity", "parity-reasons", "gaps")


@pytest.mark.browser
@pytest.mark.parametrize(
    ("role", "size", "scheme"),
    [("client", DESKTOP, "light"), ("admin", PHONE, "dark"), ("super_admin", DESKTOP, "dark")],
)
def test_page(browser: Browser, desk: Desk, role: str, size: tuple[int, int], scheme: str) -> None:
    visit, chosen = desk.visit(role), Filters(START, END)
    parity = queries.parity(visit, chosen).set_index("metric")
    gaps = queries.gaps(visit, chosen).iloc[0]
    with (
        serving(desk.pipeline.warehouse.dsn("app")) as served,
        visitor(browser, served, size, scheme) as someone,
    ):
        page = someone.page
        page.context.add_cookies(
            [{"name": COOKIE_NAME, "value": desk.token(role, A), "url": served.address}]
        )
        someone.open(PAGE)
        for name in PANELS:
            expect(page.locator(f".st-key-panel-{name}")).to_be_visible()
        is_admin = role != "client"
        for name in ("budget", "inboxes"):
            expect(page.locator(f".st-key-panel-{name}")).to_have_count(int(is_admin))
        pipeline_panel = page.locator(".st-key-panel-pipeline")
        expect(pipeline_panel).to_contain_text("60 minutos")
        expect(pipeline_panel).to_contain_text("Tudo certo.")
        loads = page.locator(".st-key-panel-loads")
        loads.locator("summary").click()
        expect(loads.get_by_role("rowheader", name="Conversas", exact=True)).to_be_visible()
        heads = loads.locator("thead th").all_inner_texts()
        assert ("Linhas lidas" in heads) == (role == "super_admin")
        table = plain(page.locator(".st-key-panel-parity table").inner_text())
        for metric in ("conversations_count", "outgoing_messages_count"):
            assert formats.number(parity.loc[metric, "chatwoot_count"]) in table
            assert formats.number(parity.loc[metric, "our_count"]) in table
        sent = page.locator("details[data-metric=outgoing_messages_count]")
        sent.locator("summary").click()
        numbers = [
            int(text.replace(".", "").replace("+", ""))
            for text in sent.locator("tbody td").all_inner_texts()
        ]
        assert sum(numbers[:-1]) == numbers[-1] == parity.loc["outgoing_messages_count"].our_count
        expect(sent).to_contain_text("Notas privadas")
        fix = page.locator(".st-key-panel-gaps")
        link = fix.get_by_role("link", name=formats.number(gaps.without_phone), exact=True).first
        expect(link).to_have_attribute("href", re.compile(r"^/leads\?.*lista=sem-telefone"))
        others = [
            name for (name, tenant_id) in desk.pipeline_query(
                "select name, tenant_id from marts.dim_inboxes"
            )
            if tenant_id != visit.tenant_id
        ]  # fmt: skip
        unowned = "em implantação"
        everything = page.content() + "".join(someone.received)
        assert [name for name in others if name in everything] == []
        assert (unowned in everything) == (role == "super_admin")
        assert serious_findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        ((quiet,),) = desk.pipeline_query(
            "select max(day)::date from generate_series(%s::timestamp, %s, interval '1 day') as"
            " days (day) where not exists (select 1 from marts.rpt_chatwoot_parity"
            " where tenant_id = %s and date = day)",
            date(2026, 1, 5), END, visit.tenant_id,
        )  # fmt: skip
        someone.open(f"/qualidade?periodo=Personalizado&datas={quiet}")
        expect(page.locator(".st-key-panel-parity")).to_contain_text("Nada para comparar")
        expect(page.locator(".st-key-panel-ai")).to_contain_text("Nenhuma conversa criada")
        expect(page.locator(".st-key-panel-gaps")).to_contain_text("Nenhuma conversa criada")


@pytest.mark.browser
def test_names_and_errors_are_text(browser: Browser, desk: Desk) -> None:
    """On both pages: of an agent, of inboxes of its own and of nobody, of what a load failed on."""
    tenant_id = desk.pipeline.tenants[A]
    ((agent_id, agent),) = desk.pipeline_query(
        "select agent_id, name from marts.dim_agents where tenant_id = %s order by 1 limit 1",
        tenant_id,
    )
    ((inbox_id, inbox),) = desk.pipeline_query(
        "select inbox_id, name from marts.dim_inboxes where tenant_id = %s order by 1 limit 1",
        tenant_id,
    )
    name_agent = "update marts.dim_agents set name = %s where tenant_id = %s and agent_id = %s"
    name_inbox = "update marts.dim_inboxes set name = %s where tenant_id = %s and inbox_id = %s"
    desk.execute(name_agent, HOSTILE_NAME, tenant_id, agent_id)
    desk.execute(name_inbox, HOSTILE_NAME, tenant_id, inbox_id)
    desk.execute(
        "insert into raw_chatwoot.inboxes (id, account_id, name, channel_type, created_at,"
        " updated_at) values (99004, 1, %s, 'Channel::Api', now(), now())", HOSTILE_NAME,
    )  # fmt: skip
    desk.execute(
        "insert into app.sync_runs (pass, status, finished_at, error)"
        " values ('tick', 'failed', now(), %s)", HOSTILE_NAME,
    )  # fmt: skip
    try:
        with (
            serving(desk.pipeline.warehouse.dsn("app")) as served,
            visitor(browser, served, PHONE) as someone,
        ):
            page = someone.page
            page.context.add_cookies(
                [{"name": COOKIE_NAME, "value": desk.token("super_admin", A),
                  "url": served.address}]
            )  # fmt: skip
            chosen = f"{PERIOD.removeprefix('/')}&caixa={quote(HOSTILE_NAME)}"
            someone.open(f"/atendimento{chosen}")
            names = page.locator(".st-key-panel-agents tbody th")
            expect(names.filter(has_text="onerror")).to_have_text(HOSTILE_NAME)
            expect(page.get_by_text(f"{HOSTILE_NAME} · comparado com")).to_be_visible()
            someone.open(f"/qualidade{chosen}")
            unowned = page.locator(".st-key-panel-inboxes tbody th")
            expect(unowned.filter(has_text="onerror")).to_have_text(HOSTILE_NAME)
            failed = page.locator(".st-key-panel-pipeline tbody td")
            expect(failed.filter(has_text="onerror")).to_have_text(HOSTILE_NAME)
            expect(page.get_by_text(f"· {HOSTILE_NAME}")).to_be_visible()
            expect(page.locator("img[src=x], a[href^='//']")).to_have_count(0)
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    finally:
        desk.execute(name_agent, agent, tenant_id, agent_id)
        desk.execute(name_inbox, inbox, tenant_id, inbox_id)
        desk.execute("delete from raw_chatwoot.inboxes where id > 99000")
        desk.execute("delete from app.sync_runs where status <> 'succeeded'")
