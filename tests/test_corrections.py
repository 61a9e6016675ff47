"""A person's judgement: whose it may be, that it wins, and what the commands say."""

from pathlib import Path

import psycopg
import pytest

from ai_enrich.corrections import (
    correct,
    judged_examples,
    month_costs,
    show_scores,
    undo_correction,
)
from ai_enrich.dataset import read_examples
from ai_enrich.local import FAST_MODEL
from tests.conftest import Pipeline
from tests.enrichment import Desk
from tests.test_cli import assert_one_line, mirante
from warehouse.db import open_pool, tenant_connection
from warehouse.errors import MiranteError, UsageError

TABLES = ("batches", "conversation_scores", "corrections", "ledger", "requests")
INSERT = (
    "insert into ai.corrections (tenant_id, conversation_id, transcript_sha256, lead_class,"
    " corrected_by) values (%s, %s, 'x', 'high', 'ana@x.com')"
)


def test_the_tables_of_ai_are_those_tested_here(desk: Desk) -> None:
    found = desk.query(
        "select relname from pg_class where relnamespace = 'ai'::regnamespace"
        " and relkind in ('r', 'v', 'm', 'p', 'f') order by 1"
    )
    # The two views are of one tenant's pages and of the limits: test_matrix.py.
    assert [row[0] for row in found] == sorted((*TABLES, "month_spending", "score_failures"))
    for table in TABLES:  # and each carries its tenant first, in its key too
        columns = desk.query(
            "select attname from pg_attribute where attrelid = %s::regclass and attnum = 1",
            f"ai.{table}",
        )
        assert columns == [("tenant_id",)]
        first = desk.query(
            "select attname from pg_index inner join pg_attribute"
            " on attrelid = indrelid and attnum = indkey[0]"
            " where indrelid = %s::regclass and indisprimary",
            f"ai.{table}",
        )
        assert first == [("tenant_id",)]


@pytest.mark.parametrize("table", TABLES)
def test_no_reader_but_the_app_of_its_own_corrections(desk: Desk, table: str) -> None:
    granted = desk.query(
        "select grantee, string_agg(privilege_type, ',' order by privilege_type)"
        " from information_schema.table_privileges where table_schema = 'ai'"
        " and table_name = %s and grantee <> 'mirante_owner' group by 1",
        table,
    )
    if table == "corrections":
        assert granted == [("mirante_app", "SELECT")]
        return
    assert granted == []
    for role in ("app", "super"):
        with (
            psycopg.connect(desk.warehouse.dsn(role)) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(f"select * from ai.{table}")


def test_a_tenant_sees_its_own_corrections_and_writes_none_by_itself(desk: Desk) -> None:
    """Writing is a function's, which knows the session: test_leads.py."""
    own, foreign = desk.tenants["corpo"], desk.tenants["vizinha"]
    with psycopg.connect(desk.owner) as connection:
        connection.execute(INSERT, [own, 1])
        connection.execute(INSERT, [foreign, 2])
    count = "select array_agg(tenant_id) from ai.corrections"
    with open_pool(desk.warehouse.dsn("app"), max_size=1) as pool:
        with tenant_connection(pool, own) as connection:
            assert connection.execute(count).fetchone() == ([own],)
        for statement, parameters in (
            (INSERT, [own, 3]),
            (INSERT, [foreign, 4]),
            ("update ai.corrections set intent = 'support'", []),
            ("delete from ai.corrections", []),
        ):
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege),
                tenant_connection(pool, own) as connection,
            ):
                connection.execute(statement, parameters)
        # The pool's connection comes back without a tenant: nothing is seen.
        with pool.connection() as connection:
            assert connection.execute(count).fetchone() == (None,)


