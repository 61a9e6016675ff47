"""Plays one conversation: Chatwoot's rows on one side, the ledger of the truth on the other.

What Chatwoot does by itself (reopening, waiting_since, reporting events, greetings, surveys)
follows its source code, as far as an analyst can see it in the tables.
"""

from __future__ import annotations

import json
import random
import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

from warehouse.sample import texts
from warehouse.sample.people import People, ascii_lower
from warehouse.sample.plan import Planned
from warehouse.sample.rows import Message, Tables
from warehouse.sample.scenarios import NOTHING, SCENARIOS, Kind, Step, with_bot
from warehouse.sample.truth import SECOND, Ledger, Week, business_seconds, local_time, utc_moment
from warehouse.sample.world import (
    AUTOMATION_RULE_ID,
    BOT_IDS,
    CAMPAIGN_IDS,
    TAG_IDS,
    TEAM_IDS,
    TEAM_NAMES,
    Agent,
    Row,
)

STATUS = {"open": 0, "resolved": 1, "pending": 2, "snoozed": 3}
NOBODY = "\0"  # the name of a contact who has none
MONTHS = ("jan", "fev", "mar", "abr", "mai", "jun", "jul", "ago", "set", "out", "nov", "dez")
CONTACT_PHRASES = frozenset(
    step.phrase for scenario in SCENARIOS for step in scenario.script if step.kind is Kind.CONTACT
) | {"menu_choice", "ack", "csat_good", "csat_bad"}
UTM_TAGS = (
    {"utm_source": "google", "utm_medium": "cpc", "utm_campaign": "marca"},
    {"utm_source": "google", "utm_medium": "cpc", "utm_campaign": "promo_{month}"},
    {"utm_source": "facebook", "utm_medium": "paid_social", "utm_campaign": "promo_{month}"},
    {"utm_source": "instagram", "utm_medium": "social", "utm_campaign": "link da bio"},
    {"utm_source": "newsletter", "utm_medium": "email", "utm_campaign": "promoção & novidades"},
    {"utm_source": "tiktok", "utm_medium": "paid_social"},
    {"utm_source": "google", "utm_medium": "organic"},
)
PAGES = ("/", "/planos", "/contato", "/promocao", "/agendar")
EMAIL_SUBJECTS = ("Informações", "Dúvida", "Orçamento", "Contato pelo site", "Re: Proposta")
DELETED_TEXT = "Esta mensagem foi excluída"
CSAT_CHOICES = {"positive": (5, 5, 5, 4), "neutral": (5, 4, 4, 3), "negative": (1, 1, 2, 3)}
SPECIAL_TEXTS: dict[str, tuple[str | None, ...]] = {
    "hostile_html": texts.HOSTILE_HTML,
    "hostile_formula": texts.HOSTILE_FORMULAS,
    "prompt_injection": texts.PROMPT_INJECTIONS,
    "odd_text": texts.ODD_TEXTS,
    "empty_audio": ("",),
    "null_image": (None,),
}
FILE_TYPES = {"image": (0, "jpg"), "audio": (1, "ogg"), "file": (3, "pdf")}


class HistoryEndsError(Exception):
    """The next step would happen after the end of history."""


