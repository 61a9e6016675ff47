"""Scores in the warehouse: nothing is scored twice, evidence is of the conversation."""

import pytest

from ai_enrich.local import FAST_MODEL
from ai_enrich.run import enrich
from tests.conftest import Pipeline
from warehouse.errors import UsageError


def test_second_run_scores_nothing(pipeline: Pipeline) -> None:
    owner = pipeline.warehouse.dsn("owner")
    count = "select count(*), count(distinct provider || model) from ai.conversation_scores"
    before = pipeline.query(count)
    assert before[0][0] > 1000
    assert before[0][1] == 1
    assert enrich(owner, model=FAST_MODEL).scored == 0
    assert pipeline.query(count) == before


def test_unknown_tenant_is_named(pipeline: Pipeline) -> None:
    with pytest.raises(UsageError, match="'ninguem' does not exist"):
        enrich(pipeline.warehouse.dsn("owner"), tenant_slug="ninguem")


def test_evidence_is_of_the_conversations_own_messages(pipeline: Pipeline) -> None:
    assert pipeline.query(
        "select count(*) from ai.conversation_scores as scores"
        " left join intermediate.int_conversation_transcripts as transcripts"
        " using (tenant_id, conversation_id)"
        " where not scores.evidence_message_ids <@ transcripts.message_ids"
        " or cardinality(scores.evidence_message_ids) = 0"
    ) == [(0,)]
