"""A real HTTP server that speaks OpenAI's protocol: models, chat, responses, files, batches.

What it answers is decided by `Plan`, per request; everything it was sent is kept. Run it in this
process with `running()`, or by itself for benchmarks: `python -m tests.openai_server PORT`.
"""

import asyncio
import json
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

KEY = "sk-test-0123456789abcdef"
LINE = re.compile(r"^\[(\d+)\] (contact|agent|bot): ", re.MULTILINE)

Answer = dict[str, Any]
# What a chat request gets: a kind of trouble, by its name, or None for a good answer.
Trouble = Callable[[int, dict[str, Any]], str | None]


@dataclass
class Server:
    """The server's state: what it was asked, and what it is to answer."""

    latency: float = 0.0
    trouble: Trouble = lambda number, body: None
    models: tuple[str, ...] = ("gpt-4o-mini",)
    max_in_flight: int = 0
    keep: bool = True

    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    paths: Counter[str] = field(default_factory=Counter)
    answered: Counter[int] = field(default_factory=Counter)  # good answers by first message id
    in_flight: int = 0
    numbers: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    made_files: int = 0
    uploads: list[bytes] = field(default_factory=list)
    on_upload: Callable[[], None] = lambda: None
    polls_until_done: int = 1
    batch_end: str = "completed"
    base_url: str = ""

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/responses", self._responses, methods=["POST"]),
                Route("/v1/files", self._upload, methods=["POST"]),
                Route("/v1/files/{id}/content", self._content),
                Route("/v1/batches", self._list_batches, methods=["GET"]),
                Route("/v1/batches", self._create_batch, methods=["POST"]),
                Route("/v1/batches/{id}", self._batch),
                Route("/v1/batches/{id}/cancel", self._cancel, methods=["POST"]),
                Route("/v1/files/{id}", self._delete, methods=["DELETE"]),
            ]
        )

    def _refusal(self, request: Request) -> Response | None:
        self.paths[request.url.path] += 1
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return error(401, "invalid_api_key", f"Incorrect API key: {KEY[:8]}***")
        return None

    async def _models(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        data = [{"id": model, "object": "model", "created": 1, "owned_by": "test"}
                for model in self.models]  # fmt: skip
        return JSONResponse({"object": "list", "data": data})

    async def _chat(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        body = await request.json()
        self.numbers += 1
        number = self.numbers
        if self.keep:
            self.bodies.append(body)
            self.headers.append(dict(request.headers))
            self.times.append(time.monotonic())
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            if self.latency:
                await asyncio.sleep(self.latency)
            if body["model"] not in self.models:
                return error(404, "model_not_found", "no such model")
            trouble = self.trouble(number, body)
            if trouble is None or trouble in COMPLETIONS:
                completion = complete(body, trouble)
                if trouble is None:
                    self.answered[ids_of(body)[0]] += 1
                return JSONResponse(completion)
            return await misbehave(trouble)
        finally:
            self.in_flight -= 1

    async def _responses(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        body = await request.json()
        text = json.dumps(classify(str(body.get("input", ""))))
        content = [{"type": "output_text", "text": text, "annotations": []}]
        message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                   "content": content}  # fmt: skip
        return JSONResponse(
            {"id": "resp_1", "object": "response", "created_at": 1, "model": body["model"],
             "status": "completed", "output": [message], "parallel_tool_calls": False,
             "tool_choice": "none", "tools": []}
        )  # fmt: skip

    async def _upload(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        async with request.form() as form:
            content = await form["file"].read()  # type: ignore[union-attr]
        id_ = self._file_id()
        self.files[id_] = content
        self.uploads.append(content)
        self.on_upload()
        return JSONResponse(
            {"id": id_, "object": "file", "bytes": len(content), "created_at": 1,
             "filename": "x.jsonl", "purpose": "batch", "status": "processed"}
        )  # fmt: skip

    async def _content(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        return PlainTextResponse(self.files[request.path_params["id"]])

    async def _list_batches(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        return JSONResponse(
            {"object": "list", "data": list(self.batches.values()), "has_more": False}
        )

    async def _create_batch(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        body = await request.json()
        id_ = f"batch_{len(self.batches) + 1}"
        self.batches[id_] = {
            "id": id_, "object": "batch", "created_at": 1, "status": "in_progress",
            "endpoint": body["endpoint"], "input_file_id": body["input_file_id"],
            "completion_window": "24h", "polls": 0,
        }  # fmt: skip
        return JSONResponse(self.batches[id_])

    async def _cancel(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        batch = self.batches[request.path_params["id"]]
        batch["status"] = "cancelled"
        return JSONResponse(batch)

    async def _delete(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        id_ = request.path_params["id"]
        if self.files.pop(id_, None) is None:
            return error(404, "not_found")
        return JSONResponse({"id": id_, "object": "file", "deleted": True})

    async def _batch(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        batch = self.batches.get(request.path_params["id"])
        if batch is None:
            return error(404, "not_found")
        batch["polls"] += 1
        if batch["polls"] >= self.polls_until_done and "output_file_id" not in batch:
            self._finish(batch)
        return JSONResponse(batch)

    def _file_id(self) -> str:
        self.made_files += 1
        return f"file-{self.made_files}"

    def _finish(self, batch: dict[str, Any]) -> None:
        """Answer every line in reverse order; troubles become lines of the error file."""
        good, bad = [], []
        lines = self.files[batch["input_file_id"]].decode().splitlines()
        for line in reversed(lines):
            request = json.loads(line)
            self.numbers += 1
            trouble = self.trouble(self.numbers, request["body"])
            if trouble == "missing":
                continue
            status = 400 if trouble == "400" else 200
            result = {"id": f"r{self.numbers}", "custom_id": request["custom_id"], "error": None}
            body = {"error": {}} if status == 400 else complete(request["body"], trouble)
            result["response"] = {"status_code": status, "request_id": "1", "body": body}
            if trouble is None:
                self.answered[ids_of(request["body"])[0]] += 1
            (good if status == 200 else bad).append(json.dumps(result))
        batch["status"] = self.batch_end
        for name, found in (("output_file_id", good), ("error_file_id", bad)):
            if found:
                batch[name] = self._file_id()
                self.files[batch[name]] = "\n".join(found).encode()


def error(
    status: int, code: str, message: str = "trouble", headers: dict[str, str] | None = None
) -> Response:
    """An error in OpenAI's form."""
    content = {"error": {"message": message, "type": code, "param": None, "code": code}}
    return JSONResponse(content, status_code=status, headers=headers)


async def misbehave(trouble: str) -> Response:
    """What a server in trouble does. 429:N asks to wait N seconds."""
    kind, _, value = trouble.partition(":")
    if kind == "429":
        return error(429, "rate_limit_exceeded", headers={"retry-after": value or "1"})
    if kind == "quota":
        return error(429, "insufficient_quota")
    if kind in ("400", "500", "502", "503"):
        return error(int(kind), "server_error", f"secret {KEY}")
    if kind == "cut":  # half an answer, then the connection goes

        async def half() -> AsyncIterator[bytes]:
            yield b'{"id": "x", "choices": ['
            raise ConnectionResetError

        return StreamingResponse(half(), headers={"content-length": "5000"})
    if kind == "slow":  # a byte now and then, for ever

        async def drip() -> AsyncIterator[bytes]:
            while True:
                yield b" "
                await asyncio.sleep(0.05)

        return StreamingResponse(drip(), media_type="application/json")
    if kind == "hang":
        await asyncio.sleep(3600)
    if kind == "enormous":

        async def flood() -> AsyncIterator[bytes]:
            for _ in range(5000):
                yield b" " * 10_000

        return StreamingResponse(flood(), media_type="application/json")
    if kind == "html":
        return PlainTextResponse("<html>proxy</html>", media_type="text/html")
    if kind == "half":
        return PlainTextResponse('{"choices": [', media_type="application/json")
    raise AssertionError(trouble)


def ids_of(body: dict[str, Any]) -> list[int]:
    """The message ids of a chat request."""
    return [int(id_) for id_, _ in LINE.findall(body["messages"][-1]["content"])]


def classify(text: str) -> Answer:
    """A score that follows from the text, so that tests can tell whose it is."""
    ids = [int(id_) for id_, _ in LINE.findall(text)]
    wants = "quero" in text.lower()
    return {
        "sentiment": "neutral",
        "intent": "purchase" if wants else "information",
        "lead_class": "high" if wants else "low",
        "lead_score": 80 if wants else 10,
        "visit_scheduled": False,
        "summary": "Resumo.",
        "next_step": "Responder.",
        "objections": ["preço"],
        "evidence_message_ids": ids[:2],
    }


# Answers of status 200 that are not as asked for.
COMPLETIONS: dict[str, Callable[[Answer], Any]] = {
    "wrong ids": lambda answer: answer | {"evidence_message_ids": [999_999_999, -1]},
    "wrong enum": lambda answer: answer | {"lead_class": "altíssimo"},
    "wrong number": lambda answer: answer | {"lead_score": 1000},
    "extra": lambda answer: answer | {"tool": "rm"},
    "odd key": lambda answer: answer | {"a\x00b": 1, "Ana, 11 98765-4321": 2},
    "odd letters": lambda answer: (
        answer | {"summary": "a\x00b\x85c\x1b[31m" + "x" * 50_000, "objections": ["y" * 900] * 90}
    ),
    "half a letter": lambda answer: answer | {"summary": "\ud800"},
    "no json": lambda answer: "Claro! O lead é alto.",
    "cut at length": lambda answer: json.dumps(answer)[:40],
    "refusal": lambda answer: None,
    "filter": lambda answer: None,
    "no choice": lambda answer: None,
    "no usage": lambda answer: answer,
}


def complete(body: dict[str, Any], trouble: str | None) -> dict[str, Any]:
    """A chat completion for the request."""
    user = body["messages"][-1]["content"]
    answer: Any = classify(user)
    if trouble:
        answer = COMPLETIONS[trouble](answer)
    content = answer if answer is None or isinstance(answer, str) else json.dumps(answer)
    finish = {"cut at length": "length", "filter": "content_filter"}.get(trouble or "", "stop")
    message = {
        "role": "assistant", "content": content,
        "refusal": "I cannot." if trouble == "refusal" else None,
    }  # fmt: skip
    choice = {"index": 0, "finish_reason": finish, "message": message, "logprobs": None}
    prompt = sum(len(part["content"]) for part in body["messages"]) // 4
    usage = {
        "prompt_tokens": prompt, "completion_tokens": 100, "total_tokens": prompt + 100,
        "prompt_tokens_details": {"cached_tokens": prompt // 2},
    }  # fmt: skip
    completion = {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"],
        "choices": [] if trouble == "no choice" else [choice], "usage": usage,
    }  # fmt: skip
    if trouble == "no usage":
        del completion["usage"]
    return completion


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Serve on a free port in a thread of this process."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        config = uvicorn.Config(
            server.app(), log_level="critical", lifespan="off", timeout_graceful_shutdown=1
        )
        running_server = uvicorn.Server(config)
        thread = threading.Thread(target=running_server.run, args=([listener],), daemon=True)
        thread.start()
        deadline = time.monotonic() + 20
        while not running_server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        try:
            yield server
        finally:
            running_server.should_exit = True
            thread.join(20)


if __name__ == "__main__":
    port, latency = int(sys.argv[1]), float(sys.argv[2])
    uvicorn.run(
        Server(latency=latency, keep=False).app(), host="127.0.0.1", port=port,
        log_level="critical", lifespan="off",
    )  # fmt: skip
