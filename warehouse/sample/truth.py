"""What the KPI dictionary says of a conversation, kept by the script that plays it.

Nothing here reads a table: the generator tells a `Ledger` what happens, in order of time, and
tests hold the warehouse's numbers against what the ledger says in the end. Moments are naive UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

# Minutes of the day from opening to closing, Sunday first; None is a closed day.
Hours = tuple[int, int]
Week = Sequence[Hours | None]
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Outcome:
    """What a careful reader would say of the conversation so far."""

    lead_class: str
    intent: str
    sentiment: str
    is_visit_scheduled: bool = False


@dataclass(frozen=True)
class Reply:
    """A wait that an agent ended."""

    waiting_since: datetime
    replied_at: datetime
    agent_id: int | None
    is_first: bool

    @property
    def seconds(self) -> int:
        """Rounded down."""
        return (self.replied_at - self.waiting_since) // SECOND


@cache
def utc_moment(zone: str, day: date, minutes: int) -> datetime:
    """When the wall clock of `zone` shows that minute of that day; 1440 is the next midnight."""
    local_day = day + timedelta(days=minutes // 1440)
    clock = time(minutes % 1440 // 60, minutes % 60, tzinfo=ZoneInfo(zone))
    return datetime.combine(local_day, clock).astimezone(UTC).replace(tzinfo=None)


def local_time(zone: str, moment: datetime) -> datetime:
    """Naive UTC to naive wall clock."""
    return moment + _utc_offset(zone, moment.date(), moment.hour)


@cache
def _utc_offset(zone: str, day: date, hour: int) -> timedelta:
    """Clocks change on whole hours of UTC, in the zones of the sample."""
    moment = datetime.combine(day, time(hour), tzinfo=UTC)
    return moment.astimezone(ZoneInfo(zone)).utcoffset() or timedelta()


def business_seconds(week: Week, zone: str, start: datetime, end: datetime) -> int:
    """The seconds of an interval that fall into opening hours, the sum rounded down."""
    day, last = local_time(zone, start).date(), local_time(zone, end).date()
    inside = timedelta()
    while day <= last:
        hours = week[day.isoweekday() % 7]
        if hours:
            opens, closes = utc_moment(zone, day, hours[0]), utc_moment(zone, day, hours[1])
            inside += max(min(end, closes) - max(start, opens), timedelta())
        day += timedelta(days=1)
    return inside // SECOND


@dataclass
class Ledger:
    """One conversation's numbers after the events told so far."""

    outcome: Outcome
    contact_messages: int = 0
    agent_messages: int = 0
    bot_messages: int = 0
    first_contact_at: datetime | None = None
    last_contact_at: datetime | None = None
    last_message_at: datetime | None = None
    last_side: str | None = None
    first_reply_at: datetime | None = None
    first_reply_clock_at: datetime | None = None
    open_wait_since: datetime | None = None
    replies: list[Reply] = field(default_factory=list)
    resolution_count: int = 0
    reopen_count: int = 0
    first_resolved_at: datetime | None = None
    last_resolved_at: datetime | None = None
    csat_rating: int | None = None
    csat_answered_at: datetime | None = None
    _handoff_at: datetime | None = None
    _resolved_and_not_opened: bool = False

    def contact(self, at: datetime) -> None:
        """A message of the contact; begins a wait unless one is open."""
        self.contact_messages += 1
        self.first_contact_at = self.first_contact_at or at
        self.last_contact_at = at
        self.open_wait_since = self.open_wait_since or at
        self._message(at, "contact")

    def agent(self, at: datetime, agent_id: int | None) -> None:
        """A message of a person, from Chatwoot or the phone app; ends a wait."""
        self.agent_messages += 1
        if self.first_contact_at and not self.first_reply_at:
            self.first_reply_at = at
            self.first_reply_clock_at = max(
                self.first_contact_at, self._handoff_at or self.first_contact_at
            )
        if self.open_wait_since:
            self.replies.append(Reply(self.open_wait_since, at, agent_id, not self.replies))
            self.open_wait_since = None
        self._message(at, "agent")

    def bot(self, at: datetime) -> None:
        """A message of a bot, an automation, a campaign: counts, ends no wait."""
        self.bot_messages += 1
        self._message(at, "bot")

    def handoff(self, at: datetime) -> None:
        """The bot gave over to people: a first reply is timed from here."""
        self._handoff_at = at

    def opened(self) -> None:
        """An opened event; reopens only what was resolved."""
        self.reopen_count += self._resolved_and_not_opened
        self._resolved_and_not_opened = False

    def resolved(self, at: datetime) -> None:
        """A resolved event; drops an open wait."""
        self.resolution_count += 1
        self.first_resolved_at = self.first_resolved_at or at
        self.last_resolved_at = at
        self.open_wait_since = None
        self._resolved_and_not_opened = True

    @property
    def first_reply_seconds(self) -> int | None:
        """Rounded down; from the contact's first message, or the handoff after it."""
        if self.first_reply_at is None or self.first_reply_clock_at is None:
            return None
        return (self.first_reply_at - self.first_reply_clock_at) // SECOND

    def is_waiting(self, status: str) -> bool:
        """Whether the contact waits while the conversation has that status."""
        return status != "resolved" and self.last_side == "contact"

    def _message(self, at: datetime, side: str) -> None:
        if self.last_message_at and at <= self.last_message_at:
            raise ValueError(f"message at {at} told after one at {self.last_message_at}")
        self.last_message_at, self.last_side = at, side


