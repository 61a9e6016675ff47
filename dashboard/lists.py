"""The list of conversations behind a number: its name in an address, its title, its condition.

Flags of the marts say which conversations a number counts (models/marts/fct_conversations.yml);
nothing is defined again here. A Selection is what a page of them or a file of them holds.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, LiteralString

from dashboard import filters, queries, words
from dashboard.filters import INBOX, Parameters, of_days, shared_parameters

PARAMETER, PATH = "lista", "/leads"


@dataclass(frozen=True)
class ListOf:
    """`condition` is over marts.fct_conversations as conversations; `dated_by` is its date column
    that the period bounds, None where a list is of this moment or bounds something else by itself.
    """

    title: str
    condition: LiteralString
    dated_by: LiteralString | None = "created_date"

    @property
    def has_period(self) -> bool:
        """Whether the period matters."""
        return self.dated_by is not None or "%(end)s" in self.condition


REPLIES: LiteralString = (
    "conversations.conversation_id in (select replies.conversation_id"
    " from marts.fct_replies as replies where replies.tenant_id = %(tenant_id)s"
    " and replies.replied_date between %(start)s and %(end)s"
    " and (%(replied_by)s::bigint is null or coalesce(replies.agent_id, 0) = %(replied_by)s)"
)

MESSAGES: LiteralString = (
    "conversations.conversation_id in (select messages.conversation_id"
    " from marts.fct_messages as messages where messages.tenant_id = %(tenant_id)s"
    " and messages.created_date between %(start)s and %(end)s"
)


def _written(sender_kind: Literal["agent", "bot", "contact"]) -> LiteralString:
    return MESSAGES + f" and messages.sender_kind = '{sender_kind}')"


LISTS: dict[str, ListOf] = {
    "todas": ListOf("Todas as conversas", "true"),
    # Of each contact the latest conversation of the period.
    "contatos": ListOf(
        "Contatos únicos: a conversa mais recente de cada um",
        """conversations.conversation_id in (
            select distinct on (latest.contact_id) latest.conversation_id
            from marts.fct_conversations as latest
            where latest.tenant_id = %(tenant_id)s
                and latest.created_date between %(start)s and %(end)s
                and (%(inbox_ids)s::bigint[] is null or latest.inbox_id = any(%(inbox_ids)s))
                and latest.contact_id is not null
            order by latest.contact_id, latest.created_at desc, latest.conversation_id desc
        )""",
    ),
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
    "sem-analise": ListOf("Sem análise da IA", "conversations.lead_score is null"),
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
    # Who may be written to again, idle for 24 hours and more at the last load.
    "esfriando": ListOf(
        "Esfriando",
        """conversations.conversation_id in (
            select queue.conversation_id
            from marts.rpt_remarketing_queue as queue
            where queue.tenant_id = %(tenant_id)s
                and queue.last_message_at <= %(as_of)s::timestamptz - interval '24 hours'
        )""",
        None,
    ),
    "historico": ListOf("Todas, de qualquer data", "true", None),
    "nao-resolvidas": ListOf(
        "Abertas, pendentes ou adiadas agora",
        "conversations.status in ('open', 'pending', 'snoozed')", None,
    ),
    # At the end of the period's last day.
    "abertas-no-fim": ListOf(
        "Abertas ou pendentes no fim do período",
        "conversations.conversation_id in (select intervals.conversation_id"
        " from marts.fct_backlog_intervals as intervals"
        " where intervals.tenant_id = %(tenant_id)s and intervals.opened_date <= %(end)s"
        " and (intervals.closed_date is null or intervals.closed_date > %(end)s))",
        None,
    ),
    # Dated by the reply, of whoever `replied_by` says.
    "respostas": ListOf(
        "Com resposta de uma pessoa no período", REPLIES + ")", None
    ),
    "respostas-no-horario": ListOf(
        "Com resposta de uma pessoa no período, em caixa com horário comercial",
        REPLIES + " and replies.wait_business_seconds is not null)",
        None,
    ),
    "primeiras-respostas": ListOf(
        "Primeira resposta no período", REPLIES + " and replies.is_first)", None
    ),
    # Dated by the message.
    "mensagens-de-pessoas": ListOf(
        "Com mensagem de uma pessoa no período", _written("agent"), None
    ),
    "mensagens-do-robo": ListOf("Com mensagem do robô no período", _written("bot"), None),
    "mensagens-de-contatos": ListOf(
        "Com mensagem do contato no período", _written("contact"), None
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
        MESSAGES + " and messages.delivery_status = 'failed')",
        None,
    ),
}  # fmt: skip
DEFAULT = "todas"


@dataclass(frozen=True)
class Part:
    """Of a list only the conversations of one agent, channel, hour …; None: not narrowed by it.

    `agent_id` has the conversation now, `replied_by` replied (lists of replies); 0 is nobody.
    `weekday` 1 (Monday) to 7 and `hour` are of the creation, in the tenant's zone; `reply_from`
    (included) and `reply_to` (not) bound the first reply, in seconds; `idle`: of words; `ai_state`
    and `ai_provider`: of words, as queries.ai_coverage groups them.
    """

    agent_id: int | None = None
    channel: str | None = None
    status: str | None = None
    weekday: int | None = None
    hour: int | None = None
    reply_from: int | None = None
    reply_to: int | None = None
    idle: str | None = None
    replied_by: int | None = None
    rating: int | None = None
    ai_state: str | None = None
    ai_provider: str | None = None

    def parameters(self) -> Parameters:
        """As an address says it."""
        return {
            ADDRESSES[name]: WORDS.get(name, {}).get(value, str(value))
            for name, value in vars(self).items()
            if value is not None
        }


ADDRESSES = {
    "agent_id": "agente",
    "channel": "canal",
    "status": "situacao",
    "weekday": "dia-da-semana",
    "hour": "hora",
    "reply_from": "resposta-de",
    "reply_to": "resposta-ate",
    "idle": "parada",
    "replied_by": "respondida-por",
    "rating": "nota",
    "ai_state": "analise",
    "ai_provider": "analisada-por",
}
AI_STATES = {
    "ok": "atual",
    "stale": "com-mensagens-novas",
    "corrected": "corrigida",
    "refused": "recusada",
    "failed": "falhou",
    "skipped_budget": "fora-do-orcamento",
    "none": "nenhuma",
}
# Fields whose values an address says in words.
WORDS: dict[str, dict[Any, str]] = {
    "status": words.STATUSES,
    "idle": words.IDLE_LEVELS,
    "ai_state": AI_STATES,
    "ai_provider": {"openai": "openai", "local": "local", "none": "pessoa"},
}
# What a Part asks of marts.fct_conversations as conversations; its fields are the parameters.
PART_CONDITION: LiteralString = f"""
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
    and (
        %(idle)s::text is null
        or {queries.IDLE_LEVEL} = %(idle)s
    )
    and (%(ai_state)s::text is null or {queries.AI_STATE} = %(ai_state)s)
    and (%(ai_provider)s::text is null or {queries.AI_PROVIDER} = %(ai_provider)s)
