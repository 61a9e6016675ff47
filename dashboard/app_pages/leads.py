"""Leads: whom to answer now, and the list of conversations behind every number."""

import dataclasses
import re
from dataclasses import dataclass
from html import escape
from typing import Any

import streamlit as st

from dashboard import filters, formats, frame, lists, queries, scores, words
from dashboard.auth import Visit
from dashboard.exports import EXPORTERS
from dashboard.filters import Filters, Parameters
from dashboard.lists import Selection
from dashboard.scores import Row

SIZE = 25
STATUS, ORDER, PAGE, CORRECT = lists.ADDRESSES["status"], "ordem", "pagina", "corrigir"
ANY_STATUS, ANY_CLASS = "Todas as situações", "Todas as classes"
RECOMMENDED = "recomendada"
ORDERS = {
    RECOMMENDED: "Recomendada",
    "espera": "Esperando há mais tempo",
    "novas": "Mais novas primeiro",
    "ultima": "Última mensagem primeiro",
    "parada": "Paradas há mais tempo",
    "score": "Maior score",
    "nome": "Nome",
}


@dataclass(frozen=True)
class Tab:
    """A list at hand: its title here, what it is for, and the order that suits it."""

    title: str
    purpose: str
    order: str


TABS = {
    "aguardando": Tab(
        "Para responder agora",
        "O contato escreveu por último e ninguém respondeu; quem espera mais vem primeiro.",
        "espera",
    ),
    "leads": Tab("Leads", "Conversas do período que alguma regra do funil reconheceu.", "score"),
    "esfriando": Tab(
        "Esfriando",
        "Leads sem mensagem há 24 horas ou mais, que não compraram nem desistiram.",
        "ultima",
    ),
    "todas": Tab("Todas", "Todas as conversas iniciadas no período.", "novas"),
}


def show(visit: Visit) -> None:
    """Draw the page."""
    coverage = frame.loaded(visit)
    if coverage is None:
        return
    named = lists.read(st.query_params)
    tabs = st.container(key="tabs")
    chosen = filters.choose(visit, coverage["first_date"])
    selection, order = choose(named)
    if chosen is None:
        return
    with tabs:
        show_tabs(visit, chosen, named.name)
    total = queries.selected(visit, chosen, selection)
    show_what(visit, chosen, selection, total)
    correcting(visit)
    if not total:
        frame.empty("Nenhuma conversa aqui", _why_empty(selection))
        return
    page = choose_page(selection, chosen, order, total)
    if order == RECOMMENDED:
        order = TABS[named.name].order if named.name in TABS else "novas"
    rows = queries.records(
        queries.leads(visit, chosen, selection, sort=order, page=page, size=SIZE)
    )
    inboxes = filters.inbox_names(queries.inboxes(visit))
    st.html(table(rows, inboxes, selection, visit))
    if total > SIZE:
        show_pages(page, len(rows), total)


