"""The provider outside: the real SDK against a real server, and PostgreSQL for the money."""

import hashlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from ai_enrich import client as outside
from ai_enrich.client import Pace
from ai_enrich.local import FAST_MODEL
from ai_enrich.prompt import PROMPT_VERSION, SYSTEM, Answer, schema
from ai_enrich.provider import Provider, price_of
from ai_enrich.run import DUE_OUTSIDE, _count, _outside, enrich
from tests.conftest import Pipeline
from tests.enrichment import Desk
from tests.openai_server import KEY, ids_of
from tests.test_cli import assert_one_line, mirante
from warehouse.errors import MiranteError, UsageError
from warehouse.settings import PROJECT_ROOT, Settings


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of the real length would only make the tests long."""
    monkeypatch.setattr(outside, "LONGEST_PAUSE", 0.2)


def test_every_conversation_is_scored_once_and_the_money_adds_up(desk: Desk) -> None:
    desk.fill("corpo", 40)
    desk.fill("vizinha", 25, start=100)
    report = desk.enrich()
    assert (report.scored, report.scored_outside, report.failed) == (65, 65, 0)
    assert desk.server.numbers == 65
    assert set(desk.server.answered.values()) == {1}
    assert desk.statuses() == {"ok": 65}
    assert desk.open_claims() == 0
    # What the server counted, by the file of prices.
    usage = [len("".join(m["content"] for m in body["messages"])) // 4
             for body in desk.server.bodies]  # fmt: skip
    expected = sum(
        ((n - n // 2) * Decimal("0.15") + n // 2 * Decimal("0.075") + 100 * Decimal("0.6")) / 10**6
        for n in usage
    )
    requests, cost, uncertain = desk.costs()
    assert (requests, uncertain) == (65, 0)
    assert cost == pytest.approx(expected)
    assert report.cost_usd == cost
    stored = desk.query("select sum(cost_usd) from ai.conversation_scores")[0][0]
    assert stored == pytest.approx(cost, abs=Decimal("0.0001"))
    by_tenant = dict(desk.query("select tenant_id, requests from ai.ledger"))
    assert by_tenant == {desk.tenants["corpo"]: 40, desk.tenants["vizinha"]: 25}


def test_a_score_is_of_its_own_conversation(desk: Desk) -> None:
    desk.fill("corpo", 30)
    desk.enrich()
    for conversation, lead_class, evidence in desk.query(
        "select conversation_id, lead_class, evidence_message_ids from ai.conversation_scores"
    ):
        assert lead_class == ("high" if conversation % 4 == 1 else "low")
        assert evidence == [conversation * 100, conversation * 100 + 1]


def test_a_request_is_static_first_and_asks_for_the_one_type(desk: Desk) -> None:
    desk.fill("corpo", 5)
    desk.enrich()
    firsts = {json.dumps({**body, "messages": body["messages"][:1]}) for body in desk.server.bodies}
    assert len(firsts) == 1  # all but the last message is the same: a cache serves it
    for body in desk.server.bodies:
        assert list(body)[:2] == ["messages", "model"] or list(body)[:2] == ["model", "messages"]
        assert [message["role"] for message in body["messages"]] == ["system", "user"]
        form = body["response_format"]["json_schema"]
        assert form["strict"] is True
        assert form["schema"] == schema()
        assert form["schema"]["required"] == list(Answer.model_fields)
        assert form["schema"]["additionalProperties"] is False
        assert body["store"] is False
        assert "tools" not in body
    assert len({body["messages"][1]["content"][:32] for body in desk.server.bodies}) == 5


def test_the_prompt_of_this_version_is_known() -> None:
    """Who changes the prompt decides whether everything is scored again: raise PROMPT_VERSION."""
    text = SYSTEM + json.dumps(schema(), sort_keys=True)
    known = {"1": "5cdae3c92a29eafc"}
    assert known[PROMPT_VERSION] == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_second_run_asks_nothing_and_a_new_text_once(desk: Desk) -> None:
    desk.fill("corpo", 10)
    assert desk.enrich().scored == 10
    assert desk.enrich().scored == 0
    assert desk.server.numbers == 10
    desk.write("corpo", 3, ["contact: mudei de ideia, quero sim"])
    assert desk.enrich().scored == 1
    assert desk.server.numbers == 11
    desk.server.models = ("gpt-4.1-mini",)
    assert desk.enrich(model="gpt-4.1-mini", price=price_of("gpt-4.1-mini")).scored == 10
    assert desk.enrich().scored == 0  # the first model's scores are still there


def test_a_conversation_is_left_alone_until_it_is_quiet(desk: Desk) -> None:
    desk.write("corpo", 1, ["contact: oi"], minutes_ago=5)
    desk.write("corpo", 2, ["contact: oi"], minutes_ago=40)
    provider = desk.provider()
    assert enrich(desk.owner, provider=provider, quiet_minutes=30).scored == 1
    assert desk.server.answered == {200: 1}
    assert enrich(desk.owner, provider=provider, quiet_minutes=3).scored == 1


def test_one_tenant_alone(desk: Desk) -> None:
    desk.fill("corpo", 4)
    desk.fill("vizinha", 4, start=100)
    assert desk.enrich(slug="vizinha").scored == 4
    assert {id_ // 100 for id_ in desk.server.answered} == {100, 101, 102, 103}
    with pytest.raises(UsageError, match="'ninguem' does not exist"):
        desk.enrich(slug="ninguem")


@pytest.mark.parametrize(
    ("trouble", "status", "error"),
    [
        ("refusal", "refused", "refused by the model"),
        ("filter", "refused", "refused by the model"),
        ("cut at length", "failed", "cut at its length"),
        ("no json", "failed", "does not fit: no JSON"),
        ("wrong enum", "failed", "does not fit: lead_class"),
        ("wrong number", "failed", "does not fit: lead_score"),
        ("extra", "failed", "does not fit: a field too many"),
        ("odd key", "failed", "does not fit: a field too many"),
        ("half a letter", "failed", "does not fit"),
        ("no choice", "failed", "no choice"),
        ("html", "failed", "not JSON"),
        ("half", "failed", "not JSON"),
        ("enormous", "failed", "longer than any score"),
        ("400", "failed", "refused with 400 server_error"),
    ],
)
def test_an_answer_that_is_no_score_is_a_state(
    desk: Desk, trouble: str, status: str, error: str
) -> None:
    """Asked once, kept with its reason and cost, and not asked again in the next run."""
    desk.fill("corpo", 3)
    desk.server.trouble = lambda number, body: trouble if ids_of(body)[0] == 200 else None
    report = desk.enrich()
    assert report.scored == 2
    found = desk.query(
        "select status, error, sentiment, cost_usd > 0 from ai.conversation_scores"
        " where conversation_id = 2"
    )
    assert [(row[0], row[2]) for row in found] == [(status, None)]
    assert error in found[0][1]
    assert found[0][3] is (trouble != "400")  # an answer is paid, a refused request is not
    assert desk.server.numbers == 3
    desk.enrich()
    assert desk.server.numbers == 3
    # An hour later a failure is tried again, a refusal is not.
    desk.server.trouble = lambda number, body: None
    desk.execute("update ai.requests set settled_at = settled_at - interval '61 minutes'")
    assert desk.enrich().scored == (1 if status == "failed" else 0)


def test_a_failure_is_tried_three_times_and_a_new_text_again(desk: Desk) -> None:
    desk.fill("corpo", 1)
    desk.server.trouble = lambda number, body: "no json"
    for _ in range(6):
        desk.enrich()
        desk.execute("update ai.requests set settled_at = settled_at - interval '5 hours'")
    assert desk.server.numbers == 3
    paid = desk.query("select cost_usd from ai.conversation_scores")[0][0]
    assert paid == pytest.approx(desk.costs()[1], abs=Decimal("0.00001"))
    desk.server.trouble = lambda number, body: None
    desk.write("corpo", 1, ["contact: outra coisa"])
    assert desk.enrich().scored == 1


def test_odd_answers_are_cut_and_cleaned(desk: Desk) -> None:
    desk.fill("corpo", 2)
    desk.server.trouble = lambda number, body: (
        "odd letters" if ids_of(body)[0] == 100 else "wrong ids"
    )
    assert desk.enrich().scored == 2
    rows = dict(
        desk.query(
            "select conversation_id, array[summary, array_to_string(objections, '|'),"
            " array_to_string(evidence_message_ids, ',')] from ai.conversation_scores"
        )
    )
    assert rows[1][0].startswith("abc[31mxxx")
    assert len(rows[1][0]) == 600
    assert len(rows[1][1]) < 700
    assert rows[2][2] == ""  # ids that the conversation does not have


def test_an_answer_without_a_count_costs_its_reservation(desk: Desk) -> None:
    desk.fill("corpo", 1)
    desk.server.trouble = lambda number, body: "no usage"
    desk.enrich()
    reserved = desk.query("select reserved_usd from ai.requests")[0][0]
    assert desk.costs()[1] == reserved > 0


@pytest.mark.parametrize(
    ("trouble", "is_uncertain"),
    [("500", False), ("503", False), ("429:0.1", False), ("cut", True), ("slow", True)],
)
def test_trouble_that_passes_is_waited_for(desk: Desk, trouble: str, is_uncertain: bool) -> None:
    desk.fill("corpo", 12)
    desk.server.trouble = lambda number, body: trouble if number <= 6 else None
    report = desk.enrich(timeout_seconds=1.0)
    assert (report.scored, report.failed) == (12, 0)
    assert desk.server.numbers == 18
    # What may have been billed without an answer counts towards the budget.
    assert (desk.costs()[2] > 0) is is_uncertain


def test_a_long_retry_after_is_capped(desk: Desk) -> None:
    desk.fill("corpo", 10)
    desk.server.trouble = lambda number, body: "429:3600" if number <= 5 else None
    started = time.monotonic()
    assert desk.enrich().scored == 10
    assert time.monotonic() - started < 20
    pause = desk.server.times[-1] - desk.server.times[0]
    assert pause >= 0.2  # and obeyed up to there


def test_the_server_is_asked_as_much_as_it_bears(desk: Desk) -> None:
    """More than four at once are refused: the number in flight finds that, and all is scored."""
    desk.fill("corpo", 120)
    desk.server.latency = 0.02
    desk.server.trouble = lambda number, body: "429:0.05" if desk.server.in_flight > 4 else None
    assert desk.enrich(concurrency=64).scored == 120
    refused = desk.server.numbers - 120
    assert refused < 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"api_key": "sk-errada"}, "MIRANTE_OPENAI_API_KEY is refused: .* answered 401"),
        ({"model": "gpt-5-nano"}, "MIRANTE_OPENAI_MODEL 'gpt-5-nano' or MIRANTE_OPENAI_BASE_URL"),
        ({"quota": True}, "out of credit: .* answered 429 insufficient_quota"),
    ],
)
def test_what_no_conversation_could_pass_ends_the_run(
    desk: Desk, change: dict[str, object], message: str
) -> None:
    """After the few that were in flight; nothing is booked, nothing stays claimed."""
    from pydantic import SecretStr

    desk.fill("corpo", 60)
    if change.pop("quota", None):
        desk.server.trouble = lambda number, body: "quota"
    if "api_key" in change:
        change["api_key"] = SecretStr(str(change["api_key"]))
    with pytest.raises(UsageError, match=message) as caught:
        desk.enrich(**change)
    assert "\n" not in str(caught.value)
    assert sum(desk.server.paths.values()) <= 16
    assert desk.costs() == (0, 0, 0)
    assert desk.open_claims() == 0
    assert desk.statuses() == {}


def test_nobody_listens(desk: Desk) -> None:
    desk.fill("corpo", 60)
    with pytest.raises(MiranteError, match=r"20 conversations in a row got no answer.*connect"):
        desk.enrich(base_url="http://127.0.0.1:9/v1")
    assert desk.costs()[1:] == (0, 0)
    assert desk.open_claims() == 0


def test_no_key_and_no_text_in_logs_and_errors(
    desk: Desk, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    desk.write("corpo", 1, ["contact: palavra-inconfundivel"])
    desk.write("corpo", 2, ["contact: outra palavra-inconfundivel"])
    desk.server.trouble = lambda number, body: "500" if number % 2 else "wrong enum"
    desk.enrich()
    printed = "".join(capfd.readouterr()) + caplog.text + repr(desk.provider())
    assert "attempt" in caplog.text
    errors = json.dumps(desk.query("select error from ai.conversation_scores"))
    for secret in (KEY, KEY[:10], "inconfundivel"):
        assert secret not in printed
        assert secret not in errors


PLANTED = {
    "cpf": "529.982.247-25", "cpf sem pontos": "52998224725", "cnpj": "11.222.333/0001-81",
    "celular": "(11) 98765-4321", "sem ddd": "98765-4321", "com ddi": "+5511987654321",
    "fixo": "11 3456-7890", "cep": "01310-100", "cartão": "4111 1111 1111 1111",
    "e-mail": "maria.silva+gym@exemplo.com.br", "pedido": "20231234567",
}  # fmt: skip


def test_nothing_personal_leaves(desk: Desk) -> None:
    """Not the identifiers, not the contact's names, in no request's bytes; only our own rows."""
    lines = [f"contact: meu {kind} é {value}" for kind, value in PLANTED.items()]
    lines += [
        "agent: Obrigado, Maria Antônia! Falo com a Maria antonia da Conceição?",
        "contact: isso, MARIA. Meu nome é Beatriz Quaresma, na verdade",
        "agent: Beatriz, o plano custa R$ 1.299,90 em 12x, de 12/10/2026 às 14:30",
    ]
    desk.write("corpo", 1, lines, name="Maria Antônia da Conceição")
    desk.enrich()
    sent = json.dumps(desk.server.bodies, ensure_ascii=False)
    for kind, value in PLANTED.items():
        assert value not in sent, kind
        assert re.sub(r"\D", "", value) not in re.sub(r"\D", "", sent) or not value[0].isdigit()
    conversation = desk.server.bodies[0]["messages"][1]["content"].casefold()
    for name in ("maria", "antônia", "antonia", "conceição", "beatriz", "quaresma"):
        assert name not in conversation
    for kept in ("r$ 1.299,90 em 12x", "12/10/2026", "14:30", "<nome>", "<cpf>", "<email>"):
        assert kept in conversation
    # What was sent is what is shown, byte for byte.
    assert desk.query("select sent_text from ai.requests") == [
        (desk.server.bodies[0]["messages"][1]["content"],)
    ]


def test_a_tenant_that_sends_nothing_is_scored_here(desk: Desk) -> None:
    desk.fill("corpo", 6)
    desk.execute(
        "update app.tenants set ai_outside_allowed = false where id = %s", desk.tenants["corpo"]
    )
    assert desk.enrich().scored == 6
    assert sum(desk.server.paths.values()) == 0  # not even a look at the models
    assert desk.statuses("local") == {"ok": 6}
    assert desk.query("select count(*) from ai.requests") == [(0,)]
    desk.fill("vizinha", 3, start=100)
    assert desk.enrich(batch=True).scored == 3
    sent = b"".join(desk.server.uploads)
    assert b"[10000]" in sent
    assert b"[100] " not in sent


def test_switched_off_while_a_run_goes_on(desk: Desk) -> None:
    """What is in flight comes to its end; nothing more is claimed."""
    desk.fill("corpo", 600)

    def switch_off(number: int, body: dict[str, object]) -> None:
        if number == 5:
            desk.execute("update app.tenants set ai_outside_allowed = false")

    desk.server.trouble = switch_off
    report = desk.enrich()
    assert report.scored == 600
    assert report.scored_outside < 250
    assert desk.open_claims() == 0


def test_switched_off_what_waits_stays_here(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what is queued nor a second attempt leaves; another tenant's texts go on."""
    monkeypatch.setattr(outside, "LONGEST_PAUSE", 3.0)
    desk.fill("corpo", 300)
    desk.fill("vizinha", 20, start=1000)

    def trouble(number: int, body: dict[str, object]) -> str | None:
        if number == 5:
            desk.execute(
                "update app.tenants set ai_outside_allowed = false where id = %s",
                desk.tenants["corpo"],
            )
        # Asked to come again, when the switch will have been heard of.
        return None if re.search(r"caso 1\d{3}", str(body["messages"])) else "429:2.5"

    desk.server.trouble = trouble
    report = desk.enrich()
    sent = Counter(
        number
        for body in desk.server.bodies
        for number in re.findall(r"caso (\d+)", str(body["messages"]))
    )
    assert len(sent) > 20
    assert {times for number, times in sent.items() if int(number) <= 300} == {1}
    assert (report.scored, report.scored_outside, report.failed) == (320, 20, 0)
    assert desk.statuses("local") == {"ok": 300}
    assert desk.open_claims() == 0