class Talk:
    """One conversation being played: Chatwoot's rows on one side, the ledger on the other."""

    def __init__(
        self,
        rng: random.Random,
        planned: Planned,
        until: datetime,
        tables: Tables,
        people: People,
    ) -> None:
        self._rng = rng
        self._tables = tables
        self._business = planned.business
        self._inbox = planned.inbox
        self._scenario = planned.scenario
        self._ends = until - timedelta(minutes=2)
        self._until = until
        self._start = self._now = planned.start
        self._written_at = planned.written_at
        self._id = tables.next_id("conversations")
        self._contact, self._contact_inbox_id = people.contact_for(rng, planned, planned.start)
        self._agent: Agent = rng.choice(planned.business.agents)
        self._slots = self._choose_slots()
        self._is_plain = planned.scenario.is_imported or rng.random() < 0.12
        self._ledger = Ledger(NOTHING)

        has_bot = bool(self._inbox.bot)
        self._script = self._scenario.script
        if has_bot and not self._scenario.needs & {"bot", "captain"}:
            self._script = with_bot(self._script)
        self._has_begun = self._has_greeted = False
        self._said: set[str] = set()
        self._topic: texts.Topic | None = None
        self._last: dict[str, Message] = {}
        # Chatwoot's own state of the conversation.
        self._status = "pending" if has_bot else "open"
        self._assignee: Agent | None = None
        self._assignees: set[int] = set()
        self._waiting_since: datetime | None = planned.start
        self._first_reply_created_at: datetime | None = None
        self._last_activity_at = self._updated_at = planned.start
        self._snoozed_until: datetime | None = None
        self._response_clock_at: datetime | None = None  # latest handoff or opened event
        self._bot_resolved_at: datetime | None = None
        self._resolved_at: datetime | None = None
        self._has_user_message = False
        self._has_survey = False
        self._labels: set[str] = set()

    def play(self) -> None:
        """Play the script up to the end of history, and write the conversation."""
        try:
            for step in self._script:
                if self._rng.random() < step.chance:
                    self._play_step(step)
        except HistoryEndsError:
            pass
        self._write()

    # Steps.

    def _play_step(self, step: Step) -> None:
        if step.kind is Kind.EXCHANGE:
            self._exchange(step)
            return
        self._pass_time(step.pace, step.kind)
        self._ledger.outcome = step.then or self._ledger.outcome
        match step.kind:
            case Kind.CONTACT:
                self._contact_says(step.phrase, step.media)
            case Kind.AGENT:
                self._agent_says(step.phrase, step.fails, step.is_bare)
            case Kind.PHONE:
                self._phone_says(step.phrase)
            case Kind.BOT:
                self._bot_says(step.phrase)
            case Kind.AUTOMATION:
                self._automation_says(step.phrase)
            case Kind.CAMPAIGN:
                self._campaign_says(step.phrase)
            case Kind.NOTE:
                self._note()
            case Kind.HANDOFF:
                self._hand_off()
            case Kind.RESOLVE:
                self._resolve(step.by)
            case Kind.REOPEN:
                self._open(self._now)
                self._activity(f"A conversa foi reaberta por {self._agent.name}")
            case Kind.SNOOZE:
                self._status = "snoozed"
                self._snoozed_until = self._now + timedelta(days=self._rng.randint(30, 60))
                self._activity(f"A conversa foi adiada por {self._agent.name}")
            case Kind.PENDING:
                self._status = "pending"
                self._activity(f"A conversa foi marcada como pendente por {self._agent.name}")
            case Kind.TRANSFER:
                self._transfer()
            case Kind.LABEL:
                self._label(step.phrase)
            case _:
                self._delete(step.phrase)

    def _exchange(self, step: Step) -> None:
        for _ in range(self._rng.randint(*step.times)):
            self._play_step(Step(Kind.CONTACT, f"{step.phrase}_question", step.pace, step.then))
            pace = "instant" if step.by is Kind.BOT else "staff"
            answer = f"{step.phrase}_answer"
            self._play_step(Step(step.by, answer, pace, is_bare=step.is_bare))
            if step.by is not Kind.BOT and not step.is_bare and self._rng.random() < 0.35:
                self._play_step(Step(Kind.CONTACT, "ack", "typing"))
            step = replace(step, pace="chat")

    def _contact_says(self, phrase: str, media: str) -> None:
        if phrase == "longest_text":
            self._incoming(self._longest_text())
            return
        if phrase in SPECIAL_TEXTS:
            self._incoming(self._rng.choice(SPECIAL_TEXTS[phrase]), media)
            return
        for part, text in enumerate(self._words(phrase)):
            if part:
                self._pass_time("typing", Kind.CONTACT)
            self._incoming(text, "" if part else media)

    def _agent_says(self, phrase: str, fails: bool, is_bare: bool) -> None:
        if not (self._has_greeted or is_bare or fails) and self._rng.random() < 0.7:
            self._outgoing(self._words("agent_hello")[0], "agent", self._agent)
            self._pass_time("staff_typing", Kind.AGENT)
        self._has_greeted = True
        for part, text in enumerate(self._words(phrase)):
            if part:
                self._pass_time("staff_typing", Kind.AGENT)
            message = self._outgoing(text, "agent", self._agent)
            if fails:
                message.row["status"] = 3
                message.attributes["external_error"] = "131047: Re-engagement message"

    def _phone_says(self, phrase: str) -> None:
        for part, text in enumerate(self._words(phrase)):
            if part:
                self._pass_time("staff_typing", Kind.PHONE)
            self._outgoing(text, "agent", None).attributes["external_echo"] = True

    def _bot_says(self, phrase: str) -> None:
        for part, text in enumerate(self._words(phrase)):
            if part:
                self._pass_time("instant", Kind.BOT)
            message = self._outgoing(text, "bot", None)
            is_captain = self._inbox.bot == "captain"
            message.row["sender_type"] = "Captain::Assistant" if is_captain else "AgentBot"
            message.row["sender_id"] = BOT_IDS[self._inbox.id]
            self._waiting_since = None

    def _automation_says(self, phrase: str) -> None:
        # Some versions sign automations with the user who made the rule.
        sender = self._agent if self._rng.random() < 0.3 else None
        message = self._outgoing(self._words(phrase)[0], "bot", sender)
        message.attributes["automation_rule_id"] = AUTOMATION_RULE_ID

    def _campaign_says(self, phrase: str) -> None:
        message = self._outgoing(self._words(phrase)[0], "bot", self._business.agents[0])
        campaign_id = CAMPAIGN_IDS[self._inbox.id]
        message.row["additional_attributes"] = json.dumps({"campaign_id": campaign_id})

    def _note(self) -> None:
        row = self._message_row(self._words("note")[0], 1, self._now)
        row |= {"private": True, "sender_type": "User", "sender_id": self._agent.id}
        self._has_user_message = True
        self._send(Message(row, None, self._is_plain))

    def _hand_off(self) -> None:
        names = ["conversation_bot_handoff"]
        if self._inbox.bot == "captain":
            names.insert(0, "conversation_captain_inference_handoff")
        self._open(self._now)
        for name in names:
            self._now += timedelta(milliseconds=self._rng.randint(5, 60))
            self._event(name, self._start, self._now, self._assignee_id)
            self._ledger.handoff(self._now)
        self._response_clock_at = self._now
        self._waiting_since = self._waiting_since or self._now

    def _resolve(self, by: Kind) -> None:
        self._status = "resolved"
        self._updated_at = self._now
        if self._scenario.is_imported:
            return
        self._event("conversation_resolved", self._start, self._now, self._assignee_id)
        if self._inbox.bot and not self._has_user_message:
            self._event("conversation_bot_resolved", self._start, self._now, self._assignee_id)
            self._bot_resolved_at = self._now
        self._ledger.resolved(self._now)
        self._resolved_at = self._now
        self._waiting_since = None
        who = self._business.bot_name if by is Kind.BOT else self._agent.name
        self._activity(f"A conversa foi marcada como resolvida por {who}")
        if self._inbox.has_csat and by is not Kind.BOT and not self._has_survey:
            self._survey()

    def _open(self, at: datetime) -> None:
        self._status = "open"
        self._updated_at = max(self._updated_at, at)
        self._snoozed_until = None
        if self._scenario.is_imported:
            return
        since = self._resolved_at or self._start
        self._event("conversation_opened", since, at, self._assignee_id)
        self._response_clock_at = at
        self._ledger.opened()

    def _transfer(self) -> None:
        before, first_name = self._agent.name, self._slots["colega"]
        self._agent = next(a for a in self._business.agents if a.first_name == first_name)
        self._slots["eu"], self._slots["colega"] = first_name, before.split()[0]
        self._has_greeted = True
        self._assign()
        self._activity(f"Atribuído a {self._agent.name} por {before}")

    def _label(self, title: str) -> None:
        if title in self._labels:
            return
        self._labels.add(title)
        self._updated_at = max(self._updated_at, self._now)
        self._tables.tag_uses[title] += 1
        self._tables.later(self._row_time(self._now), "taggings", {
            "tag_id": TAG_IDS[title], "taggable_type": "Conversation", "taggable_id": self._id,
            "context": "labels", "created_at": self._now,
        })  # fmt: skip
        self._activity(f"{self._agent.name} adicionou {title}")

    def _delete(self, side: str) -> None:
        message = self._last[side]
        message.row |= {"content": DELETED_TEXT, "content_type": 0, "updated_at": self._now}
        message.attributes, message.attachments = {"deleted": True}, []

    def _survey(self) -> None:
        self._has_survey = True
        self._now += timedelta(seconds=1)
        text = self._words("csat")[0]
        if self._inbox.csat_is_outgoing:
            message = self._outgoing(text, "bot", None)
            message.row["additional_attributes"] = json.dumps(
                {
                    "template_params": {
                        "name": "pesquisa",
                        "category": "UTILITY",
                        "language": "pt_BR",
                    }
                }
            )
        else:
            message = Message(self._message_row(text, 3, self._now), None, self._is_plain)
            self._send(message)
        message.row["content_type"] = 9
        answered_at = self._now + timedelta(seconds=self._rng.lognormvariate(7, 1.4))
        if self._rng.random() > 0.4 or answered_at > self._ends:
            return
        sentiment = self._ledger.outcome.sentiment
        rating = self._rng.choice(CSAT_CHOICES[sentiment])
        feedback = None
        if self._rng.random() < 0.4:
            feedback = self._words("csat_good" if rating >= 4 else "csat_bad")[0]
        answer = {"rating": rating, "feedback_message": feedback}
        message.attributes["submitted_values"] = {"csat_survey_response": answer}
        message.row["updated_at"] = answered_at
        self._updated_at = max(self._updated_at, answered_at)
        self._ledger.csat_rating, self._ledger.csat_answered_at = rating, answered_at
        self._tables.later(self._row_time(answered_at), "csat_survey_responses", {
            "account_id": self._business.account_id, "conversation_id": self._id,
            "message_id": message, **answer, "contact_id": self._contact.id,
            "assigned_agent_id": self._assignee_id,
            "created_at": answered_at, "updated_at": answered_at,
        })  # fmt: skip

    # Messages.

    def _incoming(self, text: str | None, media: str = "") -> None:
        row = self._message_row(text, 0, self._now)
        row |= {"sender_type": "Contact", "sender_id": self._contact.id}
        message = Message(row, "contact", self._is_plain)
        if self._inbox.channel == "email":
            row["content_type"] = 8
            message.attributes["email"] = {
                "subject": self._slots["assunto"],
                "from": [self._contact.email],
                "to": [f"contato{self._inbox.id}@{self._business.segment}.example"],
                "text_content": {"full": text, "reply": text},
                "html_content": {"full": f"<div>{text}</div>"},
            }
        if "agent" in self._last and self._rng.random() < 0.05:
            message.reply_to = self._last["agent"]
        if media:
            self._attach(message, media)
        is_first = self._ledger.first_contact_at is None
        self._ledger.contact(self._now)
        self._contact.last_activity_at = max(self._contact.last_activity_at or self._now, self._now)
        self._send(message)
        self._waiting_since = self._waiting_since or self._now
        if self._status in ("resolved", "snoozed") and not self._scenario.is_imported:
            self._open(self._now + timedelta(milliseconds=self._rng.randint(20, 90)))
        if is_first and not self._scenario.is_imported:
            self._answer_by_template()

    def _outgoing(self, text: str, side: str, sender: Agent | None) -> Message:
        """Side `agent` is a person: with a sender in Chatwoot, without one on the phone."""
        row = self._message_row(text, 1, self._now)
        row["status"] = self._rng.choice((0, 1, 2, 2, 2))
        seen_at = self._now + timedelta(seconds=self._rng.expovariate(1 / 900))
        row["updated_at"] = min(seen_at, self._until)
        if sender:
            row |= {"sender_type": "User", "sender_id": sender.id}
            self._has_user_message = True
        message = Message(row, side, self._is_plain)
        self._send(message)
        if side == "agent":
            self._ledger.agent(self._now, sender.id if sender else None)
            if sender and not self._assignee:
                self._assign()
            self._human_reply(sender)
            if self._rng.random() < 0.02:
                self._attach(message, self._rng.choice(("image", "file")))
        else:
            self._ledger.bot(self._now)
        return message

    def _human_reply(self, sender: Agent | None) -> None:
        if self._scenario.is_imported:
            return
        if self._first_reply_created_at is None:
            since = self._response_clock_at or self._bot_resolved_at or self._start
            self._event("first_response", since, self._now, sender.id if sender else None)
            self._first_reply_created_at = self._now
        elif self._waiting_since:
            self._event("reply_time", self._waiting_since, self._now, self._assignee_id)
        self._waiting_since = None

    def _answer_by_template(self) -> None:
        """Chatwoot's own greeting or out-of-office message."""
        hours = self._inbox.hours
        phrase = "greeting_template" if self._inbox.has_greeting else ""
        if hours and not business_seconds(
            hours, self._inbox.timezone, self._now, self._now + timedelta(seconds=1)
        ):
            phrase = "out_of_office"
        if phrase:
            at = self._now + timedelta(milliseconds=400)
            row = self._message_row(self._words(phrase)[0], 3, at)
            self._send(Message(row, None, self._is_plain))

    def _activity(self, text: str) -> None:
        if self._scenario.is_imported:
            return
        at = self._now + timedelta(milliseconds=self._rng.randint(100, 900))
        self._send(Message(self._message_row(text, 2, at), None, self._is_plain))

    def _attach(self, message: Message, media: str) -> None:
        file_type, extension = FILE_TYPES[media]
        message.attachments.append({
            "file_type": file_type, "extension": extension,
            "account_id": self._business.account_id,
            "created_at": message.row["created_at"], "updated_at": message.row["created_at"],
        })  # fmt: skip

    def _send(self, message: Message) -> None:
        at: datetime = message.row["created_at"]
        self._last_activity_at = max(self._last_activity_at, at)
        self._updated_at = max(self._updated_at, at)
        if message.sender_kind:
            self._last[message.sender_kind] = message
        self._tables.later(self._row_time(at), "messages", message)

    def _message_row(self, text: str | None, message_type: int, at: datetime) -> Row:
        return {
            "id": None,
            "content": text,
            "account_id": self._business.account_id,
            "inbox_id": self._inbox.id,
            "conversation_id": self._id,
            "message_type": message_type,
            "created_at": at,
            "updated_at": at,
            "private": False,
            "status": 0,
            "source_id": self._source_id() if message_type < 2 else None,
            "content_type": 0,
            "sender_type": None,
            "sender_id": None,
            "additional_attributes": "{}",
        }

    def _source_id(self) -> str | None:
        if self._scenario.is_imported:
            return f"WAID:{self._rng.getrandbits(64):016X}"
        if self._inbox.channel in ("web", "api"):
            return None
        prefix = {"whatsapp": "wamid.", "email": "mail-"}.get(self._inbox.channel, "")
        return f"{prefix}{self._rng.getrandbits(64):016X}"

    # Words.

    def _words(self, phrase: str) -> list[str]:
        """What is said, one text a message."""
        pool, _, side = phrase.rpartition("_")
        segment = self._business.segment
        if pool in texts.POOLS and side == "question":
            choices = [t for t in texts.topics(segment, pool) if t.question not in self._said]
            self._topic = self._rng.choice(choices or texts.topics(segment, pool))
            template = self._topic.question
        elif pool in texts.POOLS and self._topic:
            template = self._topic.answer
        else:
            templates = texts.templates(segment, phrase)
            template = self._rng.choice([t for t in templates if t not in self._said] or templates)
        self._said.add(template)
        hour = local_time(self._inbox.timezone, self._now).hour
        greeting = "bom dia" if 5 <= hour < 12 else "boa tarde" if 12 <= hour < 18 else "boa noite"
        self._slots["saudacao"], self._slots["Saudacao"] = greeting, greeting.capitalize()
        is_contact = phrase in CONTACT_PHRASES or side == "question"
        return [self._word(part, is_contact) for part in template.split(texts.PAUSE)]

    def _word(self, template: str, is_contact: bool) -> str:
        text = texts.fill(template, self._slots, self._rng)
        if NOBODY in text:
            text = text.replace(f", {NOBODY}", "").replace(f"{NOBODY}, ", "")
            text = text.replace(f" {NOBODY}", "").replace(NOBODY, "")
        text = text[:1].upper() + text[1:]
        if is_contact:
            text = texts.retype(text, self._contact.style, self._rng)
        is_letter = self._inbox.channel == "email" and is_contact and len(text) > 25
        if is_letter and not text.lower().startswith(("bom ", "boa ", "ol", "oi")):
            return f"{self._slots['Saudacao']},\n\n{text}\n\nAtt.,\n{self._slots['completo']}"
        return text

    def _longest_text(self) -> str:
        """As long as Chatwoot lets a message be."""
        questions = [topic.question for topic in texts.topics(self._business.segment, "faq")]
        line = " ".join(texts.fill(q, self._slots, self._rng) for q in questions) + "\n"
        return (line * (texts.LONG_TEXT_LENGTH // len(line) + 1))[: texts.LONG_TEXT_LENGTH]

    def _choose_slots(self) -> dict[str, str]:
        rng, business, contact = self._rng, self._business, self._contact
        slots = {
            name: rng.choice(values)
            for name, values in texts.LEXICONS[business.segment].slots.items()
        }
        colleagues = [a.first_name for a in business.agents if a != self._agent]
        of, at = {"a": ("da", "à"), "o": ("do", "ao")}[business.article]
        weekdays = rng.sample(texts.WEEKDAYS, 2)
        return (
            slots
            | texts.inflected(slots["produto"])
            | {
                "nome": NOBODY if contact.is_nameless else contact.name,
                "completo": f"{contact.name} {contact.last_name}",
                "email": contact.email
                or f"{ascii_lower(contact.name)}{contact.id}@correio.example",
                "fone": (contact.phone or "+5511900000000").removeprefix("+55"),
                "cpf": _cpf(rng),
                "eu": self._agent.first_name,
                "colega": rng.choice(colleagues) if colleagues else self._agent.first_name,
                "empresa": business.name,
                "aempresa": f"{business.article} {business.name}",
                "daempresa": f"{of} {business.name}",
                "aoempresa": f"{at} {business.name}",
                "bot": business.bot_name,
                "dia": weekdays[0],
                "dia2": weekdays[1],
                "hora": rng.choice(texts.HOURS),
                "hora2": rng.choice(texts.HOURS),
                "protocolo": str(rng.randint(10_000, 99_999)),
                "assunto": rng.choice(EMAIL_SUBJECTS),
            }
        )

    # Time.

    def _pass_time(self, pace: str, kind: Kind) -> None:
        """Go on to when that happens; raises HistoryEndsError where history ends before."""
        if not self._has_begun:
            # The first message follows the conversation's own row by milliseconds.
            self._has_begun = True
            self._now += timedelta(milliseconds=self._rng.randint(5, 90))
            return
        rng = self._rng
        match pace:
            case "instant":
                seconds = rng.uniform(1, 4)
            case "typing":
                seconds = rng.uniform(4, 40)
            case "staff_typing":
                seconds = rng.uniform(10, 90)
            case "chat":
                seconds = min(rng.lognormvariate(4.4, 1.1), 6 * 3600) + 3
            case "staff":
                # Who is in a talk already answers sooner than who has to pick it up.
                minutes = self._business.reply_minutes * (0.3 if self._has_greeted else 1)
                seconds = 60 * minutes * rng.lognormvariate(0, 0.9) + 5
            case "wrap_up":
                seconds = rng.lognormvariate(6.6, 0.9)
            case "hours":
                seconds = rng.uniform(1, 7) * 3600
            case "day":
                seconds = rng.uniform(18, 30) * 3600
            case _:
                seconds = rng.uniform(2, 6.5) * 86400
        self._now += timedelta(seconds=seconds)
        if pace not in ("instant", "typing", "staff_typing"):
            if kind is Kind.CONTACT:
                self._wait_for_morning()
            elif rng.random() < 0.88:
                self._wait_for_staff()
        if self._now > self._ends:
            raise HistoryEndsError

    def _wait_for_morning(self) -> None:
        hour = local_time(self._business.timezone, self._now).hour
        if hour < 6 and self._rng.random() < 0.85:
            self._now += timedelta(hours=7 - hour + self._rng.uniform(0, 2))

    def _wait_for_staff(self) -> None:
        opens = _next_open(self._business.staff, self._business.timezone, self._now)
        if opens > self._now:
            minutes = self._business.reply_minutes
            self._now = opens + timedelta(minutes=minutes * self._rng.lognormvariate(0.3, 0.7))

    def _row_time(self, at: datetime) -> datetime:
        """When a row of that moment was written: an import writes all of them at once."""
        return max(at, self._written_at)

    # Chatwoot's bookkeeping.

    @property
    def _assignee_id(self) -> int | None:
        return self._assignee.id if self._assignee else None

    def _assign(self) -> None:
        self._assignee = self._agent
        self._assignees.add(self._agent.id)

    def _event(self, name: str, start: datetime, end: datetime, user_id: int | None) -> None:
        """A reporting event, written by a job: a bit late, sometimes very late, sometimes twice."""
        tables, hours = self._tables, self._inbox.hours
        # Whole seconds of both ends, as Ruby's to_i has it.
        value = (end.replace(microsecond=0) - start.replace(microsecond=0)) // SECOND
        inside: float | None = 0.0
        if hours:
            inside = float(business_seconds(hours, self._inbox.timezone, start, end))
        if name == "conversation_opened" and self._resolved_at is None:
            value, inside = 0, 0.0
        if "captain" in name:
            inside = None
        tables.events_seen += 1
        delay = timedelta(seconds=self._rng.uniform(0.4, 15))
        if tables.events_seen % 60 == 0:
            delay = timedelta(hours=self._rng.uniform(5, 20))
        job_times = [end + delay]
        if tables.events_seen % 97 == 0:
            job_times.append(end + delay + timedelta(seconds=self._rng.uniform(20, 90)))
        for job_at in job_times:
            created_at = min(job_at, self._until)
            tables.later(self._row_time(created_at), "reporting_events", {
                "name": name, "value": float(value), "value_in_business_hours": inside,
                "account_id": self._business.account_id, "inbox_id": self._inbox.id,
                "user_id": user_id, "conversation_id": self._id,
                "event_start_time": start, "event_end_time": end,
                "created_at": created_at, "updated_at": created_at,
            })  # fmt: skip

    def _write(self) -> None:
        rng, contact, outcome = self._rng, self._contact, self._ledger.outcome
        if outcome.lead_class == "high" and self._has_greeted and rng.random() < 0.3:
            self._tag_at_end("lead-quente")
        if rng.random() < 0.03:
            self._tag_at_end("vip")
        contact.busy_until = (
            self._last_activity_at + timedelta(hours=12) if self._status == "resolved" else None
        )
        contact.is_blocked |= self._scenario.name == "spam" and rng.random() < 0.4
        channel, attributes = self._channel_and_attributes()
        contact_id: int | None = contact.id
        if contact.is_gone and contact.id % 2:
            contact_id = None
        self._tables.add("conversations", {
            "id": self._id,
            "account_id": self._business.account_id,
            "inbox_id": self._inbox.id,
            "status": STATUS[self._status],
            "assignee_id": self._assignee_id,
            "created_at": self._start,
            "updated_at": self._updated_at,
            "contact_id": contact_id,
            "display_id": 0,  # a trigger counts
            "contact_last_seen_at": self._ledger.last_contact_at,
            "agent_last_seen_at": self._first_reply_created_at,
            "additional_attributes": json.dumps(attributes),
            "contact_inbox_id": self._contact_inbox_id,
            "uuid": uuid.UUID(int=rng.getrandbits(128), version=4),
            "last_activity_at": self._last_activity_at,
            "team_id": TEAM_IDS[self._business.name, rng.choice(TEAM_NAMES)]
            if rng.random() < 0.3
            else None,
            "campaign_id": CAMPAIGN_IDS[self._inbox.id]
            if self._script[0].kind is Kind.CAMPAIGN
            else None,
            "snoozed_until": self._snoozed_until,
            "custom_attributes": json.dumps(
                ({"etapa": "venda"} if "venda" in self._labels else {})
                | ({"origem": "indicação", "prioridade": 2} if rng.random() < 0.08 else {})
            ),
            "first_reply_created_at": self._first_reply_created_at,
            "priority": rng.randint(0, 3) if rng.random() < 0.1 else None,
            "waiting_since": self._waiting_since,
            "cached_label_list": ", ".join(sorted(self._labels)) or None,
            "assignee_agent_bot_id": BOT_IDS[self._inbox.id]
            if self._inbox.bot == "agent_bot" and self._status == "pending"
            else None,
        })  # fmt: skip
        for user_id in sorted(self._assignees):
            self._tables.add("conversation_participants", {
                "account_id": self._business.account_id, "user_id": user_id,
                "conversation_id": self._id, "created_at": self._start, "updated_at": self._start,
            })  # fmt: skip
        self._write_truth(channel, attributes.get("referer"))

    def _tag_at_end(self, title: str) -> None:
        self._now = min(self._now + timedelta(seconds=5), self._ends)
        self._label(title)

    def _channel_and_attributes(self) -> tuple[str, Row]:
        rng, channel = self._rng, self._inbox.channel
        if channel == "facebook" and rng.random() < 0.55:
            return "instagram", {"type": "instagram_direct_message"}
        if channel == "telegram":
            return channel, {"chat_id": 10_000_000 + self._contact.id}
        if channel == "email":
            return channel, {"mail_subject": self._slots["assunto"], "source": "email"}
        if channel != "web" or rng.random() < 0.04:
            return channel, {}
        browser = {"browser_name": "Chrome", "device_name": "", "platform_name": "Android"}
        return channel, {
            "browser": browser,
            "browser_language": "pt-BR",
            "referer": self._referer(),
            "initiated_at": {"timestamp": f"{self._start:%a %b %d %Y %H:%M:%S} GMT+0000"},
        }

    def _referer(self) -> str:
        rng = self._rng
        page = f"{self._inbox.website}{rng.choice(PAGES)}"
        if rng.random() < 0.3:
            return page
        tags = {
            key: value.format(month=MONTHS[self._start.month - 1])
            for key, value in rng.choice(UTM_TAGS).items()
        }
        if rng.random() < 0.3:
            tags = {"gclid": f"{rng.getrandbits(40):010x}", **tags}
        return f"{page}?{urlencode(tags)}" + ("#planos" if rng.random() < 0.2 else "")

    def _write_truth(self, channel: str, referer: str | None) -> None:
        ledger, outcome, inbox = self._ledger, self._ledger.outcome, self._inbox
        is_waiting = ledger.is_waiting(self._status)
        is_resolved = self._status == "resolved"
        tags = dict(parse_qsl(urlsplit(referer).query)) if referer else {}
        in_hours: int | None = None
        if inbox.hours and ledger.first_reply_clock_at and ledger.first_reply_at:
            in_hours = business_seconds(
                inbox.hours, inbox.timezone, ledger.first_reply_clock_at, ledger.first_reply_at
            )
        self._tables.add("sample_truth.conversations", {
            "conversation_id": self._id,
            "tenant_slug": self._business.slug,
            "scenario": self._scenario.name,
            "status": self._status,
            "channel": channel,
            "lead_class": outcome.lead_class,
            "intent": outcome.intent,
            "sentiment": outcome.sentiment,
            "is_lead": outcome.lead_class != "low" or outcome.is_visit_scheduled,
            "is_visit_scheduled": outcome.is_visit_scheduled,
            "contact_message_count": ledger.contact_messages,
            "agent_message_count": ledger.agent_messages,
            "bot_message_count": ledger.bot_messages,
            "first_contact_message_at": ledger.first_contact_at,
            "last_contact_message_at": ledger.last_contact_at,
            "last_message_at": ledger.last_message_at,
            "last_side": ledger.last_side,
            "first_reply_at": ledger.first_reply_at,
            "first_reply_seconds": ledger.first_reply_seconds,
            "first_reply_business_seconds": in_hours,
            "is_waiting": is_waiting,
            "waiting_since": ledger.open_wait_since if is_waiting else None,
            "resolution_count": ledger.resolution_count,
            "reopen_count": ledger.reopen_count,
            "first_resolved_at": ledger.first_resolved_at,
            "last_resolved_at": ledger.last_resolved_at,
            "is_one_touch": is_resolved and ledger.agent_messages == 1,
            "is_bot_resolved": is_resolved
            and ledger.agent_messages == 0
            and ledger.bot_messages > 0,
            "csat_rating": ledger.csat_rating,
            "csat_answered_at": ledger.csat_answered_at,
            "referrer_url": referer,
            "utm_source": tags.get("utm_source"),
            "utm_medium": tags.get("utm_medium"),
            "utm_campaign": tags.get("utm_campaign"),
            "labels": sorted(self._labels),
        })  # fmt: skip
        for reply in ledger.replies:
            self._tables.add("sample_truth.replies", {
                "conversation_id": self._id,
                "waiting_since": reply.waiting_since,
                "replied_at": reply.replied_at,
                "wait_seconds": reply.seconds,
                "wait_business_seconds": business_seconds(
                    inbox.hours, inbox.timezone, reply.waiting_since, reply.replied_at
                )
                if inbox.hours
                else None,
                "agent_id": reply.agent_id,
                "is_first": reply.is_first,
            })  # fmt: skip


def _next_open(staff: Week, zone: str, moment: datetime) -> datetime:
    """The moment itself when somebody is at work, else when somebody comes."""
    day = local_time(zone, moment).date()
    for ahead in range(8):
        hours = staff[(day + timedelta(days=ahead)).isoweekday() % 7]
        if hours:
            opens = utc_moment(zone, day + timedelta(days=ahead), hours[0])
            closes = utc_moment(zone, day + timedelta(days=ahead), hours[1])
            if moment < closes:
                return max(opens, moment)
    return moment


def _cpf(rng: random.Random) -> str:
    """A CPF number with valid check digits."""
    digits = [rng.randrange(10) for _ in range(9)]
    for length in (9, 10):
        total = sum(d * (length + 1 - n) for n, d in enumerate(digits[:length]))
        digits.append(total * 10 % 11 % 10)
    d = "".join(map(str, digits))
    return f"{d[:3]}.{d[3:6]}.{d[6:9]}-{d[9:]}"
