"""The list of conversations behind a number: its name in an address, its title, its condition.

Flags of the marts say which conversations a number counts (models/marts/fct_conversations.yml);
nothing is defined again here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, LiteralString

from dashboard import filters
from dashboard.filters import Parameters, of_days, shared_parameters

PARAMETER, PATH = "lista", "/leads"


@dataclass(frozen=True)
class ListOf:
    """`condition` is over marts.fct_conversations as conversations; `dated_by` is its date column
    that the period bounds, None where a list is of this moment.
    """

    title: str
    condition: LiteralString
    dated_by: LiteralString | None = "created_date"


REPLIES: LiteralString = (
    "conversations.conversation_id in (select replies.conversation_id"
    " from marts.fct_replies as replies where replies.tenant_id = %(tenant_id)s"
    " and replies.replied_date between %(start)s and %(end)s"
    " and (%(replied_by)s::bigint is null or coalesce(replies.agent_id, 0) = %(replied_by)s)"
)
LISTS: dict[str, ListOf] = {
    "todas": ListOf("Todas as conversas", "true"),
    "aguardando": ListOf("Aguardando resposta agora", "conversations.is_waiting", None),
    "sem-resposta": ListOf(
        "Sem resposta",
        "conversations.contact_message_count > 0 and conversations.agent_message_count = 0",
    ),
    "respondidas": ListOf("Respondidas", "conversations.first_reply_seconds is not null"),
    "leads": ListOf("Leads", "conversations.is_lead"),
    "qualificados": ListOf("Leads qualificados", "conversations.is_qualified"),
    "visitas": ListOf("Visitas agendadas", "conversations.is_visit_scheduled"),
    "convertidas": ListOf("Clientes convertidos", "conversations.is_converted"),
    "analisadas": ListOf("Analisadas pela IA", "conversations.lead_score is not null"),
    "resolvidas": ListOf("Resolvidas", "conversations.status = 'resolved'"),
    "reabertas": ListOf("Reabertas", "conversations.reopen_count > 0"),
    "um-toque": ListOf("Resolvidas em um toque", "conversations.is_one_touch"),
    "robo": ListOf("Resolvidas pelo robô", "conversations.is_bot_resolved"),
    "primeira-resolucao": ListOf(
        "Resolvidas pela primeira vez", "conversations.first_resolved_at is not null",
        "first_resolved_date",
    ),
    "avaliadas": ListOf(
        "Com nota de satisfação", "conversations.csat_rating is not null", "csat_answered_date"
    ),
    "satisfeitas": ListOf(
        "Notas 4 e 5", "conversations.csat_rating >= 4", "csat_answered_date"
    ),
    "nao-resolvidas": ListOf(
        "Abertas, pendentes ou adiadas agora",
        "conversations.status in ('open', 'pending', 'snoozed')", None,
    ),
    # Dated by the reply, of whoever `replied_by` says.
    "respostas": ListOf(
        "Com resposta de uma pessoa no período", REPLIES + ")", None
    ),
    "primeiras-respostas": ListOf(
        "Primeira resposta no período", REPLIES + " and replies.is_first)", None
    ),
    "sem-telefone": ListOf("Contato sem telefone", "conversations.contact_phone is null"),
    "sem-contato": ListOf(
        "Contato sem telefone nem e-mail",
        "conversations.contact_phone is null and conversations.contact_email is null",
    ),
    "sem-nome": ListOf(
        "Contato sem nome",
        "(conversations.contact_name is null or btrim(conversations.contact_name) = '')",
    ),
    "nao-entregues": ListOf(
        "Com mensagem não entregue",
        "conversations.conversation_id in (select messages.conversation_id"
        " from marts.fct_messages as messages where messages.tenant_id = %(tenant_id)s"
        " and messages.created_date between %(start)s and %(end)s"
        " and messages.delivery_status = 'failed')",
        None,
    ),
}  # fmt: skip
DEFAULT = "todas"


@dataclass(frozen=True)
class Part:
    """Of a list only the conversations of one agent, channel, hour …; None: not narrowed by it.

    `agent_id` has the conversation now, `replied_by` replied (lists of replies); 0 is nobody.
    `weekday` 1 (Monday) to 7 and `hour` are of the creation, in the tenant's zone; `reply_from`
    (included) and `reply_to` (not) bound the first reply, in seconds.
    """

    agent_id: int | None = None
    channel: str | None = None
    status: str | None = None
    weekday: int | None = None
    hour: int | None = None
    reply_from: int | None = None
    reply_to: int | None = None
    replied_by: int | None = None
    rating: int | None = None

    def parameters(self) -> Parameters:
        """As an address says it."""
        given = vars(self).items()
        return {ADDRESSES[name]: str(value) for name, value in given if value is not None}


ADDRESSES = {
    "agent_id": "agente",
    "channel": "canal",
    "status": "situacao",
    "weekday": "dia-da-semana",
    "hour": "hora",
    "reply_from": "resposta-de",
    "reply_to": "resposta-ate",
    "replied_by": "respondida-por",
    "rating": "nota",
}
# What a Part asks of marts.fct_conversations as conversations; its fields are the parameters.
PART_CONDITION: LiteralString = """
    (
        %(agent_id)s::bigint is null or coalesce(conversations.agent_id, 0) = %(agent_id)s
    )
    and (%(channel)s::text is null or conversations.channel = %(channel)s)
    and (%(status)s::text is null or conversations.status = %(status)s)
    and (
        %(weekday)s::int is null
        or extract(isodow from conversations.created_at at time zone %(timezone)s) = %(weekday)s
    )
    and (
        %(hour)s::int is null
        or extract(hour from conversations.created_at at time zone %(timezone)s) = %(hour)s
    )
    and (%(reply_from)s::bigint is null or conversations.first_reply_seconds >= %(reply_from)s)
    and (%(reply_to)s::bigint is null or conversations.first_reply_seconds < %(reply_to)s)
    and (%(rating)s::int is null or conversations.csat_rating = %(rating)s)
"""


def parameters(name: str, *, part: Part | None = None, day: date | None = None) -> Parameters:
    """Address of a list on the Leads page, with this page's period and inboxes; `day`: of one."""
    days = of_days(day, day) if day else {}
    own: Parameters = {PARAMETER: name} if name != DEFAULT else {}
    return {**shared_parameters(), **days, **own, **(part or Part()).parameters()}


def href(name: str, *, part: Part | None = None, day: date | None = None) -> str:
    """The same as an address for a link written as HTML."""
    return filters.href(PATH, parameters(name, part=part, day=day))


def read(query: Mapping[str, str]) -> tuple[str, Part]:
    """The list and part an address names; what it does not know is left out."""
    name = query.get(PARAMETER, DEFAULT)
    given: dict[str, Any] = {}
    for field, address in ADDRESSES.items():
        value = query.get(address, "")
        if field in {"channel", "status"}:
            given[field] = value or None
        elif re.fullmatch(r"\d{1,9}", value, flags=re.ASCII):
            given[field] = int(value)
    return name if name in LISTS else DEFAULT, Part(**given)
