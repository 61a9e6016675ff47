"""The placeholder scores: a refusal is no lead, nothing is scored twice."""

import pytest

from ai_enrich import local
from ai_enrich.run import enrich
from tests.conftest import Pipeline
from warehouse.errors import UsageError


@pytest.mark.parametrize(
    ("said", "lead_class"),
    [
        ("Não quero, obrigado", "low"),
        ("nao quero mais receber mensagem", "low"),
        ("Eu não vou querer fechar agora, quanto custa?", "medium"),
        ("Já sou aluno, preciso da segunda via do boleto", "low"),
        ("Quero fazer minha inscrição hoje", "high"),
        ("Qual o valor da mensalidade?", "medium"),
        ("Número errado, foi engano", "low"),
    ],
)
def test_a_refusal_is_no_lead(said: str, lead_class: str) -> None:
    assert local.score(f"contact: {said}").lead_class == lead_class


def test_what_the_agent_says_makes_no_lead() -> None:
    transcript = "contact: oi\nagent: Quer agendar uma visita? Quero te ajudar a fechar!"
    assert local.score(transcript).lead_class == "low"


def test_second_run_scores_nothing(pipeline: Pipeline) -> None:
    owner = pipeline.warehouse.dsn("owner")
    count = "select count(*), count(distinct provider || model) from ai.conversation_scores"
    before = pipeline.query(count)
    assert before[0][0] > 1000
    assert before[0][1] == 1
    assert enrich(owner).scored == 0
    assert pipeline.query(count) == before


def test_unknown_tenant_is_named(pipeline: Pipeline) -> None:
    with pytest.raises(UsageError, match="'ninguem' does not exist"):
        enrich(pipeline.warehouse.dsn("owner"), tenant_slug="ninguem")
