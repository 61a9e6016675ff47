"""Moving an inbox: gone from one tenant at once, whole with the other after the next build."""

import datetime
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql

from tests.conftest import Pipeline
from warehouse import ownership
from warehouse.audit import SYSTEM, list_lines
from warehouse.build import LOCK_KEY, build
from warehouse.db import fetch_all, open_pool, tenant_connection
from warehouse.errors import MiranteError, UsageError
from warehouse.limits import Plan, set_plan
from warehouse.tenants import add_tenant, edit_tenant

A, B = "academia-movimento", "loja-dona-flor"
INBOX = 2  # of A
ACCOUNT = 2  # whole of the fifth tenant


def marts(pipeline: Pipeline) -> dict[str, set[str]]:
    """Columns of every table of marts."""
    rows = pipeline.query(
        "select table_name, array_agg(column_name::text) from information_schema.columns"
        " where table_schema = 'marts' group by 1"
    )
    return {name: set(columns) for name, columns in rows}


def digests(pipeline: Pipeline) -> dict[tuple[str, int], tuple[int, str]]:
    """Rows, and a hash of them all, of each tenant in each mart."""
    found = {}
    for name in marts(pipeline):
        for tenant_id, count, digest in pipeline.query(
            f"select tenant_id, count(*), md5(string_agg(t::text, '|' order by t::text))"
            f" from marts.{name} as t group by 1"
        ):
            found[name, tenant_id] = (count, digest)
    return found


def seen_by(pipeline: Pipeline, tenant_id: int, query: str) -> list[tuple]:
    """Rows as the dashboard gets them."""
    with (
        open_pool(pipeline.warehouse.dsn("app"), max_size=1) as pool,
        tenant_connection(pool, tenant_id) as connection,
    ):
        return connection.execute(query).fetchall()


@pytest.fixture
def unchanged(copied: Pipeline) -> Iterator[Pipeline]:
    """Fails the test when it moved anything."""
    question = (
        "select (select md5(string_agg(t::text, '|' order by inbox_id)) from app.tenant_inboxes t),"
        " (select md5(string_agg(t::text, '|' order by account_id)) from app.tenant_accounts t),"
        " (select count(*) from marts.fct_messages), (select count(*) from ai.conversation_scores)"
    )
    before = copied.query(question)
    yield copied
    assert copied.query(question) == before


def test_nothing_is_taken_without_its_owners_name(unchanged: Pipeline) -> None:
    owner = unchanged.warehouse.dsn("owner")
    with pytest.raises(MiranteError, match=f"--inbox {INBOX} already belongs to '{A}'.*--from {A}"):
        ownership.assign(owner, slug=B, inbox_ids=[INBOX], actor=SYSTEM)
    with pytest.raises(MiranteError, match=f"belongs to '{A}'"):
        ownership.assign(
            owner, slug=B, inbox_ids=[INBOX], from_slug="clinica-vida-plena", actor=SYSTEM
        )
    # By owning the whole account is owning too, for a new tenant as for one that is there.
    ((inbox_id,),) = unchanged.query(
        "select min(id) from raw_chatwoot.inboxes where account_id = %s", ACCOUNT
    )
    with pytest.raises(MiranteError, match="belongs to 'imobiliaria-porto-sereno'"):
        ownership.assign(owner, slug=B, inbox_ids=[inbox_id], actor=SYSTEM)
    with pytest.raises(MiranteError, match="belongs to 'imobiliaria-porto-sereno'"):
        add_tenant(owner, slug="ladra", name="Ladra", segment="shop", inbox_ids=[inbox_id])
    with pytest.raises(MiranteError, match=f"--account {ACCOUNT} already belongs"):
        ownership.assign(owner, slug=B, account_ids=[ACCOUNT], actor=SYSTEM)
    assert unchanged.query("select 1 from app.tenants where slug = 'ladra'") == []
    # All or nothing: a free inbox beside a taken one stays free.
    with pytest.raises(MiranteError, match="already belongs"):
        ownership.assign(owner, slug=B, inbox_ids=[990, INBOX], actor=SYSTEM)
    with pytest.raises(UsageError, match="--from 'nenhuma' does not exist"):
        ownership.assign(owner, slug=B, inbox_ids=[INBOX], from_slug="nenhuma", actor=SYSTEM)
    with pytest.raises(UsageError, match="--slug 'nenhuma' does not exist"):
        ownership.assign(owner, slug="nenhuma", inbox_ids=[INBOX], actor=SYSTEM)
    with pytest.raises(UsageError, match="positive"):
        ownership.assign(owner, slug=B, inbox_ids=[-1], actor=SYSTEM)
    with pytest.raises(UsageError, match="positive"):
        ownership.assign(owner, slug=B, inbox_ids=[2**70], actor=SYSTEM)
    assert ownership.assign(owner, slug=A, inbox_ids=[INBOX], actor=SYSTEM) == []


