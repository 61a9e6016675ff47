"""Transcripts that have no score yet in, rows of ai.conversation_scores out."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg.errors import UndefinedTable

from ai_enrich import local
from ai_enrich.local import LocalModel
from ai_enrich.prompt import PROMPT_VERSION, Question, ask
from ai_enrich.provider import NAME, Provider
from ai_enrich.schema import Conversation
from ai_enrich.store import (
    FORGET_ERASED,
    FORGET_TEXTS,
    KEEPALIVE,
    RETRY_IS_DUE,
    STORE,
    Answered,
    Due,
    Store,
    Tally,
    budgets,
    connect,
    score_columns,
)
from warehouse.errors import MiranteError, UsageError

if TYPE_CHECKING:
    from ai_enrich.client import Client

log = logging.getLogger(__name__)

KEYS = 5000  # of one look at what is due
PAGE = 64  # asked for, masked and claimed together: a moment's work between answers
LOCAL_PAGE = 100  # what a killed run loses at most
REQUEST_DAYS = 90  # the setting's default
FAILURES_IN_A_ROW = 20
LOCAL_LOCK = 0x4D49524C

# Of `transcripts`, whose scores by this provider, model and prompt are `scores`.
DUE: LiteralString = """
from intermediate.int_conversation_transcripts as transcripts
inner join app.tenants as tenants on transcripts.tenant_id = tenants.id
left join ai.conversation_scores as scores
    on transcripts.tenant_id = scores.tenant_id
    and transcripts.conversation_id = scores.conversation_id
    and transcripts.transcript_sha256 = scores.transcript_sha256
    and scores.prompt_version = %(prompt_version)s
    and scores.provider = %(provider)s
    and scores.model = %(model)s
where tenants.status = 'active'
    and (%(tenant)s::text is null or tenants.slug = %(tenant)s)
    and transcripts.last_message_at <= now() - %(quiet_minutes)s * interval '1 minute'
"""

DUE_OUTSIDE: LiteralString = f"""
{DUE}
    and tenants.ai_outside_allowed
    and (
        scores.tenant_id is null
        or (scores.status = 'skipped_budget' and transcripts.tenant_id = any (%(affordable)s))
        or (
            scores.status = 'failed' and exists (
                select 1 from ai.requests as requests
                where requests.tenant_id = scores.tenant_id
                    and requests.conversation_id = scores.conversation_id
                    and requests.transcript_sha256 = scores.transcript_sha256
                    and requests.prompt_version = scores.prompt_version
                    and requests.provider = scores.provider
                    and requests.model = scores.model
                    and {RETRY_IS_DUE}
            )
        )
    )
    and not exists (
        select 1 from ai.requests as claimed
        where claimed.tenant_id = transcripts.tenant_id
            and claimed.conversation_id = transcripts.conversation_id
            and claimed.transcript_sha256 = transcripts.transcript_sha256
            and claimed.prompt_version = %(prompt_version)s
            and claimed.provider = %(provider)s
            and claimed.model = %(model)s
            and claimed.state = 'reserved'
    )
"""  # noqa: S608  # parts of ours

# The local model scores what nobody outside has scored: all of it where there is no provider
# outside, else what may not leave and what the budget did not bear.
DUE_LOCAL: LiteralString = f"""
{DUE}
    and scores.tenant_id is null
    and not exists (
        select 1 from ai.conversation_scores as outside
        where outside.tenant_id = transcripts.tenant_id
            and outside.conversation_id = transcripts.conversation_id
            and outside.transcript_sha256 = transcripts.transcript_sha256
            and outside.provider = 'openai'
            and outside.status = 'ok'
    )
    and (
        %(everything)s
        or not tenants.ai_outside_allowed
        or exists (
            select 1 from ai.conversation_scores as skipped
            where skipped.tenant_id = transcripts.tenant_id
                and skipped.conversation_id = transcripts.conversation_id
                and skipped.transcript_sha256 = transcripts.transcript_sha256
                and skipped.provider = 'openai'
                and skipped.status = 'skipped_budget'
        )
    )
"""  # noqa: S608  # parts of ours

NEXT_KEYS: LiteralString = """
    and (transcripts.tenant_id, transcripts.conversation_id) > (%(after)s, %(after_conversation)s)
order by transcripts.tenant_id, transcripts.conversation_id
limit %(keys)s
"""

TEXTS: LiteralString = """
select transcripts.tenant_id, transcripts.conversation_id, transcripts.transcript_sha256,
    transcripts.transcript, transcripts.message_ids,
    concat_ws(' ', contacts.contact_name, contacts.middle_name, contacts.last_name)
from unnest(%s::int[], %s::bigint[]) with ordinality as due (tenant_id, conversation_id, place)
inner join intermediate.int_conversation_transcripts as transcripts
    on due.tenant_id = transcripts.tenant_id
    and due.conversation_id = transcripts.conversation_id
