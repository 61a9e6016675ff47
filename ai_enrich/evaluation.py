"""`mirante eval`: a provider's answers against labels, with baselines beside them."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from ai_enrich import keywords, local
from ai_enrich.dataset import Example, Labels, labels_of
from ai_enrich.prompt import PROMPT_VERSION, Reply, ask
from ai_enrich.provider import NAME
from ai_enrich.provider import Provider as Outside
from ai_enrich.schema import Conversation, Score

TASKS = ("sentiment", "intent", "lead_class", "visit_scheduled")
# What the local provider has to reach on text it has not seen.
TARGETS = {"sentiment": 0.75, "intent": 0.75, "lead_class": 0.70, "visit_scheduled": 0.80}
BINS = 5


@dataclass(frozen=True)
class Answers:
    """What a provider said about conversations, in their order; None where it gave no answer."""

    provider: str
    model: str
    prompt_version: str
    scores: Sequence[Score | None]
    cost_usd: float = 0.0


Provider = Callable[[Sequence[Conversation]], Answers]


def score_locally(conversations: Sequence[Conversation], model: local.LocalModel) -> Answers:
    """The answers of one of the local models."""
    scores = local.score_conversations(conversations, model=model)
    return Answers(local.PROVIDER, model, local.PROMPT_VERSION, scores)


def score_outside(conversations: Sequence[Conversation], provider: Outside) -> Answers:
    """The answers of the provider outside; texts leave masked, as in the warehouse.

    Its cost is in the answers and in no ledger. Raises MiranteError when it refuses or is silent.
    """
    from ai_enrich.client import Client

    async def ask_all() -> list[Reply]:
        async with Client(provider) as client:
            # The client's pace says how many are in flight.
            return await asyncio.gather(*(
                client.ask(ask(conversation, []), _always) for conversation in conversations
            ))  # fmt: skip

    replies = asyncio.run(ask_all())
    cost = sum(float(provider.price.cost(reply.usage)) for reply in replies if reply.usage)
    scores = [reply.score for reply in replies]
    return Answers(NAME, provider.model, PROMPT_VERSION, scores, cost)


async def _always() -> bool:
    return True


# Beside these, the command line knows openai.
PROVIDERS: dict[str, Provider] = {
    "local": partial(score_locally, model=local.MODEL),
    "local-fast": partial(score_locally, model=local.FAST_MODEL),
}


@dataclass(frozen=True)
class ClassMeasure:
    """How one class was found; `support` is how many conversations are of it."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class TaskMeasure:
    """How one label was found. `f1` is the macro mean; of a visit, that of the visits."""

    f1: float
    baselines: dict[str, float]
    classes: dict[str, ClassMeasure]
    confusion: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Bin:
    """Conversations whose score says about the same: mean chance said, share that was high."""

    low: float
    high: float
    count: int
    said: float
    observed: float


@dataclass(frozen=True)
class Evaluation:
    """One run. `brier` is of lead_score/100 against lead class high; None without labels."""

    provider: str
    model: str
    prompt_version: str
    file: str
    evaluated_at: str
    conversations: int
    labelled: int
    unanswered: int
    seconds: float
    conversations_per_second: float
    cost_usd: float
    tasks: dict[str, TaskMeasure]
    brier: float | None
    brier_of_share: float | None
    reliability: list[Bin]


def evaluate(
    examples: Sequence[Example], provider: Provider, file: str
) -> tuple[Evaluation, Answers]:
    """Ask `provider` about all examples, and compare with the labels of those that have them."""
    started = time.perf_counter()
    answers = provider([example.conversation for example in examples])
    seconds = time.perf_counter() - started
    pairs = [
        (example, score)
        for example, score in zip(examples, answers.scores, strict=True)
        if example.labels is not None and score is not None
    ]
    judged = [example for example, _ in pairs]
    found = [_values(score) for _, score in pairs]
    wanted = [_values(label) for label in labels_of(judged)]
    baselines = {
        "majority": [_majority(wanted)] * len(wanted),
        "keywords": [_values(keywords.score(example.conversation)) for example in judged],
    }
    chances = [score.lead_score / 100 for _, score in pairs]
    is_high = [label["lead_class"] == "high" for label in wanted]
    share = sum(is_high) / len(is_high) if is_high else 0.0
    evaluation = Evaluation(
        answers.provider, answers.model, answers.prompt_version, file,
        datetime.now(UTC).isoformat(timespec="seconds"), len(examples), len(judged),
        sum(score is None for score in answers.scores), round(seconds, 3),
        round(len(examples) / seconds, 1), answers.cost_usd,
        {task: _measure(task, wanted, found, baselines) for task in TASKS} if judged else {},
        brier(chances, is_high) if judged else None,
        brier([share] * len(is_high), is_high) if judged else None,
        reliability(chances, is_high),
    )  # fmt: skip
    return evaluation, answers


def brier(chances: Sequence[float], happened: Sequence[bool]) -> float:
    """Mean squared difference of chances said (0 to 1) and what happened; 0 is perfect."""
    return sum((chance - fact) ** 2 for chance, fact in zip(chances, happened, strict=True)) / len(
        chances
    )