"""


def parameters(
    name: str,
    *,
    part: Part | None = None,
    day: date | None = None,
    days: tuple[date, date] | None = None,
    inboxes: Sequence[str] = (),
) -> Parameters:
    """Address of a list on the Leads page, with this page's period and inboxes, or only of `day`,
    of `days` from first to last, of `inboxes` by the names of filters.inbox_names.
    """
    first_last = (day, day) if day else days
    return {
        **shared_parameters(),
        **(of_days(*first_last) if first_last else {}),
        **({INBOX: list(inboxes)} if inboxes else {}),
        **({PARAMETER: name} if name != DEFAULT else {}),
        **(part or Part()).parameters(),
    }


def href(
    name: str,
    *,
    part: Part | None = None,
    day: date | None = None,
    days: tuple[date, date] | None = None,
    inboxes: Sequence[str] = (),
) -> str:
    """The same as an address for a link written as HTML."""
    return filters.href(PATH, parameters(name, part=part, day=day, days=days, inboxes=inboxes))


# Without accents, composed or not (what stands at the end has no counterpart); capitals too, as
# lower() of a database in the C locale knows ASCII alone.
_PLAIN: LiteralString = "aaaaaaeeeeiiiiooooouuuucny" * 2
_ACCENTED: LiteralString = (
    "áàâãäåéèêëíìîïóòôõöúùûüçñýÁÀÂÃÄÅÉÈÊËÍÌÎÏÓÒÔÕÖÚÙÛÜÇÑÝ\u0300\u0301\u0302\u0303\u0308\u0327"
)
# strpos has no wildcards; it reads the rows that the other conditions leave, of one tenant. Most
# names are ASCII, and seeing that costs less than translating them.
FILTER_CONDITION: LiteralString = f"""
    (%(lead_class)s::text is null or conversations.lead_class = %(lead_class)s)
    and (%(score_from)s::int is null or conversations.lead_score >= %(score_from)s)
    and (
        %(text)s::text is null
        or conversations.display_id = %(number)s::bigint
        or strpos(conversations.contact_phone, %(digits)s::text) > 0
        or strpos(
            case
                when octet_length(conversations.contact_name) = length(conversations.contact_name)
                    then lower(conversations.contact_name)
                else translate(lower(conversations.contact_name), '{_ACCENTED}', '{_PLAIN}')
            end,
            translate(lower(%(text)s), '{_ACCENTED}', '{_PLAIN}')
        ) > 0
    )
