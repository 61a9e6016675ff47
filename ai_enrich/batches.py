"""Backfills through the provider's batch interface: half the price, within a day, resumable.

A batch is of one tenant. Its row says how far it is (claimed, uploaded, submitted, stored), and
everything that is sent follows from its rows in ai.requests, so a later run goes on at that step.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row

from ai_enrich.client import BatchGoneError, Client
from ai_enrich.prompt import PROMPT_VERSION, Reply, body, judge
from ai_enrich.provider import Provider
from ai_enrich.run import due_pages
from ai_enrich.store import Answered, Due, Store, Tally, connect
from warehouse.errors import MiranteError

LOCK = 0x4D495242_41
PAGE = 200
BATCH_CONVERSATIONS = 10_000  # the provider takes 50,000 and 200 MB; the longest line has 18 kB
FIRST_POLL, LONGEST_POLL = 1.0, 60.0
OVER = {"completed", "failed", "expired", "cancelled"}
MESSAGE_ID = re.compile(r"^\[(\d+)\] ", re.MULTILINE)


@dataclass(frozen=True)
class Batch:
    """A row of ai.batches that is not over."""

    tenant_id: int
    id: int
    model: str
    prompt_version: str
    state: str
    input_file_id: str | None
    remote_id: str | None
    conversations: int
    is_allowed: bool


async def score_in_batches(
    dsn: str,
    provider: Provider,
    parameters: dict[str, Any],
    progress: Callable[[int, int], None],
) -> Tally:
    """Send what is due as batches, wait for them and for those of earlier runs, keep the answers.

    Raises MiranteError when another run does the same, or when the provider gave a batch up.
    """
    provider = provider.batched()
    async with AsyncExitStack() as stack:
        reader, claims, answers, states = [
            await stack.enter_async_context(await connect(dsn)) for _ in range(4)
        ]
        taken = await states.execute("select pg_try_advisory_lock(%s)", [LOCK])
        if await taken.fetchone() != (True,):
            raise MiranteError("another `mirante enrich --batch` is running: it does this work")
        client = await stack.enter_async_context(Client(provider))
        store = Store(claims, answers, provider)
        await store.open()
        run = _BatchRun(client, store, states, provider, parameters, progress)
        await run.claim(reader)
        await run.finish()
    if run.given_up:
        raise MiranteError(f"openai batch: {'; '.join(run.given_up)}; what it left is due again")
    return store.tally


@dataclass
class _BatchRun:
    client: Client
    store: Store
    states: AsyncConnection[Any]
    provider: Provider
    parameters: dict[str, Any]
    progress: Callable[[int, int], None]

    def __post_init__(self) -> None:
        self.given_up: list[str] = []

    async def claim(self, reader: AsyncConnection[Any]) -> None:
        """Make batches of what is due."""
        open_batch: tuple[int, int] | None = None
        size = 0
        async for page in due_pages(reader, self.parameters, PAGE):
            for part in _by_tenant(page):
                tenant_id = part[0].tenant_id
                if open_batch is None or open_batch[0] != tenant_id or size >= BATCH_CONVERSATIONS:
                    open_batch, size = (tenant_id, await self._begin(tenant_id)), 0
                granted, refused = await self.store.reserve(part, batch=open_batch)
                await self.store.skip(refused)
                size += len(granted)
                await self.states.execute(
                    "update ai.batches set conversations = conversations + %s"
                    " where (tenant_id, id) = (%s, %s)",
                    [len(granted), *open_batch],
                )

    async def _begin(self, tenant_id: int) -> int:
        row = await self.states.execute(
            "insert into ai.batches (tenant_id, model, prompt_version) values (%s, %s, %s)"
            " returning id",
            [tenant_id, self.provider.model, PROMPT_VERSION],
        )
        (id_,) = await row.fetchone() or (0,)
        return int(id_)

    async def finish(self) -> None:
        """Bring every open batch to its end, one after the other; a refused one is given up."""
        waiting = await self._open()
        total = sum(batch.conversations for batch in waiting)
        pause = FIRST_POLL
        while waiting:
            for batch in waiting:
                if await self._goes_on(batch):
                    pause = FIRST_POLL
            tally = self.store.tally
            self.progress(tally.ok + tally.refused + tally.failed, total)
            waiting = await self._open()
            if waiting:
                await asyncio.sleep(pause)
                pause = min(LONGEST_POLL, pause * 1.5)

    async def _open(self) -> list[Batch]:
        """Batches that are not over, of the tenants asked for."""
        cursor = self.states.cursor(row_factory=class_row(Batch))
        await cursor.execute(
            "select batches.tenant_id, batches.id, model, prompt_version, state, input_file_id,"
            " remote_id, conversations,"
            " ai_outside_allowed and status = 'active' as is_allowed from ai.batches as batches"
            " inner join app.tenants as tenants on batches.tenant_id = tenants.id"
            " where state in ('claimed', 'uploaded', 'submitted')"
            " and (%(tenant)s::text is null or tenants.slug = %(tenant)s) order by 1, 2",
            {"tenant": self.parameters["tenant"]},
        )
        return await cursor.fetchall()

    async def _goes_on(self, batch: Batch) -> bool:
        """Do the next step of one batch, or give it up; whether anything happened.

        Given up is one of another model or prompt, one of a tenant that sends nothing any more
        (looked at before each step), and one whose step is refused for good.
        """
        if (batch.model, batch.prompt_version) != (self.provider.model, PROMPT_VERSION):
            await self._give_up(batch, "model or prompt changed")
        elif not batch.is_allowed:
            await self._give_up(batch, "tenant sends nothing outside")
        else:
            try:
                return await self._advance(batch)
            except BatchGoneError as gone:
                await self._give_up(batch, str(gone))
                self.given_up.append(f"{batch.remote_id or batch.id}: {gone}")
        return True

    async def _give_up(self, batch: Batch, why: str) -> None:
        """What it claimed is due again; what was sent may be billed all the same."""
        if batch.remote_id:
            await self.client.cancel(batch.remote_id)
        is_sent = batch.state != "claimed"
        await self.store.release_batch(batch.tenant_id, batch.id, may_be_billed=is_sent)
        await self._set(batch, state="failed", error=why)
        await self.client.delete_files(batch.input_file_id)

    async def _advance(self, batch: Batch) -> bool:
        """Do the next step of one batch; whether it went on."""
        if batch.state == "claimed":
            if not await self._is_claimed(batch):
                await self._set(batch, state="stored")
                return True
            path = await self._write(batch)
            try:
                if not await self._may_leave(batch):  # others' files took their time
                    return False
                file_id = await self.client.upload(path)
            finally:
                path.unlink()
            await self._set(batch, state="uploaded", input_file_id=file_id)
            return True
        if batch.state == "uploaded" and not await self._may_leave(batch):
            return False
        if batch.state == "uploaded":
            remote_id = await self.client.submit(batch.input_file_id or "")
            await self._set(batch, state="submitted", remote_id=remote_id)
            return True
        job = await self.client.look_up(batch.remote_id or "")
        if job.status not in OVER:
            return False
        for result_id in (job.output_file_id, job.error_file_id):
            if result_id:
                await self._store(batch, result_id)
        # What has no result was not processed, and is not billed: it is due again.
        await self.store.release_batch(batch.tenant_id, batch.id, may_be_billed=False)
        await self.client.delete_files(batch.input_file_id, job.output_file_id, job.error_file_id)
        if job.status == "completed":
            await self._set(batch, state="stored")
        else:
            await self._set(batch, state="failed", error=job.status)
            self.given_up.append(f"{batch.remote_id} {job.status}")
        return True

    async def _is_claimed(self, batch: Batch) -> bool:
        rows = await self.states.execute(
            "select 1 from ai.requests where tenant_id = %s and batch_id = %s"
            " and state = 'reserved' limit 1",
            [batch.tenant_id, batch.id],
        )
        return await rows.fetchone() is not None

    async def _may_leave(self, batch: Batch) -> bool:
        """Whether its tenant sends texts outside at this very moment."""
        rows = await self.states.execute(
            "select ai_outside_allowed and status = 'active' from app.tenants where id = %s",
            [batch.tenant_id],
        )
        return await rows.fetchone() == (True,)

    async def _set(self, batch: Batch, *, state: str, **values: str) -> None:
        """All at once: a state is never there without what belongs to it."""
        columns = "".join(f", {column} = %({column})s" for column in values)
        await self.states.execute(
            f"update ai.batches set state = %(state)s{columns}, finished_at ="  # noqa: S608  # ours
            " case when %(state)s in ('stored', 'failed') then now() end"
            " where (tenant_id, id) = (%(tenant_id)s, %(id)s)".encode(),
            {"state": state, "tenant_id": batch.tenant_id, "id": batch.id, **values},
        )

    async def _write(self, batch: Batch) -> Path:
        """The file of requests, for the owner's eyes, from the rows that claimed them."""
        folder = self.provider.folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{batch.tenant_id}-{batch.id}.jsonl"
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as lines:
            async with (
                self.states.transaction(),
                self.states.cursor(name="requests") as cursor,
            ):
                await cursor.execute(
                    "select conversation_id, transcript_sha256, sent_text from ai.requests"
                    " where tenant_id = %s and batch_id = %s and state = 'reserved'",
                    [batch.tenant_id, batch.id],
                )
                async for conversation_id, sha256, text in cursor:
                    request = {
                        "custom_id": _custom_id(conversation_id, sha256),
                        "method": "POST",
                        "url": "/v1/chat/completions",
                        "body": body(batch.model, self.provider.price.parameters, text),
                    }
                    lines.write(json.dumps(request, ensure_ascii=False) + "\n")
        return path

    async def _store(self, batch: Batch, file_id: str) -> None:
        """Keep the answers of a result file, some hundred a transaction."""
        async for lines in _in_parts(self.client.lines(file_id), PAGE):
            found = dict(filter(None, map(_result, lines)))
            rows = await self.states.execute(
                "select conversation_id, transcript_sha256, sent_text from ai.requests"
                " where tenant_id = %s and batch_id = %s and state = 'reserved'"
                " and conversation_id = any (%s)",
                [batch.tenant_id, batch.id, [int(custom_id.split("-")[0]) for custom_id in found]],
            )
            answered = []
            for conversation_id, sha256, text in await rows.fetchall():
                result = found.get(_custom_id(conversation_id, sha256))
                if result is not None:
                    ids = frozenset(map(int, MESSAGE_ID.findall(text or "")))
                    reply = result if isinstance(result, Reply) else judge(result, ids)
                    answered.append(Answered((batch.tenant_id, conversation_id, sha256), reply))
            if answered:
                await self.store.settle(answered)


def _custom_id(conversation_id: int, sha256: str) -> str:
    return f"{conversation_id}-{sha256[:16]}"


def _result(line: str) -> tuple[str, Any] | None:
    """A result line: its id with a completion, or with the failure; None when it says nothing."""
    try:
        found = json.loads(line)
        custom_id, response = found["custom_id"], found.get("response") or {}
        if not re.fullmatch(r"\d{1,18}-[0-9a-f]{16}", custom_id):
            return None
        status = response.get("status_code")
        if status == 200:
            return custom_id, response["body"]
        if status is None or status == 429 or status >= 500:
            return None  # not processed in time, or no fault of the text: due again
        return custom_id, Reply("failed", error=f"refused with {int(status)}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _by_tenant(page: list[Due]) -> list[list[Due]]:
    parts: dict[int, list[Due]] = {}
    for due in page:
        parts.setdefault(due.tenant_id, []).append(due)
    return list(parts.values())


async def _in_parts(lines: AsyncIterator[str], size: int) -> AsyncIterator[list[str]]:
    part: list[str] = []
    async for line in lines:
        if line.strip():
            part.append(line)
        if len(part) >= size:
            yield part
            part = []
    if part:
        yield part