left join intermediate.int_conversations_scoped_to_tenants as conversations
    on transcripts.tenant_id = conversations.tenant_id
    and transcripts.conversation_id = conversations.conversation_id
left join staging.stg_chatwoot__contacts as contacts
    on conversations.contact_id = contacts.contact_id
order by due.place
"""

CORRECTED: LiteralString = """
select exists (
    select 1 from ai.corrections
    where corrected_at > (select max(started_at) from app.builds where status = 'succeeded')
)
"""

CLOSED: LiteralString = """
select id from app.tenants where not (ai_outside_allowed and status = 'active')
"""
# How long a text may still leave after its tenant was switched off.
SWITCH_SECONDS = 1.0

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class EnrichReport:
    """What one run did: scores written outside and here, and what had no score from it."""

    scored: int
    provider: str
    model: str
    scored_outside: int = 0
    refused: int = 0
    failed: int = 0
    skipped: int = 0
    cost_usd: Decimal = Decimal(0)
    warnings: tuple[str, ...] = ()
    is_corrected: bool = field(default=False, kw_only=True)

    @property
    def is_news(self) -> bool:
        """Whether the marts would change: new scores, or corrections since the last build."""
        return self.scored > 0 or self.is_corrected


def enrich(
    owner_dsn: str,
    *,
    provider: Provider | None = None,
    tenant_slug: str | None = None,
    batch: bool = False,
    quiet_minutes: int = 0,
    model: LocalModel = local.MODEL,
    request_days: int = REQUEST_DAYS,
    progress: Progress = lambda done, total: None,
) -> EnrichReport:
    """Score every quiet transcript that has no score of this provider and model yet.

    With a `provider` outside, the local `model` scores only the tenants that send nothing and what
    the budget did not bear. A second run does nothing, two at once share the work, and a killed
    one keeps every answer it got. Every run, whatever it scores, drops the texts that were sent
    more than `request_days` ago, and those whose score is gone. Raises UsageError on an unknown
    tenant or a key that is
    refused, MiranteError before the first build and when the provider does not answer.
    """
    parameters: dict[str, Any] = {"tenant": tenant_slug, "quiet_minutes": quiet_minutes}
    try:
        with psycopg.connect(owner_dsn, autocommit=True, options=KEEPALIVE) as connection:
            _check_tenant(connection, tenant_slug)
            tally, warnings, error = Tally(), [], None
            if provider:
                outside = parameters | _outside(connection, provider)
                if batch:
                    from ai_enrich.batches import score_in_batches

                    tally = asyncio.run(score_in_batches(owner_dsn, provider, outside, progress))
                elif total := _count(connection, DUE_OUTSIDE, outside):
                    run = _OutsideRun(owner_dsn, provider, outside, total, progress)
                    tally, error = asyncio.run(run.go()), run.stopped
                if tally.ok or tally.skipped:
                    warnings = asyncio.run(_budget_warnings(owner_dsn, provider))
            scored = _score_here(connection, parameters, model, provider is None, progress)
            connection.execute(FORGET_ERASED)
            connection.execute(FORGET_TEXTS, [request_days])
            (is_corrected,) = connection.execute(CORRECTED).fetchone() or (False,)
    except UndefinedTable as missing:
        if "intermediate." in str(missing) or "staging." in str(missing):
            raise MiranteError("nothing was built yet: run `mirante build` first") from None
        raise
    if error:
        raise error
    return EnrichReport(
        scored + tally.ok, NAME if provider else "local", provider.model if provider else model,
        scored_outside=tally.ok, refused=tally.refused, failed=tally.failed,
        skipped=tally.skipped, cost_usd=tally.cost_usd, warnings=tuple(warnings),
        is_corrected=bool(is_corrected),
    )  # fmt: skip


def _check_tenant(connection: psycopg.Connection[Any], slug: str | None) -> None:
    known = connection.execute("select 1 from app.tenants where slug = %s", [slug]).fetchone()
    if slug is not None and not known:
        raise UsageError(f"--tenant {slug!r} does not exist: see `mirante tenant list`")


def _count(
    connection: psycopg.Connection[Any], due: LiteralString, parameters: dict[str, Any]
) -> int:
    row = connection.execute("select count(*) " + due, parameters).fetchone()
    return int(row[0]) if row else 0


def _outside(connection: psycopg.Connection[Any], provider: Provider) -> dict[str, Any]:
    """Parameters of DUE_OUTSIDE; `affordable`: tenants whose budget bears the longest question."""
    from ai_enrich.store import SPENT

    most = provider.price.most(Question("x" * 14_000, frozenset()))
    spent = connection.execute(SPENT).fetchall()
    is_open = sum((row[3] for row in spent), Decimal(0)) + most <= provider.budget_usd
    return {
        "prompt_version": PROMPT_VERSION,
        "provider": NAME,
        "model": provider.model,
        "affordable": [
            tenant_id
            for tenant_id, _, limit, used, _ in spent
            if is_open and (limit is None or used + most <= limit)
        ],
    }


async def _budget_warnings(dsn: str, provider: Provider) -> list[str]:
    async with await connect(dsn) as connection:
        found = await budgets(connection, provider.budget_usd)
    return [budget.warning for _, budget in sorted(found.items()) if budget.warning]


async def due_pages(
    reader: psycopg.AsyncConnection[Any], parameters: dict[str, Any], size: int
) -> AsyncIterator[list[Due]]:
    """Questions that are due outside, `size` at a time, masked; nothing is claimed yet.

    Looked up in spans of the key, so that neither memory nor a transaction grows with a backlog.
    """
    after = {"after": 0, "after_conversation": 0, "keys": KEYS}
    while True:
        rows = await reader.execute(
            "select transcripts.tenant_id, transcripts.conversation_id" + DUE_OUTSIDE + NEXT_KEYS,
            parameters | after,
        )
        keys = await rows.fetchall()
        for start in range(0, len(keys), size):
            part = keys[start : start + size]
            texts = await reader.execute(
                TEXTS, [list(column) for column in zip(*part, strict=True)]
            )
            page = []
            for tenant_id, conversation_id, sha256, transcript, ids, name in await texts.fetchall():
                conversation = Conversation.from_transcript(transcript, ids)
                page.append(Due(tenant_id, conversation_id, sha256, ask(conversation, [name])))
                if len(page) % 8 == 0:
                    await asyncio.sleep(0)  # answers that came meanwhile go first
            yield page
        if len(keys) < KEYS:
            return
        after |= {"after": keys[-1][0], "after_conversation": keys[-1][1]}


def _columns(rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


class _OutsideRun:
    """One run against the provider: a claimer, workers that ask, a settler that keeps answers."""

    def __init__(
        self, dsn: str, provider: Provider, parameters: dict[str, Any], total: int,
        progress: Progress,
    ) -> None:  # fmt: skip
        self.stopped: MiranteError | None = None
        self._dsn = dsn
        self._provider = provider
        self._parameters = parameters
        self._total = total
        self._progress = progress
        self._queue: asyncio.Queue[Due | None] = asyncio.Queue(maxsize=provider.concurrency)
        self._in_flight: set[tuple[int, int, str]] = set()
        self._open: set[tuple[int, int, str]] = set()
        self._settled = asyncio.Event()
        self._kept: dict[tuple[int, int, str], asyncio.Future[None]] = {}
        self._unsettled: list[Answered] = []
        self._came = asyncio.Event()
        self._is_over = False
        self._failures = 0
        self._closed: set[int] = set()

    async def go(self) -> Tally:
        """Ask until nothing is due or something stops it (`stopped`). Answers are always kept."""
        from ai_enrich.client import Client  # half a second of imports: only where it asks

        async with AsyncExitStack() as stack:
            reader, claims, answers, switches = [
                await stack.enter_async_context(await connect(self._dsn)) for _ in range(4)
            ]
            client = await stack.enter_async_context(Client(self._provider))
            store = Store(claims, answers, self._provider)
            await store.open()
            try:
                async with asyncio.TaskGroup() as keeping:
                    keeping.create_task(self._settle(store))
                    watcher = keeping.create_task(self._watch(switches))
                    async with asyncio.TaskGroup() as asking:
                        asking.create_task(self._claim(reader, store))
                        for _ in range(self._provider.concurrency):
                            asking.create_task(self._work(client, store))
                    watcher.cancel()
                    self._is_over = True
                    self._came.set()
            finally:  # also when interrupted: what was answered is paid
                if self._unsettled:
                    await store.settle(self._unsettled)
                await store.release(self._in_flight)
            return store.tally

    async def _watch(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Hear of tenants that are switched off meanwhile: what waits of theirs stays here."""
        while True:
            rows = await connection.execute(CLOSED)
            self._closed = {tenant_id for (tenant_id,) in await rows.fetchall()}
            await asyncio.sleep(SWITCH_SECONDS)

    async def _claim(self, reader: psycopg.AsyncConnection[Any], store: Store) -> None:
        async for page in due_pages(reader, self._parameters, PAGE):
            while page and not self.stopped:
                self._settled.clear()
                granted, page = await store.reserve(page)
                self._open |= {due.key for due in granted}
                for due in granted:
                    await self._queue.put(due)
                # A reservation is more than an answer costs: what is in flight gives some back,
                # also while this page was judged.
                if page and not self._open and not self._settled.is_set():
                    await store.skip(page)
                    break
                if page:
                    await self._settled.wait()
            if self.stopped:
                break
        for _ in range(self._provider.concurrency):
            await self._queue.put(None)

    async def _work(self, client: "Client", store: Store) -> None:
        from ai_enrich.client import NeverSentError

        most = self._provider.price.most
        while (due := await self._queue.get()) is not None:
            if self.stopped:
                continue
            self._in_flight.add(due.key)
            again = _Again(store, due)
            try:
                reply = await client.ask(
                    due.question, again, partial(self._may_leave, due.tenant_id)
                )
            except NeverSentError:
                await store.give_back(due)
                self._in_flight.discard(due.key)
                self._open.discard(due.key)
                self._settled.set()
                continue
            except MiranteError as error:
                self._stop(error)
                if not again.was_needed:  # else an earlier attempt may be billed
                    self._in_flight.discard(due.key)
                continue
            kept = self._kept[due.key] = asyncio.get_running_loop().create_future()
            self._unsettled.append(Answered(due.key, reply, reply.lost * most(due.question)))
            self._in_flight.discard(due.key)
            self._came.set()
            await kept  # so that a kill loses no more answers than there are workers
            self._failures = 0 if reply.is_billed else self._failures + 1
            if self._failures >= FAILURES_IN_A_ROW:
                self._stop(
                    MiranteError(
                        f"openai: {self._failures} conversations in a row got no answer from"
                        f" {self._provider.base_url} ({reply.error}): the next run goes on"
                    )
                )

    def _may_leave(self, tenant_id: int) -> bool:
        return tenant_id not in self._closed

    def _stop(self, error: MiranteError) -> None:
        """Begin nothing more; what is in flight comes to its end."""
        self.stopped = self.stopped or error
        self._settled.set()

    async def _settle(self, store: Store) -> None:
        """Keep answers the moment they come; those that come meanwhile share a transaction."""
        while not self._is_over or self._unsettled:
            await self._came.wait()
            self._came.clear()
            if batch := self._unsettled[:]:
                await store.settle(batch)
                del self._unsettled[: len(batch)]
                self._open -= {one.key for one in batch}
                for one in batch:
                    self._kept.pop(one.key).set_result(None)
                self._settled.set()
                tally = store.tally
                done = tally.ok + tally.refused + tally.failed + tally.skipped
                self._progress(done, max(done, self._total))
            if self._is_over:
                self._came.set()


