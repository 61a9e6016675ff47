"""The conversations of the sample as scripts, each with the outcome it plants.

A script is a tuple of steps. A step says who does what, how long after the step before (`pace`),
and, where it changes how a reader would judge the conversation, the outcome from then on (`then`).
The generator stops a script where history ends, so the outcome of a half-played one is right too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from warehouse.sample.truth import Outcome


class Kind(Enum):
    """What a step does."""

    CONTACT = auto()
    AGENT = auto()
    PHONE = auto()  # an agent in the phone's own app: Chatwoot sees an echo without sender
    BOT = auto()
    AUTOMATION = auto()
    CAMPAIGN = auto()
    NOTE = auto()
    EXCHANGE = auto()  # questions of a pool, each with its answer
    HANDOFF = auto()
    RESOLVE = auto()
    REOPEN = auto()  # by an agent; a contact's message reopens by itself
    SNOOZE = auto()
    PENDING = auto()
    TRANSFER = auto()
    LABEL = auto()
    DELETE = auto()  # the last message of the side named in `phrase`


@dataclass(frozen=True)
class Step:
    """One thing that happens. `phrase` is a key of texts.py; `text` is said as it stands."""

    kind: Kind
    phrase: str = ""
    pace: str = ""
    then: Outcome | None = None
    chance: float = 1.0
    text: str | None = None
    times: tuple[int, int] = (1, 1)
    by: Kind = Kind.AGENT
    media: str = ""  # an attachment: image, audio, file
    fails: bool = False
    is_bare: bool = False  # an agent who does not introduce themself


@dataclass(frozen=True)
class Scenario:
    """A kind of conversation; `weight` is how common it is, 0 exactly once in a sample."""

    name: str
    family: str  # sale, visit, cold, support, complaint, bot, outbound, noise, odd
    weight: float
    script: tuple[Step, ...]
    needs: frozenset[str] = frozenset()  # traits of the inbox, see world.Inbox
    is_recent: bool = False  # begins in the last days of history
    is_imported: bool = False  # written by a history import: old times, new ids, no events
    has_contact: bool = True


# What a reader makes of the conversation.
NOTHING = Outcome("low", "information", "neutral")
PLEASED = Outcome("low", "information", "positive")
ASKED = Outcome("medium", "information", "neutral")
KEEN = Outcome("medium", "information", "positive")
WANTS = Outcome("high", "purchase", "neutral")
BUYS = Outcome("high", "purchase", "positive")
BOOKED = Outcome("high", "purchase", "positive", is_visit_scheduled=True)
CANCELLED = Outcome("low", "purchase", "neutral")
PUT_OFF = Outcome("low", "information", "negative")
SUPPORT = Outcome("low", "support", "neutral")
HELPED = Outcome("low", "support", "positive")
COMPLAINS = Outcome("low", "complaint", "negative")
CALMED = Outcome("low", "complaint", "neutral")


def contact(
    phrase: str = "",
    pace: str = "chat",
    then: Outcome | None = None,
    chance: float = 1.0,
    text: str | None = None,
    media: str = "",
) -> Step:
    """The contact writes."""
    return Step(Kind.CONTACT, phrase, pace, then, chance, text, media=media)


def agent(
    phrase: str,
    pace: str = "staff",
    then: Outcome | None = None,
    chance: float = 1.0,
    fails: bool = False,
    is_bare: bool = False,
) -> Step:
    """A person of the staff answers in Chatwoot."""
    return Step(Kind.AGENT, phrase, pace, then, chance, fails=fails, is_bare=is_bare)


def phone(phrase: str, pace: str = "staff") -> Step:
    """A person of the staff answers from the phone."""
    return Step(Kind.PHONE, phrase, pace)


def bot(phrase: str, then: Outcome | None = None) -> Step:
    """The inbox's bot answers."""
    return Step(Kind.BOT, phrase, "instant", then)


def exchange(
    pool: str,
    low: int = 1,
    high: int = 1,
    by: Kind = Kind.AGENT,
    then: Outcome | None = None,
    pace: str = "chat",
    is_bare: bool = False,
) -> Step:
    """`low` to `high` questions of a pool, each answered."""
    return Step(Kind.EXCHANGE, pool, pace, then, times=(low, high), by=by, is_bare=is_bare)


def note(chance: float = 1.0) -> Step:
    """A private note among the staff."""
    return Step(Kind.NOTE, "note", "staff_typing", chance=chance)


