"""The batch interface: half the price, and a run killed at any step goes on there."""

import json
import os
import signal
import stat
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from ai_enrich import batches
from ai_enrich.client import Client
from tests.enrichment import Desk
from tests.openai_server import ids_of
from tests.test_outside import start, wait_until
from warehouse.errors import MiranteError


@pytest.fixture(autouse=True)
def _short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "FIRST_POLL", 0.02)
    monkeypatch.setattr(batches, "LONGEST_POLL", 0.05)


def states(desk: Desk) -> Counter[str]:
    return Counter(row[0] for row in desk.query("select state from ai.batches"))


def test_a_batch_a_tenant_at_half_the_price(desk: Desk) -> None:
    desk.fill("corpo", 30)
    desk.fill("vizinha", 20, start=100)
    desk.server.polls_until_done = 3
    report = desk.enrich(batch=True)
    assert (report.scored_outside, report.failed) == (50, 0)
    assert set(desk.server.answered.values()) == {1}
    assert desk.server.paths["/v1/chat/completions"] == 0
    assert states(desk) == {"stored": 2}
    # No file has lines of two tenants, none stays behind.
    assert len(desk.server.uploads) == 2
    for content in desk.server.uploads:
        asked = [json.loads(line) for line in content.decode().splitlines()]
        sides = {ids_of(one["body"])[0] >= 10000 for one in asked}
        assert len(sides) == 1
        assert {one["url"] for one in asked} == {"/v1/chat/completions"}
    assert desk.server.files == {}  # at the provider neither
    assert list(desk.folder.iterdir()) == []
    half = desk.costs()[1]
    desk.empty()
    desk.fill("corpo", 30)
    desk.fill("vizinha", 20, start=100)
    desk.enrich()
    # Markers of another length change a token here and there.
    assert half * 2 == pytest.approx(desk.costs()[1], rel=Decimal("0.01"))
    assert desk.enrich(batch=True).scored == 0


def test_scores_are_those_of_their_conversations(desk: Desk) -> None:
    """The provider answers in an order of its own."""
    desk.fill("corpo", 30)
    desk.enrich(batch=True)
    for conversation, lead_class, evidence in desk.query(
        "select conversation_id, lead_class, evidence_message_ids from ai.conversation_scores"
    ):
        assert lead_class == ("high" if conversation % 4 == 1 else "low")
        assert evidence == [conversation * 100, conversation * 100 + 1]


