"""`mirante eval`: numbers that can be checked by hand, and files that are not as they should be."""

import json
from pathlib import Path

import pytest

from ai_enrich import evaluation
from ai_enrich.dataset import DATA, read_examples
from ai_enrich.evaluation import Answers, brier, evaluate, reliability
from ai_enrich.schema import Conversation, Score
from tests.test_cli import assert_one_line, mirante
from warehouse.errors import UsageError

LABELS = {
    "sentiment": "neutral", "intent": "purchase", "lead_class": "high", "visit_scheduled": True,
}  # fmt: skip


def line(number: int, **labels: object) -> str:
    row = {
        "id": f"c{number}",
        "messages": [{"from": "contact", "text": "quero marcar"}],
        "labels": LABELS | labels,
    }
    return json.dumps(row, ensure_ascii=False)


def written(folder: Path, *lines: str) -> Path:
    path = folder / "falas.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_measures_are_those_of_a_confusion_counted_by_hand(tmp_path: Path) -> None:
    leads = ["high", "high", "high", "low", "low", "medium"]
    said = ["high", "high", "low", "low", "high", "medium"]
    visits = [True, True, False, False, False, False]
    examples = read_examples(
        written(
            tmp_path,
            *(line(n, lead_class=c, visit_scheduled=v)
              for n, (c, v) in enumerate(zip(leads, visits, strict=True))),
        )
    )  # fmt: skip

    def provider(conversations: object) -> Answers:
        return Answers("teste", "m", "p", [
            Score(sentiment="neutral", intent="purchase", lead_class=c, lead_score=s,
                  visit_scheduled=v)
            for c, s, v in zip(said, [90, 80, 20, 10, 60, 40], [True, False, True, *[False] * 3],
                               strict=True)
        ], 0.5)  # fmt: skip

    result, _ = evaluate(examples, provider, "f")
    lead = result.tasks["lead_class"]
    assert lead.confusion["high"] == {"high": 2, "low": 1, "medium": 0}
    assert lead.classes["high"].precision == pytest.approx(2 / 3)
    assert lead.classes["low"].recall == pytest.approx(1 / 2)
    assert lead.f1 == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert lead.baselines["majority"] == pytest.approx((2 * 3 / 9 + 0 + 0) / 3)
    assert result.tasks["visit_scheduled"].f1 == pytest.approx(1 / 2)
    assert result.brier == pytest.approx((0.1**2 + 0.2**2 + 0.8**2 + 0.1**2 + 0.6**2 + 0.4**2) / 6)
    assert result.cost_usd == 0.5
    assert result.conversations == result.labelled == 6


def test_an_unanswered_conversation_is_counted_and_not_judged(tmp_path: Path) -> None:
    examples = read_examples(written(tmp_path, line(1), line(2)))

    def provider(conversations: object) -> Answers:
        score = Score(
            sentiment="neutral", intent="purchase", lead_class="high", lead_score=99,
            visit_scheduled=True,
        )  # fmt: skip
        return Answers("teste", "m", "p", [None, score])

    result, answers = evaluate(examples, provider, "f")
    assert (result.unanswered, result.labelled) == (1, 1)
    out = tmp_path / "out.jsonl"
    evaluation.write_predictions(out, examples, answers)
    first, second = [json.loads(text) for text in out.read_text().splitlines()]
    assert first == {"id": "c1"}
    assert second == {
        "id": "c2", "sentiment": "neutral", "intent": "purchase", "lead_class": "high",
        "lead_score": 99, "visit_scheduled": True,
    }  # fmt: skip


def test_reliability_bins_hold_every_chance() -> None:
    bins = reliability([0.0, 0.19, 0.2, 0.99, 1.0], [False, True, False, True, True])
    assert [(each.count, each.observed) for each in bins] == [(2, 0.5), (1, 0.0), (2, 1.0)]
    assert brier([1.0, 0.0], [True, True]) == 0.5


@pytest.mark.parametrize(
    ("bad", "parts"),
    [
        ("{", ["line 2", "not JSON"]),
        ("[]", ["line 2"]),
        ('{"id": "x"}', ["line 2", "messages"]),
        ('{"id": "x", "messages": [{"from": "cliente", "text": "oi"}]}', ["line 2", "from"]),
        ('{"id": "x", "messages": [{"from": "contact"}]}', ["line 2", "text"]),
        (line(2, sentiment="feliz"), ["line 2", "labels.sentiment"]),
        (line(2, visit_scheduled="sim"), ["line 2", "labels.visit_scheduled"]),
        (line(1), ["line 2", "'c1'", "line 1"]),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, bad: str, parts: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        read_examples(written(tmp_path, line(1), bad))
    assert all(part in str(caught.value) for part in parts), caught.value
    assert "quero marcar" not in str(caught.value)


def test_lines_may_be_empty_unlabelled_and_of_numbered_ids(tmp_path: Path) -> None:
    path = written(tmp_path, "", '{"id": 7, "messages": [], "extra": 1}', "  ")
    (example,) = read_examples(path)
    assert example.id == 7
    assert example.labels is None
    assert example.conversation == Conversation(())


def test_command_scores_a_file_without_a_database(tmp_path: Path) -> None:
    home, out = tmp_path / ".mirante", tmp_path / "respostas.jsonl"
    done = mirante(
        home, "eval", "--provider", "local-fast", "--file", str(DATA / "test.jsonl"),
        "--predictions", str(out), timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for part in ("macro-F1", "majority", "keywords", "Brier", "precision", "cost US$ 0.0000"):
        assert part in done.stdout
    examples = read_examples(DATA / "test.jsonl")
    rows = [json.loads(text) for text in out.read_text().splitlines()]
    assert [row["id"] for row in rows] == [example.id for example in examples]
    assert {frozenset(row) for row in rows} == {
        frozenset(("id", "sentiment", "intent", "lead_class", "lead_score", "visit_scheduled"))
    }
    (run,) = [json.loads(text) for text in (home / "evaluations" / "runs.jsonl").open()]
    assert run["model"] == "words-1"
    assert run["tasks"]["sentiment"]["f1"] > 0.75
    assert [path.name for path in home.iterdir()] == ["evaluations"]  # no server was started


def test_command_scores_what_has_no_labels(tmp_path: Path) -> None:
    path = written(tmp_path, '{"id": 1, "messages": [{"from": "contact", "text": "oi"}]}')
    done = mirante(tmp_path / ".mirante", "eval", "--provider", "local-fast", "--file", str(path))
    assert done.returncode == 0, done.stderr
    assert "no labels" in done.stdout


def test_command_says_what_is_wrong(tmp_path: Path) -> None:
    home = tmp_path / ".mirante"
    good = str(written(tmp_path, line(1)))
    assert_one_line(mirante(home, "eval", "--file", str(tmp_path / "nada.jsonl")), 2, "nada.jsonl")
    assert_one_line(
        mirante(home, "eval", "--file", good, "--provider", "oraculo"), 2, "'oraculo'", "local"
    )
    assert_one_line(
        mirante(home, "eval", "--file", good, "--predictions", str(tmp_path / "x" / "y")), 2, "x/y"
    )
    (tmp_path / "ruim.jsonl").write_bytes(b"\xff\xfe")
    assert_one_line(mirante(home, "eval", "--file", str(tmp_path / "ruim.jsonl")), 2, "not UTF-8")
