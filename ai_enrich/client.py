"""OpenAI, or any server that speaks its protocol: asked at a pace that it bears."""

import asyncio
import contextlib
import itertools
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import httpx2
import openai
from openai import AsyncOpenAI
from openai.types import Batch

from ai_enrich.prompt import ANSWER_TOKENS, Question, Reply, body, read
from ai_enrich.provider import Provider
from warehouse.errors import MiranteError, UsageError

log = logging.getLogger(__name__)

ATTEMPTS = 5
# A server may ask for a pause of minutes: the run would rather come back later.
LONGEST_PAUSE = 30.0
ANSWER_BYTES = 262_144
# A pool looks at each of its idle connections for every request: small pools are cheaper.
CONNECTIONS = 16
BATCH_LINE_BYTES = 2 * ANSWER_BYTES
# Of these another conversation would fare no better.
HOPELESS = {401, 403, 404}
OUT_OF_CREDIT = {"insufficient_quota", "billing_hard_limit_reached"}

# At DEBUG the SDK logs what is sent.
for name in ("openai", "httpx2", "httpcore2", "httpx", "httpcore"):
    logging.getLogger(name).setLevel(logging.WARNING)


class Pace:
    """How many requests are in flight, and how many leave a minute.

    The number in flight doubles a round trip until the server refuses, is halved then, and grows
    by one a round trip from there (additive increase, multiplicative decrease).
    """

    def __init__(
        self,
        most: int,
        requests_per_minute: float,
        tokens_per_minute: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Never more than `most` at once."""
        self.limit = float(min(8, most))
        self.in_flight = 0
        self._most = most
        self._is_starting = True
        self._seconds_per_request = 60 / requests_per_minute
        self._seconds_per_token = 60 / tokens_per_minute
        self._clock = clock
        self._request_at = self._token_at = self._paused_until = self._halved_at = clock() - 1
        self._freed = asyncio.Condition()

    @asynccontextmanager
    async def slot(self, tokens: int) -> AsyncIterator[float]:
        """Wait until a request of so many tokens may leave; yields the moment it does."""
        async with self._freed:
            await self._freed.wait_for(lambda: self.in_flight < int(self.limit))
            self.in_flight += 1
        try:
            await self._wait_for_turn(tokens)
            yield self._clock()
        finally:
            self.in_flight -= 1
            async with self._freed:
                self._freed.notify(max(1, int(self.limit) - self.in_flight))

    async def _wait_for_turn(self, tokens: int) -> None:
        now = self._clock()
        # A second's worth may leave at once.
        self._request_at = max(self._request_at, now - 1) + self._seconds_per_request
        self._token_at = max(self._token_at, now - 1) + tokens * self._seconds_per_token
        turn = max(self._request_at, self._token_at)
        while (wait := max(turn, self._paused_until) - self._clock()) > 0:
            await asyncio.sleep(wait)

    def used(self, estimated: int, actual: int) -> None:
        """Give back the tokens that were counted and not used."""
        self._token_at -= (estimated - actual) * self._seconds_per_token

    def succeeded(self) -> None:
        """An answer came: more may be in flight."""
        self.limit = min(self._most, self.limit + (1 if self._is_starting else 1 / self.limit))

    def congested(self, sent_at: float, pause: float = 0.0) -> None:
        """The server had too much: half as many, after a pause. Once for what left together."""
        now = self._clock()
        self._paused_until = max(self._paused_until, now + pause)
        if sent_at >= self._halved_at:
            self._halved_at = now
            self._is_starting = False
            self.limit = max(1.0, self.limit / 2)


class Client:
    """Questions in, replies out. Use as an async context manager."""

    def __init__(self, provider: Provider) -> None:
        """Connects with the first question."""
        self.provider = provider
        self.pace = Pace(
            provider.concurrency, provider.requests_per_minute, provider.tokens_per_minute
        )
        self._sdks = [
            AsyncOpenAI(
                api_key=provider.api_key.get_secret_value(),
                base_url=provider.base_url,
                max_retries=0,  # ours caps retry-after, which the SDK obeys in full
                timeout=provider.timeout_seconds,
            )
            for _ in range(-(-provider.concurrency // CONNECTIONS))
        ]
        self._sdk = self._sdks[0]
        self._turns = itertools.cycle(self._sdks)

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for sdk in self._sdks:
            await sdk.close()

    async def ask(
        self,
        question: Question,
        may_pay_again: Callable[[], Awaitable[bool]],
        may_leave: Callable[[], bool] = lambda: True,
    ) -> Reply:
        """The reply to a question, after up to five attempts.

        An attempt whose answer never came may be billed, so before another one `may_pay_again`
        is awaited; it says whether the budget bears it. `may_leave` is asked right before each
        attempt: whether the text may still go outside. Raises NeverSentError where it may not and
        never did, MiranteError when the server refuses the key, the model or the account: nothing
        else would fare better.
        """
        tokens = question.input_tokens + ANSWER_TOKENS
        error = ""
        lost = 0
        for attempt in range(1, ATTEMPTS + 1):
            pause = random.uniform(0.5, 1) * min(LONGEST_PAUSE, 0.5 * 2**attempt)  # noqa: S311
            async with self.pace.slot(tokens) as sent_at:
                if not may_leave():
                    if lost:
                        return Reply("failed", error="sends nothing outside", lost=lost)
                    raise NeverSentError
                try:
                    async with asyncio.timeout(self.provider.timeout_seconds):
                        raw = await self._complete(question)
                    self.pace.succeeded()
                    reply = read(raw, question.message_ids)
                    if reply.usage:
                        actual = reply.usage.prompt_tokens + reply.usage.completion_tokens
                        self.pace.used(tokens, actual)
                    return replace(reply, lost=lost)
                except openai.APIStatusError as refusal:
                    error = self._judge(refusal)
                    if refusal.status_code < 500 and refusal.status_code not in (408, 409, 429):
                        return Reply("failed", error=error, lost=lost)
                    if refusal.status_code in (429, 503):
                        pause = _retry_after(refusal, pause)
                        self.pace.congested(sent_at, pause)
                    is_paid = False
                except _TooLongError:
                    return Reply(
                        "failed", error="answer is longer than any score", is_billed=True, lost=lost
                    )
                except (TimeoutError, openai.APITimeoutError, httpx2.TimeoutException):
                    error, is_paid = "no answer in time", True
                    self.pace.congested(sent_at)
                except (openai.APIConnectionError, httpx2.HTTPError) as broken:
                    # Nothing was sent where nobody listens.
                    is_paid = not isinstance(
                        broken.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout
                    )
                    error = "connection lost" if is_paid else "cannot connect"
                    self.pace.congested(sent_at)
            lost += is_paid
            log.info("openai: attempt %s of %s: %s", attempt, ATTEMPTS, error)
            if attempt < ATTEMPTS:
                await asyncio.sleep(pause)
                if is_paid and not await may_pay_again():
                    break
        return Reply("failed", error=error, lost=lost)

    async def _complete(self, question: Question) -> bytes:
        """The raw answer; its length is bounded, and the time of all of it by the caller."""
        request = body(self.provider.model, self.provider.price.parameters, question.text)
        completions = next(self._turns).chat.completions.with_streaming_response
        # As extra_body, for the SDK walks through everything else type by type: docs/decisions.md.
        async with completions.create(
            model=self.provider.model, messages=[], extra_body=request
        ) as response:
            received = bytearray()
            async for chunk in response.iter_bytes():
                received += chunk
                if len(received) > ANSWER_BYTES:
                    raise _TooLongError
            return bytes(received)

    def _judge(self, refusal: openai.APIStatusError) -> str:
        """What a status says, without the server's text. Raises MiranteError on a hopeless one."""
        status = refusal.status_code
        code = refusal.code if isinstance(refusal.code, str) else None
        reason = f"{status} {code}" if code and code.replace("_", "").isalnum() else str(status)
        if status in HOPELESS or code in OUT_OF_CREDIT:
            raise UsageError(self._advice(status, reason)) from None
        return f"refused with {reason}"

    def _advice(self, status: int, reason: str) -> str:
        where = f"{self.provider.base_url} answered {reason}"
        if status == 401 or status == 403:
            return f"MIRANTE_OPENAI_API_KEY is refused: {where}; give another key, or none"
        if status == 404:
            return (
                f"MIRANTE_OPENAI_MODEL {self.provider.model!r} or MIRANTE_OPENAI_BASE_URL is wrong:"
                f" {where}"
            )
        return f"the account of MIRANTE_OPENAI_API_KEY is out of credit: {where}"

    # The batch interface. Any refusal ends the run; the next one goes on from the same step.

    async def upload(self, path: Path) -> str:
        """Send a file of requests; its id there."""
        with self._explained("upload"), path.open("rb") as lines:
            return (await self._sdk.files.create(file=lines, purpose="batch")).id

    async def submit(self, file_id: str) -> str:
        """Start the job of an uploaded file, or find the one that was started; the job's id."""
        with self._explained("batch"):
            async for batch in self._sdk.batches.list(limit=100):
                if batch.input_file_id == file_id:
                    return batch.id
            batch = await self._sdk.batches.create(
                input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h"
            )
            return batch.id

    async def look_up(self, batch_id: str) -> Batch:
        """How the job is."""
        with self._explained("batch"):
            return await self._sdk.batches.retrieve(batch_id)

    async def cancel(self, batch_id: str) -> None:
        """Ask for the end of a job; one that is over, or not there, is no error."""
        with contextlib.suppress(openai.OpenAIError, httpx2.HTTPError):
            await self._sdk.batches.cancel(batch_id)

    async def delete_files(self, *file_ids: str | None) -> None:
        """Take files away from the provider, as far as it lets us."""
        for file_id in filter(None, file_ids):
            with contextlib.suppress(openai.OpenAIError, httpx2.HTTPError):
                await self._sdk.files.delete(file_id)

    async def lines(self, file_id: str) -> AsyncIterator[str]:
        """The lines of a result file, one at a time; an overlong one comes empty."""
        with self._explained("download"):
            async with self._sdk.files.with_streaming_response.content(file_id) as response:
                pending = bytearray()
                async for chunk in response.iter_bytes():
                    *whole, rest = chunk.split(b"\n")
                    for part in whole:
                        pending += part
                        yield (
                            pending.decode(errors="replace")
                            if len(pending) <= BATCH_LINE_BYTES
                            else ""
                        )
                        pending.clear()
                    if len(pending) <= BATCH_LINE_BYTES:  # what is beyond is not kept
                        pending += rest
                if pending and len(pending) <= BATCH_LINE_BYTES:
                    yield pending.decode(errors="replace")

    def _explained(self, what: str) -> "_Explained":
        return _Explained(self, what)


class NeverSentError(Exception):
    """A question that no longer may leave, and of which no answer may be billed."""


class BatchGoneError(MiranteError):
    """What a step of a batch needs the provider does not take or does not have: it never will."""


class _TooLongError(Exception):
    """An answer beyond the bound."""


class _Explained:
    """Turns the SDK's errors into one line without the server's text."""

    def __init__(self, client: Client, what: str) -> None:
        self._client = client
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        way_out = "; `mirante enrich --batch` goes on from here"
        if isinstance(error, openai.APIStatusError) and error.status_code in (400, 404, 413):
            raise BatchGoneError(f"{self._what} refused with {error.status_code}") from None
        if isinstance(error, openai.APIStatusError):
            reason = self._client._judge(error)
            raise MiranteError(f"openai {self._what}: {reason}{way_out}") from None
        if isinstance(error, openai.OpenAIError | httpx2.HTTPError):
            raise MiranteError(
                f"openai {self._what}: {self._client.provider.base_url} gave no answer"
                f" ({type(error).__name__}){way_out}"
            ) from None


def _retry_after(refusal: openai.APIStatusError, default: float) -> float:
    """Seconds the server asks to wait, 30 at most."""
    headers = refusal.response.headers
    for name, scale in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers[name]) / scale
        except (KeyError, ValueError):
            continue
        if seconds >= 0:
            return min(LONGEST_PAUSE, max(seconds, 0.05))
    return default
