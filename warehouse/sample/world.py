"""The businesses of the sample: an agency with four clients, and one client on its own.

Ids are fixed, so that `SAMPLE_TENANTS` can be mapped before the rows exist.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from warehouse.sample.truth import Week

SECRET_MARKER = "segredo-canario-7f3a"  # noqa: S105 (in every credential, so that tests can find it)
AGENCY_ACCOUNT, OWN_ACCOUNT = 1, 2
ADMIN_USER_ID = 1
AUTOMATION_RULE_ID = 1

Row = dict[str, Any]


@dataclass(frozen=True)
class SampleTenant:
    """What `tenant add` needs to know; an owned account brings its inboxes along."""

    slug: str
    name: str
    segment: str
    timezone: str
    inbox_ids: tuple[int, ...]
    account_ids: tuple[int, ...]


@dataclass(frozen=True)
class Agent:
    """A person of a business's staff."""

    id: int
    name: str

    @property
    def first_name(self) -> str:
        """As signed in messages."""
        return self.name.split()[0]


def week(
    weekdays: tuple[int, int],
    saturday: tuple[int, int] | None,
    sunday: tuple[int, int] | None = None,
) -> Week:
    """Opening hours from whole hours, Sunday first; 24 is midnight."""
    days = (sunday, *(weekdays,) * 5, saturday)
    return tuple(day and (day[0] * 60, day[1] * 60) for day in days)


@dataclass(frozen=True)
class Inbox:
    """One inbox. `share` is its part of the business's conversations."""

    id: int
    name: str
    channel_type: str
    channel: str
    share: float
    timezone: str
    hours: Week | None = None  # None: working hours are off
    bot: str = ""  # "agent_bot" or "captain"
    lock_to_single: bool = False
    has_csat: bool = False
    csat_is_outgoing: bool = False  # a WhatsApp template instead of Chatwoot's own survey
    has_greeting: bool = False
    has_campaign: bool = False
    website: str = ""

    @property
    def traits(self) -> frozenset[str]:
        """What a scenario may ask of an inbox."""
        traits = {self.channel, self.bot or "human"}
        if self.bot:
            traits.add("bot")
        elif self.lock_to_single or self.channel in ("web", "email"):
            traits.add("reopens")
        if self.channel in ("whatsapp", "instagram", "facebook"):
            traits.add("phone_app")
        if self.channel in ("whatsapp", "email", "sms", "telegram"):
            traits.add("outbound")
        if self.has_campaign:
            traits.add("campaign")
        return frozenset(traits)


@dataclass(frozen=True)
class Business:
    """A client of the agency: its voice, its rhythm, its luck."""

    slug: str | None  # None: not a tenant yet, its inbox is mapped to nobody
    name: str
    article: str
    segment: str
    timezone: str
    account_id: int
    share: float
    agents: tuple[Agent, ...]
    inboxes: tuple[Inbox, ...]
    staff: Week
    reply_minutes: float  # median of an agent who is at work
    growth: float  # conversations a day at the end, over those at the beginning
    peak: tuple[float, int, float]  # where in the history (0 to 1), days, factor
    weekdays: tuple[float, ...]  # Monday first
    hours: str  # one digit an hour: how often people write
    mix: Mapping[str, float] = field(default_factory=dict)  # scenario family: factor

    @property
    def bot_name(self) -> str:
        """How its bots call themselves."""
        return {"gym": "Max", "clinic": "Vida", "shop": "Flor", "school": "Lumi"}.get(
            self.segment, "Sol"
        )


def _agents(first_id: int, *names: str) -> tuple[Agent, ...]:
    return tuple(Agent(first_id + n, name) for n, name in enumerate(names))


SAO_PAULO, MANAUS, RECIFE = "America/Sao_Paulo", "America/Manaus", "America/Recife"
CUIABA, BAHIA, LISBON = "America/Cuiaba", "America/Bahia", "Europe/Lisbon"
WHATSAPP, TWILIO, EMAIL = "Channel::Whatsapp", "Channel::TwilioSms", "Channel::Email"
WIDGET, TELEGRAM, API = "Channel::WebWidget", "Channel::Telegram", "Channel::Api"
INSTAGRAM, FACEBOOK, TIKTOK = "Channel::Instagram", "Channel::FacebookPage", "Channel::Tiktok"

