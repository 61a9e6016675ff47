"""Every relation and function of every schema, for every role: refused unless it is listed here."""

import contextlib
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tests.conftest import Pipeline
from tests.test_isolation import AGENCY_MARTS, MARTS
from tests.test_migrate import ROLES
from warehouse.db import with_login

SCHEMAS = {
    "raw_chatwoot",
    "raw_chatwoot_staging",  # dlt's own
    "staging",
    "intermediate",
    "marts",
    "ai",
    "app",
}
# A relation of these that is on no list fails the matrix; of the others nobody reads anything.
LISTED = {
    "ai": {
        "batches",
        "batches_id_seq",
        "conversation_scores",
        "corrections",
        "ledger",
        "month_spending",
        "requests",
        "score_failures",
    },
    "app": {
        "alembic_version",
        "analyst_logins",
        "audit_log",
        "builds",
        "built_inboxes",
        "changed_conversations",
        "crm_rows",
        "devices",
        "erased_rows",
        "funnel_rules",
        "opt_out_keys",
        "opt_outs",
        "plans",
        "recovery_codes",
        "saved_views",
        "sessions",
        "sync_runs",
        "sync_tables",
        "tenant_accounts",
        "tenant_branding",
        "tenant_inboxes",
        "tenant_limits",
        "tenant_versions",
        "tenants",
        "throttles",
        "user_links",
        "users",
        # sequences
        "audit_log_id_seq",
        "builds_id_seq",
        "changed_conversations_id_seq",
        "crm_rows_id_seq",
        "data_version",
        "funnel_rules_id_seq",
        "sessions_id_seq",
        "sync_runs_id_seq",
        "tenants_id_seq",
        "users_id_seq",
    },
    "marts": set(MARTS + AGENCY_MARTS),
}
READ = frozenset({"select", "copy"})
WRITE = frozenset({"insert", "update", "delete", "truncate", "copy from"})
ALL = READ | WRITE
# What may be read: the setting's tenant, the log-in's, every row, or none.
BY_SETTING, BY_LOGIN, WHOLE, EMPTY = "setting", "login", "whole", "empty"
ALLOWED: dict[tuple[str, str], tuple[frozenset[str], str]] = {
    **{("mirante_app", f"marts.{name}"): (READ, BY_SETTING) for name in MARTS},
    **{("analyst", f"marts.{name}"): (READ, BY_LOGIN) for name in MARTS},
    # The group itself is nobody's log-in.
    **{("mirante_analyst", f"marts.{name}"): (READ, EMPTY) for name in MARTS},
    **{("mirante_super", f"marts.{name}"): (READ, WHOLE) for name in MARTS + AGENCY_MARTS},
    ("mirante_app", "app.tenant_branding"): (READ, BY_SETTING),
    ("mirante_app", "ai.corrections"): (READ, BY_SETTING),
    ("mirante_app", "ai.score_failures"): (READ, BY_SETTING),
    **{
        ("mirante_auth", f"app.{name}"): (READ, WHOLE)
        for name in (
            "analyst_logins",
            "builds",
            "sync_runs",
            "sync_tables",
            "plans",
            "tenant_limits",
            "tenant_inboxes",
            "opt_outs",
            "opt_out_keys",
        )
    },
    ("mirante_auth", "ai.month_spending"): (READ, WHOLE),
    ("mirante_auth", "app.data_version"): (READ, WHOLE),
    ("mirante_auth", "app.tenant_versions"): (ALL - {"truncate", "delete"}, WHOLE),
    # Of a tenant: its AI columns; the last column, which the update here tries, is none of them.
    ("mirante_auth", "app.tenants"): (READ, WHOLE),
    ("mirante_auth", "app.funnel_rules"): (ALL - {"truncate", "update"}, WHOLE),
    **{
        ("mirante_auth", f"app.{name}"): (ALL - {"truncate"}, WHOLE)
        for name in (
            "sessions",
            "devices",
            "recovery_codes",
            "user_links",
            "throttles",
            "saved_views",
        )
    },
    # COPY FROM is nobody's but the owner's where there is row security.
    ("mirante_auth", "app.tenant_branding"): (ALL - {"truncate", "copy from"}, WHOLE),
    ("mirante_auth", "app.users"): (ALL - {"truncate", "delete"}, WHOLE),
    ("mirante_audit", "app.audit_log"): (ALL, WHOLE),
    ("mirante_audit", "app.audit_log_id_seq"): (ALL, WHOLE),
    ("mirante_owner", "app.audit_log"): (READ, WHOLE),
    ("mirante_owner", "app.audit_log_id_seq"): (frozenset(), WHOLE),
}
# Those of mirante_app are on the list of test_migrate.py; of another reader there is one.
FUNCTIONS = {"app.login_is_active": {"mirante_analyst", "analyst"}}
# Who owns something; and a log-in that has what PUBLIC has.
PRINCIPALS = (*ROLES, "analyst", "probe_public")
SETTINGS = (None, "", "garbage", "foreign", "own")
# Refused before rights are asked: no such thing can be done to a view or a sequence.
IMPOSSIBLE = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.WrongObjectType,
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.FeatureNotSupported,
)


