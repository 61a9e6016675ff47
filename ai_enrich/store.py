"""Claims, money and answers in PostgreSQL: reserved before a question, settled after it.

Every statement here is the owner's, across tenants; each row carries its tenant first.
"""

import asyncio
import secrets
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, LiteralString

from psycopg import AsyncConnection

from ai_enrich.prompt import PROMPT_VERSION, Question, Reply, Usage
from ai_enrich.provider import NAME, Provider
from ai_enrich.schema import Score

# Whoever reserves money holds it, so that two runs together stay below a budget.
BUDGET_LOCK = 0x4D495244
# A run that lost its machine is seen as dead in two minutes, not in two hours.
KEEPALIVE = (
    "-c tcp_keepalives_idle=60 -c tcp_keepalives_interval=15 -c tcp_keepalives_count=4"
    " -c lock_timeout=60s"
)
KEY = "(tenant_id, conversation_id, transcript_sha256, prompt_version, provider, model)"
SOFT_LIMIT = Decimal("0.8")

SPENT: LiteralString = """
select tenants.id, tenants.slug, limits.ai_budget_usd, spending.spent_usd,
    tenants.ai_outside_allowed and tenants.status = 'active'
from app.tenants as tenants
inner join app.tenant_limits as limits on tenants.id = limits.tenant_id
inner join ai.month_spending as spending on tenants.id = spending.tenant_id
"""


@dataclass(frozen=True)
class Due:
    """A conversation to ask about."""

    tenant_id: int
    conversation_id: int
    transcript_sha256: str
    question: Question

    @property
    def key(self) -> tuple[int, int, str]:
        """What the claim and the score are known by, beside prompt and model."""
        return self.tenant_id, self.conversation_id, self.transcript_sha256


@dataclass(frozen=True)
class Answered:
    """A reply to keep; `uncertain_usd` is for attempts whose answer never came."""

    key: tuple[int, int, str]
    reply: Reply
    uncertain_usd: Decimal = Decimal(0)


@dataclass
class Tally:
    """What became of conversations, by status of their scores."""

    ok: int = 0
    refused: int = 0
    failed: int = 0
    skipped: int = 0
    cost_usd: Decimal = Decimal(0)


@dataclass
class Budget:
    """What a tenant (or all: tenant 0) may and did spend this month, open reservations included."""

    slug: str
    limit: Decimal | None
    used: Decimal
    is_allowed: bool = True

    def bears(self, usd: Decimal) -> bool:
        """Whether so much more stays within it."""
        return self.limit is None or self.used + usd <= self.limit

    @property
    def warning(self) -> str | None:
        """One line from four fifths of the budget on."""
        if self.limit is None or self.used < self.limit * SOFT_LIMIT:
            return None
        share = f"{self.used / self.limit:.0%}" if self.limit else "all"
        of = f"tenant {self.slug}" if self.slug else "all tenants together"
        return f"{of}: {share} of this month's AI budget of US$ {self.limit:,.2f} is used"


async def connect(dsn: str) -> AsyncConnection[Any]:
    """A connection of the owner that the server gives up soon when this machine is gone."""
    return await AsyncConnection.connect(dsn, autocommit=True, options=KEEPALIVE)


async def budgets(connection: AsyncConnection[Any], total: Decimal | None) -> dict[int, Budget]:
    """Every tenant's budget by id, and under 0 that of all together."""
    found = {
        tenant_id: Budget(slug, limit, used, is_allowed)
        async for tenant_id, slug, limit, used, is_allowed in await connection.execute(SPENT)
    }
    found[0] = Budget("", total, sum((budget.used for budget in found.values()), Decimal(0)))
    return found