def label(title: str, chance: float = 0.8) -> Step:
    """Somebody of the staff tags the conversation."""
    return Step(Kind.LABEL, title, "staff_typing", chance=chance)


def resolve(chance: float = 1.0, by: Kind = Kind.AGENT, pace: str = "wrap_up") -> Step:
    """The conversation is resolved."""
    return Step(Kind.RESOLVE, pace=pace, chance=chance, by=by)


GREET = contact("greet", "typing", chance=0.65)
ASK = (GREET, contact("ask_price", "typing", then=ASKED))
ACK = contact("ack", "typing", chance=0.4)
PRICE = (agent("price"), ACK)
THANKS = contact("thanks", chance=0.85)
BYE = (THANKS, agent("bye", chance=0.6), resolve(0.9))
SALE = (
    contact("want", then=BUYS),
    agent("close"),
    contact("data"),
    agent("one_moment", chance=0.3),
    agent("closed"),
    label("venda"),
)
OFFER = (agent("offer_visit"), contact("accept_visit", then=BUYS))
VISIT = (*OFFER, agent("confirm_visit", then=BOOKED), label("agendado"))
PONDER = (contact("think", then=ASKED), agent("ok_think"))
PONDER_GLAD = (contact("think_glad", then=KEEN), agent("ok_think"))
COMPLAINT = (
    GREET,
    contact("complaint", "typing", then=COMPLAINS),
    agent("complaint_reply"),
    contact("complaint_more", then=COMPLAINS),
    label("reclamacao"),
)
MENU = (bot("bot_welcome"), contact("menu_choice"))
HANDOFF = (bot("bot_transfer"), Step(Kind.HANDOFF, pace="instant"))
# What an inbox with a bot does before a script that does not know of bots.
BOT_PRELUDE = (*MENU, *HANDOFF)

BOT_INBOX, NO_BOT, REOPENS = frozenset({"bot"}), frozenset({"human"}), frozenset({"reopens"})