DDL = """
create schema sample_truth;
comment on schema sample_truth is
    'What the generator planted. For tests; no reader has a right to it.';

create table sample_truth.conversations (
    conversation_id bigint primary key,
    tenant_slug text,
    scenario text not null,
    status text not null,
    channel text not null,
    lead_class text not null,
    intent text not null,
    sentiment text not null,
    is_lead boolean not null,
    is_visit_scheduled boolean not null,
    contact_message_count bigint not null,
    agent_message_count bigint not null,
    bot_message_count bigint not null,
    first_contact_message_at timestamptz,
    last_contact_message_at timestamptz,
    last_message_at timestamptz,
    last_side text,
    first_reply_at timestamptz,
    first_reply_seconds bigint,
    first_reply_business_seconds bigint,
    is_waiting boolean not null,
    waiting_since timestamptz,
    resolution_count bigint not null,
    reopen_count bigint not null,
    first_resolved_at timestamptz,
    last_resolved_at timestamptz,
    is_one_touch boolean not null,
    is_bot_resolved boolean not null,
    csat_rating integer,
    csat_answered_at timestamptz,
    referrer_url text,
    utm_source text,
    utm_medium text,
    utm_campaign text,
    labels text[] not null
);
comment on column sample_truth.conversations.tenant_slug is 'NULL: an inbox that no tenant owns.';
comment on column sample_truth.conversations.is_lead is
    'By the default rules: class high or medium, or a visit scheduled.';

create table sample_truth.replies (
    conversation_id bigint not null,
    waiting_since timestamptz not null,
    replied_at timestamptz not null,
    wait_seconds bigint not null,
    wait_business_seconds bigint,
    agent_id bigint,
    is_first boolean not null,
    primary key (conversation_id, waiting_since)
);
comment on column sample_truth.replies.wait_business_seconds is
    'NULL where the inbox has no working hours.';

create table sample_truth.messages (
    message_id bigint primary key,
    sender_kind text
);
comment on column sample_truth.messages.sender_kind is
    'contact, agent, bot; NULL: not a message, or one without conversation.';

create table sample_truth.sample (
    seed bigint not null,
    until timestamptz not null,
    conversations bigint not null,
    version integer not null
);
comment on table sample_truth.sample is 'One row, written last: without it, no sample.';
"""