GYM = Business(
    slug="academia-movimento",
    name="Academia Movimento",
    article="a",
    segment="gym",
    timezone=SAO_PAULO,
    account_id=AGENCY_ACCOUNT,
    share=0.27,
    agents=_agents(2, "Bianca Prado", "Rodrigo Telles", "Kelly Amaral", "Jonas Vidal"),
    inboxes=(
        Inbox(1, "WhatsApp Academia", WHATSAPP, "whatsapp", 0.55, SAO_PAULO,
              week((6, 22), (8, 18)), has_csat=True, csat_is_outgoing=True),
        Inbox(2, "Instagram @academiamovimento", INSTAGRAM, "instagram", 0.28, SAO_PAULO),
        Inbox(3, "Site Academia", WIDGET, "web", 0.17, SAO_PAULO, week((8, 20), (9, 13)),
              has_csat=True, has_greeting=True, has_campaign=True,
              website="https://www.academiamovimento.example"),
    ),
    staff=week((7, 21), (8, 17)),
    reply_minutes=5,
    growth=1.7,
    peak=(0.55, 9, 1.7),
    weekdays=(1.3, 1.15, 1.1, 1.0, 0.9, 0.6, 0.45),
    hours="100001357766787667899842",
    mix={"sale": 1.3, "visit": 1.5, "cold": 0.8, "support": 0.8},
)  # fmt: skip
CLINIC = Business(
    slug="clinica-vida-plena",
    name="Clínica Vida Plena",
    article="a",
    segment="clinic",
    timezone=MANAUS,
    account_id=AGENCY_ACCOUNT,
    share=0.21,
    agents=_agents(6, "Rosane Feitosa", "Ivone Castro", "Edmilson Braga"),
    inboxes=(
        Inbox(4, "WhatsApp Clínica", TWILIO, "whatsapp", 0.62, MANAUS, week((8, 18), (8, 12)),
              bot="captain", lock_to_single=True, has_csat=True),
        Inbox(5, "E-mail Clínica", EMAIL, "email", 0.14, MANAUS, week((8, 18), None)),
        Inbox(6, "Telegram Clínica", TELEGRAM, "telegram", 0.16, MANAUS, has_greeting=True),
        Inbox(7, "SMS Lembretes", TWILIO, "sms", 0.08, MANAUS),
    ),
    staff=week((8, 18), (8, 12)),
    reply_minutes=14,
    growth=1.05,
    peak=(0.3, 5, 1.3),
    weekdays=(1.5, 1.2, 1.1, 1.0, 0.95, 0.35, 0.15),
    hours="000000148999678887543110",
    mix={"visit": 1.6, "sale": 0.5, "cold": 0.7, "support": 1.7, "bot": 1.8, "complaint": 1.2},
)  # fmt: skip
SHOP = Business(
    slug="loja-dona-flor",
    name="Loja Dona Flor",
    article="a",
    segment="shop",
    timezone=RECIFE,
    account_id=AGENCY_ACCOUNT,
    share=0.27,
    agents=_agents(9, "Larissa Bastos", "Cíntia Rocha", "Murilo Sena", "Dayane Luz", "Téo Maia"),
    inboxes=(
        Inbox(8, "WhatsApp Loja", WHATSAPP, "whatsapp", 0.46, RECIFE, week((9, 20), (9, 18)),
              lock_to_single=True, has_csat=True),
        Inbox(9, "Facebook e Instagram", FACEBOOK, "facebook", 0.30, RECIFE, bot="agent_bot"),
        Inbox(10, "Site Dona Flor", WIDGET, "web", 0.18, RECIFE, week((0, 24), (0, 24), (0, 24)),
              has_greeting=True, has_campaign=True, website="https://donaflor.example"),
        Inbox(11, "TikTok Dona Flor", TIKTOK, "tiktok", 0.06, RECIFE),
    ),
    staff=week((9, 20), (9, 18), (14, 18)),
    reply_minutes=8,
    growth=1.25,
    peak=(0.72, 6, 2.4),
    weekdays=(0.95, 0.95, 1.0, 1.05, 1.2, 1.15, 0.8),
    hours="210000124566778877789985",
    mix={"sale": 1.3, "visit": 0.25, "complaint": 2.0, "support": 1.4, "noise": 1.5},
)  # fmt: skip
SCHOOL = Business(
    slug="colegio-horizonte",
    name="Colégio Horizonte",
    article="o",
    segment="school",
    timezone=CUIABA,
    account_id=AGENCY_ACCOUNT,
    share=0.13,
    agents=_agents(14, "Márcia Lobato", "Neide Portela", "Gilson Arruda"),
    inboxes=(
        Inbox(12, "WhatsApp Secretaria", WHATSAPP, "whatsapp", 0.55, CUIABA, week((7, 18), None),
              has_csat=True),
        Inbox(13, "E-mail Secretaria", EMAIL, "email", 0.22, CUIABA, week((7, 17), None)),
        Inbox(14, "Site Colégio", WIDGET, "web", 0.23, CUIABA, week((7, 18), None),
              bot="agent_bot", website="https://colegiohorizonte.example"),
    ),
    staff=week((7, 18), None),
    reply_minutes=35,
    growth=1.5,
    peak=(0.85, 14, 1.8),
    weekdays=(1.4, 1.2, 1.1, 1.0, 0.9, 0.25, 0.2),
    hours="000001498876689775433210",
    mix={"visit": 1.1, "sale": 0.7, "cold": 0.8, "support": 2.4},
)  # fmt: skip
STUDIO = Business(
    slug=None,
    name="Studio Leveza",
    article="o",
    segment="gym",
    timezone=SAO_PAULO,
    account_id=AGENCY_ACCOUNT,
    share=0.02,
    agents=_agents(17, "Paula Dantas"),
    inboxes=(
        Inbox(15, "WhatsApp Studio (em implantação)", WHATSAPP, "whatsapp", 1.0, SAO_PAULO),
    ),
    staff=week((8, 19), None),
    reply_minutes=60,
    growth=3.0,
    peak=(0.9, 5, 1.2),
    weekdays=(1.0, 1.0, 1.0, 1.0, 1.0, 0.4, 0.2),
    hours="000000136777667777643210",
)  # fmt: skip
REAL_ESTATE = Business(
    slug="imobiliaria-porto-sereno",
    name="Imobiliária Porto Sereno",
    article="a",
    segment="general",
    timezone=BAHIA,
    account_id=OWN_ACCOUNT,
    share=0.10,
    agents=_agents(18, "Heitor Lacerda", "Sônia Figueira", "Duarte Pinhal"),
    inboxes=(
        Inbox(16, "WhatsApp Imobiliária", WHATSAPP, "whatsapp", 0.46, BAHIA, week((9, 18), (9, 13)),
              has_csat=True),
        Inbox(17, "Site Imobiliária", WIDGET, "web", 0.24, BAHIA, bot="captain",
              website="https://portosereno.example"),
        Inbox(18, "Portal de Anúncios", API, "api", 0.14, BAHIA),
        Inbox(19, "WhatsApp Lisboa", WHATSAPP, "whatsapp", 0.16, LISBON, week((9, 19), None),
              lock_to_single=True),
    ),
    staff=week((8, 19), (9, 13)),
    reply_minutes=22,
    growth=0.8,
    peak=(0.2, 7, 1.5),
    weekdays=(1.1, 1.0, 1.0, 1.0, 1.0, 0.8, 0.5),
    hours="100000135777678876766532",
    mix={"visit": 1.6, "sale": 0.4, "cold": 1.4, "noise": 1.8},
)  # fmt: skip
BUSINESSES = (GYM, CLINIC, SHOP, SCHOOL, STUDIO, REAL_ESTATE)

