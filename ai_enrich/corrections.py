"""What people say of a conversation, what was sent of it, and what that cost."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, LiteralString, get_args

import psycopg

from ai_enrich.masking import mask
from ai_enrich.schema import Conversation, Intent, LeadClass, Sentiment
from warehouse.errors import MiranteError, UsageError

LABELS = ("sentiment", "intent", "lead_class", "lead_score", "visit_scheduled")
CHOICES = {
    "sentiment": get_args(Sentiment),
    "intent": get_args(Intent),
    "lead_class": get_args(LeadClass),
}

CORRECT: LiteralString = """
insert into ai.corrections as corrections (
    tenant_id, conversation_id, transcript_sha256, sentiment, intent, lead_class, lead_score,
    visit_scheduled, corrected_by
)
select tenant_id, conversation_id, transcript_sha256, %(sentiment)s, %(intent)s, %(lead_class)s,
    %(lead_score)s, %(visit_scheduled)s, %(by)s
from intermediate.int_conversation_transcripts
where tenant_id = %(tenant_id)s and conversation_id = %(conversation_id)s
on conflict (tenant_id, conversation_id) do update set
    transcript_sha256 = excluded.transcript_sha256,
    sentiment = coalesce(excluded.sentiment, corrections.sentiment),
    intent = coalesce(excluded.intent, corrections.intent),
    lead_class = coalesce(excluded.lead_class, corrections.lead_class),
    lead_score = coalesce(excluded.lead_score, corrections.lead_score),
    visit_scheduled = coalesce(excluded.visit_scheduled, corrections.visit_scheduled),
    corrected_by = excluded.corrected_by, corrected_at = now()
"""

SCORES: LiteralString = """
select scores.provider, scores.model, scores.prompt_version, scores.status, scores.sentiment,
    scores.intent, scores.lead_class, scores.lead_score, scores.visit_scheduled,
    scores.evidence_message_ids, scores.cost_usd, scores.scored_at, scores.error,
    scores.transcript_sha256 = transcripts.transcript_sha256, requests.sent_text,
    requests.tenant_id is not null
from ai.conversation_scores as scores
left join intermediate.int_conversation_transcripts as transcripts
    on scores.tenant_id = transcripts.tenant_id
    and scores.conversation_id = transcripts.conversation_id
left join ai.requests as requests
    on scores.tenant_id = requests.tenant_id
    and scores.conversation_id = requests.conversation_id
    and scores.transcript_sha256 = requests.transcript_sha256
    and scores.prompt_version = requests.prompt_version
    and scores.provider = requests.provider
    and scores.model = requests.model
where scores.tenant_id = %s and scores.conversation_id = %s
order by scores.scored_at desc
"""

EVIDENCE: LiteralString = """
select lines.message_id, lines.line
from intermediate.int_conversation_transcripts as transcripts
cross join lateral unnest(
    transcripts.message_ids, string_to_array(transcripts.transcript, e'\\n')
) as lines (message_id, line)
where transcripts.tenant_id = %s and transcripts.conversation_id = %s
"""

# Those that say all four, of the very text that the person judged.
JUDGED: LiteralString = """
select corrections.conversation_id, transcripts.transcript, transcripts.message_ids,
    concat_ws(' ', contacts.contact_name, contacts.middle_name, contacts.last_name),
    corrections.sentiment, corrections.intent, corrections.lead_class, corrections.visit_scheduled
from ai.corrections as corrections
inner join app.tenants as tenants on corrections.tenant_id = tenants.id
inner join intermediate.int_conversation_transcripts as transcripts
    on corrections.tenant_id = transcripts.tenant_id
    and corrections.conversation_id = transcripts.conversation_id
    and corrections.transcript_sha256 = transcripts.transcript_sha256
left join intermediate.int_conversations_scoped_to_tenants as conversations
    on corrections.tenant_id = conversations.tenant_id
    and corrections.conversation_id = conversations.conversation_id
left join staging.stg_chatwoot__contacts as contacts
    on conversations.contact_id = contacts.contact_id
where tenants.slug = %s
    and num_nulls(corrections.sentiment, corrections.intent, corrections.lead_class,
        corrections.visit_scheduled) = 0
order by corrections.conversation_id
"""

COSTS: LiteralString = """
select tenants.slug, ledger.model, sum(ledger.requests), sum(ledger.prompt_tokens),
    sum(ledger.cached_tokens), sum(ledger.completion_tokens), sum(ledger.cost_usd),
    sum(ledger.uncertain_usd), limits.ai_budget_usd
from ai.ledger as ledger
inner join app.tenants as tenants on ledger.tenant_id = tenants.id
inner join app.tenant_limits as limits on tenants.id = limits.tenant_id
where ledger.day >= date_trunc('month', now() at time zone 'utc')::date
    and (%(tenant)s::text is null or tenants.slug = %(tenant)s)
group by tenants.slug, ledger.model, limits.ai_budget_usd
order by 1, 2
"""


@dataclass(frozen=True)
class ShownScore:
    """One stored score in words; `sent` is the masked text that left for it."""

    headline: str
    evidence: list[str]
    sent: str | None
    why_not_sent: str


@dataclass(frozen=True)
class ShownScores:
    """A conversation's scores, newest first, and who corrected them to what."""

    scores: list[ShownScore]
    correction: str | None