@contextlib.contextmanager
def connected(pipeline: Pipeline, analyst_dsn: str, principal: str) -> Iterator[psycopg.Connection]:
    """A session of the role: logged in where it can, else an administrator become it."""
    admin = pipeline.warehouse.dsn("admin")
    if principal == "analyst":
        dsn = analyst_dsn
    elif principal == "probe_public":
        dsn = with_login(admin, principal, "x")
    elif principal in ("mirante_owner", "mirante_app", "mirante_super"):
        dsn = pipeline.warehouse.dsn(principal.removeprefix("mirante_"))  # type: ignore[arg-type]
    else:
        dsn = admin
    with psycopg.connect(dsn, autocommit=True) as connection:
        if dsn == admin:
            connection.execute(sql.SQL("set role {}").format(sql.Identifier(principal)))
        yield connection


@pytest.fixture
def probe(pipeline: Pipeline) -> Iterator[None]:
    """A log-in that may connect and has been granted nothing."""
    with psycopg.connect(pipeline.warehouse.dsn("admin"), autocommit=True) as connection:
        database = sql.Identifier(connection.info.dbname)
        connection.execute("create role probe_public login password 'x'")
        connection.execute(sql.SQL("grant connect on database {} to probe_public").format(database))
        yield
        connection.execute("drop owned by probe_public")
        connection.execute("drop role probe_public")


def relations(pipeline: Pipeline) -> list[tuple[str, str, str, list[str]]]:
    """Schema, name, kind and columns of everything that is not PostgreSQL's own."""
    return pipeline.query(
        """
        select relnamespace::regnamespace::text, relname::text, relkind::text, array(
            select attname::text from pg_attribute
            where attrelid = relations.oid and attnum > 0 and not attisdropped order by attnum
        )
        from pg_class as relations
        where relkind in ('r', 'p', 'v', 'm', 'f', 'S')
            and relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
        order by 1, 2
        """,
        role="admin",
    )


def statements(schema: str, name: str, kind: str, columns: list[str]) -> dict[str, sql.Composed]:
    """One statement for each action; `run` rolls it back."""
    relation, column = sql.Identifier(schema, name), sql.Identifier(columns[-1])
    tenant = sql.Identifier("tenant_id") if "tenant_id" in columns else sql.SQL("0")
    forms = {
        "select": "select distinct {tenant} from {relation}",
        "copy": "copy (select distinct {tenant} from {relation}) to stdout",
        "insert": "insert into {relation} default values",
        "update": "update {relation} set {column} = null",
        "delete": "delete from {relation}",
        "truncate": "truncate {relation}",
        "copy from": "copy {relation} from stdin",
    }
    if kind == "S":
        literal = sql.Literal(f"{schema}.{name}")
        return {
            "select": sql.SQL("select last_value from {}").format(relation),
            "update": sql.SQL("select nextval({})").format(literal),
            # As it stands: a sequence does not roll back.
            "truncate": sql.SQL("select setval({}, last_value, is_called) from {}").format(
                literal, relation
            ),
        }
    if kind == "v":
        del forms["copy from"], forms["truncate"]  # impossible for anybody
    return {
        action: sql.SQL(form).format(relation=relation, column=column, tenant=tenant)
        for action, form in forms.items()
    }


