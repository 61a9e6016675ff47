"""What goes in and what comes out: a conversation, and the score every provider gives it."""

from dataclasses import dataclass
from typing import Literal, TypeGuard, get_args

from pydantic import BaseModel, Field

Sentiment = Literal["positive", "neutral", "negative"]
Intent = Literal["purchase", "information", "support", "complaint"]
LeadClass = Literal["high", "medium", "low"]
Sender = Literal["contact", "agent", "bot"]

SENDERS: tuple[Sender, ...] = get_args(Sender)


def is_sender(text: str) -> TypeGuard[Sender]:
    """Whether `text` is one of SENDERS."""
    return text in SENDERS


@dataclass(frozen=True)
class Message:
    """One public message; `text` has placeholders such as `[áudio]` for what is not text."""

    id: int
    sender: Sender
    text: str


@dataclass(frozen=True)
class Conversation:
    """What a provider is asked about: messages in the order they were written."""

    messages: tuple[Message, ...]

    @classmethod
    def from_transcript(cls, transcript: str, message_ids: list[int]) -> "Conversation":
        """Read lines of `contact|agent|bot: text`, one a message, as dbt prepares them.

        Raises ValueError when lines and ids do not match or a line has no sender.
        """
        messages = []
        for line, message_id in zip(transcript.split("\n"), message_ids, strict=True):
            sender, colon, text = line.partition(": ")
            if not colon or not is_sender(sender):
                raise ValueError(f"message {message_id} has no sender")
            messages.append(Message(message_id, sender, text))
        return cls(tuple(messages))


class Score(BaseModel):
    """One conversation's score; what each value means is in the KPI dictionary."""

    sentiment: Sentiment
    intent: Intent
    lead_class: LeadClass
    lead_score: int = Field(ge=0, le=100, description="Chance of conversion in percent.")
    visit_scheduled: bool
    summary: str | None = None
    next_step: str | None = None
    objections: list[str] = Field(default_factory=list)
    evidence_message_ids: list[int] = Field(default_factory=list)
