"""Tenants, users and sessions: bad input leaves nothing behind."""

import io
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from PIL import Image

from tests.conftest import Pipeline
from warehouse import users
from warehouse.analysts import add_analyst
from warehouse.audit import SYSTEM, list_lines
from warehouse.branding import check_color, clean_logo, contrast, read_logo, set_branding
from warehouse.build import build
from warehouse.db import Warehouse, fetch_all, open_pool, tenant_connection
from warehouse.errors import MiranteError, UsageError
from warehouse.limits import record_reached, warnings
from warehouse.ownership import assign
from warehouse.status import read_status
from warehouse.tenants import (
    DEFAULT_RULES,
    add_tenant,
    cancel_tenant,
    delete_tenant,
    edit_tenant,
    list_tenants,
    purge_tenants,
    restore_tenant,
    suspend_tenant,
)


@pytest.fixture
def owner(warehouse: Warehouse) -> Iterator[str]:
    """The owner's DSN; tenants and users of the test are gone afterwards."""
    dsn = warehouse.dsn("owner")
    yield dsn
    with psycopg.connect(dsn) as connection:
        connection.execute("delete from app.users where email like '%@teste.example'")
        connection.execute("delete from app.tenants where slug like 'teste-%'")


def add(owner: str, slug: str, **values: object) -> int:
    return add_tenant(owner, **{"slug": slug, "name": "Teste", "segment": "gym", **values})  # type: ignore[arg-type]


def count(owner: str) -> list[tuple[int, ...]]:
    return fetch_all(
        owner,
        "select (select count(*) from app.tenants), (select count(*) from app.tenant_inboxes),"
        " (select count(*) from app.tenant_accounts), (select count(*) from app.funnel_rules)",
    )


def test_tenant_gets_what_it_owns_and_the_default_rules(owner: str) -> None:
    tenant_id = add(
        owner, "teste-a", inbox_ids=[9001, 9002, 9001], account_ids=[901], timezone="America/Recife"
    )
    tenant = next(tenant for tenant in list_tenants(owner) if tenant.id == tenant_id)
    assert (tenant.inbox_ids, tenant.account_ids) == ([9001, 9002], [901])
    assert (tenant.timezone, tenant.currency, tenant.status) == ("America/Recife", "BRL", "active")
    rules = fetch_all(
        owner,
        "select stage, kind, value from app.funnel_rules where tenant_id = %s",
        [tenant_id],
    )
    assert sorted(rules) == sorted(DEFAULT_RULES)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"timezone": "America/Sao Paulo"}, "--timezone 'America/Sao Paulo' is unknown"),
        ({"timezone": "america/sao_paulo"}, "did you mean America/Sao_Paulo"),
        ({"timezone": "UTC-3'; drop table app.tenants;--"}, "is unknown"),
        ({"segment": "padaria"}, "--segment 'padaria': use one of gym, clinic"),
        ({"currency": "reais"}, "--currency 'reais'"),
        ({"name": "  "}, "--name"),
        ({"slug": "Com Espaço"}, "--slug 'Com Espaço'"),
        ({"inbox_ids": [-4]}, "--inbox -4"),
    ],
)
def test_bad_value_is_named_and_nothing_is_kept(
    owner: str, values: dict[str, object], message: str
) -> None:
    before = count(owner)
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        add(owner, **{"slug": "teste-ruim", **values})  # type: ignore[arg-type]
    assert count(owner) == before


def test_taken_slug_inbox_and_account_are_refused_whole(owner: str) -> None:
    add(owner, "teste-a", inbox_ids=[9001], account_ids=[901])
    before = count(owner)
    with pytest.raises(MiranteError, match="--slug 'teste-a' is taken"):
        add(owner, "teste-a")
    with pytest.raises(MiranteError, match="--inbox 9001 already belongs to 'teste-a'"):
        add(owner, "teste-b", inbox_ids=[9005, 9001])
    with pytest.raises(MiranteError, match="--account 901 already belongs to 'teste-a'"):
        add(owner, "teste-b", account_ids=[901], inbox_ids=[9005])
    assert count(owner) == before