SCENARIOS: tuple[Scenario, ...] = (
    # They buy, or want to.
    Scenario("purchase", "sale", 6.5, (*ASK, *PRICE, exchange("faq", 2, 6), *SALE, *BYE)),
    Scenario("purchase_later", "sale", 2.5, (
        *ASK, *PRICE, exchange("faq", 1, 4), *PONDER_GLAD, note(0.5), agent("follow_up", "day"),
        contact("back", chance=0.3), exchange("faq", 0, 2), *SALE, *BYE,
    )),
    Scenario("purchase_waiting", "sale", 1.5, (
        *ASK, *PRICE, exchange("faq", 0, 3), contact("want", then=BUYS),
        contact("ping", "hours", chance=0.6, then=WANTS),
    ), is_recent=True),
    Scenario("purchase_transfer", "sale", 2, (
        *ASK, agent("transfer"), Step(Kind.TRANSFER, pace="instant"), agent("takeover"),
        exchange("faq", 2, 5), *SALE, *BYE,
    )),
    # They agree on a visit, a trial, an appointment.
    Scenario("visit", "visit", 7, (
        *ASK, *PRICE, exchange("faq", 1, 5), *VISIT, note(0.3), *BYE,
    )),
    Scenario("visit_moved", "visit", 1.6, (
        *ASK, *PRICE, exchange("faq", 0, 2), *VISIT, THANKS,
        contact("change_visit", "hours"), agent("confirm_change", then=BOOKED), *BYE,
    )),
    Scenario("visit_cancelled", "visit", 2, (
        *ASK, *PRICE, exchange("faq", 0, 2), *VISIT, THANKS,
        contact("cancel_visit", "hours", then=CANCELLED), agent("ok_cancel"),
        contact("no_other_date"), resolve(),
    )),
    Scenario("visit_refused", "visit", 2, (
        *ASK, *PRICE, exchange("faq", 0, 2), agent("offer_visit", "staff_typing"),
        contact("refuse_visit", then=NOTHING), agent("ok_decline"), resolve(0.9),
    )),
    Scenario("booking_confirmed", "visit", 2.5, (
        contact("booking", then=BOOKED), agent("booking_ok"), THANKS, resolve(0.9),
    )),
    # They are interested, and that is all so far.
    Scenario("engaged", "cold", 5, (
        *ASK, *PRICE, exchange("faq", 2, 6), *PONDER, label("lead-morno", 0.4), resolve(0.35),
    )),
    Scenario("engaged_glad", "cold", 3.5, (
        *ASK, *PRICE, exchange("faq", 1, 5), *PONDER_GLAD, label("lead-morno", 0.4), resolve(0.35),
    )),
    Scenario("snoozed", "cold", 1, (
        *ASK, *PRICE, exchange("faq", 1, 3), contact("next_week", then=ASKED),
        agent("ok_next_week"), Step(Kind.SNOOZE, pace="wrap_up"),
    ), is_recent=True),
    Scenario("snoozed_and_back", "cold", 1.5, (
        *ASK, *PRICE, exchange("faq", 0, 3), contact("next_week", then=ASKED),
        agent("ok_next_week"), Step(Kind.SNOOZE, pace="wrap_up"),
        contact("back", "days"), exchange("faq", 1, 3), *PONDER, resolve(0.5),
    )),
    Scenario("set_pending", "cold", 1, (
        *ASK, *PRICE, exchange("faq", 0, 3), contact("think", then=ASKED),
        Step(Kind.PENDING, pace="wrap_up"),
    ), NO_BOT),
    # They go cold, or say no.
    Scenario("price_only", "cold", 7, (
        *ASK, agent("price"), agent("follow_up", "day", then=NOTHING),
        agent("follow_up", "days", chance=0.5), resolve(0.75),
    )),
    Scenario("declined", "cold", 4.5, (
        *ASK, *PRICE, exchange("faq", 0, 4), contact("decline", then=NOTHING),
        agent("ok_decline"), resolve(0.95),
    )),
    Scenario("declined_price", "cold", 2.2, (
        *ASK, agent("price"), contact("decline_price", then=PUT_OFF),
        agent("ok_decline", chance=0.7), resolve(0.9),
    )),
    # Nobody answers.
    Scenario("unanswered", "cold", 3, (*ASK, contact("ping", "hours", chance=0.5))),
    Scenario("unanswered_angry", "complaint", 0.8, (
        *ASK, contact("ping", "hours"), contact("frustrated_ping", "hours", then=COMPLAINS),
    )),
    Scenario("resolved_unanswered", "cold", 1.2, (*ASK, resolve(pace="hours")), NO_BOT),
    # Who answers, and how.
    Scenario("phone_app", "sale", 3, (
        *ASK, phone("phone_reply"), phone("price"), ACK, exchange("faq", 1, 4, by=Kind.PHONE),
        contact("think_glad", then=KEEN), phone("ok_think"), resolve(0.6),
    ), frozenset({"phone_app", "human"})),
    Scenario("note_first", "cold", 1.6, (
        *ASK, note(), *PRICE, exchange("faq", 1, 4), *PONDER, resolve(0.5),
    )),
    Scenario("automation_first", "visit", 2.4, (
        *ASK, Step(Kind.AUTOMATION, "automation_ack", "instant"), *PRICE, exchange("faq", 0, 3),
        *VISIT, *BYE,
    ), NO_BOT),
    Scenario("one_touch", "support", 3.5, (
        GREET, exchange("practical", is_bare=True), contact("thanks", then=PLEASED), resolve(),
    ), NO_BOT),
    Scenario("failed_delivery", "sale", 1.4, (
        *ASK, agent("price", fails=True), agent("price"), ACK, exchange("faq", 0, 4), *PONDER,
        resolve(0.5),
    )),
    Scenario("deleted", "odd", 1, (
        *ASK, contact("sent_by_mistake", "typing"), Step(Kind.DELETE, "contact", "staff_typing"),
        agent("price"), agent("price", "staff_typing"), Step(Kind.DELETE, "agent", "instant"),
        exchange("faq", 1, 3), *PONDER, resolve(0.6),
    ), NO_BOT),
    # Bots.
    Scenario("handoff", "bot", 2.5, (
        contact("greet"), bot("bot_welcome"), contact("ask_price", then=ASKED), bot("bot_confused"),
        contact("want_human"), *HANDOFF, *PRICE, exchange("faq", 1, 5), *PONDER, resolve(0.5),
    ), BOT_INBOX),
    Scenario("handoff_ignored", "bot", 1.2, (
        contact("greet"), *MENU, contact("ask_price", then=ASKED), *HANDOFF,
        contact("ping", "hours", chance=0.7),
    ), BOT_INBOX),
    Scenario("captain_handoff", "bot", 1.5, (
        contact("greet"), bot("bot_welcome"), exchange("practical", 1, 2, by=Kind.BOT),
        contact("ask_price", then=ASKED), *HANDOFF, *PRICE, *VISIT, *BYE,
    ), frozenset({"captain"})),
    Scenario("bot_resolved", "bot", 5, (
        contact("greet"), bot("bot_welcome"), exchange("practical", 1, 3, by=Kind.BOT),
        bot("bot_anything"), contact("no_thanks_bot", then=PLEASED), bot("bot_bye"),
        resolve(by=Kind.BOT, pace="instant"),
    ), BOT_INBOX),
    Scenario("bot_informs", "bot", 1.6, (
        contact("greet"), bot("bot_welcome"), contact("ask_price", then=ASKED), bot("price"),
        exchange("faq", 1, 3, by=Kind.BOT), contact("think_glad", then=KEEN), bot("bot_bye"),
        resolve(by=Kind.BOT, pace="instant"),
    ), BOT_INBOX),
    Scenario("bot_only", "bot", 2, (
        contact("greet"), bot("bot_welcome"), exchange("practical", 0, 2, by=Kind.BOT),
    ), BOT_INBOX),
    Scenario("bot_waiting", "bot", 1.2, (
        contact("greet"), bot("bot_welcome"), contact("ask_price", then=ASKED), bot("bot_confused"),
        contact("want_human"),
    ), BOT_INBOX),
    # They come back.
    Scenario("reopened", "visit", 3, (
        *ASK, *PRICE, exchange("faq", 1, 4), *PONDER_GLAD, resolve(),
        contact("back", "days"), exchange("faq", 0, 2), *VISIT, *BYE,
    ), REOPENS),
    Scenario("reopened_twice", "support", 1, (
        exchange("support", then=SUPPORT), contact("thanks", then=HELPED), resolve(),
        exchange("support", pace="days", then=SUPPORT), contact("thanks", then=HELPED), resolve(),
        exchange("support", pace="days", then=SUPPORT), contact("thanks", then=HELPED), resolve(),
    ), REOPENS),
    Scenario("reopened_by_agent", "cold", 0.8, (
        *ASK, agent("price"), resolve(), Step(Kind.REOPEN, pace="day"),
        agent("follow_up", "staff_typing"), contact("outbound_no", then=NOTHING),
        agent("ok_decline"), resolve(),
    ), NO_BOT),
    Scenario("thanks_after_resolve", "support", 2.5, (
        GREET, exchange("practical", 1, 2), resolve(),
        contact("thanks", "typing", then=PLEASED), resolve(),
    ), REOPENS),
    Scenario("dropped_then_answered", "cold", 1, (
        *ASK, resolve(), contact("ping", "hours"), *PRICE, exchange("faq", 1, 3), *PONDER,
        resolve(0.5),
    ), REOPENS),
    # The business writes first.
    Scenario("campaign_visit", "outbound", 2.2, (
        Step(Kind.CAMPAIGN, "campaign"), contact("campaign_yes", then=ASKED), *PRICE,
        exchange("faq", 1, 3), *VISIT, *BYE,
    ), frozenset({"campaign", "human"})),
    Scenario("campaign_ignored", "outbound", 1.4, (
        Step(Kind.CAMPAIGN, "campaign"),
    ), frozenset({"campaign", "human"})),
    Scenario("outbound_visit", "outbound", 1.8, (
        agent("outbound", is_bare=True), contact("outbound_yes", "hours", then=ASKED), *PRICE,
        exchange("faq", 1, 3), *VISIT, *BYE,
    ), frozenset({"outbound", "human"})),
    Scenario("outbound_declined", "outbound", 1, (
        agent("outbound", is_bare=True), contact("outbound_no", "hours", then=NOTHING),
        agent("ok_decline"), resolve(),
    ), frozenset({"outbound", "human"})),
    Scenario("outbound_ignored", "outbound", 1.4, (
        agent("outbound", is_bare=True), agent("follow_up", "days", chance=0.4),
        resolve(0.4, pace="days"),
    ), frozenset({"outbound", "human"})),
    # Customers they have already.
    Scenario("support", "support", 8, (
        GREET, exchange("support", 1, 2, then=SUPPORT), label("suporte", 0.6),
        contact("thanks", then=HELPED), agent("bye", chance=0.5), resolve(0.95),
    )),
    Scenario("support_long", "support", 2, (
        GREET, exchange("support", 2, 3, then=SUPPORT), agent("one_moment"), exchange("faq", 1, 3),
        note(0.5), contact("thanks", then=HELPED), agent("bye"), resolve(0.95),
    )),
    Scenario("support_with_photo", "support", 1.5, (
        GREET, contact("support_question", "typing", then=SUPPORT),
        contact("photo", "typing", media="image"), agent("one_moment"), agent("support_answer"),
        contact("thanks", then=HELPED), resolve(),
    )),
    Scenario("support_waiting", "support", 1.3, (
        GREET, contact("support_question", "typing", then=SUPPORT),
        contact("ping", "hours", chance=0.5),
    ), is_recent=True),
    Scenario("complaint_solved", "complaint", 2.5, (
        *COMPLAINT, note(0.6), agent("complaint_fix", "hours"),
        contact("complaint_calm", then=CALMED), agent("bye"), resolve(),
    )),
    Scenario("complaint_unsolved", "complaint", 1.8, (
        *COMPLAINT, agent("complaint_fix", "hours"), contact("complaint_rage", then=COMPLAINS),
        resolve(0.6),
    )),
    Scenario("complaint_waiting", "complaint", 0.8, (
        GREET, contact("complaint", "typing", then=COMPLAINS),
        contact("complaint_more", "hours", then=COMPLAINS),
    )),
    # Noise.
    Scenario("spam", "noise", 2, (contact("spam"), label("spam", 0.6), resolve(0.7))),
    Scenario("wrong_number", "noise", 1.2, (
        contact("wrong_number"), agent("wrong_reply"), contact("wrong_sorry"), resolve(),
    )),
    Scenario("job_seeker", "noise", 1.2, (
        contact("job"), agent("job_reply"), contact("thanks", then=PLEASED), resolve(),
    )),
    Scenario("supplier", "noise", 1.2, (
        contact("supplier"), agent("no_interest", chance=0.6), resolve(0.7),
    )),
    Scenario("emoji_and_audio", "noise", 1, (
        contact("emoji_only"), contact("empty_audio", "typing", media="audio"),
        contact("null_image", "typing", media="image"), agent("agent_hello", is_bare=True),
        contact("ask_price", then=ASKED), *PRICE, exchange("faq", 0, 2), *PONDER,
    )),
    # What breaks software.
    Scenario("hostile_html", "odd", 0.5, (
        contact("hostile_html"), contact("hostile_html", "typing"),
        agent("agent_hello", is_bare=True), resolve(0.5),
    )),
    Scenario("hostile_formula", "odd", 0.5, (
        contact("hostile_formula"), contact("hostile_formula", "typing"),
        agent("agent_hello", is_bare=True), resolve(0.5),
    )),
    Scenario("prompt_injection", "odd", 0.5, (
        contact("prompt_injection"), agent("agent_hello", is_bare=True), resolve(0.5),
    )),
    Scenario("prompt_injection_lead", "odd", 0.3, (
        *ASK, agent("price"), contact("prompt_injection"), contact("decline", then=NOTHING),
        resolve(0.7),
    )),
    Scenario("odd_text", "odd", 0.4, (
        contact("odd_text"), contact("odd_text", "typing"), *ASK, *PRICE, *PONDER, resolve(0.5),
    )),
    Scenario("longest_text", "odd", 0, (*ASK, contact("longest_text", "typing"), *PRICE, *PONDER)),
    Scenario("notes_only", "odd", 0.3, (Step(Kind.NOTE, "note"), note()), NO_BOT),
    Scenario("contact_gone", "odd", 0.3, (*ASK, *PRICE, *PONDER, resolve(0.5)), has_contact=False),
    Scenario("imported_history", "odd", 1.2, (
        *ASK, *PRICE, exchange("faq", 1, 4), *SALE, *BYE,
    ), frozenset({"whatsapp", "human"}), is_imported=True),
)  # fmt: skip


def with_bot(script: tuple[Step, ...]) -> tuple[Step, ...]:
    """The script as an inbox with a bot plays it: after the contact's first words, the prelude."""
    first_answer = 1
    while first_answer < len(script) and script[first_answer].pace == "typing":
        first_answer += 1
    first = replace(script[0], chance=1.0)  # a bot never speaks first
    return first, *script[1:first_answer], *BOT_PRELUDE, *script[first_answer:]
