"""The audit log: one function writes, nothing changes or removes a line."""

import psycopg
import pytest

from warehouse.audit import ANONYMOUS, Actor, keyed_hash, list_lines, operator, record
from warehouse.db import Warehouse, fetch_all
from warehouse.migrate import migrate

ADDRESS = "203.0.113.9"


def test_a_line_says_who_did_what(warehouse: Warehouse) -> None:
    address = keyed_hash(warehouse.audit_key, ADDRESS)
    with psycopg.connect(warehouse.dsn("app")) as connection:
        line_id = record(
            connection, "tenant.edit", actor=Actor("user", "7"), tenant_id=3, target="tenant:3",
            before={"name": "Velho"}, after={"name": "Novo"}, address=address,
        )  # fmt: skip
    line = list_lines(warehouse.dsn("owner"), action="tenant", limit=1)[0]
    assert line.id == line_id
    assert (line.actor_kind, line.actor_id, line.database_role) == ("user", "7", "mirante_app")
    assert (line.tenant_id, line.target) == (3, "tenant:3")
    assert (line.before, line.after) == ({"name": "Velho"}, {"name": "Novo"})
    assert line.address_hash == address != keyed_hash(b"another key", ADDRESS)
    assert ADDRESS not in str(line)


def test_a_line_falls_with_its_transaction(warehouse: Warehouse) -> None:
    count = "select count(*) from app.audit_log"
    before = fetch_all(warehouse.dsn("owner"), count)
    with psycopg.connect(warehouse.dsn("owner")) as connection:
        record(connection, "tenant.edit", actor=operator(warehouse.audit_key))
        connection.rollback()
    assert fetch_all(warehouse.dsn("owner"), count) == before


@pytest.mark.parametrize(
    "values",
    [
        {"target": "user:ana@corpo.com.br"},
        {"after": {"users": [{"email": "ana@corpo.com.br"}]}},
        {"before": {"ana@corpo.com.br": 1}},
        {"after": {"phone": "+5511987654321"}},
        {"after": {"from": ADDRESS}},
        {"after": {"from": "2001:db8:0:1::9"}},
    ],
)
def test_personal_data_is_refused_unseen(warehouse: Warehouse, values: dict) -> None:
    with (
        psycopg.connect(warehouse.dsn("owner")) as connection,
        pytest.raises(ValueError, match="use a hash") as caught,
    ):
        record(connection, "user.add", actor=ANONYMOUS, **values)
    assert "ana@" not in str(caught.value)
    assert ADDRESS not in str(caught.value)


@pytest.mark.parametrize(
    "statement",
    [
        "insert into app.audit_log (action, actor_kind, database_role) values ('a.b','user','x')",
        "update app.audit_log set actor_id = 'nobody'",
        "delete from app.audit_log",
        "truncate app.audit_log",
        "drop table app.audit_log",
        "drop schema app cascade",
        "alter table app.audit_log rename to audit_log_old",
        "alter table app.audit_log add column note text",
        "alter table app.audit_log owner to current_user",
        "alter schema app rename to app_old",
        "create trigger quiet before insert on app.audit_log for each row"
        " execute function suppress_redundant_updates_trigger()",
        "create rule quiet as on insert to app.audit_log do instead nothing",
        "create policy quiet on app.audit_log for select using (false)",
        "create or replace function app.record_audit(text, text, text, integer, text, jsonb, jsonb,"
        " text) returns bigint language sql return 1",
        "drop function app.record_audit",
        "set role mirante_audit",
        "grant mirante_audit to current_user",
        "select setval(pg_get_serial_sequence('app.audit_log', 'id'), 1)",
    ],
)
@pytest.mark.parametrize("role", ["owner", "app", "super"])
def test_no_service_rewrites_it(warehouse: Warehouse, role: str, statement: str) -> None:
    with (
        psycopg.connect(warehouse.dsn(role)) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


def test_only_the_owner_reads_it(warehouse: Warehouse, analyst: tuple[str, int, int]) -> None:
    for dsn in (warehouse.dsn("app"), warehouse.dsn("super"), analyst[0]):
        with (
            psycopg.connect(dsn) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute("select 1 from app.audit_log")
    for dsn in (warehouse.dsn("super"), analyst[0]):
        with (
            psycopg.connect(dsn) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            record(connection, "session.open", actor=ANONYMOUS)


def test_migrate_leaves_nobody_in_the_audit_role(warehouse: Warehouse) -> None:
    """Not even where an earlier version, or somebody, had made the owner a member."""
    members = (
        "select member::regrole::text from pg_auth_members where roleid = 'mirante_audit'::regrole"
    )
    with psycopg.connect(warehouse.admin_dsn, autocommit=True) as connection:
        connection.execute("grant mirante_audit to mirante_owner")
    migrate(warehouse)
    assert fetch_all(warehouse.admin_dsn, members) == []