def test_password_hash_counts_every_byte(owner: str) -> None:
    """bcrypt alone stops at 72 bytes and at a NUL."""
    long = "ç" * 60
    assert users.verify_password(long, users.hash_password(long))
    assert not users.verify_password(long[:-1] + "x", users.hash_password(long))
    assert not users.verify_password("abcdefghij\0z", users.hash_password("abcdefghij\0y"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"email": "sem-arroba"}, "not an e-mail"),
        ({"password": "curta"}, "at least 10"),
        ({"role": "owner"}, "role 'owner'"),
        ({"tenant_slug": None}, "give --tenant"),
        ({"role": "super_admin"}, "leave --tenant out"),
        ({"tenant_slug": "teste-nenhum"}, "tenant 'teste-nenhum' does not exist"),
    ],
)
def test_bad_user_is_refused(owner: str, values: dict[str, object], message: str) -> None:
    add(owner, "teste-a")
    given = {
        "email": "ana@teste.example",
        "password": "uma senha longa",
        "role": "client",
        "tenant_slug": "teste-a",
    }
    with pytest.raises(UsageError, match=message):
        users.add_user(owner, **{**given, **values})  # type: ignore[arg-type]
    assert fetch_all(owner, "select 1 from app.users where email like '%teste.example'") == []


def test_duplicate_email_in_other_case_is_refused(owner: str) -> None:
    add(owner, "teste-a")
    users.add_user(
        owner, email="Ana@Teste.example", password="uma senha longa", role="client",
        tenant_slug="teste-a",
    )  # fmt: skip
    with pytest.raises(MiranteError, match=r"ana@teste\.example exists"):
        users.add_user(
            owner, email=" ana@teste.EXAMPLE ", password="outra senha", role="client",
            tenant_slug="teste-a",
        )  # fmt: skip