def run(connection: psycopg.Connection, action: str, statement: sql.Composed) -> set[int]:
    """Tenants seen; nothing that was done stays."""
    with connection.transaction(force_rollback=True):
        if action == "copy":
            with connection.cursor().copy(statement) as copy:
                return {int(row[0]) for row in copy.rows() if row[0] is not None}
        if action == "copy from":
            with connection.cursor().copy(statement):
                return set()
        cursor = connection.execute(statement)
        if action == "select" and cursor.description:
            return {row[0] for row in cursor if row[0] is not None}
        return set()


def findings(
    pipeline: Pipeline, analyst: tuple[str, int, int], principal: str, schemas: set[str]
) -> list[str]:
    """What differs from the lists above, one line each; empty when all is as it must be."""
    dsn, own_id, foreign_id = analyst
    everybody = set(pipeline.tenants.values())
    wrong = []
    with connected(pipeline, dsn, principal) as connection:
        for schema, name, kind, columns in relations(pipeline):
            if schema not in schemas:
                continue
            allowed, scope = ALLOWED.get((principal, f"{schema}.{name}"), (frozenset(), ""))
            for setting in SETTINGS:
                tenant = {"own": str(own_id), "foreign": str(foreign_id)}.get(
                    setting or "", setting
                )
                connection.execute("reset app.current_tenant_id")
                if tenant is not None:
                    connection.execute(
                        "select set_config('app.current_tenant_id', %s, false)", [tenant]
                    )
                for action, statement in statements(schema, name, kind, columns).items():
                    case = f"{principal} {action} {schema}.{name} with {setting!r}"
                    try:
                        seen = run(connection, action, statement)
                    except IMPOSSIBLE:
                        if action in allowed:
                            wrong.append(f"{case}: refused")
                        continue
                    except psycopg.errors.InvalidTextRepresentation:
                        if (scope, setting) != (BY_SETTING, "garbage"):
                            wrong.append(f"{case}: an error")
                        continue
                    except psycopg.Error as error:
                        seen = set()
                        if action in allowed and action in READ:
                            wrong.append(f"{case}: {type(error).__name__}")
                    if action not in allowed:
                        wrong.append(f"{case}: not refused")
                        continue
                    if action not in READ or "tenant_id" not in columns:
                        continue
                    if scope == WHOLE and schema != "marts":
                        continue
                    expected = {
                        BY_SETTING: {int(tenant)} if (tenant or "").isdigit() else set(),
                        BY_LOGIN: {own_id},
                        WHOLE: everybody,
                        EMPTY: set(),
                    }[scope]
                    # Of app: no more than that; of marts: exactly that.
                    if (schema == "marts" and seen != expected) or not seen <= expected:
                        wrong.append(f"{case}: sees {sorted(seen)}, not {sorted(expected)}")
    return wrong