class Store:
    """One run's claims. Its advisory lock lives as long as its connection: dead runs are known."""

    def __init__(
        self, claims: AsyncConnection[Any], answers: AsyncConnection[Any], provider: Provider
    ) -> None:
        """Two connections, so that claiming keeps no answer waiting. Call `open` first."""
        self.worker = secrets.randbits(62)
        self.tally = Tally()
        self._connection = claims
        self._answers = answers
        # One transaction at a time on a connection.
        self._claiming = asyncio.Lock()
        self._settling = asyncio.Lock()
        self._provider = provider
        self._fixed = {
            "prompt_version": PROMPT_VERSION, "provider": NAME, "model": provider.model
        }  # fmt: skip

    async def open(self) -> None:
        """Take this run's lock, release what dead runs had reserved, forget what is erased.

        A request whose score was deleted (an erased conversation, an inbox that moved) goes with
        it: what is due then is asked anew.
        """
        await self._connection.execute("select pg_advisory_lock(%s)", [self.worker])
        await self._connection.execute(FORGET_ERASED)
        workers = await self._connection.execute(
            "select distinct worker from ai.requests"
            " where state = 'reserved' and worker is not null"
        )
        for (worker,) in await workers.fetchall():
            row = await self._connection.execute("select pg_try_advisory_lock(%s)", [worker])
            if await row.fetchone() == (True,):
                await self._release(worker, None)
                await self._connection.execute("select pg_advisory_unlock(%s)", [worker])

    async def reserve(
        self, due: Sequence[Due], *, batch: tuple[int, int] | None = None
    ) -> tuple[list[Due], list[Due]]:
        """Claim conversations and their money: what is this run's alone to ask, and what the
        budget does not bear. What another run claimed or answered is in neither.

        `batch`: tenant and id of the batch that asks.
        """
        price = self._provider.price
        granted: list[Due] = []
        refused: list[Due] = []
        async with self._claiming, self._connection.transaction():
            await self._connection.execute("select pg_advisory_xact_lock(%s)", [BUDGET_LOCK])
            spent = await budgets(self._connection, self._provider.budget_usd)
            for one in due:
                if not spent[one.tenant_id].is_allowed:  # switched off since it was looked up
                    continue
                usd = price.most(one.question)
                if spent[one.tenant_id].bears(usd) and spent[0].bears(usd):
                    spent[one.tenant_id].used += usd
                    spent[0].used += usd
                    granted.append(one)
                else:
                    refused.append(one)
            # Judged by the claim's own row, which is read in its newest version: a subquery on the
            # scores would not see an answer that another run kept meanwhile.
            claimed: set[tuple[int, int, str]] = set()
            if granted:
                rows = await self._connection.execute(
                    f"""
                    insert into ai.requests as requests (
                        tenant_id, conversation_id, transcript_sha256, reserved_usd, sent_text,
                        prompt_version, provider, model, state, worker, batch_id
                    )
                    select due.*, %(prompt_version)s, %(provider)s, %(model)s, 'reserved',
                        %(worker)s::bigint, %(batch)s::bigint
                    from unnest(
                        %(tenants)s::int[], %(conversations)s::bigint[], %(hashes)s::text[],
                        %(usd)s::numeric[], %(texts)s::text[]
                    ) as due
                    on conflict {KEY} do update set
                        state = 'reserved', worker = excluded.worker, batch_id = excluded.batch_id,
                        attempts = requests.attempts + 1, reserved_usd = excluded.reserved_usd,
                        sent_text = excluded.sent_text, outcome = null, reserved_at = now(),
                        settled_at = null
                    where requests.state = 'released'
                        or (requests.outcome = 'failed' and {RETRY_IS_DUE})
                    returning tenant_id, conversation_id, transcript_sha256
                    """.encode(),  # noqa: S608  # parts of ours
                    self._fixed | {
                        "worker": None if batch else self.worker,
                        "batch": batch[1] if batch else None,
                        "tenants": [one.tenant_id for one in granted],
                        "conversations": [one.conversation_id for one in granted],
                        "hashes": [one.transcript_sha256 for one in granted],
                        "usd": [price.most(one.question) for one in granted],
                        "texts": [one.question.text for one in granted],
                    },
                )  # fmt: skip
                claimed = set(await rows.fetchall())
        return [one for one in granted if one.key in claimed], refused

    async def skip(self, refused: Sequence[Due]) -> None:
        """Give what the budget does not bear a score `skipped_budget`, once."""
        if not refused:
            return
        async with self._claiming:
            rows = await self._connection.execute(
                f"""
                insert into ai.conversation_scores (
                    tenant_id, conversation_id, transcript_sha256, prompt_version, provider, model,
                    status, cost_usd, error
                )
                select due.*, %(prompt_version)s, %(provider)s, %(model)s, 'skipped_budget', 0,
                    'the budget of the month is spent'
                from unnest(
                    %(tenants)s::int[], %(conversations)s::bigint[], %(hashes)s::text[]
                ) as due
                on conflict {KEY} do nothing
                """.encode(),  # noqa: S608  # parts of ours
                self._fixed | {
                    "tenants": [one.tenant_id for one in refused],
                    "conversations": [one.conversation_id for one in refused],
                    "hashes": [one.transcript_sha256 for one in refused],
                },
            )  # fmt: skip
        self.tally.skipped += rows.rowcount

    async def reserve_again(self, due: Due) -> bool:
        """Whether the budget bears another attempt at a question that may have been billed."""
        usd = self._provider.price.most(due.question)
        async with self._claiming, self._connection.transaction():
            await self._connection.execute("select pg_advisory_xact_lock(%s)", [BUDGET_LOCK])
            spent = await budgets(self._connection, self._provider.budget_usd)
            own, all_ = spent[due.tenant_id], spent[0]
            if not (own.is_allowed and own.bears(usd) and all_.bears(usd)):
                return False
            await self._connection.execute(
                "update ai.requests set reserved_usd = reserved_usd + %(usd)s"
                " where (tenant_id, conversation_id, transcript_sha256, prompt_version, provider,"
                " model) = (%(tenant)s, %(conversation)s, %(hash)s, %(prompt_version)s,"
                " %(provider)s, %(model)s)",
                self._fixed
                | {
                    "usd": usd,
                    **dict(zip(("tenant", "conversation", "hash"), due.key, strict=True)),
                },
            )
        return True

    async def settle(self, answered: Sequence[Answered]) -> None:
        """Keep answers: claim closed, score stored, cost in the ledger, all or nothing.

        An answer whose claim is no longer open changes nothing.
        """
        price = self._provider.price
        by_key = {one.key: one for one in answered}
        async with self._settling, self._answers.transaction():
            rows = await self._answers.execute(
                """
                update ai.requests as requests
                set state = 'settled', outcome = answered.outcome, settled_at = now()
                from unnest(
                    %(tenants)s::int[], %(conversations)s::bigint[], %(hashes)s::text[],
                    %(outcomes)s::text[]
                ) as answered (tenant_id, conversation_id, transcript_sha256, outcome)
                where requests.tenant_id = answered.tenant_id
                    and requests.conversation_id = answered.conversation_id
                    and requests.transcript_sha256 = answered.transcript_sha256
                    and requests.prompt_version = %(prompt_version)s
                    and requests.provider = %(provider)s and requests.model = %(model)s
                    and requests.state = 'reserved'
                returning requests.tenant_id, requests.conversation_id,
                    requests.transcript_sha256, requests.reserved_usd
                """,
                self._fixed
                | {
                    "tenants": [key[0] for key in by_key],
                    "conversations": [key[1] for key in by_key],
                    "hashes": [key[2] for key in by_key],
                    "outcomes": [one.reply.status for one in by_key.values()],
                },
            )
            scores = []
            entries: dict[int, _Entry] = defaultdict(_Entry)
            counts: Counter[str] = Counter()
            for *key, reserved in await rows.fetchall():
                one = by_key[tuple(key)]
                usage = one.reply.usage
                # An answer that says nothing of its tokens costs what was reserved for it.
                cost = (
                    price.cost(usage) if usage
                    else max(reserved - one.uncertain_usd, Decimal(0)) if one.reply.is_billed
                    else Decimal(0)
                )  # fmt: skip
                entries[one.key[0]].add(usage or Usage(), cost, one.uncertain_usd)
                scores.append(self._score_row(one, cost + one.uncertain_usd))
                counts[one.reply.status] += 1
            async with self._answers.cursor() as cursor:
                await cursor.executemany(STORE, scores)
                await cursor.executemany(BOOK, self._booked(entries))
        self.tally.ok += counts["ok"]
        self.tally.refused += counts["refused"]
        self.tally.failed += counts["failed"]
        self.tally.cost_usd += sum(
            (entry.cost + entry.uncertain for entry in entries.values()), Decimal(0)
        )

    def _score_row(self, one: Answered, cost: Decimal) -> tuple[Any, ...]:
        usage = one.reply.usage or Usage()
        return (
            *one.key, PROMPT_VERSION, NAME, self._provider.model, one.reply.status,
            *score_columns(one.reply.score), usage.prompt_tokens, usage.cached_tokens,
            usage.completion_tokens, cost, one.reply.error,
        )  # fmt: skip

    def _booked(
        self, entries: "Mapping[int, _Entry]", model: str | None = None
    ) -> list[tuple[Any, ...]]:
        """Rows of the ledger in one order: two runs do not wait for each other in a circle."""
        return [
            (tenant_id, NAME, model or self._provider.model, entry.requests,
             entry.usage.prompt_tokens, entry.usage.cached_tokens, entry.usage.completion_tokens,
             entry.cost, entry.uncertain)
            for tenant_id, entry in sorted(entries.items())
        ]  # fmt: skip

    async def release(self, in_flight: set[tuple[int, int, str]]) -> None:
        """Give up this run's open claims; those that were in flight count as uncertain."""
        await self._release(self.worker, in_flight)

    async def give_back(self, due: Due) -> None:
        """Give up this run's claim of a question that was never sent, and its money."""
        await self._release_where(
            "worker = %s and tenant_id = %s and conversation_id = %s and transcript_sha256 = %s",
            [self.worker, *due.key],
            set(),
        )

    async def release_batch(self, tenant_id: int, batch_id: int, *, may_be_billed: bool) -> None:
        """Give up what a batch has claimed; with `may_be_billed` it counts as uncertain."""
        await self._release_where(
            "tenant_id = %s and batch_id = %s",
            [tenant_id, batch_id],
            None if may_be_billed else set(),
        )

    async def _release(self, worker: int, in_flight: set[tuple[int, int, str]] | None) -> None:
        """Of a dead run nobody knows what was in flight: all of it may have been."""
        await self._release_where("worker = %s", [worker], in_flight)

    async def _release_where(
        self,
        condition: LiteralString,
        values: Sequence[int | str],
        in_flight: set[tuple[int, int, str]] | None,
    ) -> None:
        async with self._claiming, self._connection.transaction():
            rows = await self._connection.execute(
                "update ai.requests set state = 'released', worker = null, batch_id = null,"  # noqa: S608  # ours
                " settled_at = now() where state = 'reserved' and "
                + condition
                + " returning tenant_id, conversation_id, transcript_sha256, model, reserved_usd",
                values,
            )
            models: dict[str, dict[int, _Entry]] = defaultdict(lambda: defaultdict(_Entry))
            for *key, model, reserved in await rows.fetchall():
                if in_flight is None or tuple(key) in in_flight:
                    models[model][key[0]].uncertain += reserved
            async with self._connection.cursor() as cursor:
                for model, entries in sorted(models.items()):
                    await cursor.executemany(BOOK, self._booked(entries, model))