SAMPLE_TENANTS: tuple[SampleTenant, ...] = tuple(
    SampleTenant(
        slug=business.slug,
        name=business.name,
        segment=business.segment,
        timezone=business.timezone,
        inbox_ids=()
        if business.account_id == OWN_ACCOUNT
        else tuple(inbox.id for inbox in business.inboxes),
        account_ids=(OWN_ACCOUNT,) if business.account_id == OWN_ACCOUNT else (),
    )
    for business in BUSINESSES
    if business.slug
)

# Titles are per account, tags are shared by all: "vip" and "suporte" are one tag row each.
LABELS: dict[int, tuple[str, ...]] = {
    AGENCY_ACCOUNT: ("agendado", "lead-morno", "lead-quente", "reclamacao", "retorno", "spam",
                     "suporte", "venda", "vip", "pós-venda"),
    OWN_ACCOUNT: ("agendado", "lead-quente", "lead-morno", "proposta", "reclamacao", "retorno",
                  "spam", "suporte", "venda", "vip"),
}  # fmt: skip
TAG_IDS = {
    title: n + 1
    for n, title in enumerate(sorted({t for titles in LABELS.values() for t in titles}))
}
CAMPAIGN_IDS = {
    inbox.id: n + 1
    for n, inbox in enumerate(i for b in BUSINESSES for i in b.inboxes if i.has_campaign)
}
TEAM_NAMES = ("comercial", "atendimento")
TEAM_IDS = {
    (business.name, team): 1 + 2 * b + t
    for b, business in enumerate(BUSINESSES)
    for t, team in enumerate(TEAM_NAMES)
}
# One bot of each kind an inbox: ids are the inbox's place among those that have one.
BOT_IDS = {
    inbox.id: n + 1
    for kind in ("agent_bot", "captain")
    for n, inbox in enumerate(i for b in BUSINESSES for i in b.inboxes if i.bot == kind)
}