def choose(named: Selection) -> tuple[Selection, str]:
    """The list of the address, narrowed by what the person filters by; and the order chosen."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="narrow"):
        text = st.text_input(
            "Nome, telefone ou número", key=lists.TEXT, bind="query-params", max_chars=80,
            placeholder="Nome, telefone ou nº", label_visibility="collapsed", type="search",
            width=240,
        )  # fmt: skip
        status = _choose_word(ANY_STATUS, words.STATUSES, STATUS, "Situação", 185)
        lead_class = _choose_word(ANY_CLASS, words.LEAD_CLASSES, lists.CLASS, "Classe", 175)
        score = st.number_input(
            "Score mínimo", min_value=0, max_value=100, step=10, value=None, key=lists.SCORE,
            bind="query-params", placeholder="Score mínimo", label_visibility="collapsed",
            width=185,
        )  # fmt: skip
        order = st.selectbox(
            "Ordem", list(ORDERS), format_func=ORDERS.__getitem__, key=ORDER,
            bind="query-params", label_visibility="collapsed", width=235,
        )  # fmt: skip
    return (
        dataclasses.replace(
            named,
            part=dataclasses.replace(named.part, status=status),
            lead_class=lead_class,
            score_from=int(score) if score else None,
            text=(text or "").replace("\0", "").strip() or None,
        ),
        order or RECOMMENDED,
    )


def _choose_word(every: str, words: dict[str, str], key: str, label: str, width: int) -> str | None:
    chosen = st.selectbox(
        label, ["", *words], format_func=lambda value: words.get(value, every), key=key,
        bind="query-params", label_visibility="collapsed", width=width,
    )  # fmt: skip
    return chosen or None


def _pages(total: int) -> int:
    return -(-total // SIZE)


def choose_page(selection: Selection, chosen: Filters, order: str, total: int) -> int:
    """The page of the address; the first again once anything else was chosen."""
    what = hash((selection, chosen, order))
    if st.session_state.get("selection of page", what) != what:
        st.query_params.pop(PAGE, None)
    st.session_state["selection of page"] = what
    given = st.query_params.get(PAGE, "")
    page = int(given) if re.fullmatch(r"\d{1,6}", given, flags=re.ASCII) else 1
    return min(max(page, 1), _pages(total))


def show_pages(page: int, count: int, total: int) -> None:
    """Which rows these are, and the way to the others."""

    def turn() -> None:
        st.query_params[PAGE] = str(st.session_state[key])

    key = f"page-{st.session_state['selection of page']}-{page}"
    with st.container(horizontal=True, vertical_alignment="center", key="pages"):
        first = formats.number((page - 1) * SIZE + 1)
        last = formats.number((page - 1) * SIZE + count)
        st.caption(f"{first} a {last} de {formats.number(total)}")
        st.pagination(_pages(total), default=page, key=key, on_change=turn, max_visible_pages=5)


def show_tabs(visit: Visit, chosen: Filters, name: str) -> None:
    """The lists at hand, each with how many it has."""

    def turn() -> None:
        for parameter in (PAGE, CORRECT, *lists.ADDRESSES.values()):
            if parameter != STATUS:  # a filter's own
                st.query_params.pop(parameter, None)
        st.query_params[lists.PARAMETER] = st.session_state[key] or name

    titles = {
        tab_name: f"{tab.title} · "
        + formats.number(queries.selected(visit, chosen, Selection(tab_name)))
        for tab_name, tab in TABS.items()
    }
    key = f"tab-{name}"
    st.pills(
        "Lista", list(titles), format_func=titles.__getitem__,
        default=name if name in TABS else None, required=name in TABS,
        key=key, on_change=turn, label_visibility="collapsed",
    )  # fmt: skip


def show_what(visit: Visit, chosen: Filters, selection: Selection, total: int) -> None:
    """What the rows below are: list, parts that can be taken off, how many."""
    chosen_list = lists.LISTS[selection.name]
    chips = []
    if selection.name not in TABS:
        chips.append((chosen_list.title, dataclasses.replace(selection, name=lists.DEFAULT)))
    for field, text in _parts(visit, selection).items():
        part = dataclasses.replace(selection.part, **{field: None})
        chips.append((text, dataclasses.replace(selection, part=part)))
    html = "".join(
        f'<span class="m-chip">{escape(text)}<a href="{escape(_address(without))}" target="_self"'
        f' aria-label="Tirar: {escape(text)}" title="Tirar">×</a></span>'
        for text, without in chips
    )
    purpose = TABS[selection.name].purpose if selection.name in TABS else ""
    when = chosen.text if chosen_list.has_period else "De qualquer data, até a última carga"
    if not chosen_list.has_period and chosen.inbox_names:
        when += f" · {', '.join(chosen.inbox_names)}"
    export = ""
    if visit.viewer.role in EXPORTERS:
        href = escape(filters.href("/exportar", selection.parameters()))
        export = f'<a href="{href}" target="_self">Exportar esta lista</a>'
    st.html(
        f'<div class="m-what" role="status"><strong>'
        f"{formats.count(total, 'conversa', 'conversas')}</strong>{html}"
        f"<span>{escape(' · '.join(filter(None, (when, purpose))))}</span>{export}</div>"
    )


def _parts(visit: Visit, selection: Selection) -> dict[str, str]:
    """What narrows the list, by field of the Part, in words; status has a filter of its own."""
    part, said = selection.part, {}
    people = (("agent_id", part.agent_id, "Pessoa"), ("replied_by", part.replied_by, "Resposta de"))
    for field, agent_id, label in people:
        if agent_id is not None:
            said[field] = f"{label}: {agent_name(visit, agent_id)}"
    if part.rating is not None:
        said["rating"] = f"Nota {part.rating}"
    if part.channel:
        said["channel"] = f"Canal: {words.channel(part.channel)}"
    if part.weekday is not None and 1 <= part.weekday <= 7:
        said["weekday"] = formats.WEEKDAYS[part.weekday - 1].capitalize()
    elif part.weekday is not None:
        said["weekday"] = f"Dia da semana {part.weekday}"
    if part.hour is not None:
        said["hour"] = f"Iniciadas às {part.hour} h"
    if part.reply_from is not None:
        said["reply_from"] = f"1ª resposta em {formats.duration(part.reply_from)} ou mais"
    if part.reply_to is not None:
        said["reply_to"] = f"1ª resposta em menos de {formats.duration(part.reply_to)}"
    if part.idle:
        said["idle"] = f"Parada: {words.IDLE_LEVELS[part.idle]}"
    if part.ai_state:
        said["ai_state"] = f"Análise: {words.AI_STATES[part.ai_state]}"
    if part.ai_provider:
        said["ai_provider"] = f"Analisada por: {words.PROVIDERS[part.ai_provider]}"
    return said


def agent_name(visit: Visit, agent_id: int) -> str:
    """A person's name, its id where the marts have none; 0 is nobody."""
    if not agent_id:
        return "Sem agente"
    names = queries.agents(visit).set_index("agent_id")["name"]
    return str(names.get(agent_id) or f"nº {agent_id}")


def _address(selection: Selection, *kept: str, **more: str) -> str:
    """Of this page with another selection; the order, and what else is `kept`, stay."""
    given = {name: st.query_params[name] for name in (ORDER, *kept) if name in st.query_params}
    parameters: Parameters = {**selection.parameters(), **given, **more}
    return filters.href(lists.PATH, parameters)