class _Entry:
    """What one tenant's part of a transaction adds to the ledger."""

    def __init__(self) -> None:
        self.requests = 0
        self.usage = Usage()
        self.cost = self.uncertain = Decimal(0)

    def add(self, usage: Usage, cost: Decimal, uncertain: Decimal) -> None:
        self.requests += 1
        self.usage = Usage(
            self.usage.prompt_tokens + usage.prompt_tokens,
            self.usage.cached_tokens + usage.cached_tokens,
            self.usage.completion_tokens + usage.completion_tokens,
        )
        self.cost += cost
        self.uncertain += uncertain


# A failure is tried again after 1 and 4 hours, then never with the same text.
RETRY_IS_DUE: LiteralString = (
    "requests.attempts < 3"
    " and requests.settled_at < now() - interval '1 hour' * 4 ^ (requests.attempts - 1)"
)

FORGET_ERASED: LiteralString = """
delete from ai.requests as requests
where requests.state = 'settled' and not exists (
    select 1 from ai.conversation_scores as scores
    where scores.tenant_id = requests.tenant_id
        and scores.conversation_id = requests.conversation_id
        and scores.transcript_sha256 = requests.transcript_sha256
        and scores.prompt_version = requests.prompt_version
        and scores.provider = requests.provider
        and scores.model = requests.model
)
"""