@pytest.mark.parametrize("step", ["upload", "submit", "look_up", "lines"])
def test_a_run_that_dies_at_a_step_goes_on_there(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Before the step's result is kept; the batch is started once, each answer paid once."""
    desk.fill("corpo", 10)
    whole = getattr(Client, step)

    async def dies(self: Client, argument: object) -> object:
        await whole(self, argument)
        raise SystemExit(9)

    def dies_at_once(self: Client, argument: object) -> object:
        raise SystemExit(9)

    monkeypatch.setattr(Client, step, dies_at_once if step == "lines" else dies)
    with pytest.raises(SystemExit):
        desk.enrich(batch=True)
    assert desk.statuses() == {}
    assert desk.open_claims() == 10
    # A run of the other kind leaves what a batch asks alone.
    assert desk.enrich().scored == 0
    monkeypatch.setattr(Client, step, whole)
    assert desk.enrich(batch=True).scored_outside == 10
    assert len(desk.server.batches) == 1
    assert desk.statuses() == {"ok": 10}
    assert desk.costs()[0] == 10
    assert states(desk) == {"stored": 1}


def test_killed_while_it_waits(desk: Desk) -> None:
    desk.fill("corpo", 40)
    desk.server.polls_until_done = 10**9
    run = start(desk, "batch")
    wait_until(lambda: states(desk) == {"submitted": 1})
    os.kill(run.pid, signal.SIGKILL)
    run.communicate(timeout=30)
    desk.fill("corpo", 5, start=100)
    desk.server.polls_until_done = 1
    assert desk.enrich(batch=True).scored_outside == 45
    assert set(desk.server.answered.values()) == {1}
    assert len(desk.server.batches) == 2


def test_only_one_run_waits_for_batches(desk: Desk) -> None:
    desk.fill("corpo", 4)
    desk.server.polls_until_done = 10**9
    run = start(desk, "batch")
    wait_until(lambda: states(desk) == {"submitted": 1})
    with pytest.raises(MiranteError, match="another `mirante enrich --batch` is running"):
        desk.enrich(batch=True)
    desk.server.polls_until_done = 1
    assert run.communicate(timeout=60)[0].strip() == "4"


def test_lines_that_failed_are_missing_or_not_ours(desk: Desk) -> None:
    desk.fill("corpo", 6)

    def trouble(number: int, body: dict[str, object]) -> str | None:
        return {100: "400", 200: "missing", 300: "refusal", 400: "cut at length"}.get(
            ids_of(body)[0]
        )

    desk.server.trouble = trouble
    report = desk.enrich(batch=True)
    assert (report.scored_outside, report.refused, report.failed) == (2, 1, 2)
    assert desk.open_claims() == 0
    desk.server.trouble = lambda number, body: None
    assert desk.enrich(batch=True).scored_outside == 1  # the missing one
    found = desk.query("select status from ai.conversation_scores where conversation_id = 2")
    assert found == [("ok",)]


def test_results_that_nobody_asked_for_change_nothing(desk: Desk) -> None:
    desk.fill("corpo", 2)
    desk.fill("vizinha", 1, start=50)
    whole = desk.server._finish

    def finish(batch: dict[str, object]) -> None:
        whole(batch)
        output = str(batch["output_file_id"])
        lines = desk.server.files[output].decode().splitlines()
        foreign = json.loads(lines[0]) | {"custom_id": "50-0123456789abcdef"}
        odd = [
            json.dumps(foreign), json.dumps(foreign | {"custom_id": "x'; drop"}), "null", "[1]",
            "{", '{"custom_id": 5}', "z" * 3_000_000, *lines,
        ]  # fmt: skip
        desk.server.files[output] = "\n".join([*odd, *lines]).encode()  # and everything twice

    desk.server._finish = finish  # type: ignore[method-assign]
    assert desk.enrich(slug="corpo", batch=True).scored_outside == 2
    assert desk.statuses() == {"ok": 2}
    assert desk.costs()[0] == 2


@pytest.mark.parametrize("end", ["expired", "cancelled", "failed"])
def test_a_batch_that_was_given_up_is_due_again(desk: Desk, end: str) -> None:
    desk.fill("corpo", 6)
    desk.server.batch_end = end
    desk.server.trouble = lambda number, body: "missing" if number > 2 else None
    with pytest.raises(MiranteError, match=f"batch_1 {end}; what it left is due again"):
        desk.enrich(batch=True)
    assert desk.statuses() == {"ok": 2}  # what was answered is kept
    desk.server.batch_end = "completed"
    desk.server.trouble = lambda number, body: None
    assert desk.enrich(batch=True).scored_outside == 4
    assert set(desk.server.answered.values()) == {1}


def test_switched_off_while_anothers_file_goes_up(desk: Desk) -> None:
    """Both tenants' batches wait; the second is switched off while the first one's is sent."""
    desk.fill("corpo", 3)
    desk.fill("vizinha", 3, start=1000)
    second = desk.tenants["vizinha"]
    assert second > desk.tenants["corpo"]  # the order in which they go
    off = "update app.tenants set ai_outside_allowed = false where id = %s"
    desk.server.on_upload = lambda: desk.execute(off, second)
    desk.enrich(batch=True)
    assert len(desk.server.uploads) == 1
    assert b"caso 1000" not in b"".join(desk.server.uploads)
    assert desk.statuses() == {"ok": 3}
    assert desk.statuses("local") == {"ok": 3}
    assert desk.open_claims() == 0


def test_a_batch_of_another_model_is_given_up(desk: Desk) -> None:
    from ai_enrich.provider import price_of

    desk.fill("corpo", 3)
    desk.server.polls_until_done = 10**9
    run = start(desk, "batch")
    wait_until(lambda: states(desk) == {"submitted": 1})
    os.kill(run.pid, signal.SIGKILL)
    run.communicate(timeout=30)
    desk.server.polls_until_done = 1
    report = desk.enrich(batch=True, model="gpt-4.1-mini", price=price_of("gpt-4.1-mini"))
    assert report.scored_outside == 3
    assert states(desk) == {"failed": 1, "stored": 1}
    assert desk.open_claims() == 0
    # The provider was asked to stop, and may bill what it did: so much counts towards the budget.
    assert desk.server.batches["batch_1"]["status"] == "cancelled"
    uncertain = desk.query("select model, uncertain_usd > 0 from ai.ledger order by 1")
    assert sorted(uncertain) == [("gpt-4.1-mini", False), ("gpt-4o-mini", True)]
    assert desk.server.files == {}  # nothing stays with the provider


def test_a_batch_that_is_not_there_any_more_is_given_up(desk: Desk) -> None:
    """After a key of another project, say: an end without a way out, unless it is let go."""
    desk.fill("corpo", 3)
    desk.server.polls_until_done = 10**9
    run = start(desk, "batch")
    wait_until(lambda: states(desk) == {"submitted": 1})
    os.kill(run.pid, signal.SIGKILL)
    run.communicate(timeout=30)
    desk.server.batches.clear()
    with pytest.raises(MiranteError, match="batch_1: batch refused with 404"):
        desk.enrich(batch=True)
    assert states(desk) == {"failed": 1}
    assert desk.open_claims() == 0
    assert desk.query("select 1 from ai.ledger where uncertain_usd > 0") == [(1,)]
    desk.server.polls_until_done = 1
    assert desk.enrich(batch=True).scored_outside == 3
    assert desk.server.files == {}


def test_a_batch_of_a_tenant_that_sends_nothing_any_more_is_left(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(self: Client, argument: object) -> object:
        raise SystemExit(9)

    desk.fill("corpo", 3)
    whole = Client.upload
    monkeypatch.setattr(Client, "upload", dies)
    with pytest.raises(SystemExit):
        desk.enrich(batch=True)
    monkeypatch.setattr(Client, "upload", whole)
    desk.execute("update app.tenants set ai_outside_allowed = false")
    report = desk.enrich(batch=True)
    assert (report.scored_outside, report.scored) == (0, 3)
    assert sum(desk.server.paths.values()) == 0
    assert desk.open_claims() == 0


def test_the_file_is_the_owners_alone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.fill("corpo", 3)
    modes = []
    whole = Client.upload

    async def upload(self: Client, path: Path) -> str:
        modes.append((stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)))
        return await whole(self, path)

    monkeypatch.setattr(Client, "upload", upload)
    folder = desk.folder / "batches"
    assert desk.enrich(batch=True, folder=folder).scored == 3
    assert modes == [(0o600, 0o700)]
    assert list(folder.iterdir()) == []


def test_a_batch_stays_within_the_budget(desk: Desk) -> None:
    desk.fill("corpo", 60)
    desk.execute("update app.tenants set ai_budget_usd = 0.01")
    report = desk.enrich(batch=True)
    assert 0 < report.scored_outside < 60
    assert report.scored == 60  # the local model scored the rest
    assert desk.costs()[1] <= Decimal("0.01")