def test_what_stays_here_leaves_its_money_to_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The budget of all bears forty questions at once, and the first tenant has claimed them."""
    monkeypatch.setattr(outside, "LONGEST_PAUSE", 3.0)
    desk.fill("corpo", 1)
    desk.enrich()
    desk.fill("corpo", 100)
    desk.fill("vizinha", 20, start=1000)

    def trouble(number: int, body: dict[str, object]) -> str | None:
        if re.search(r"caso 1\d{3}", str(body["messages"])):
            return None
        desk.execute(
            "update app.tenants set ai_outside_allowed = false where id = %s",
            desk.tenants["corpo"],
        )
        return "429:2.5"

    desk.server.trouble = trouble
    report = desk.enrich(budget_usd=40 * one_request(desk))
    assert (report.scored_outside, report.skipped) == (20, 0)
    assert desk.statuses("local") == {"ok": 99}
    assert desk.open_claims() == 0


def test_without_a_provider_nothing_is_asked(desk: Desk) -> None:
    desk.fill("corpo", 5)
    assert enrich(desk.owner, model=FAST_MODEL).scored == 5
    assert sum(desk.server.paths.values()) == 0


def test_the_local_model_leaves_alone_what_is_scored_outside(desk: Desk) -> None:
    desk.fill("corpo", 5)
    desk.enrich()
    assert enrich(desk.owner, model=FAST_MODEL).scored == 0
    desk.write("corpo", 9, ["contact: novo"])
    assert enrich(desk.owner, model=FAST_MODEL).scored == 1


def one_request(desk: Desk) -> Decimal:
    """What is reserved for one of `fill`'s conversations, at least."""
    return desk.query("select min(reserved_usd) from ai.requests")[0][0]


