"""Conversas: up to ten conversations as they were written, and what the AI says of each."""

import re
from datetime import date, datetime
from html import escape
from zoneinfo import ZoneInfo

import streamlit as st

from dashboard import filters, formats, frame, lists, queries, scores, state, words
from dashboard.auth import Visit
from dashboard.filters import Filters, Parameters
from dashboard.lists import Selection
from dashboard.scores import Row

CONVERSATION, MESSAGES, PATH = "conversa", "mensagens", "/conversas"
OPEN_AT_ONCE, FOUND = 10, 12
FIRST_MESSAGES, MORE_MESSAGES, MOST_MESSAGES = 60, 200, 5000


def show(visit: Visit) -> None:
    """Draw the page."""
    if frame.loaded(visit) is None:
        return
    asked = opened()
    shown = asked[:OPEN_AT_ONCE]
    with st.container(border=True, key="panel-chooser"):
        choose(visit, shown)
    if len(asked) > len(shown):
        st.warning(
            f"Até {OPEN_AT_ONCE} conversas abrem ao mesmo tempo; as outras "
            f"{len(asked) - len(shown)} do endereço ficaram de fora.",
            icon="🗂️",
        )
    inboxes = filters.inbox_names(queries.inboxes(visit))
    for conversation_id in shown:
        found = queries.records(queries.conversation(visit, conversation_id))
        if found:
            show_conversation(visit, found[0], inboxes, shown)
        else:
            frame.empty(
                "Conversa não encontrada",
                f"Não há conversa {conversation_id} nesta conta: ela não existe, foi apagada ou "
                "não é sua.",
            )


def opened() -> list[int]:
    """The ids the address names, each once; what is no id is left out."""
    given = st.query_params.get_all(CONVERSATION)
    ids = [int(text) for text in given if re.fullmatch(r"\d{1,18}", text, flags=re.ASCII)]
    return list(dict.fromkeys(ids))


def address(ids: list[int]) -> str:
    """The address that opens these, with the filters of the other pages."""
    parameters: Parameters = {**filters.shared_parameters(), CONVERSATION: [str(i) for i in ids]}
    return filters.href(PATH, parameters)


def choose(visit: Visit, shown: list[int]) -> None:
    """Look one up by name, phone or number; the latest ones while nothing is asked or open."""
    st.header("Abrir conversa", anchor=False)
    text = st.text_input(
        "Nome, telefone ou número", key=lists.TEXT, bind="query-params", max_chars=80,
        placeholder="Nome, telefone ou número da conversa", type="search",
        label_visibility="collapsed",
    )  # fmt: skip
    text = (text or "").replace("\0", "").strip()
    if not text and shown:
        return
    if len(shown) >= OPEN_AT_ONCE:
        st.caption(f"{OPEN_AT_ONCE} conversas estão abertas: feche uma para abrir outra.")
        return
    found = search(visit, text)
    st.caption(
        ("As conversas mais novas que combinam com a busca." if found else
         "Nenhuma conversa com esse nome, telefone ou número.")
        if text
        else "As mais novas. Abra uma para ler as mensagens; até dez ficam abertas ao mesmo tempo, "
        "e o endereço da página guarda quais."
    )  # fmt: skip
    st.html(f'<ul class="m-found">{"".join(_found(row, shown) for row in found)}</ul>')


def search(visit: Visit, text: str) -> list[Row]:
    """The newest conversations of any date that have the text in name, phone or number."""
    today = date.today()  # bounds nothing here
    filters_, selection = Filters(today, today), Selection("historico", text=text or None)
    # Counting nothing takes less time than looking for the newest of nothing.
    if text and not queries.selected(visit, filters_, selection):
        return []
    found = queries.leads(visit, filters_, selection, sort="novas", page=1, size=FOUND)
    return queries.records(found)


def _found(row: Row, shown: list[int]) -> str:
    href = escape(address([*shown, int(row["conversation_id"])]))
    name = escape((row["contact_name"] or "").strip() or "Sem nome")
    side = words.SIDES.get(row["last_side"] or "", ("", ""))
    idle = row["idle_seconds"]
    last = f"{side[0]} há {formats.duration(idle)}" if idle is not None else "sem mensagens"
    return (
        f'<li><a href="{href}" target="_self"><bdi>{name}</bdi></a> '
        f'<span class="m-soft">{escape(row["contact_phone"] or "")} nº{formats.NBSP}'
        f"{row['display_id']} · {last}</span></li>"
    )


def show_conversation(visit: Visit, row: Row, inboxes: dict[int, str], shown: list[int]) -> None:
    """One conversation: who, the messages, the analysis beside."""
    conversation_id = int(row["conversation_id"])
    limit = _limit()
    messages = queries.records(queries.messages(visit, conversation_id, limit))
    others = [other for other in shown if other != conversation_id]
    with st.container(border=True, key=f"panel-conversation-{conversation_id}"):
        st.html(header(row, inboxes, address(others)))
        hidden = int(row["message_count"] or 0) - len(messages)
        if (
            hidden > 0
            and limit < MOST_MESSAGES
            and st.button(
                f"Mostrar anteriores ({formats.number(hidden)})", key=f"more-{conversation_id}"
            )
        ):
            st.query_params[MESSAGES] = str(min(limit + MORE_MESSAGES, MOST_MESSAGES))
            st.rerun()
        evidence = set(row["evidence_message_ids"] or [])
        correct = (
            filters.href(
                lists.PATH,
                {**filters.shared_parameters(), lists.PARAMETER: "historico",
                 lists.TEXT: f"#{row['display_id']}", "corrigir": str(conversation_id)},
            )
            if visit.viewer.role in scores.CORRECTORS
            else None
        )  # fmt: skip
        st.html(
            f'<div class="m-talk">{chat(messages, evidence, visit.timezone)}'
            f"{aside(row, correct)}</div>"
        )