def reliability(chances: Sequence[float], happened: Sequence[bool]) -> list[Bin]:
    """Chances in fifths of the scale, empty ones left out: said against observed."""
    bins = []
    for number in range(BINS):
        inside = [
            (chance, fact)
            for chance, fact in zip(chances, happened, strict=True)
            if min(int(chance * BINS), BINS - 1) == number
        ]
        if inside:
            said = sum(chance for chance, _ in inside) / len(inside)
            observed = sum(fact for _, fact in inside) / len(inside)
            bins.append(Bin(number / BINS, (number + 1) / BINS, len(inside), said, observed))
    return bins


def macro_f1(task: str, wanted: Sequence[str], found: Sequence[str]) -> float:
    """Mean F1 of the classes that occur in either; of a visit, the F1 of the visits alone."""
    from sklearn.metrics import f1_score

    if task == "visit_scheduled":
        return float(f1_score(wanted, found, labels=["true"], average="macro", zero_division=0))
    return float(f1_score(wanted, found, average="macro", zero_division=0))


def _measure(
    task: str,
    wanted: Sequence[Mapping[str, str]],
    found: Sequence[Mapping[str, str]],
    baselines: Mapping[str, Sequence[Mapping[str, str]]],
) -> TaskMeasure:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    truth, said = [each[task] for each in wanted], [each[task] for each in found]
    names = [_name(value) for value in local.CLASSES[task]]
    measures = precision_recall_fscore_support(truth, said, labels=names, zero_division=0)
    confusion = confusion_matrix(truth, said, labels=names)
    return TaskMeasure(
        macro_f1(task, truth, said),
        {
            baseline: macro_f1(task, truth, [each[task] for each in answers])
            for baseline, answers in baselines.items()
        },
        {
            name: ClassMeasure(float(p), float(r), float(f), int(n))
            for name, p, r, f, n in zip(names, *measures, strict=True)
        },
        {
            row: {column: int(count) for column, count in zip(names, counts, strict=True)}
            for row, counts in zip(names, confusion, strict=True)
        },
    )


def _values(labels: Labels | Score) -> dict[str, str]:
    return {task: _name(getattr(labels, task)) for task in TASKS}


def _name(value: object) -> str:
    return str(value).lower()


def _majority(wanted: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {
        task: Counter(each[task] for each in wanted).most_common(1)[0][0] if wanted else ""
        for task in TASKS
    }


def write_predictions(path: Path, examples: Sequence[Example], answers: Answers) -> None:
    """One JSON line an example, in their order; without labels where there was no answer."""
    with path.open("w", encoding="utf-8") as lines:
        for example, score in zip(examples, answers.scores, strict=True):
            row: dict[str, Any] = {"id": example.id}
            if score is not None:
                row |= {
                    "sentiment": score.sentiment,
                    "intent": score.intent,
                    "lead_class": score.lead_class,
                    "lead_score": score.lead_score,
                    "visit_scheduled": score.visit_scheduled,
                }
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")


def store(evaluation: Evaluation, folder: Path) -> Path:
    """Append the run to runs.jsonl in `folder`, made if need be; no text of a conversation."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "runs.jsonl"
    with path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(evaluation)) + "\n")
    return path


def show(evaluation: Evaluation, console: Console) -> None:
    """Print the run as tables."""
    console.print(
        f"{evaluation.provider}/{evaluation.model} on {evaluation.file}:"
        f" {evaluation.conversations} conversations, {evaluation.labelled} labelled,"
        f" {evaluation.unanswered} without an answer",
        markup=False,
    )
    console.print(
        f"time {evaluation.seconds:.1f} s ({evaluation.conversations_per_second:.1f}"
        f" conversations/s), cost US$ {evaluation.cost_usd:.4f}"
    )
    if not evaluation.tasks:
        console.print("no labels in the file: nothing to compare with")
        return
    summary = Table("label", box=box.SIMPLE)
    for column in ("macro-F1", "majority", "keywords", "target"):
        summary.add_column(column, justify="right")
    for task, measure in evaluation.tasks.items():
        name = "visit_scheduled (F1 of true)" if task == "visit_scheduled" else task
        summary.add_row(
            name, f"{measure.f1:.3f}", *(f"{each:.3f}" for each in measure.baselines.values()),
            f"{TARGETS[task]:.2f}",
        )  # fmt: skip
    console.print(summary)
    for task, measure in evaluation.tasks.items():
        table = Table(task, box=box.SIMPLE)
        for column in ("precision", "recall", "F1", "count"):
            table.add_column(column, justify="right")
        for name in measure.classes:
            table.add_column(f"said {name}", justify="right")
        for name, each in measure.classes.items():
            table.add_row(
                name, f"{each.precision:.3f}", f"{each.recall:.3f}", f"{each.f1:.3f}",
                str(each.support), *(str(count) for count in measure.confusion[name].values()),
            )  # fmt: skip
        console.print(table)
    console.print(
        f"lead_score as the chance of lead class high: Brier {evaluation.brier:.3f}"
        f" ({evaluation.brier_of_share:.3f} by always saying the share)"
    )
    table = Table("lead_score", box=box.SIMPLE)
    for column in ("count", "mean said", "were high"):
        table.add_column(column, justify="right")
    for fifth in evaluation.reliability:
        table.add_row(
            f"{fifth.low * 100:.0f} to {fifth.high * 100:.0f}", str(fifth.count),
            f"{fifth.said * 100:.0f} %", f"{fifth.observed * 100:.0f} %",
        )  # fmt: skip
    console.print(table)
