"""Tenants, users and sessions: bad input leaves nothing behind."""

from collections.abc import Iterator

import psycopg
import pytest

from warehouse import users
from warehouse.db import Warehouse, fetch_all
from warehouse.errors import MiranteError, UsageError
from warehouse.tenants import DEFAULT_RULES, add_tenant, list_tenants


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