def _limit() -> int:
    """How many messages of each conversation: the last ones, and more when asked for."""
    given = st.query_params.get(MESSAGES, "")
    is_number = re.fullmatch(r"\d{1,4}", given, flags=re.ASCII)
    if not is_number:
        return FIRST_MESSAGES
    # In the button's steps: each number would be an answer of its own in the cache.
    steps = -(-max(int(given) - FIRST_MESSAGES, 0) // MORE_MESSAGES)
    return min(FIRST_MESSAGES + steps * MORE_MESSAGES, MOST_MESSAGES)


def header(row: Row, inboxes: dict[int, str], close: str) -> str:
    """HTML: contact, where, state, and the ways out."""
    name = escape((row["contact_name"] or "").strip() or "Sem nome")
    inbox = inboxes.get(int(row["inbox_id"] or 0), words.channel(row["channel"] or ""))
    said = [row["contact_phone"], f"nº{formats.NBSP}{row['display_id']}", inbox]
    said += [f"com {row['agent_name']}"] if row["agent_name"] else []
    stage = words.STAGES.get(row["stage"] or "")
    badge = f'<span class="m-badge m-stage">{stage}</span>' if stage else ""
    labels = "".join(f'<span class="m-badge">{escape(label)}</span>' for label in row["labels"])
    ways = [f'<a href="{escape(close)}" target="_self">Fechar</a>']
    chatwoot = state.current().chatwoot_url
    if chatwoot and row["display_id"] and row["account_id"]:
        target = (
            f"{chatwoot}/app/accounts/{int(row['account_id'])}"
            f"/conversations/{int(row['display_id'])}"
        )
        ways.insert(
            0,
            f'<a href="{escape(target)}" target="_blank" rel="noopener noreferrer">'
            "Abrir no Chatwoot ↗</a>",
        )
    return (
        f'<div class="m-who"><div><h2><bdi>{name}</bdi></h2><span class="m-soft">'
        f"{escape(' · '.join(filter(None, said)))}</span></div>"
        f'<span class="m-badge">{words.STATUSES.get(row["status"], formats.MISSING)}</span>'
        f"{badge}{labels}"
        f'<span class="m-ways">{"".join(ways)}</span></div>'
    )


def chat(messages: list[Row], evidence: set[int], timezone: str) -> str:
    """HTML of queries.messages: bubbles, oldest first, a line where a day begins."""
    if not messages:
        return '<div class="m-chat"><p class="m-soft">Esta conversa não tem mensagens.</p></div>'
    zone, day, parts = ZoneInfo(timezone), None, []
    for message in messages:
        at: datetime = message["created_at"].astimezone(zone)
        if at.date() != day:
            day = at.date()
            parts.append(
                f'<p class="m-day"><span>{formats.weekday(day)}, {formats.day(day)}</span></p>'
            )
        parts.append(_bubble(message, at, is_evidence=message["message_id"] in evidence))
    return f'<div class="m-chat" role="log" aria-label="Mensagens">{"".join(parts)}</div>'


def _bubble(message: Row, at: datetime, *, is_evidence: bool) -> str:
    icon, who = words.SIDES[message["sender_kind"]]
    if message["sender_kind"] == "agent" and message["agent_name"]:
        who = message["agent_name"]
    if message["is_deleted"]:
        text = '<em class="m-soft">mensagem apagada</em>'
    else:
        text = f'<span class="m-text" dir="auto">{escape(message["content"] or "")}</span>'
        text = text if message["content"] else ""
        if message["attachment_count"]:
            files = message["attachment_placeholders"] or "[anexo]"
            count = formats.count(int(message["attachment_count"]), "anexo", "anexos")
            text += f'<span class="m-file">📎 {escape(files)} <small>{count}</small></span>'
        text = text or '<em class="m-soft">sem texto</em>'
    marks = '<span class="m-failed">não entregue</span> ' if _failed(message) else ""
    marks += '<span class="m-why">sustenta a análise</span> ' if is_evidence else ""
    return (
        f'<div class="m-message m-{message["sender_kind"]}{" m-evidence" if is_evidence else ""}">'
        f'<div class="m-by"><span aria-hidden="true">{icon}</span> <bdi>{escape(who)}</bdi></div>'
        f'{text}<div class="m-at">{marks}<time datetime="{at.isoformat()}">{at:%H:%M}</time></div>'
        "</div>"
    )


def _failed(message: Row) -> bool:
    return bool(message["delivery_status"] == "failed" and message["sender_kind"] != "contact")


def aside(row: Row, correct: str | None) -> str:
    """HTML: the analysis; `correct`: address of the form, for who may use it."""
    link = f'<p><a href="{escape(correct)}" target="_self">Corrigir</a></p>' if correct else ""
    said = f"{scores.facts(row)}{link}" if row["ai_status"] else ""
    why = "" if said else "<p>Ainda sem análise: ela é feita depois que a conversa fica quieta.</p>"
    return (
        f'<aside class="m-facts" aria-label="Análise"><h3>Análise</h3>'
        f'<p class="m-line">{scores.badge(row)}</p>{said}{why}</aside>'
    )