def test_a_tenants_budget_is_hard_and_the_local_model_goes_on(desk: Desk) -> None:
    desk.fill("corpo", 120)
    desk.fill("vizinha", 5, start=200)
    desk.execute("update app.tenants set ai_budget_usd = 0.01 where id = %s", desk.tenants["corpo"])
    report = desk.enrich(concurrency=4)
    spent = dict(desk.query("select tenant_id, sum(cost_usd) from ai.ledger group by 1"))
    assert spent[desk.tenants["corpo"]] <= Decimal("0.01")
    asked = [id_ // 100 for id_ in desk.server.answered]
    assert 120 > sum(number < 200 for number in asked) > 0
    # Reservations are more than answers cost, and still the budget is used to its last request.
    assert spent[desk.tenants["corpo"]] > Decimal("0.0093")
    assert sum(number >= 200 for number in asked) == 5  # the neighbour's budget is its own
    assert report.skipped == 120 - sum(number < 200 for number in asked) > 0
    assert desk.statuses()["skipped_budget"] == report.skipped
    assert desk.statuses("local") == {"ok": report.skipped}
    assert report.scored == 125
    assert "tenant corpo" in report.warnings[0]
    # Nothing changes until there is money, and then what was skipped is asked.
    before = desk.server.numbers
    again = desk.enrich()
    assert (again.scored, again.skipped) == (0, 0)
    assert desk.server.numbers == before
    desk.execute("update app.tenants set ai_budget_usd = 9")
    assert desk.enrich().scored_outside == report.skipped
    assert desk.statuses() == {"ok": 125}


def test_a_new_month_has_a_new_budget(desk: Desk) -> None:
    desk.fill("corpo", 3)
    desk.enrich()
    spent = desk.costs()[1]
    desk.fill("corpo", 3, start=10)
    budget = spent + Decimal("0.0001")
    assert desk.enrich(budget_usd=budget).scored_outside == 0
    desk.execute("update ai.ledger set day = day - 31")
    assert desk.enrich(budget_usd=spent + one_request(desk) * 3).scored_outside > 0


def test_the_budget_of_all_tenants_together(desk: Desk) -> None:
    # so many that what a reservation is too large by is no fifth of the budget
    desk.fill("corpo", 40)
    desk.fill("vizinha", 40, start=100)
    report = desk.enrich(budget_usd=Decimal("0.008"))
    assert desk.costs()[1] <= Decimal("0.008")
    assert report.skipped > 0
    assert report.scored == 80
    assert any("all tenants together" in warning for warning in report.warnings)
    assert desk.enrich(budget_usd=Decimal(0), slug="corpo").scored == 0


def test_attempts_that_may_be_billed_stay_within_the_budget(desk: Desk) -> None:
    """Every answer is lost: reservations grow with the attempts, never beyond the budget."""
    desk.fill("corpo", 30)
    desk.server.trouble = lambda number, body: "cut"
    desk.execute("update app.tenants set ai_budget_usd = 0.02")
    with pytest.raises(MiranteError, match="connection lost"):
        desk.enrich(concurrency=4)
    _, cost, uncertain = desk.costs()
    assert cost == 0
    assert 0 < uncertain <= Decimal("0.02")
    assert desk.server.numbers * one_request(desk) <= Decimal("0.03")


RUN = """
import sys
from decimal import Decimal
from pathlib import Path
from pathlib import Path
from pydantic import SecretStr
from ai_enrich.provider import Provider, price_of
from ai_enrich.run import enrich
provider = Provider(api_key=SecretStr(sys.argv[3]), base_url=sys.argv[2], model="gpt-4o-mini",
    price=price_of("gpt-4o-mini"), concurrency=16, requests_per_minute=10**6,
    tokens_per_minute=10**9, timeout_seconds=20, budget_usd=Decimal(50), request_days=90,
    folder=Path(sys.argv[4]))
print(enrich(sys.argv[1], provider=provider, batch=len(sys.argv) > 5).scored_outside)
"""


def start(desk: Desk, *more: str) -> subprocess.Popen[str]:
    """A run in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN, desk.owner, desk.server.base_url, KEY, str(desk.folder), *more],
        cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_until(condition: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_runs_at_once_share_the_work(desk: Desk) -> None:
    desk.fill("corpo", 300)
    desk.server.latency = 0.1
    runs = [start(desk), start(desk)]
    said = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], [errors[-2000:] for _, errors in said]
    scored = [int(output) for output, _ in said]
    assert sum(scored) == 300
    assert min(scored) > 0, scored
    assert desk.server.answered == Counter({number * 100: 1 for number in range(1, 301)})
    assert desk.statuses() == {"ok": 300}


def test_killed_half_way_nothing_answered_is_paid_twice(desk: Desk) -> None:
    """kill -9; the next run asks at once, and only what had no answer kept."""
    desk.fill("corpo", 200)
    desk.server.latency = 0.15
    run = start(desk)
    wait_until(lambda: desk.statuses().get("ok", 0) >= 40)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate(timeout=30)
    wait_until(lambda: desk.server.in_flight == 0)
    kept = {
        id_ * 100 for (id_,) in desk.query("select conversation_id from ai.conversation_scores")
    }
    answered = set(desk.server.answered)
    assert 40 <= len(kept) < 200
    assert kept <= answered
    # At most what was in flight in the moment of the kill was answered and not kept.
    assert len(answered - kept) <= 16
    desk.server.answered.clear()
    claims = desk.open_claims()
    assert desk.enrich(concurrency=16).scored_outside == 200 - len(kept)
    assert not kept & set(desk.server.answered)
    assert set(desk.server.answered.values()) == {1}
    assert desk.statuses() == {"ok": 200}
    assert desk.open_claims() == 0
    # Nobody knows which of the dead run's claims were sent: all count towards the budget.
    assert claims > 0
    assert desk.costs()[2] == pytest.approx(claims * one_request(desk), rel=Decimal("0.1"))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_a_run_keeps_its_answers(desk: Desk, how: int) -> None:
    desk.fill("corpo", 200)
    desk.server.latency = 0.15
    run = start(desk)
    wait_until(lambda: desk.statuses().get("ok", 0) >= 20)
    run.send_signal(how)
    run.communicate(timeout=30)
    if how == signal.SIGINT:
        assert desk.open_claims() == 0
    before = desk.statuses()["ok"]
    assert before < 200
    assert desk.enrich().scored_outside == 200 - before
    assert max(desk.server.answered.values()) <= 2


def test_what_is_erased_or_moved_away_is_forgotten_and_asked_anew(desk: Desk) -> None:
    desk.fill("corpo", 3)
    desk.enrich()
    desk.execute("delete from ai.conversation_scores where conversation_id < 3")
    assert desk.enrich().scored == 2
    desk.execute("delete from intermediate.int_conversation_transcripts where conversation_id = 1")
    desk.execute("delete from ai.conversation_scores where conversation_id = 1")
    desk.fill("corpo", 1, start=9)
    desk.enrich()
    assert sorted(desk.query("select conversation_id from ai.requests")) == [(2,), (3,), (9,)]


def test_sent_text_is_kept_for_its_days(desk: Desk) -> None:
    desk.fill("corpo", 2)
    desk.enrich()
    desk.execute("update ai.requests set settled_at = now() - interval '91 days'"
                 " where conversation_id = 1")  # fmt: skip
    # also by a run that asks nobody
    assert enrich(desk.owner, model=FAST_MODEL).scored_outside == 0
    kept = desk.query("select conversation_id from ai.requests where sent_text is not null")
    assert kept == [(2,)]
    assert desk.enrich().scored == 0
    enrich(desk.owner, model=FAST_MODEL, request_days=0)
    assert desk.query("select 1 from ai.requests where sent_text is not null") == []


def test_what_is_due_can_be_asked_of_the_real_models(pipeline: Pipeline) -> None:
    """The statements fit what dbt builds, not only what these tests put in its place."""
    import psycopg

    with psycopg.connect(pipeline.warehouse.dsn("owner"), autocommit=True) as connection:
        settings = Settings(_env_file=None, openai_api_key=KEY, home=pipeline.settings.home)
        provider = Provider.from_settings(settings)
        assert provider
        parameters = {"tenant": None, "quiet_minutes": 30} | _outside(connection, provider)
        due = _count(connection, DUE_OUTSIDE, parameters)
        (transcripts,) = connection.execute(
            "select count(*) from intermediate.int_conversation_transcripts"
        ).fetchone() or (0,)
    assert due == transcripts > 1000
    assert set(parameters["affordable"]) == set(pipeline.tenants.values())


def test_pace_doubles_until_refused_then_halves_and_grows_by_one() -> None:
    now = 100.0
    pace = Pace(64, 10**6, 10**9, clock=lambda: now)
    for _ in range(8):
        pace.succeeded()
    assert pace.limit == 16  # one round trip of eight doubled it
    pace.congested(now + 1)
    assert pace.limit == 8
    pace.congested(now - 1)  # of the same burst
    assert pace.limit == 8
    for _ in range(8):
        pace.succeeded()
    assert 8.9 < pace.limit < 9.1
    for _ in range(50):
        pace.congested(now + 1)
    assert pace.limit == 1


def test_requests_and_tokens_a_minute_are_kept(desk: Desk) -> None:
    desk.fill("corpo", 12)
    started = time.monotonic()
    desk.enrich(requests_per_minute=240)  # four a second, four at once
    assert 1.5 < time.monotonic() - started < 15
    gaps = [b - a for a, b in zip(desk.server.times, desk.server.times[1:], strict=False)]
    assert sorted(gaps)[5] > 0.15


def test_the_evaluation_asks_the_provider_and_says_the_cost(desk: Desk, tmp_path: Path) -> None:
    """By the command line, masked, without a database."""
    examples = tmp_path / "exemplos.jsonl"
    labels = {
        "sentiment": "neutral", "intent": "purchase", "lead_class": "high",
        "visit_scheduled": False,
    }  # fmt: skip
    lines = [
        {"id": f"c{n}", "messages": [{"from": "contact", "text": said}], "labels": labels}
        for n, said in enumerate(("quero o plano", "meu cpf é 529.982.247-25", "quero sim"))
    ]
    examples.write_text("\n".join(json.dumps(line) for line in lines))
    answers = tmp_path / "respostas.jsonl"
    arguments = ["eval", "--provider", "openai", "--file", str(examples),
                 "--predictions", str(answers)]  # fmt: skip
    home = tmp_path / ".mirante"
    assert_one_line(mirante(home, *arguments), 2, "MIRANTE_OPENAI_API_KEY is not set")
    done = mirante(
        home, *arguments, MIRANTE_OPENAI_API_KEY=KEY, MIRANTE_OPENAI_BASE_URL=desk.server.base_url
    )
    assert done.returncode == 0, done.stderr
    assert desk.server.numbers == 3
    assert "529.982" not in json.dumps(desk.server.bodies)
    found = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [one["lead_class"] for one in found] == ["high", "low", "high"]
    assert "openai/gpt-4o-mini" in done.stdout
    assert KEY not in done.stdout + done.stderr