def test_a_role_is_changed_and_the_last_super_admin_stays(owner: str) -> None:
    """By the command; pages change client and admin only."""
    add(owner, "teste-a")
    add(owner, "teste-b")
    emails = {name: f"{name}@teste.example" for name in ("ana", "um", "dois")}
    for name, role, slug in (
        ("ana", "client", "teste-a"), ("um", "super_admin", None), ("dois", "super_admin", None)
    ):  # fmt: skip
        users.add_user(
            owner, email=emails[name], password="uma senha longa", role=role, tenant_slug=slug
        )
    state = (
        "select users.role, tenants.slug from app.users as users"
        " left join app.tenants as tenants on users.tenant_id = tenants.id where email = %s"
    )

    def edit(name: str, role: str, slug: str | None = None) -> bool:
        return users.edit_user(owner, emails[name], role=role, tenant_slug=slug)

    with psycopg.connect(owner) as connection:
        connection.execute(
            "insert into app.sessions (token_sha256, user_id, expires_at)"
            " select sha256(email::bytea), id, now() + interval '1 hour' from app.users"
            " where email = %s",
            [emails["ana"]],
        )
    alive = "select count(*) from app.sessions where token_sha256 = sha256(%s::bytea)"
    assert not edit("ana", "client")
    assert fetch_all(owner, alive, [emails["ana"]]) == [(1,)]
    assert edit("ana", "admin")
    assert fetch_all(owner, alive, [emails["ana"]]) == [(0,)]
    assert fetch_all(owner, state, [emails["ana"]]) == [("admin", "teste-a")]
    line = list_lines(owner, action="user.edit", limit=1)[0]
    assert (line.before["role"], line.after["role"]) == ("client", "admin")
    assert line.tenant_slug == "teste-a"
    assert emails["ana"] not in repr(line)
    for name, role, slug, message in (
        ("ana", "client", "teste-b", "has a tenant already"),
        ("ana", "owner", None, "role 'owner'"),
        ("um", "client", None, "give --tenant"),
        ("um", "super_admin", "teste-a", "leave --tenant out"),
        ("um", "client", "teste-nenhum", "'teste-nenhum' does not exist"),
    ):
        with pytest.raises(UsageError, match=message):
            edit(name, role, slug)
    with pytest.raises(UsageError, match="does not exist"):
        users.edit_user(owner, "ninguem@teste.example", role="admin")

    assert edit("ana", "super_admin")
    assert fetch_all(owner, state, [emails["ana"]]) == [("super_admin", None)]
    edit_tenant(owner, "teste-b", {"max_users": 1}, SYSTEM)
    assert edit("ana", "client", "teste-b")
    assert fetch_all(owner, state, [emails["ana"]]) == [("client", "teste-b")]
    with pytest.raises(psycopg.errors.RaiseException, match="1 of its 1 users"):
        edit("um", "admin", "teste-b")
    # Other files' people step aside for as long as this takes.
    others = "role = 'super_admin' and email not like '%@teste.example'"
    with psycopg.connect(owner, autocommit=True) as connection:
        aside = connection.execute(
            f"update app.users set is_active = false where is_active and {others} returning id"
        ).fetchall()
        try:
            # Both at once: one of them stays.
            with ThreadPoolExecutor(2) as threads:
                outcomes = [
                    threads.submit(edit, name, "admin", "teste-a") for name in ("um", "dois")
                ]
            errors = [outcome.exception() for outcome in outcomes if outcome.exception()]
            assert len(errors) == 1
            assert isinstance(errors[0], MiranteError)
            assert "is the last super_admin" in str(errors[0])
            # Disabled, one by one or at once: one of them stays, and the message says what to do.
            ((last,),) = fetch_all(
                owner, "select email from app.users where role = 'super_admin' and is_active"
            )
            with pytest.raises(MiranteError, match=r"add another first .*`mirante user reset`"):
                users.disable_user(owner, f" {last.upper()} ")
            other = next(emails[name] for name in ("um", "dois") if emails[name] != last)
            assert edit(other.partition("@")[0], "super_admin")
            with ThreadPoolExecutor(2) as threads:
                outcomes = [
                    threads.submit(users.disable_user, owner, email) for email in (last, other)
                ]
            refused = [outcome.exception() for outcome in outcomes if outcome.exception()]
            assert [type(error) for error in refused] == [MiranteError]
            assert fetch_all(
                owner, "select count(*) from app.users where role = 'super_admin' and is_active"
            ) == [(1,)]  # fmt: skip
            # One that is disabled already takes nobody's place.
            out = last if str(refused[0]).startswith(f"user {other} ") else other
            users.disable_user(owner, out)
            assert edit(out.partition("@")[0], "admin", "teste-a")
        finally:
            connection.execute(
                "update app.users set is_active = true where id = any (%s)",
                [[row[0] for row in aside]],
            )


def test_session_functions_give_one_row_and_die_with_user_and_tenant(
    owner: str, warehouse: Warehouse
) -> None:
    app = warehouse.dsn("app")
    tenant_id = add(owner, "teste-a")
    other_id = add(owner, "teste-b")
    user_id = users.add_user(
        owner, email="ana@teste.example", password="uma senha longa", role="client",
        tenant_slug="teste-a",
    )  # fmt: skip
    token = b"\1" * 32
    current = "select role, tenant_id from app.current_session(%s, interval '1 hour')"
    assert fetch_all(app, "select user_id from app.login_candidate(' ANA@teste.example')") == [
        (user_id,)
    ]
    assert fetch_all(app, "select * from app.login_candidate('%')") == []
    opening = (
        "select app.open_session(user_id, password_hash, %s, interval '1 day', '', null)"
        " from app.login_candidate('ana@teste.example')"
    )
    assert fetch_all(app, opening, [token]) == [("full",)]
    assert fetch_all(app, current, [token]) == [("client", tenant_id)]
    assert fetch_all(app, current, [b"\2" * 32]) == []
    # A client picks no other tenant.
    assert fetch_all(
        app, "select app.view_tenant(%s, interval '1 hour', %s)", [token, other_id]
    ) == [(False,)]
    assert (
        fetch_all(app, "select * from app.selectable_tenants(%s, interval '1 hour')", [token]) == []
    )
    assert fetch_all(app, current, [token]) == [("client", tenant_id)]
    # Idle.
    with psycopg.connect(owner) as connection:
        connection.execute("update app.sessions set last_seen_at = now() - interval '2 hours'")
    fetch_all(app, "select app.touch_session(%s, interval '1 hour')", [token])
    assert fetch_all(app, current, [token]) == []
    with psycopg.connect(owner) as connection:
        connection.execute("update app.sessions set last_seen_at = now()")
    assert fetch_all(app, current, [token]) == [("client", tenant_id)]
    # Suspended tenant.
    with psycopg.connect(owner) as connection:
        connection.execute("update app.tenants set status = 'suspended' where id = %s", [tenant_id])
    assert fetch_all(app, current, [token]) == []
    assert fetch_all(app, "select * from app.login_candidate('ana@teste.example')") == []
    with psycopg.connect(owner) as connection:
        connection.execute("update app.tenants set status = 'active' where id = %s", [tenant_id])
    assert fetch_all(app, current, [token]) == []  # ended for good, not put to sleep
    assert fetch_all(app, opening, [token]) == [("full",)]
    # A reset ends the session, a disabled user gets no new one.
    users.set_password(owner, "ana@teste.example", "nova senha longa")
    assert fetch_all(app, current, [token]) == []
    assert fetch_all(app, opening, [token]) == [("full",)]
    users.disable_user(owner, "ana@teste.example")
    assert fetch_all(app, current, [token]) == []


