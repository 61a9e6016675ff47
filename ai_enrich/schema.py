"""What a score is: the answer every provider gives about one conversation."""

from typing import Literal

from pydantic import BaseModel, Field

Sentiment = Literal["positive", "neutral", "negative"]
Intent = Literal["purchase", "information", "support", "complaint"]
LeadClass = Literal["high", "medium", "low"]


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