def _why_empty(selection: Selection) -> str:
    if selection.text or selection.lead_class or selection.score_from or selection.part.status:
        return "Nenhuma conversa passa por todos os filtros: tire um deles."
    if selection.name == "aguardando":
        return "Ninguém está esperando: nenhuma conversa em aberto tem o contato por último."
    if lists.LISTS[selection.name].has_period:
        return "Não há nenhuma neste período: escolha um período maior."
    return "Não há nenhuma até a última carga."


def table(rows: list[Row], inboxes: dict[int, str], selection: Selection, visit: Visit) -> str:
    """HTML of rows of queries.leads; cards on a phone (pages.css)."""
    may_correct = visit.viewer.role in scores.CORRECTORS
    body = "".join(
        _row(row, inboxes, _address(selection, PAGE, **{CORRECT: str(row["conversation_id"])})
             if may_correct else None)
        for row in rows
    )  # fmt: skip
    heads = ("Contato", "Situação", "Análise", "Última mensagem", "Começo da conversa")
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    return (
        '<div class="m-leads"><table><caption>Conversas</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(row: Row, inboxes: dict[int, str], correct: str | None) -> str:
    name = escape((row["contact_name"] or "").strip() or "Sem nome")
    phone = (
        f'<span class="m-soft">{escape(row["contact_phone"])}</span>'
        if row["contact_phone"] and row["contact_phone"] != row["contact_name"]
        else ""
    )
    inbox = escape(inboxes.get(_int(row["inbox_id"]) or 0, words.channel(row["channel"])))
    address = filters.href(
        "/conversas", {**filters.shared_parameters(), "conversa": str(row["conversation_id"])}
    )
    agent = f'<span class="m-soft">{escape(row["agent_name"])}</span>' if row["agent_name"] else ""
    stage = words.STAGES.get(row["stage"] or "")
    stage_badge = f'<span class="m-badge m-stage">{stage}</span>' if stage else ""
    return (
        f'<tr><th scope="row"><a href="{escape(address)}" target="_self"><bdi>{name}</bdi></a>'
        f'{phone}<span class="m-soft">{inbox} · nº{formats.NBSP}{row["display_id"]}</span></th>'
        f'<td><span class="m-badge">{escape(words.STATUSES.get(row["status"], formats.MISSING))}'
        f"</span>{stage_badge}{agent}</td>"
        f"<td>{scores.badge(row)}</td>"
        f"<td>{_last(row)}</td>"
        f'<td class="m-preview">{_preview(row["preview"])}{scores.details(row, correct)}</td></tr>'
    )


def _last(row: Row) -> str:
    """Who wrote last and how long ago; how long the contact waits, or may be written to."""
    lines = []
    if row["is_waiting"]:
        waits = _int(row["waiting_seconds"])
        since = f"Espera há {formats.duration(waits)}" if waits is not None else "Espera (reaberta)"
        level = "red" if waits is not None and waits >= 3600 else "amber"
        lines.append(f'<strong class="m-wait m-{level}">{since}</strong>')
    idle = _int(row["idle_seconds"])
    if idle is not None:
        who = words.SIDES.get(row["last_side"] or "", ("", "Ninguém"))
        lines.append(
            f'<span><span aria-hidden="true">{who[0]}</span> {who[1]} há {formats.duration(idle)}'
            "</span>"
        )
    else:
        lines.append('<span class="m-soft">Sem mensagens</span>')
    if row["is_in_queue"] and row["idle_level"]:
        lines.append(
            f'<span class="m-soft">Esfriando: {words.IDLE_LEVELS[row["idle_level"]]}</span>'
        )
    window = _int(row["free_window_seconds"])
    if window is not None:
        lines.append(f'<span class="m-soft">Texto livre por mais {formats.duration(window)}</span>')
    return "".join(lines)


def _preview(preview: str | None) -> str:
    """The first messages, a line each, with who wrote it."""
    shown = []
    for line in (preview or "").split("\n"):
        kind, _, text = line.partition(": ")
        icon, who = words.SIDES.get(kind, ("", ""))
        if who:
            shown.append(f'<p><span title="{who}">{icon}</span> <bdi>{escape(text)}</bdi></p>')
    return "".join(shown) or f'<p class="m-soft">{formats.MISSING}</p>'


def _int(value: Any) -> int | None:
    return None if value is None else int(value)


def correcting(visit: Visit) -> None:
    """The form of the conversation that the address says is to be corrected."""
    given = st.query_params.get(CORRECT, "")
    if not re.fullmatch(r"\d{1,18}", given, flags=re.ASCII):
        return
    found = queries.records(queries.conversation(visit, int(given)))
    if not found or visit.viewer.role not in scores.CORRECTORS:
        return
    with st.container(border=True, key="panel-correct"):
        st.header("Corrigir a análise", anchor=False)
        st.html(scores.heading(found[0]))
        scores.form(visit, found[0])
        if st.button("Fechar", key="close-correction"):
            del st.query_params[CORRECT]
            st.rerun()