@pytest.mark.parametrize("principal", [p for p in PRINCIPALS if p != "mirante_owner"])
def test_matrix(
    pipeline: Pipeline, analyst: tuple[str, int, int], probe: None, principal: str
) -> None:
    assert findings(pipeline, analyst, principal, SCHEMAS) == []


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_owner_writes_everything_but_the_audit_log(
    pipeline: Pipeline, setting: str | None
) -> None:
    """It owns the rest; of the log it may read."""
    with psycopg.connect(pipeline.warehouse.dsn("owner"), autocommit=True) as connection:
        if setting is not None:
            connection.execute("select set_config('app.current_tenant_id', %s, false)", [setting])
        for name, kind, columns in [
            (row[1], row[2], row[3]) for row in relations(pipeline)
            if row[0] == "app" and row[1] in ("audit_log", "audit_log_id_seq")
        ]:  # fmt: skip
            for action, statement in statements("app", name, kind, columns).items():
                if name == "audit_log" and action in READ:
                    run(connection, action, statement)
                    continue
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    run(connection, action, statement)
    others = pipeline.query(
        "select oid::regclass::text from pg_class where relkind in ('r', 'p', 'v', 'm', 'S')"
        " and relnamespace::regnamespace::text = any (%s)"
        " and relowner <> 'mirante_owner'::regrole order by 1",
        list(SCHEMAS),
    )
    assert others == [("app.audit_log",), ("app.audit_log_id_seq",)]


def test_every_relation_is_on_a_list(pipeline: Pipeline) -> None:
    found = relations(pipeline)
    assert {schema for schema, *_ in found} <= SCHEMAS
    assert [
        f"{schema}.{name}" for schema, name, *_ in found
        if name not in LISTED.get(schema, {name})
    ] == []  # fmt: skip


def test_every_function_is_on_a_list(
    pipeline: Pipeline, analyst: tuple[str, int, int], probe: None
) -> None:
    analyst_role = analyst[0].split("//")[1].split(":")[0]
    for name, is_definer, config, oid in pipeline.query(
        "select pronamespace::regnamespace || '.' || proname, prosecdef, proconfig::text, oid"
        " from pg_proc where pronamespace::regnamespace::text !~ '^(pg_|information_schema)'",
        role="admin",
    ):
        for principal in PRINCIPALS:
            role = analyst_role if principal == "analyst" else principal
            ((may,),) = pipeline.query(
                "select has_function_privilege(%s, %s::oid, 'execute')"
                " and has_schema_privilege(%s, (select pronamespace from pg_proc where oid = %s),"
                " 'usage')",
                role, oid, role, oid, role="admin",
            )  # fmt: skip
            if principal in ("mirante_owner", "mirante_auth", "mirante_audit"):
                continue  # owners
            if principal == "mirante_app" and name.startswith("app."):
                continue
            assert may == (principal in FUNCTIONS.get(name, set())), (name, principal)
        if is_definer:
            assert "search_path=pg_catalog, pg_temp" in config, name


def test_the_matrix_sees_what_it_looks_for(
    pipeline: Pipeline, analyst: tuple[str, int, int], probe: None
) -> None:
    """An unlisted table, one more right, a mart without its policy: each is a finding."""
    with psycopg.connect(pipeline.warehouse.dsn("owner"), autocommit=True) as connection:
        connection.execute("create table ai.unlisted (tenant_id integer)")
        connection.execute("grant select on ai.unlisted to mirante_app")
        connection.execute("grant update on marts.dim_agents to mirante_super")
        connection.execute("alter table marts.dim_agents disable row level security")
        try:
            with pytest.raises(AssertionError):
                test_every_relation_is_on_a_list(pipeline)
            seen = "\n".join(findings(pipeline, analyst, "mirante_app", {"ai", "marts"}))
            assert "mirante_app select ai.unlisted with 'own': not refused" in seen
            assert "mirante_app select marts.dim_agents with None: sees" in seen
            seen = "\n".join(findings(pipeline, analyst, "mirante_super", {"marts"}))
            assert "mirante_super update marts.dim_agents with None: not refused" in seen
            seen = "\n".join(findings(pipeline, analyst, "analyst", {"marts"}))
            assert "analyst copy marts.dim_agents with 'foreign': sees" in seen
        finally:
            connection.execute("drop table ai.unlisted")
            connection.execute("revoke update on marts.dim_agents from mirante_super")
            connection.execute("alter table marts.dim_agents enable row level security")