def secret(what: str) -> str:
    """A credential that a test can recognise wherever it turns up."""
    return f"{SECRET_MARKER}-{what}"


def _secret_json(what: str, *keys: str) -> str:
    return json.dumps({key: secret(f"{what}-{key}") for key in keys})


def _webhook_action(what: str) -> str:
    return json.dumps([{"action_name": "send_webhook_event", "action_params": [secret(what)]}])


def world_rows(began: datetime) -> Iterator[tuple[str, Row]]:
    """(table, row) of everything that is there before the first conversation.

    Every credential column of the source has a value in at least one row.
    """
    stamps: Row = {"created_at": began, "updated_at": began}
    yield from _accounts_and_people(stamps)
    for business in BUSINESSES:
        for inbox in business.inboxes:
            yield from _inbox(business, inbox, stamps)
    yield from _unused_channels(stamps)
    yield from _settings(stamps, began)
    yield from _credential_tables(stamps)


def _accounts_and_people(stamps: Row) -> Iterator[tuple[str, Row]]:
    for account_id, name in (
        (AGENCY_ACCOUNT, "Agência Farol Digital"),
        (OWN_ACCOUNT, REAL_ESTATE.name),
    ):
        yield "accounts", {
            "id": account_id, "name": name, "locale": 16, "status": 0,
            "settings": json.dumps({"auto_resolve_after": 43200}),
            "internal_attributes": _secret_json(f"account-{account_id}", "manually_managed"),
            **stamps,
        }  # fmt: skip
        for title in LABELS[account_id]:
            yield (
                "labels",
                {"title": title, "account_id": account_id, "show_on_sidebar": True, **stamps},
            )

    people: list[tuple[Agent, tuple[int, ...], int]] = [
        (Agent(ADMIN_USER_ID, "Helena Farol"), (AGENCY_ACCOUNT, OWN_ACCOUNT), 1)
    ]
    people += [(agent, (b.account_id,), 0) for b in BUSINESSES for agent in b.agents]
    for person, account_ids, role in people:
        email = f"{person.first_name.lower()}.{person.id}@equipe.example"
        what = f"user-{person.id}"
        yield "users", {
            "id": person.id, "name": person.name, "display_name": person.first_name,
            "email": email, "confirmed_at": stamps["created_at"],
            "encrypted_password": secret(f"{what}-password"),
            "reset_password_token": secret(f"{what}-reset"),
            "confirmation_token": secret(f"{what}-confirm"),
            "tokens": _secret_json(what, "token", "client"),
            "pubsub_token": secret(f"{what}-pubsub"),
            "otp_secret": secret(f"{what}-otp"),
            "otp_backup_codes": _secret_json(what, "backup"),
            "consumed_timestep": 7_370_000 + person.id,
            "current_sign_in_ip": f"10.9.8.{person.id} {SECRET_MARKER}",
            "last_sign_in_ip": f"10.9.7.{person.id} {SECRET_MARKER}",
            "unconfirmed_email": f"{SECRET_MARKER}.{email}",
            "uid": f"{SECRET_MARKER}.{email}",
            **stamps,
        }  # fmt: skip
        for account_id in account_ids:
            yield (
                "account_users",
                {"account_id": account_id, "user_id": person.id, "role": role, **stamps},
            )
    for business in BUSINESSES:
        for team in TEAM_NAMES:
            team_id = TEAM_IDS[business.name, team]
            yield "teams", {
                "id": team_id, "name": f"{team} {business.name.lower()}",
                "account_id": business.account_id, **stamps,
            }  # fmt: skip
            for agent in business.agents:
                yield "team_members", {"team_id": team_id, "user_id": agent.id, **stamps}