# -- status, deletion, limits ---------------------------------------------------------------------


def status_of(owner: str, slug: str) -> tuple[str, bool]:
    return fetch_all(
        owner, "select status, purge_after is not null from app.tenants where slug = %s", [slug]
    )[0]


def test_edit_changes_what_is_given_and_records_it(owner: str) -> None:
    tenant_id = add(owner, "teste-a")
    version = fetch_all(owner, "select last_value from app.data_version")[0][0]
    changed = edit_tenant(
        owner, "teste-a", {"name": "Outro", "timezone": "America/Recife", "segment": "gym"}, SYSTEM
    )
    assert changed == ["name", "timezone"]  # the segment was so already
    line = list_lines(owner, action="tenant.edit", limit=1)[0]
    assert (line.tenant_id, line.before, line.after) == (
        tenant_id,
        {"name": "Teste", "timezone": "America/Sao_Paulo"},
        {"name": "Outro", "timezone": "America/Recife"},
    )
    assert fetch_all(owner, "select last_value from app.data_version")[0][0] > version
    assert edit_tenant(owner, "teste-a", {"name": "Outro"}, SYSTEM) == []
    for budget in (12.5, 0.0, None):
        edit_tenant(owner, "teste-a", {"ai_budget_usd": budget}, SYSTEM)
        line = list_lines(owner, action="tenant.edit", limit=1)[0]
        assert line.after == {"ai_budget_usd": budget}
    assert line.before == {"ai_budget_usd": 0.0}
    assert edit_tenant(owner, "teste-a", {"ai_outside_allowed": False}, SYSTEM)
    assert fetch_all(
        owner, "select ai_budget_usd, ai_outside_allowed from app.tenants where slug = 'teste-a'"
    ) == [(None, False)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timezone": "Marte"}, "--timezone 'Marte'"),
        ({"segment": "padaria"}, "--segment 'padaria'"),
        ({"currency": "R$"}, "--currency"),
        ({"name": " "}, "--name"),
        ({"slug": "A B"}, "--slug 'A B'"),
        ({"slug": "teste-b"}, "--new-slug 'teste-b' is taken"),
        ({"plan": "ouro"}, "--plan 'ouro' does not exist"),
        ({"max_users": -1}, "--max-users -1"),
        ({"ai_budget_usd": -0.5}, "--ai-budget-usd -0.5"),
        ({"max_users": 2**40}, "refused|--max-users"),
    ],
)
def test_bad_edit_changes_nothing(owner: str, changes: dict[str, object], message: str) -> None:
    add(owner, "teste-a")
    add(owner, "teste-b")
    rows = "select * from app.tenants where slug like 'teste-%' order by id"
    before = fetch_all(owner, rows)
    with pytest.raises(MiranteError, match=message):
        edit_tenant(owner, "teste-a", {"name": "Outro", **changes}, SYSTEM)
    assert fetch_all(owner, rows) == before


