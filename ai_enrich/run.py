"""Transcripts that have no score yet in, rows of ai.conversation_scores out."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.errors import UndefinedTable

from ai_enrich import local
from ai_enrich.local import LocalModel
from ai_enrich.schema import Conversation, Score
from warehouse.errors import MiranteError, UsageError

log = logging.getLogger(__name__)

BATCH = 100

DUE = """
select transcripts.tenant_id, transcripts.conversation_id,
    transcripts.transcript_sha256, transcripts.transcript, transcripts.message_ids
from intermediate.int_conversation_transcripts as transcripts
inner join app.tenants as tenants on transcripts.tenant_id = tenants.id
left join ai.conversation_scores as scores
    on transcripts.tenant_id = scores.tenant_id
    and transcripts.conversation_id = scores.conversation_id
    and transcripts.transcript_sha256 = scores.transcript_sha256
    and scores.prompt_version = %(prompt_version)s
    and scores.provider = %(provider)s
    and scores.model = %(model)s
where scores.tenant_id is null
    and tenants.status = 'active'
    and (%(tenant)s::text is null or tenants.slug = %(tenant)s)
"""

STORE = """
insert into ai.conversation_scores (
    tenant_id, conversation_id, transcript_sha256, prompt_version, provider, model, status,
    sentiment, intent, lead_class, lead_score, visit_scheduled, summary, next_step, objections,
    evidence_message_ids, cost_usd
) values (%s, %s, %s, %s, %s, %s, 'ok', %s, %s, %s, %s, %s, %s, %s, %s, %s, 0)
on conflict do nothing
"""


@dataclass(frozen=True)
class EnrichReport:
    """Scores written by one run, and by what."""

    scored: int
    provider: str
    model: str


def enrich(
    owner_dsn: str,
    *,
    tenant_slug: str | None = None,
    model: LocalModel = local.MODEL,
    progress: Callable[[int], None] = lambda scored: None,
) -> EnrichReport:
    """Score every transcript that has no score of this provider and model yet.

    A second run does nothing; a killed one loses at most its last batch of 100. Raises
    UsageError on an unknown tenant, MiranteError before the first build.
    """
    scored = 0
    with psycopg.connect(owner_dsn) as reader, psycopg.connect(owner_dsn) as writer:
        if (
            tenant_slug is not None
            and not reader.execute(
                "select 1 from app.tenants where slug = %s", [tenant_slug]
            ).fetchone()
        ):
            raise UsageError(f"--tenant {tenant_slug!r} does not exist: see `mirante tenant list`")
        try:
            for batch in _due(reader, tenant_slug, model):
                scores = local.score_conversations(
                    [Conversation.from_transcript(row[3], row[4]) for row in batch], model=model
                )
                with writer.transaction(), writer.cursor() as cursor:
                    cursor.executemany(
                        STORE,
                        [_row(row, model, score) for row, score in zip(batch, scores, strict=True)],
                    )
                scored += len(batch)
                progress(scored)
        except UndefinedTable:
            raise MiranteError("nothing was built yet: run `mirante build` first") from None
    return EnrichReport(scored, local.PROVIDER, model)


def _due(
    reader: psycopg.Connection, tenant_slug: str | None, model: LocalModel
) -> Iterator[list[Any]]:
    """Batches from a server-side cursor, so that memory does not grow with the table."""
    with reader.cursor(name="due") as cursor:
        cursor.execute(
            DUE,
            {
                "prompt_version": local.PROMPT_VERSION,
                "provider": local.PROVIDER,
                "model": model,
                "tenant": tenant_slug,
            },
        )
        while batch := cursor.fetchmany(BATCH):
            yield batch


def _row(due: tuple[Any, ...], model: LocalModel, score: Score) -> tuple[Any, ...]:
    tenant_id, conversation_id, sha256 = due[:3]
    return (
        tenant_id, conversation_id, sha256, local.PROMPT_VERSION, local.PROVIDER, model,
        score.sentiment, score.intent, score.lead_class, score.lead_score, score.visit_scheduled,
        score.summary, score.next_step, score.objections, score.evidence_message_ids,
    )  # fmt: skip