@pytest.mark.parametrize("setting", ["", "0", "-1", "999999"])
def test_a_wrong_setting_sees_no_correction(desk: Desk, setting: str) -> None:
    with psycopg.connect(desk.owner) as connection:
        connection.execute(INSERT, [desk.tenants["corpo"], 1])
    with psycopg.connect(desk.warehouse.dsn("app"), autocommit=True) as connection:
        connection.execute("select set_config('app.current_tenant_id', %s, false)", [setting])
        found = connection.execute("select count(*) from ai.corrections").fetchone()
        assert found == (0,)


def test_a_correction_is_kept_added_to_and_taken_back(desk: Desk) -> None:
    ids = desk.write("corpo", 1, ["contact: oi, quero o plano", "agent: claro"])
    desk.write("vizinha", 2, ["contact: oi"])
    desk.enrich()
    correct(desk.owner, "corpo", 1, {"lead_class": "medium"}, "ana@x.com")
    correct(desk.owner, "corpo", 1, {"visit_scheduled": True, "lead_class": None}, "bia@x.com")
    shown = show_scores(desk.owner, "corpo", 1)
    assert shown.correction
    assert "bia@x.com" in shown.correction
    assert "lead_class medium, visit_scheduled True" in shown.correction
    (score,) = shown.scores
    assert "openai/gpt-4o-mini" in score.headline
    assert score.evidence == [f"[{ids[0]}] contact: oi, quero o plano", f"[{ids[1]}] agent: claro"]
    assert score.sent == desk.server.bodies[0]["messages"][1]["content"] or (
        score.sent == desk.server.bodies[1]["messages"][1]["content"]
    )
    for slug, conversation in (("vizinha", 1), ("corpo", 2), ("corpo", 99)):
        with pytest.raises(UsageError, match="has none with that id"):
            correct(desk.owner, slug, conversation, {"lead_class": "low"}, "ana@x.com")
        with pytest.raises(UsageError, match="has none with that id"):
            show_scores(desk.owner, slug, conversation)
    with pytest.raises(UsageError, match="--lead-class 'altíssimo': use one of high"):
        correct(desk.owner, "corpo", 1, {"lead_class": "altíssimo"}, "ana@x.com")
    with pytest.raises(UsageError, match="nothing to correct"):
        correct(desk.owner, "corpo", 1, {"lead_class": None}, "ana@x.com")
    undo_correction(desk.owner, "corpo", 1)
    assert show_scores(desk.owner, "corpo", 1).correction is None
    with pytest.raises(MiranteError, match="no correction to undo"):
        undo_correction(desk.owner, "corpo", 1)
    slug, model, requests, *_ = month_costs(desk.owner, "corpo")[0]
    assert (slug, model, requests) == ("corpo", "gpt-4o-mini", 1)


def test_corrections_become_examples_for_the_evaluation(desk: Desk, tmp_path: Path) -> None:
    """Masked, of the text that was judged, of one tenant, and only where all is a person's word."""
    four = {
        "sentiment": "positive", "intent": "purchase", "lead_class": "high",
        "visit_scheduled": True,
    }  # fmt: skip
    for number in (1, 2, 3):
        desk.write("corpo", number, ["contact: Me chamo Ana Lima, 11 98765-4321", "agent: oi"])
    desk.write("vizinha", 9, ["contact: oi"])
    correct(desk.owner, "corpo", 1, four, "ana@x.com")
    correct(desk.owner, "corpo", 2, {"lead_class": "low"}, "ana@x.com")
    correct(desk.owner, "corpo", 3, four, "ana@x.com")
    correct(desk.owner, "vizinha", 9, four, "ana@x.com")
    desk.execute("update ai.corrections set transcript_sha256 = 'older' where conversation_id = 3")
    (line,) = judged_examples(desk.owner, "corpo")
    file = tmp_path / "corpo.jsonl"
    file.write_text(line)
    (example,) = read_examples(file)
    assert example.id == "corpo-1"
    assert example.labels
    assert example.labels.model_dump() == four
    assert [message.text for message in example.conversation.messages] == [
        "Me chamo <NOME> <NOME>, <TELEFONE>", "oi",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="'ninguem' does not exist"):
        list(judged_examples(desk.owner, "ninguem"))