def test_suspension_ends_sessions_and_restoring_lets_in(owner: str, warehouse: Warehouse) -> None:
    add(owner, "teste-a")
    add(owner, "teste-b")
    app = warehouse.dsn("app")
    tokens = {}
    for number, slug in enumerate(("teste-a", "teste-b")):
        user_id = users.add_user(
            owner, email=f"{slug}@teste.example", password="uma senha longa", role="client",
            tenant_slug=slug,
        )  # fmt: skip
        tokens[slug] = bytes([number]) * 32
        with psycopg.connect(owner) as connection:
            connection.execute(
                "insert into app.sessions (token_sha256, user_id, expires_at)"
                " values (%s, %s, now() + interval '1 day')",
                [tokens[slug], user_id],
            )
    alive = "select count(*) from app.current_session(%s, interval '1 hour')"
    suspend_tenant(warehouse, "teste-a", SYSTEM)
    assert fetch_all(app, alive, [tokens["teste-a"]]) == [(0,)]
    assert fetch_all(app, alive, [tokens["teste-b"]]) == [(1,)]
    assert fetch_all(
        owner, "select 1 from app.sessions where token_sha256 = %s", [tokens["teste-a"]]
    ) == []  # fmt: skip
    with pytest.raises(MiranteError, match="is suspended already"):
        suspend_tenant(warehouse, "teste-a", SYSTEM)
    restore_tenant(warehouse, "teste-a", SYSTEM)
    assert status_of(owner, "teste-a") == ("active", False)
    # The old session is gone for good: who was shut out logs in anew.
    assert fetch_all(app, alive, [tokens["teste-a"]]) == [(0,)]
    cancel_tenant(warehouse, "teste-a", SYSTEM)
    assert status_of(owner, "teste-a") == ("cancelled", False)
    with pytest.raises(UsageError, match="--slug 'teste-nenhum'"):
        suspend_tenant(warehouse, "teste-nenhum", SYSTEM)
    actions = [line.action for line in list_lines(owner, tenant_slug="teste-a", action="tenant")]
    assert actions == ["tenant.cancel", "tenant.restore", "tenant.suspend", "tenant.add"]


def test_deletion_has_a_grace_period(owner: str, warehouse: Warehouse) -> None:
    tenant_id = add(owner, "teste-a", inbox_ids=[9001])
    with pytest.raises(MiranteError, match="is not deleted"):
        purge_tenants(warehouse, SYSTEM, slug="teste-a")
    delete_tenant(warehouse, "teste-a", SYSTEM, grace_days=30)
    assert status_of(owner, "teste-a") == ("cancelled", True)
    assert purge_tenants(warehouse, SYSTEM) == []
    with pytest.raises(MiranteError, match="is deleted: `mirante tenant restore"):
        assign(owner, slug="teste-a", inbox_ids=[9002], actor=SYSTEM)
    restore_tenant(warehouse, "teste-a", SYSTEM)
    assert status_of(owner, "teste-a") == ("active", False)
    assert purge_tenants(warehouse, SYSTEM) == []
    delete_tenant(warehouse, "teste-a", SYSTEM, grace_days=0)
    # one that is asked for is purged alone
    add(owner, "teste-b")
    delete_tenant(warehouse, "teste-b", SYSTEM)
    assert [slug for slug, _ in purge_tenants(warehouse, SYSTEM, slug="teste-b")] == ["teste-b"]
    assert [slug for slug, _ in purge_tenants(warehouse, SYSTEM)] == ["teste-a"]
    assert fetch_all(owner, "select 1 from app.tenants where id = %s", [tenant_id]) == []
    # Its inbox is free, and the log remembers.
    add(owner, "teste-b", inbox_ids=[9001])
    assert list_lines(owner, action="tenant.purge", limit=1)[0].tenant_id == tenant_id