def test_what_fails_on_the_way_moves_nothing(
    unchanged: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no log, no move")

    monkeypatch.setattr(ownership, "touch", refuse)
    with pytest.raises(RuntimeError):
        ownership.assign(
            unchanged.warehouse.dsn("owner"), slug=B, inbox_ids=[INBOX], from_slug=A, actor=SYSTEM
        )


def test_a_move_waits_for_the_build_that_runs(unchanged: Pipeline) -> None:
    """A build would write back what is taken away."""
    owner = unchanged.warehouse.dsn("owner")
    free = 991
    with psycopg.connect(owner, autocommit=True) as holder, ThreadPoolExecutor(2) as threads:
        holder.execute("select pg_advisory_lock(%s)", [LOCK_KEY])
        # What is nobody's waits for nothing.
        ownership.assign(owner, slug=A, inbox_ids=[free], actor=SYSTEM)
        leaving = threads.submit(ownership.release, owner, slug=A, inbox_ids=[free], actor=SYSTEM)
        time.sleep(1)
        assert not leaving.done()
        holder.execute("select pg_advisory_unlock(%s)", [LOCK_KEY])
        leaving.result(timeout=30)


def test_every_mart_but_that_of_tenants_loses_rows_by_the_catalogue(copied: Pipeline) -> None:
    """What a mart loses follows from its columns, those of marts nobody has written yet too."""
    owner = copied.warehouse.dsn("owner")
    a_id, b_id = copied.tenants[A], copied.tenants[B]
    with psycopg.connect(owner) as connection:
        tables = ownership._tables_of_tenants(connection)
        assert {name for schema, name, _ in tables if schema == "marts"} == set(marts(copied)) - {
            "dim_tenants"
        }
        for schema, name, columns in tables:
            condition = ownership._condition(schema, name, columns, tables)
            assert (condition is None) == (
                schema != "marts" and not columns & {"inbox_id", "conversation_id"}
            )
        ((conversation_id, contact_id),) = connection.execute(
            "select conversation_id, contact_id from marts.fct_conversations"
            " where inbox_id = %s order by 1 limit 1",
            [INBOX],
        ).fetchall()
        for table, columns, kept, gone in (
            ("marts.fct_new", "conversation_id bigint", -1, conversation_id),
            ("marts.dim_new", "contact_id bigint", -1, contact_id),
            ("marts.agg_new", "inbox_id integer", 1, INBOX),
            ("marts.rpt_new", "week integer", None, 7),
            ("ai.new", "conversation_id bigint", -1, conversation_id),
            ("app.new", "inbox_id integer", 1, INBOX),
        ):
            connection.execute(f"create table {table} (tenant_id integer, {columns})".encode())
            for tenant_id in (a_id, b_id):
                for value in {kept, gone} - {None}:
                    connection.execute(
                        f"insert into {table} values (%s, %s)".encode(), [tenant_id, value]
                    )
            ownership.remove_rows(connection, a_id, [INBOX])
            left = connection.execute(f"select * from {table}".encode()).fetchall()
            of_a = [value for tenant_id, value in left if tenant_id == a_id]
            assert of_a == ([] if kept is None else [kept]), table
            assert len(left) - len(of_a) == len({kept, gone} - {None}), table  # B's are all there
        connection.rollback()


def test_a_moved_inbox(copied: Pipeline) -> None:
    owner = copied.warehouse.dsn("owner")
    a_id, b_id = copied.tenants[A], copied.tenants[B]
    before = digests(copied)
    moved = {
        row[0]
        for row in copied.query(
            "select conversation_id from marts.fct_conversations where inbox_id = %s", INBOX
        )
    }
    contacts = {
        row[0]
        for row in copied.query(
            "select contact_id from marts.fct_conversations where inbox_id = %s", INBOX
        )
    }
    history = (
        "select count(*), min(created_at), max(created_at) from marts.fct_{}"
        f" where inbox_id = {INBOX}"
    )
    truth = {
        fact: seen_by(copied, a_id, history.format(fact)) for fact in ("conversations", "messages")
    }
    scored = copied.query(
        "select count(*) from ai.conversation_scores where conversation_id = any (%s)", list(moved)
    )
    assert len(moved) > 100
    assert scored[0][0] > 10
    ((version,),) = copied.query("select last_value from app.data_version")

    taken = ownership.assign(owner, slug=B, inbox_ids=[INBOX], from_slug=A, actor=SYSTEM)

    # At once, in everything A can be shown.
    assert [(loss.from_slug, loss.inbox_ids) for loss in taken] == [(A, (INBOX,))]
    for name, columns in marts(copied).items():
        rows = sql.SQL("select {} from {} where tenant_id = %s")
        with psycopg.connect(owner) as connection:
            for column, foreign in (
                ("inbox_id", {INBOX}), ("conversation_id", moved), ("contact_id", contacts),
            ):  # fmt: skip
                if column not in columns or (column == "contact_id" and "inbox_id" in columns):
                    continue
                left = {
                    row[0]
                    for row in connection.execute(
                        rows.format(sql.Identifier(column), sql.Identifier("marts", name)), [a_id]
                    )
                }
                assert not left & foreign, (name, column)
        if not columns & {"inbox_id", "conversation_id", "contact_id", "agent_id"}:
            left = copied.query(f"select count(*) from marts.{name} where tenant_id = %s", a_id)
            assert left == [(int(name == "dim_tenants"),)], name
    assert copied.query(
        "select count(*) from ai.conversation_scores where conversation_id = any (%s)", list(moved)
    ) == [(0,)]
    # Nor does anything score them as A's before the next build.
    assert copied.query(
        "select count(*) from intermediate.int_conversation_transcripts"
        " where tenant_id = %s and conversation_id = any (%s)",
        a_id, list(moved),
    ) == [(0,)]  # fmt: skip
    assert seen_by(copied, a_id, "select name from marts.dim_agents")  # who works elsewhere too
    assert copied.query("select last_value > %s from app.data_version", version) == [(True,)]
    lines = list_lines(owner, action="tenant", limit=3)
    assert {(line.action, line.tenant_slug) for line in lines} >= {
        ("tenant.assign_inbox", B), ("tenant.lose_inboxes", A),
    }  # fmt: skip
    # The others' is as it was, B's too.
    at_once = digests(copied)
    for key, digest in before.items():
        if key[1] != a_id:
            assert at_once[key] == digest, key

    # The build that follows by itself.
    assert not build(copied.settings, copied.warehouse, only_if_changed=True).skipped
    for fact, history_of_a in truth.items():
        assert seen_by(copied, b_id, history.format(fact)) == history_of_a
        assert seen_by(copied, a_id, history.format(fact))[0][0] == 0
    for name, columns in marts(copied).items():
        if "inbox_id" in columns:  # a day of B's zone may be another
            assert copied.query(
                f"select count(*) > 0 from marts.{name} where inbox_id = %s and tenant_id = %s",
                INBOX, b_id,
            ) == [(True,)], name  # fmt: skip
    after = digests(copied)
    for name in marts(copied):
        assert after[name, a_id][0] > 0, name
        others = set(copied.tenants.values()) - {a_id, b_id}
        for tenant_id in others:
            assert after[name, tenant_id] == before[name, tenant_id], name
    # And nothing was left over: made from nothing it is the same.
    build(copied.settings, copied.warehouse, full_refresh=True)
    assert digests(copied) == after


def test_an_account_moves_with_the_inboxes_it_brings(copied: Pipeline) -> None:
    owner, fifth = copied.warehouse.dsn("owner"), "imobiliaria-porto-sereno"
    inboxes = {
        row[0] for row in copied.query("select id from raw_chatwoot.inboxes where account_id = 2")
    }
    taken = ownership.assign(owner, slug=B, account_ids=[ACCOUNT], from_slug=fifth, actor=SYSTEM)
    assert set(taken[0].inbox_ids) == inboxes
    assert seen_by(copied, copied.tenants[fifth], "select count(*) from marts.fct_messages") == [
        (0,)
    ]
    back = ownership.assign(owner, slug=fifth, account_ids=[ACCOUNT], from_slug=B, actor=SYSTEM)
    assert set(back[0].inbox_ids) == inboxes


def test_a_released_inbox_is_nobodys(copied: Pipeline) -> None:
    owner, clinic = copied.warehouse.dsn("owner"), "clinica-vida-plena"
    tenant_id = copied.tenants[clinic]
    with pytest.raises(UsageError, match="--inbox 1 was not assigned to 'clinica-vida-plena'"):
        ownership.release(owner, slug=clinic, inbox_ids=[4, 1], actor=SYSTEM)
    count = "select count(*) from marts.fct_messages where inbox_id = 4"
    assert seen_by(copied, tenant_id, count)[0][0] > 0
    ownership.release(owner, slug=clinic, inbox_ids=[4], actor=SYSTEM)
    assert seen_by(copied, tenant_id, count) == [(0,)]
    found, _ = ownership.discover(owner)
    assert 4 in {inbox.inbox_id for inbox in found}
    ownership.assign(owner, slug=clinic, inbox_ids=[4], actor=SYSTEM)


def test_sums_of_another_inbox_lose_what_left_it_before_a_move(copied: Pipeline) -> None:
    """The marts have the conversation in the inbox it was in; raw in the one that goes."""
    owner, clinic = copied.warehouse.dsn("owner"), "clinica-vida-plena"
    tenant_id = copied.tenants[clinic]
    build(copied.settings, copied.warehouse, only_if_changed=True)
    conversation_id, date, inbox_id = copied.query(
        "select conversation_id, created_date, inbox_id from marts.fct_conversations as alone"
        " where tenant_id = %s and inbox_id <> 4 and not exists ("
        "    select from marts.fct_messages as others where others.tenant_id = alone.tenant_id"
        "    and others.created_date = alone.created_date and others.inbox_id = alone.inbox_id"
        "    and others.conversation_id <> alone.conversation_id"
        " ) and not exists ("
        "    select from marts.fct_conversations as others where others.tenant_id = alone.tenant_id"
        "    and others.first_resolved_date = alone.created_date"
        "    and others.inbox_id = alone.inbox_id"
        "    and others.conversation_id <> alone.conversation_id"
        " ) order by created_date limit 1",
        tenant_id,
    )[0]
    day = (
        "select sum(conversations) from marts.agg_daily where tenant_id = %s and date = %s"
        " and inbox_id = %s"
    )
    backlog = (
        "select sum(delta) from intermediate.int_backlog_changes where tenant_id = %s and date = %s"
        " and inbox_id = %s"
    )
    sums = backlog.replace("int_backlog_changes", "int_backlog_days")
    place = (tenant_id, date, inbox_id)
    assert copied.query(day, *place) == [(1,)]
    with psycopg.connect(owner) as connection:
        for table, key in (("conversations", "id"), ("messages", "conversation_id")):
            connection.execute(
                f"update raw_chatwoot.{table} set inbox_id = 4 where {key} = %s", [conversation_id]
            )
    ownership.release(owner, slug=clinic, inbox_ids=[4], actor=SYSTEM)
    build(copied.settings, copied.warehouse, only_if_changed=True)
    assert copied.query(day, *place) in ([(None,)], [(0,)])
    assert copied.query(sums, *place) == copied.query(backlog, *place)
    ownership.assign(owner, slug=clinic, inbox_ids=[4], actor=SYSTEM)


def test_discovery_proposes_and_changes_nothing(unchanged: Pipeline) -> None:
    owner = unchanged.warehouse.dsn("owner")
    with psycopg.connect(owner) as connection:
        for inbox_id, account_id, name in (
            (9001, 77, "Padaria'; rm -rf ~ #\x1b[31m"),
            (9002, 1, "Clínica Vida Plena - WhatsApp 2"),
        ):
            connection.execute(
                "insert into raw_chatwoot.inboxes (id, account_id, name, channel_type, created_at,"
                " updated_at) values (%s, %s, %s, 'Channel::Whatsapp', now(), now())",
                [inbox_id, account_id, name],
            )
        connection.execute("insert into app.tenant_inboxes (inbox_id, tenant_id) select 9003, id"
                           " from app.tenants where slug = %s", [A])  # fmt: skip
    try:
        found, missing = ownership.discover(owner)
        by_id = {inbox.inbox_id: inbox for inbox in found}
        assert (A, 9003) in missing
        # A name for a shell and a terminal is quoted, and shows no control characters.
        assert by_id[9001].inbox_name == "Padaria'; rm -rf ~ # [31m"
        assert by_id[9001].proposal == (
            "mirante tenant add --slug account-77 --name 'account 77' --segment general"
            " --account 77"
        )
        assert by_id[9002].proposal == (
            "mirante tenant assign-inbox --slug clinica-vida-plena --inbox 9002"
        )
        owned = {row[0] for row in unchanged.query("select inbox_id from marts.dim_inboxes")}
        assert not owned & set(by_id)
        shared = [inbox for inbox in found if inbox.account_id == 1 and inbox.inbox_id != 9002]
        assert shared
        for inbox in shared:
            assert f"--inbox {inbox.inbox_id}" in inbox.proposal
            assert inbox.conversations > 0
            assert isinstance(inbox.last_conversation_at, datetime.datetime)
    finally:
        with psycopg.connect(owner) as connection:
            connection.execute("delete from raw_chatwoot.inboxes where id > 9000")
            connection.execute("delete from app.tenant_inboxes where inbox_id > 9000")


def test_a_limit_of_inboxes_refuses_the_one_above(unchanged: Pipeline) -> None:
    owner = unchanged.warehouse.dsn("owner")
    edit_tenant(owner, B, {"max_inboxes": 1}, SYSTEM)  # it has more: it keeps them
    with pytest.raises(MiranteError, match=f"tenant {B} would have .* inboxes and may have 1"):
        ownership.assign(owner, slug=B, inbox_ids=[992], actor=SYSTEM)
    edit_tenant(owner, B, {"max_inboxes": None}, SYSTEM)
    # Those that an account brings count as well.
    set_plan(owner, Plan("pequeno", None, 1, None), SYSTEM)
    fifth = "imobiliaria-porto-sereno"
    edit_tenant(owner, fifth, {"plan": "pequeno"}, SYSTEM)
    with pytest.raises(MiranteError, match=f"tenant {fifth} would have"):
        ownership.assign(owner, slug=fifth, inbox_ids=[992], actor=SYSTEM)
    edit_tenant(owner, fifth, {"plan": "standard"}, SYSTEM)
    assert fetch_all(owner, "select 1 from app.tenant_inboxes where inbox_id = 992") == []