def test_what_the_local_model_scored_says_that_nothing_left(desk: Desk) -> None:
    from ai_enrich.run import enrich

    desk.write("corpo", 1, ["contact: oi"])
    enrich(desk.owner, model=FAST_MODEL)
    (score,) = show_scores(desk.owner, "corpo", 1).scores
    assert score.sent is None
    assert score.why_not_sent == "nothing left this database for it"
    assert score.headline.startswith("local/")


def test_a_correction_wins_in_the_marts_and_is_news(pipeline: Pipeline) -> None:
    """Through dbt: the label the person named, the rest as scored; taken back, as before."""
    from ai_enrich.run import enrich
    from warehouse.build import build

    owner, tenant_id = pipeline.warehouse.dsn("owner"), next(iter(pipeline.tenants.values()))
    slug = next(iter(pipeline.tenants))
    mart = (
        "select lead_class, sentiment, ai_status, is_qualified from marts.fct_conversations"
        " where tenant_id = %s and conversation_id = %s"
    )
    conversation = pipeline.query(
        "select conversation_id from marts.fct_conversations where tenant_id = %s"
        " and lead_class = 'low' and not is_lead and ai_status = 'ok' order by 1 limit 1",
        tenant_id,
    )[0][0]
    before = pipeline.query(mart, tenant_id, conversation)
    assert not enrich(owner, model=FAST_MODEL).is_news
    correct(owner, slug, conversation, {"lead_class": "high"}, "ana@x.com")
    try:
        assert enrich(owner, model=FAST_MODEL).is_news  # so `mirante run` builds
        build(pipeline.settings, pipeline.warehouse, only_if_changed=True)
        ((lead_class, sentiment, status, is_qualified),) = pipeline.query(
            mart, tenant_id, conversation
        )
        assert (lead_class, sentiment, status) == ("high", before[0][1], "corrected")
        assert is_qualified
        assert not enrich(owner, model=FAST_MODEL).is_news
    finally:
        undo_correction(owner, slug, conversation)
        build(pipeline.settings, pipeline.warehouse, only_if_changed=True)
    assert pipeline.query(mart, tenant_id, conversation) == before


@pytest.mark.parametrize(
    ("arguments", "environment", "part"),
    [
        (["enrich", "--provider", "outra"], {}, "--provider 'outra': use openai or local"),
        (["enrich", "--provider", "openai"], {}, "MIRANTE_OPENAI_API_KEY is not set"),
        (["enrich", "--batch"], {}, "MIRANTE_OPENAI_API_KEY is not set"),
        (
            ["enrich"],
            {"MIRANTE_OPENAI_API_KEY": "sk-segredo", "MIRANTE_OPENAI_MODEL": "gpt-99"},
            "MIRANTE_OPENAI_MODEL 'gpt-99' has no price in prices.toml",
        ),
        (["enrich"], {"MIRANTE_OPENAI_BASE_URL": "ftp://x"}, "MIRANTE_OPENAI_BASE_URL"),
        (
            ["enrich"],
            {"MIRANTE_OPENAI_API_KEY": "sk-segredo", "MIRANTE_AI_PRICES": "/nada/precos.toml"},
            "MIRANTE_AI_PRICES: /nada/precos.toml",
        ),
        (["score", "correct", "--tenant", "x", "--conversation", "1"], {}, "nothing to correct"),
        (["score", "show", "--tenant", "x", "--conversation", "1"], {}, "'x' does not exist"),
        (["score", "costs", "--tenant", "x"], {}, "'x' does not exist"),
    ],
)
def test_bad_usage_is_one_line(
    pipeline: Pipeline, arguments: list[str], environment: dict[str, str], part: str
) -> None:
    done = mirante(
        pipeline.settings.home, *arguments,
        MIRANTE_WAREHOUSE_DSN=pipeline.warehouse.admin_dsn, **environment,
    )  # fmt: skip
    assert_one_line(done, 2, part)
    assert "segredo" not in done.stdout + done.stderr