def test_a_purge_leaves_no_row_anywhere(copied: Pipeline) -> None:
    slug = "colegio-horizonte"
    tenant_id = copied.tenants[slug]
    everywhere = copied.query(
        "select table_schema || '.' || table_name from information_schema.columns as c"
        " inner join information_schema.tables using (table_schema, table_name)"
        " where column_name = 'tenant_id' and table_type = 'BASE TABLE'"
        " and table_schema in ('marts', 'intermediate', 'ai', 'app') order by 1"
    )
    assert len(everywhere) > 30

    def rows() -> dict[str, list[tuple[int, int]]]:
        return {
            name: copied.query(f"select tenant_id, count(*) from {name} group by 1 order by 1")
            for (name,) in everywhere
        }

    before = rows()
    role, dsn = add_analyst(copied.warehouse, slug, SYSTEM)
    with psycopg.connect(copied.warehouse.dsn("owner")) as connection:
        connection.execute(
            "insert into app.tenant_branding (tenant_id, display_name) values (%s, 'x')",
            [tenant_id],
        )
    delete_tenant(copied.warehouse, slug, SYSTEM)
    ((purged, count),) = purge_tenants(copied.warehouse, SYSTEM, slug=slug)
    assert purged == slug
    after = rows()
    lost = 0
    for name, counts in before.items():
        if name == "app.audit_log":
            continue
        assert after[name] == [pair for pair in counts if pair[0] != tenant_id], name
        lost += sum(number for other, number in counts if other == tenant_id)
    assert count > 1000
    assert lost >= count
    assert fetch_all(
        copied.warehouse.admin_dsn, "select 1 from pg_roles where rolname = %s", [role]
    ) == []  # fmt: skip
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)


def test_users_are_limited_whichever_way_they_come(owner: str) -> None:
    tenant_id = add(owner, "teste-a")
    add(owner, "teste-b")
    edit_tenant(owner, "teste-a", {"max_users": 5}, SYSTEM)

    def new(number: int, slug: str = "teste-a") -> int:
        return users.add_user(
            owner, email=f"u{number}@teste.example", password="uma senha longa", role="client",
            tenant_slug=slug,
        )  # fmt: skip

    assert warnings(owner, "teste-a") == []
    for number in range(4):
        new(number)
    assert warnings(owner, "teste-a") == ["tenant teste-a: 4 of 5 users (80 %)"]
    last = new(4)
    assert warnings(owner, "teste-a") == [
        "tenant teste-a: 5 of 5 users (100 %); no other can be added"
    ]
    with pytest.raises(psycopg.errors.RaiseException, match="teste-a has 5 of its 5 users"):
        new(5)
    new(7, "teste-b")  # of another tenant: its own limit
    with psycopg.connect(owner) as connection, pytest.raises(psycopg.errors.RaiseException):
        connection.execute(  # moved from there
            "update app.users set tenant_id = %s where email = 'u7@teste.example'", [tenant_id]
        )
    users.disable_user(owner, "u4@teste.example")
    new(8)
    with psycopg.connect(owner) as connection, pytest.raises(psycopg.errors.RaiseException):
        connection.execute("update app.users set is_active = true where id = %s", [last])
    users.set_password(owner, "u8@teste.example", "outra senha longa")  # no new user
    # Two at the same time cannot both be the last.
    users.disable_user(owner, "u8@teste.example")
    with ThreadPoolExecutor(4) as threads:
        outcomes = [threads.submit(new, number) for number in range(10, 14)]
    assert sum(outcome.exception() is None for outcome in outcomes) == 1