"""
CLASS, SCORE, TEXT = "classe", "score", "busca"


@dataclass(frozen=True)
class Selection:
    """Which conversations, beside period and inboxes: of a list, a part of it, and what the person
    filters by. `score_from` 1 to 100; `text` is looked for in name, phone and number.
    """

    name: str = DEFAULT
    part: Part = Part()
    lead_class: str | None = None
    score_from: int | None = None
    text: str | None = None

    @property
    def condition(self) -> LiteralString:
        """SQL over marts.fct_conversations as conversations. Its parameters: `values`, tenant_id,
        and queries' start, end, inbox_ids, as_of and timezone.
        """
        chosen = LISTS[self.name]
        dated: LiteralString = (
            f"and conversations.{chosen.dated_by} between %(start)s and %(end)s"
            if chosen.dated_by
            else ""
        )
        return f"""
    conversations.tenant_id = %(tenant_id)s
    and (%(inbox_ids)s::bigint[] is null or conversations.inbox_id = any(%(inbox_ids)s))
    {dated}
    and {chosen.condition}
    and {PART_CONDITION}
    and {FILTER_CONDITION}
"""

    @property
    def values(self) -> dict[str, str | int | None]:
        """Parameters of `condition` that are its own."""
        text = (self.text or "").strip()
        digits = re.sub(r"[\s()+.-]", "", text)
        is_phone = re.fullmatch(r"\d{3,15}", digits, flags=re.ASCII)
        number = re.fullmatch(r"#?(\d{1,9})", text, flags=re.ASCII)
        return {
            **vars(self.part),
            "lead_class": self.lead_class,
            "score_from": self.score_from,
            "text": text or None,
            "digits": digits if is_phone else None,
            "number": int(number[1]) if number else None,
        }

    def parameters(self) -> Parameters:
        """As the address of the Leads page says it, with this page's period and inboxes."""
        own: Parameters = {}
        if self.lead_class:
            own[CLASS] = words.LEAD_CLASSES[self.lead_class]
        if self.score_from:
            own[SCORE] = str(self.score_from)
        if self.text:
            own[TEXT] = self.text
        return {**parameters(self.name, part=self.part), **own}


def read(query: Mapping[str, str]) -> Selection:
    """The selection an address names; what it does not know is left out."""
    name = query.get(PARAMETER, DEFAULT)
    given: dict[str, Any] = {}
    for field, address in ADDRESSES.items():
        value = query.get(address, "").replace("\0", "")
        if field in WORDS:
            given[field] = _value(WORDS[field], value)
        elif field == "channel":
            given[field] = value or None
        elif re.fullmatch(r"\d{1,9}", value, flags=re.ASCII):
            given[field] = int(value)
    score = query.get(SCORE, "").partition(".")[0]
    return Selection(
        name if name in LISTS else DEFAULT,
        Part(**given),
        lead_class=_value(words.LEAD_CLASSES, query.get(CLASS, "")),
        score_from=int(score) or None if re.fullmatch(r"\d\d?|100", score, re.ASCII) else None,
        text=query.get(TEXT, "").replace("\0", "").strip()[:80] or None,
    )


def _value(words: Mapping[str, str], word: str) -> str | None:
    return next((value for value, written in words.items() if written == word), None)