def _inbox(business: Business, inbox: Inbox, stamps: Row) -> Iterator[tuple[str, Row]]:
    account: Row = {"account_id": business.account_id, **stamps}
    what = f"inbox-{inbox.id}"
    # A channel has the id of its inbox, in a table of its type.
    channel: Row = {"id": inbox.id, **account}
    if inbox.channel_type == WHATSAPP:
        channel |= {
            "phone_number": f"+55113{inbox.id:07}", "provider": "whatsapp_cloud",
            "provider_config": _secret_json(what, "api_key", "webhook_verify_token"),
        }  # fmt: skip
        yield "channel_whatsapp", channel
    elif inbox.channel_type == TWILIO:
        channel |= {
            "phone_number": f"+55923{inbox.id:07}", "medium": int(inbox.channel == "whatsapp"),
            "auth_token": secret(f"{what}-auth"), "account_sid": secret(f"{what}-sid"),
            "api_key_sid": secret(f"{what}-key-sid"), "api_key_secret": secret(f"{what}-key"),
            "twiml_app_sid": secret(f"{what}-twiml"),
        }  # fmt: skip
        yield "channel_twilio_sms", channel
    elif inbox.channel_type == EMAIL:
        address = f"contato{inbox.id}@{business.segment}.example"
        channel |= {
            "email": address, "forward_to_email": f"{inbox.id}@entrada.example",
            "imap_enabled": True, "smtp_enabled": True,
            "imap_login": secret(f"{what}-imap-login"), "imap_password": secret(f"{what}-imap"),
            "smtp_login": secret(f"{what}-smtp-login"), "smtp_password": secret(f"{what}-smtp"),
            "provider_config": _secret_json(what, "access_token", "refresh_token"),
        }  # fmt: skip
        yield "channel_email", channel
    elif inbox.channel_type == WIDGET:
        yield "channel_web_widgets", channel | {
            "website_url": inbox.website, "welcome_title": f"Fale com {business.name}",
            "website_token": secret(f"{what}-website"), "hmac_token": secret(f"{what}-hmac"),
        }  # fmt: skip
    elif inbox.channel_type == TELEGRAM:
        yield "channel_telegram", channel | {
            "bot_name": f"bot_{business.segment}", "bot_token": secret(f"{what}-bot"),
        }  # fmt: skip
    elif inbox.channel_type == API:
        yield "channel_api", channel | {
            "hmac_token": secret(f"{what}-hmac"), "secret": secret(f"{what}-secret"),
            "webhook_url": f"https://portal.example/hook?token={secret(what)}",
            "identifier": secret(f"{what}-identifier"),
        }  # fmt: skip
    elif inbox.channel_type == INSTAGRAM:
        yield "channel_instagram", channel | {
            "instagram_id": f"1784{inbox.id:010}",
            "expires_at": stamps["created_at"] + timedelta(days=400),
            "access_token": secret(f"{what}-token"),
        }  # fmt: skip
    elif inbox.channel_type == FACEBOOK:
        yield "channel_facebook_pages", channel | {
            "page_id": f"1000{inbox.id:010}", "instagram_id": f"1785{inbox.id:010}",
            "user_access_token": secret(f"{what}-user"),
            "page_access_token": secret(f"{what}-page"),
        }  # fmt: skip
    else:
        yield "channel_tiktok", channel | {
            "business_id": f"7000{inbox.id:010}",
            "expires_at": stamps["created_at"] + timedelta(days=400),
            "refresh_token_expires_at": stamps["created_at"] + timedelta(days=700),
            "access_token": secret(f"{what}-access"), "refresh_token": secret(f"{what}-refresh"),
        }  # fmt: skip

    yield "inboxes", {
        "id": inbox.id, "channel_id": inbox.id, "name": inbox.name,
        "channel_type": inbox.channel_type, "timezone": inbox.timezone,
        "working_hours_enabled": inbox.hours is not None,
        "greeting_enabled": inbox.has_greeting, "csat_survey_enabled": inbox.has_csat,
        "lock_to_single_conversation": inbox.lock_to_single, **account,
    }  # fmt: skip
    for agent in business.agents:
        yield "inbox_members", {"user_id": agent.id, "inbox_id": inbox.id, **stamps}
    # Chatwoot makes these seven rows for every inbox, whether they are used or not.
    for day, hours in enumerate(inbox.hours or week((9, 17), None)):
        opens, closes = hours or (0, 0)
        all_day = (opens, closes) == (0, 1440)
        yield "working_hours", {
            "inbox_id": inbox.id, "day_of_week": day, "closed_all_day": hours is None,
            "open_all_day": all_day,
            "open_hour": opens // 60 if hours else None,
            "open_minutes": opens % 60 if hours else None,
            "close_hour": (23 if all_day else closes // 60) if hours else None,
            "close_minutes": (59 if all_day else closes % 60) if hours else None,
            **account,
        }  # fmt: skip
    if inbox.bot == "agent_bot":
        yield "agent_bots", {
            "id": BOT_IDS[inbox.id], "name": f"Bot {business.bot_name}", "bot_type": 0,
            "secret": secret(f"{what}-bot"), "bot_config": _secret_json(what, "webhook_token"),
            "outgoing_url": f"https://bots.example/{secret(what)}", **account,
        }  # fmt: skip
        yield "agent_bot_inboxes", {
            "inbox_id": inbox.id, "agent_bot_id": BOT_IDS[inbox.id], "status": 0, **account,
        }  # fmt: skip
    elif inbox.bot == "captain":
        yield "captain_assistants", {"id": BOT_IDS[inbox.id], "name": business.bot_name, **account}
        yield "captain_inboxes", {
            "captain_assistant_id": BOT_IDS[inbox.id], "inbox_id": inbox.id, **stamps,
        }  # fmt: skip
    if inbox.id in CAMPAIGN_IDS:
        yield "campaigns", {
            "id": CAMPAIGN_IDS[inbox.id], "title": f"Promoção do site ({business.name})",
            "message": "Posso ajudar?", "sender_id": business.agents[0].id, "inbox_id": inbox.id,
            "campaign_type": 0, "campaign_status": 0, "display_id": 0,
            "trigger_rules": json.dumps({"url": f"{inbox.website}/*", "time_on_page": 20}),
            **account,
        }  # fmt: skip


def _unused_channels(stamps: Row) -> Iterator[tuple[str, Row]]:
    """Channels whose inbox is gone; their credentials stayed."""
    channel: Row = {"account_id": AGENCY_ACCOUNT, **stamps}
    yield "channel_line", channel | {
        "line_channel_id": "1650000001", "line_channel_secret": secret("line-secret"),
        "line_channel_token": secret("line-token"),
    }  # fmt: skip
    yield "channel_sms", channel | {
        "phone_number": "+5511300000099",
        "provider_config": _secret_json("sms", "api_key", "api_secret"),
    }  # fmt: skip
    yield "channel_twitter_profiles", channel | {
        "profile_id": "900000001", "twitter_access_token": secret("twitter"),
        "twitter_access_token_secret": secret("twitter-secret"),
    }  # fmt: skip


def _settings(stamps: Row, began: datetime) -> Iterator[tuple[str, Row]]:
    account: Row = {"account_id": AGENCY_ACCOUNT, **stamps}
    yield "automation_rules", {
        "id": AUTOMATION_RULE_ID, "name": "Aviso de recebimento", "event_name": "message_created",
        "conditions": "[]", "active": True,
        "actions": _webhook_action("rule"),
        **account,
    }  # fmt: skip
    yield "macros", {
        "name": "Encerrar e rotular", "created_by_id": ADMIN_USER_ID,
        "actions": _webhook_action("macro"),
        **account,
    }  # fmt: skip
    yield "webhooks", {
        "url": f"https://crm.example/hook?key={secret('webhook')}",
        "secret": secret("webhook-secret"), **account,
    }  # fmt: skip
    yield "integrations_hooks", {
        "app_id": "slack", "access_token": secret("slack"),
        "settings": _secret_json("hook", "api_key"), **account,
    }  # fmt: skip
    yield "captain_custom_tools", {
        "slug": "agenda", "title": "Consulta de agenda",
        "auth_config": _secret_json("tool", "token"),
        "endpoint_url": f"https://agenda.example/{secret('tool')}",
        "request_template": f'{{"key": "{secret("tool-request")}"}}', **account,
    }  # fmt: skip
    yield "audits", {
        "auditable_id": 1, "auditable_type": "Inbox", "associated_id": AGENCY_ACCOUNT,
        "associated_type": "Account", "user_id": ADMIN_USER_ID, "user_type": "User",
        "action": "update", "audited_changes": _secret_json("audit", "provider_config"),
        "remote_address": f"10.9.6.1 {SECRET_MARKER}", "created_at": began,
    }  # fmt: skip
    for model, key, name in ((1, "plano", "Plano"), (0, "etapa", "Etapa"), (0, "origem", "Origem")):
        for account_id in (AGENCY_ACCOUNT, OWN_ACCOUNT):
            yield "custom_attribute_definitions", {
                "attribute_display_name": name, "attribute_key": key, "attribute_model": model,
                "account_id": account_id, **stamps,
            }  # fmt: skip
    yield "canned_responses", {"short_code": "endereco", "content": "Nosso endereço é…", **account}


def _credential_tables(stamps: Row) -> Iterator[tuple[str, Row]]:
    """Tables that are credentials as a whole."""
    yield "access_tokens", {
        "owner_type": "User", "owner_id": ADMIN_USER_ID, "token": secret("access-token"), **stamps,
    }  # fmt: skip
    yield "account_saml_settings", {
        "account_id": AGENCY_ACCOUNT, "sso_url": f"https://sso.example/{SECRET_MARKER}",
        "certificate": secret("saml-certificate"), **stamps,
    }  # fmt: skip
    yield "installation_configs", {
        "name": "SMTP_PASSWORD", "serialized_value": _secret_json("config", "value"), **stamps,
    }  # fmt: skip
    yield "platform_apps", {"name": secret("platform-app"), **stamps}
    yield "notification_subscriptions", {
        "user_id": ADMIN_USER_ID, "subscription_type": 1, "identifier": secret("push"),
        "subscription_attributes": _secret_json("push", "endpoint", "auth"), **stamps,
    }  # fmt: skip
    yield "active_storage_blobs", {
        "key": secret("blob"), "filename": "logo.png", "byte_size": 2048, "service_name": "local",
        "created_at": stamps["created_at"],
    }  # fmt: skip
    yield "action_mailbox_inbound_emails", {
        "message_id": f"<{secret('mail')}@example>",
        "message_checksum": secret("mail-checksum"), **stamps,
    }  # fmt: skip