def test_conversations_are_told_never_cut_and_recorded_once(copied: Pipeline) -> None:
    slug, owner = "academia-movimento", copied.warehouse.dsn("owner")
    tenant_id = copied.tenants[slug]
    with psycopg.connect(owner) as connection:  # the sample ends earlier
        connection.execute(
            "update marts.fct_conversations set created_date = current_date"
            " where conversation_id in (select conversation_id from marts.fct_conversations"
            " where tenant_id = %s order by 1 limit 40)",
            [tenant_id],
        )
    edit_tenant(owner, slug, {"max_conversations_per_month": 50}, SYSTEM)
    ((before,),) = copied.query("select count(*) from app.audit_log where action = 'limit.reach'")
    for _ in range(2):
        (line,) = record_reached(owner, SYSTEM)
        assert line.startswith(f"tenant {slug}: 40 of 50 conversations in ")
        assert line.endswith("(80 %)")
    edit_tenant(owner, slug, {"max_conversations_per_month": 40}, SYSTEM)
    (line,) = record_reached(owner, SYSTEM)
    assert "(100 %); nothing is cut" in line
    ((after,),) = copied.query("select count(*) from app.audit_log where action = 'limit.reach'")
    assert after - before == 2  # once for each threshold
    found = next(tenant for tenant in read_status(owner).tenants if tenant.slug == slug)
    assert found.limit_messages == [line]
    assert read_status(owner).as_json()["tenants"][0]["limits"][0]["percent"] == 100
    build(copied.settings, copied.warehouse, select="fct_conversations")
    assert copied.query("select count(*) from marts.fct_conversations where tenant_id = %s",
                        tenant_id)[0][0] > 40  # fmt: skip


# -- branding -------------------------------------------------------------------------------------


def image(kind: str, size: tuple[int, int] = (32, 16), **options: object) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", size, (11, 92, 173)).save(written, kind, **options)
    return written.getvalue()


def bomb() -> bytes:
    """A small file that says it is 60,000 pixels a side."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + header + image("PNG")[33:]


def test_a_tenant_has_its_own_look_and_no_other_sees_it(owner: str, warehouse: Warehouse) -> None:
    first, second = add(owner, "teste-a"), add(owner, "teste-b")
    exif = Image.Exif()
    exif[0x010E] = "casa da Ana"
    logo = clean_logo(image("JPEG", exif=exif.tobytes()) + b"<script>alert(1)</script>", "logo")
    assert logo.media_type == "image/jpeg"
    assert b"script" not in logo.content
    assert b"casa da Ana" not in logo.content
    set_branding(owner, "teste-a", SYSTEM, display_name="Corpo", primary_color="#0B5CAD", logo=logo)
    set_branding(owner, "teste-a", SYSTEM, accent_color="#7a1f3d")  # the rest stays
    with open_pool(warehouse.dsn("app"), max_size=1) as pool:
        columns = "tenant_id, display_name, primary_color, accent_color, logo_type"
        for tenant_id, expected in (
            (first, [(first, "Corpo", "#0b5cad", "#7a1f3d", "image/jpeg")]),
            (second, []),
        ):
            with tenant_connection(pool, tenant_id) as connection:
                assert (
                    connection.execute(
                        f"select {columns} from app.tenant_branding".encode()
                    ).fetchall()
                    == expected
                )
        with pool.connection() as connection:
            assert connection.execute("select * from app.tenant_branding").fetchall() == []
    set_branding(owner, "teste-a", SYSTEM, clear=True)
    assert fetch_all(owner, "select 1 from app.tenant_branding where tenant_id = %s", [first]) == []
    assert "logo" not in list_lines(owner, action="tenant.brand", limit=1)[0].after


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_logos_are_known_by_content(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "logo.svg"  # whatever its name says
    path.write_bytes(image(kind))
    assert read_logo(path).media_type == f"image/{kind.lower()}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "not a read"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 64, "not a readable"),
        (image("PNG")[:60], "not a readable"),
        (image("GIF"), "not a readable"),
        (image("PNG", (2001, 1)), "2000 pixels"),
        (bomb(), "not a readable"),
        (b"", "not a readable"),
        (b"\0" * 262_145, "256 KiB"),
    ],
    ids=["svg", "broken", "cut", "gif", "wide", "bomb", "empty", "large"],
)
def test_bad_logo_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "logo.png"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_logo(path)


@pytest.mark.parametrize("color", ["azul", "#fff", "#ffffff", "#ffee00", "#12345g", "red;}"])
def test_unreadable_colors_are_refused(color: str) -> None:
    with pytest.raises(UsageError, match="--color"):
        check_color("--color", color)


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)
    assert contrast("#123456", "#123456") == 1