@dataclass
class _Again:
    """Asks the budget for another attempt at a question, because the last one got lost."""

    store: Store
    due: Due
    was_needed: bool = False

    async def __call__(self) -> bool:
        self.was_needed = True
        return await self.store.reserve_again(self.due)


def _score_here(
    connection: psycopg.Connection[Any],
    parameters: dict[str, Any],
    model: LocalModel,
    everything: bool,
    progress: Progress,
) -> int:
    """Score with the local model what is its to score; how many."""
    parameters = parameters | {
        "prompt_version": local.PROMPT_VERSION,
        "provider": local.PROVIDER,
        "model": model,
        "everything": everything,
    }
    if not (total := _count(connection, DUE_LOCAL, parameters)):
        return 0
    # Two runs at once would score the same: the second waits, and finds nothing left.
    connection.execute("set lock_timeout = 0")
    connection.execute("select pg_advisory_lock(%s)", [LOCAL_LOCK])
    scored = 0
    try:
        for page in _local_pages(connection, parameters):
            scores = local.score_conversations(
                [Conversation.from_transcript(row[3], row[4]) for row in page], model=model
            )
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(
                    STORE,
                    [
                        (*row[:3], local.PROMPT_VERSION, local.PROVIDER, model, "ok",
                         *score_columns(score), None, None, None, 0, None)
                        for row, score in zip(page, scores, strict=True)
                    ],
                )  # fmt: skip
            scored += len(page)
            progress(scored, max(scored, total))
    finally:
        connection.execute("select pg_advisory_unlock(%s)", [LOCAL_LOCK])
    return scored


def _local_pages(
    connection: psycopg.Connection[Any], parameters: dict[str, Any]
) -> Iterator[Sequence[Any]]:
    after = {"after": 0, "after_conversation": 0, "keys": KEYS}
    while True:
        keys = connection.execute(
            "select transcripts.tenant_id, transcripts.conversation_id" + DUE_LOCAL + NEXT_KEYS,
            parameters | after,
        ).fetchall()
        for start in range(0, len(keys), LOCAL_PAGE):
            part = keys[start : start + LOCAL_PAGE]
            yield connection.execute(
                TEXTS, [list(column) for column in zip(*part, strict=True)]
            ).fetchall()
        if len(keys) < KEYS:
            return
        after |= {"after": keys[-1][0], "after_conversation": keys[-1][1]}
