"""A warehouse of its own with conversations to score, and a provider that is a local server."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from pydantic import SecretStr

from ai_enrich.local import FAST_MODEL
from ai_enrich.provider import Provider, price_of
from ai_enrich.run import EnrichReport, enrich
from tests.openai_server import KEY, Server
from warehouse.db import Warehouse, fetch_all
from warehouse.migrate import migrate
from warehouse.tenants import add_tenant

# What ai_enrich reads of dbt, as dbt makes it.
RELATIONS = """
create table intermediate.int_conversation_transcripts (
    tenant_id int, conversation_id bigint, transcript text, transcript_sha256 text,
    message_ids bigint[], last_message_at timestamptz, primary key (tenant_id, conversation_id)
);
create table intermediate.int_conversations_scoped_to_tenants (
    tenant_id int, conversation_id bigint, contact_id bigint,
    primary key (tenant_id, conversation_id)
);
create table staging.stg_chatwoot__contacts (
    contact_id bigint primary key, contact_name text, middle_name text, last_name text
);
"""
SAID = (
    "Oi, quanto custa o plano?",
    "Bom dia! Quero me matricular hoje, pode ser?",
    "Número errado",
    "Já sou aluno, preciso da segunda via do boleto",
)


@dataclass
class Desk:
    """The warehouse, the server, and the provider that points at it."""

    warehouse: Warehouse
    server: Server
    tenants: dict[str, int]
    folder: Path
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        """The owner's DSN."""
        return self.warehouse.dsn("owner")

    def provider(self, **options: Any) -> Provider:
        """A provider with no limits but those given."""
        defaults: dict[str, Any] = {
            "api_key": SecretStr(KEY), "base_url": self.server.base_url, "model": "gpt-4o-mini",
            "price": price_of("gpt-4o-mini"), "concurrency": 8, "requests_per_minute": 10**6,
            "tokens_per_minute": 10**9, "timeout_seconds": 5.0, "budget_usd": Decimal(50),
            "request_days": 90, "folder": self.folder,
        }  # fmt: skip
        return Provider(**(defaults | self.options | options))

    def enrich(self, *, slug: str | None = None, batch: bool = False, **options: Any
    ) -> EnrichReport:  # fmt: skip
        """One run."""
        return enrich(
            self.owner, provider=self.provider(**options), tenant_slug=slug, batch=batch,
            model=FAST_MODEL,
        )  # fmt: skip

    def query(self, statement: str, *parameters: object) -> list[Any]:
        """Rows as the owner."""
        return fetch_all(self.owner, statement, list(parameters) or None)  # type: ignore[arg-type]

    def execute(self, statement: str, *parameters: object) -> None:
        """A change as the owner."""
        with psycopg.connect(self.owner, autocommit=True) as connection:
            connection.execute(statement.encode(), list(parameters) or None)

    def write(
        self,
        slug: str,
        conversation_id: int,
        lines: list[str],
        *,
        name: str = "",
        minutes_ago: int = 600,
    ) -> list[int]:
        """Put a conversation (`kind: text` lines) in dbt's place; its message ids."""
        ids = [conversation_id * 100 + place for place in range(len(lines))]
        transcript = "\n".join(lines)
        with psycopg.connect(self.owner, autocommit=True) as connection:
            connection.execute(
                "insert into intermediate.int_conversation_transcripts values"
                " (%s, %s, %s, %s, %s, now() - %s * interval '1 minute')"
                " on conflict (tenant_id, conversation_id) do update set"
                " transcript = excluded.transcript, message_ids = excluded.message_ids,"
                " transcript_sha256 = excluded.transcript_sha256,"
                " last_message_at = excluded.last_message_at",
                [self.tenants[slug], conversation_id, transcript,
                 hashlib.sha256(transcript.encode()).hexdigest(), ids, minutes_ago],
            )  # fmt: skip
            connection.execute(
                "insert into intermediate.int_conversations_scoped_to_tenants values (%s, %s, %s)"
                " on conflict do nothing",
                [self.tenants[slug], conversation_id, conversation_id],
            )
            connection.execute(
                "insert into staging.stg_chatwoot__contacts values (%s, %s) on conflict do nothing",
                [conversation_id, name],
            )
        return ids

    def fill(self, slug: str, count: int, start: int = 1) -> None:
        """So many conversations of three messages."""
        for number in range(start, start + count):
            said = SAID[number % len(SAID)]
            self.write(
                slug, number,
                [f"contact: {said}", "agent: Olá! Como posso ajudar?", f"contact: caso {number}"],
            )  # fmt: skip

    def statuses(self, provider: str = "openai") -> dict[str, int]:
        """How many scores of a provider have which status."""
        return dict(
            self.query(
                "select status, count(*) from ai.conversation_scores"
                " where provider = %s group by 1",
                provider,
            )
        )

    def costs(self) -> tuple[int, Decimal, Decimal]:
        """The ledger's sum: requests, cost, uncertain cost."""
        return self.query(  # type: ignore[no-any-return]
            "select coalesce(sum(requests), 0)::int, coalesce(sum(cost_usd), 0),"
            " coalesce(sum(uncertain_usd), 0) from ai.ledger"
        )[0]

    def open_claims(self) -> int:
        """Reserved rows."""
        return int(self.query("select count(*) from ai.requests where state = 'reserved'")[0][0])

    def empty(self) -> None:
        """As before the first conversation, the first tenant's switches as they were."""
        for table in (
            "ai.requests", "ai.batches", "ai.ledger", "ai.corrections", "ai.conversation_scores",
            "intermediate.int_conversation_transcripts",
            "intermediate.int_conversations_scoped_to_tenants", "staging.stg_chatwoot__contacts",
        ):  # fmt: skip
            self.execute(f"delete from {table}")
        self.execute("update app.tenants set ai_budget_usd = null, ai_outside_allowed = true")


@contextmanager
def open_desk_warehouse(warehouse: Warehouse, database: str) -> Iterator[Warehouse]:
    """A database of its own on the same server, migrated, with dbt's relations in place."""
    with psycopg.connect(warehouse.admin_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(database)))
    own = Warehouse(warehouse.dsn("admin", database), warehouse.passwords, is_embedded=True)
    migrate(own)
    with psycopg.connect(own.dsn("owner"), autocommit=True) as connection:
        connection.execute(RELATIONS)
    try:
        yield own
    finally:
        with psycopg.connect(warehouse.admin_dsn, autocommit=True) as connection:
            connection.execute(
                sql.SQL("drop database {} with (force)").format(sql.Identifier(database))
            )


def add_desk_tenants(warehouse: Warehouse) -> dict[str, int]:
    """Two tenants, by slug."""
    return {
        slug: add_tenant(warehouse.dsn("owner"), slug=slug, name=slug, segment="gym")
        for slug in ("corpo", "vizinha")
    }