FORGET_TEXTS: LiteralString = """
update ai.requests set sent_text = null
where sent_text is not null and settled_at < now() - %s * interval '1 day'
"""

STORE: LiteralString = f"""
insert into ai.conversation_scores as scores (
    tenant_id, conversation_id, transcript_sha256, prompt_version, provider, model, status,
    sentiment, intent, lead_class, lead_score, visit_scheduled, summary, next_step, objections,
    evidence_message_ids, prompt_tokens, cached_tokens, completion_tokens, cost_usd, error
) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
on conflict {KEY} do update set
    status = excluded.status, sentiment = excluded.sentiment, intent = excluded.intent,
    lead_class = excluded.lead_class, lead_score = excluded.lead_score,
    visit_scheduled = excluded.visit_scheduled, summary = excluded.summary,
    next_step = excluded.next_step, objections = excluded.objections,
    evidence_message_ids = excluded.evidence_message_ids,
    prompt_tokens = excluded.prompt_tokens, cached_tokens = excluded.cached_tokens,
    completion_tokens = excluded.completion_tokens,
    cost_usd = coalesce(scores.cost_usd, 0) + excluded.cost_usd,
    scored_at = now(), error = excluded.error
where scores.status <> 'ok'
"""  # noqa: S608  # parts of ours

BOOK: LiteralString = """
insert into ai.ledger as ledger (
    tenant_id, day, provider, model, requests, prompt_tokens, cached_tokens, completion_tokens,
    cost_usd, uncertain_usd
) values (%s, (now() at time zone 'utc')::date, %s, %s, %s, %s, %s, %s, %s, %s)
on conflict (tenant_id, day, provider, model) do update set
    requests = ledger.requests + excluded.requests,
    prompt_tokens = ledger.prompt_tokens + excluded.prompt_tokens,
    cached_tokens = ledger.cached_tokens + excluded.cached_tokens,
    completion_tokens = ledger.completion_tokens + excluded.completion_tokens,
    cost_usd = ledger.cost_usd + excluded.cost_usd,
    uncertain_usd = ledger.uncertain_usd + excluded.uncertain_usd
"""


def score_columns(score: Score | None) -> tuple[Any, ...]:
    """The answer's own columns of ai.conversation_scores, in the table's order."""
    if score is None:
        return (None,) * 9
    return (
        score.sentiment, score.intent, score.lead_class, score.lead_score, score.visit_scheduled,
        score.summary, score.next_step, score.objections, score.evidence_message_ids,
    )  # fmt: skip