def judged_examples(owner_dsn: str, tenant_slug: str) -> Iterator[str]:
    """Lines for `mirante eval`: a tenant's corrected conversations, masked, with a person's labels.

    Only those that name all four labels: the rest would be a provider's own answer held for truth.
    Raises UsageError on an unknown tenant.
    """
    with psycopg.connect(owner_dsn) as connection:
        if not connection.execute(
            "select 1 from app.tenants where slug = %s", [tenant_slug]
        ).fetchone():
            raise UsageError(f"--tenant {tenant_slug!r} does not exist: see `mirante tenant list`")
        for id_, transcript, message_ids, name, *labels in connection.execute(
            JUDGED, [tenant_slug]
        ):
            messages = Conversation.from_transcript(transcript, message_ids).messages
            texts = mask([message.text for message in messages], [name])
            example = {
                "id": f"{tenant_slug}-{id_}",
                "messages": [
                    {"from": message.sender, "text": text}
                    for message, text in zip(messages, texts, strict=True)
                ],
                "labels": dict(
                    zip(
                        ("sentiment", "intent", "lead_class", "visit_scheduled"),
                        labels,
                        strict=True,
                    )
                ),
            }
            yield json.dumps(example, ensure_ascii=False)


def correct(
    owner_dsn: str,
    tenant_slug: str,
    conversation_id: int,
    labels: dict[str, str | int | bool | None],
    by: str,
) -> None:
    """Keep what a person says; labels of an earlier correction that are not named stay.

    `labels`: some of LABELS; None, as absent, leaves the score's.
    Raises UsageError on a bad label, none at all, or a conversation the tenant does not have.
    """
    for name, choices in CHOICES.items():
        if labels.get(name) is not None and labels[name] not in choices:
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option} {labels[name]!r}: use one of {', '.join(choices)}")
    if all(value is None for value in labels.values()):
        raise UsageError("nothing to correct: give a label, such as --lead-class high")
    if not by.strip():
        raise UsageError("--by is empty: say who corrects")
    with psycopg.connect(owner_dsn) as connection:
        tenant_id = _tenant(connection, tenant_slug)
        kept = connection.execute(
            CORRECT,
            dict.fromkeys(LABELS)
            | labels
            | {"tenant_id": tenant_id, "conversation_id": conversation_id, "by": by.strip()},
        )
        if not kept.rowcount:
            raise _no_conversation(tenant_slug, conversation_id)


def undo_correction(owner_dsn: str, tenant_slug: str, conversation_id: int) -> None:
    """Take a correction back. Raises MiranteError when there is none."""
    with psycopg.connect(owner_dsn) as connection:
        gone = connection.execute(
            "delete from ai.corrections where tenant_id = %s and conversation_id = %s",
            [_tenant(connection, tenant_slug), conversation_id],
        )
        if not gone.rowcount:
            raise MiranteError(f"--conversation {conversation_id} has no correction to undo")


def show_scores(owner_dsn: str, tenant_slug: str, conversation_id: int) -> ShownScores:
    """Every score of a tenant's conversation with its evidence and what was sent for it."""
    with psycopg.connect(owner_dsn) as connection:
        tenant_id = _tenant(connection, tenant_slug)
        found = connection.execute(EVIDENCE, [tenant_id, conversation_id]).fetchall()
        lines: dict[int, str] = dict(found)
        if not lines:
            raise _no_conversation(tenant_slug, conversation_id)
        rows = connection.execute(SCORES, [tenant_id, conversation_id]).fetchall()
        corrected = connection.execute(
            "select corrected_by, corrected_at, sentiment, intent, lead_class, lead_score,"
            " visit_scheduled from ai.corrections where tenant_id = %s and conversation_id = %s",
            [tenant_id, conversation_id],
        ).fetchone()
    return ShownScores([_shown(row, lines) for row in rows], _correction(corrected))


def month_costs(owner_dsn: str, tenant_slug: str | None) -> list[tuple[Any, ...]]:
    """The month's ledger (UTC) by tenant and model: slug, model, requests, tokens, dollars."""
    with psycopg.connect(owner_dsn) as connection:
        if tenant_slug is not None:
            _tenant(connection, tenant_slug)
        return connection.execute(COSTS, {"tenant": tenant_slug}).fetchall()


def _tenant(connection: psycopg.Connection[Any], slug: str) -> int:
    row = connection.execute("select id from app.tenants where slug = %s", [slug]).fetchone()
    if row is None:
        raise UsageError(f"--tenant {slug!r} does not exist: see `mirante tenant list`")
    return int(row[0])


def _no_conversation(slug: str, conversation_id: int) -> UsageError:
    return UsageError(
        f"--conversation {conversation_id}: tenant {slug!r} has none with that id and a text"
    )


def _shown(row: tuple[Any, ...], lines: dict[int, str]) -> ShownScore:
    (provider, model, prompt, status, sentiment, intent, lead_class, lead_score, visit, evidence,
     cost, at, error, is_present, sent, was_asked) = row  # fmt: skip
    labels = (
        f"sentiment {sentiment}, intent {intent}, lead {lead_class} ({lead_score}),"
        f" visit {'yes' if visit else 'no'}"
        if status == "ok"
        else error or ""
    )
    age = "" if is_present else ", of an older text"
    headline = (
        f"{provider}/{model} (prompt {prompt}), {at:%Y-%m-%d %H:%M} UTC{age}: {status}: {labels};"
        f" US$ {cost or 0:.6f}"
    )
    why_not = (
        "nothing left this database for it" if not was_asked
        else "what was sent is no longer kept"
    )  # fmt: skip
    shown = [f"[{id_}] {lines.get(id_, '(no longer in the text)')}" for id_ in evidence or []]
    return ShownScore(headline, shown, sent, why_not)


def _correction(row: tuple[Any, ...] | None) -> str | None:
    if row is None:
        return None
    by, at, *labels = row
    said = [
        f"{name} {value}" for name, value in zip(LABELS, labels, strict=True) if value is not None
    ]
    return f"{by}, {at:%Y-%m-%d %H:%M} UTC: {', '.join(said)}"
