"""Labelled conversations as JSON lines: the project's own set, and anybody's file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ai_enrich.schema import Conversation, Intent, LeadClass, Message, Sender, Sentiment
from warehouse.errors import UsageError

DATA = Path(__file__).with_name("data")
Split = Literal["train", "validation", "test", "blind"]
SPLITS: tuple[Split, ...] = get_args(Split)


class Labels(BaseModel):
    """What a person says about a conversation, by the KPI dictionary."""

    model_config = ConfigDict(extra="ignore", strict=True)

    sentiment: Sentiment
    intent: Intent
    lead_class: LeadClass
    visit_scheduled: bool


class _Line(BaseModel):
    class Text(BaseModel):
        model_config = ConfigDict(extra="ignore")

        sender: Sender = Field(alias="from")
        text: str

    model_config = ConfigDict(extra="ignore")

    id: str | int
    messages: list[Text]
    labels: Labels | None = None
    family: str = ""
    segment: str = ""


@dataclass(frozen=True)
class Example:
    """One line: a conversation, its id as it stands in the file, its labels if it has any."""

    id: str | int
    conversation: Conversation
    labels: Labels | None
    family: str = ""
    segment: str = ""


def read_split(split: Split) -> list[Example]:
    """The project's own set; conversations of one family are all in one split."""
    return read_examples(DATA / f"{split}.jsonl")


def read_examples(path: Path) -> list[Example]:
    """The conversations of a JSON lines file; messages are numbered from 1.

    Raises UsageError, with the line's number, on what is no conversation, and on an id twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8: save it as UTF-8") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    examples: list[Example] = []
    seen: dict[str, int] = {}
    for number, text in enumerate(lines, 1):
        if text.strip():
            example = _read_line(text, f"{path.name} line {number}")
            first = seen.setdefault(str(example.id), number)
            if first != number:
                raise UsageError(
                    f"{path.name} line {number}: the id {str(example.id)!r} is that of line {first}"
                )
            examples.append(example)
    if not examples:
        raise UsageError(f"{path} has no conversation: one JSON object a line is expected")
    return examples


def _read_line(text: str, where: str) -> Example:
    try:
        line = _Line.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise UsageError(f"{where}: not JSON ({error.msg}, column {error.colno})") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the line"
        raise UsageError(f"{where}: {place}: {first['msg']}") from None
    messages = [
        Message(number, message.sender, message.text)
        for number, message in enumerate(line.messages, 1)
    ]
    return Example(line.id, Conversation(tuple(messages)), line.labels, line.family, line.segment)


def labels_of(examples: Sequence[Example]) -> list[Labels]:
    """The labels of labelled examples. Raises ValueError when one has none."""
    labels = [example.labels for example in examples if example.labels is not None]
    if len(labels) != len(examples):
        raise ValueError("an example has no labels")
    return labels
