"""Atendimento: how long people wait, who answers them, what is left open, how content they are."""

from collections.abc import Callable
from datetime import timedelta
from typing import Literal

import pandas as pd
import streamlit as st

from dashboard import cards, charts, definitions, filters, formats, frame, lists, queries
from dashboard.auth import Visit
from dashboard.cards import Card
from dashboard.filters import Filters
from dashboard.frame import Column
from dashboard.lists import Part

# Of fewer than this a median or a share says little, and is marked.
SMALL_SAMPLE = 10
NOBODY = "Sem agente"


def show(visit: Visit) -> None:
    """Draw the page."""
    coverage = frame.loaded(visit)
    if coverage is None:
        return
    chosen = filters.choose(visit, coverage["first_date"])
    if chosen is None:
        return
    kpis = queries.service(visit, chosen).iloc[0]
    now = queries.waiting_now(visit, chosen).iloc[0]
    st.caption(period_text(kpis, formats.plain_markdown(chosen.text)))
    cards.show(kpi_cards(kpis, now))
    happened = ("conversations", "replies", "first_resolutions", "ratings")
    if not any(kpis[name] for name in happened):
        last_date = coverage["last_date"]
        frame.empty(
            "Nenhum atendimento neste período",
            "Nestas caixas de entrada não há nenhuma: escolha outras, ou um período maior."
            if chosen.inbox_ids
            else f"A conversa mais recente é de {formats.day(last_date)}: escolha um período maior."
            if last_date
            else "Ainda não chegou nenhuma conversa nas caixas de entrada desta conta.",
        )
        return
    show_agents(queries.agent_numbers(visit, chosen))
    dark = st.context.theme.type == "dark"
    show_reply_times(queries.reply_times(visit, chosen), kpis, chosen, dark=dark)
    show_backlog(queries.backlog(visit, chosen), visit, dark=dark)
    with st.container(key="pairs"):
        left, right = st.columns(2, gap="small")
        with left:
            show_messages(queries.messages_over_time(visit, chosen), kpis, chosen, dark=dark)
        with right:
            show_ratings(queries.ratings(visit, chosen), kpis, dark=dark)


def period_text(kpis: pd.Series, chosen: str) -> str:
    """Which days are shown, and which they are compared with."""
    previous = f"{formats.day(kpis['previous_start'])} a {formats.day(kpis['previous_end'])}"
    same_time = ", até a mesma hora" if kpis["is_running"] else ""
    return f"{chosen} · comparado com {previous}{same_time}"


def kpi_cards(kpis: pd.Series, now: pd.Series) -> tuple[Card, ...]:
    """The KPIs of a row of queries.service and one of queries.waiting_now, in Portuguese."""
    conversations = kpis["conversations"]
    return (
        Card(
            kpi="kpi_reply_time",
            value=formats.duration(kpis["reply_median_seconds"]),
            change=formats.change(kpis["reply_change"]),
            good="down",
            previous=formats.duration(kpis["previous_reply_median_seconds"]),
            detail=_times(kpis, "reply", kpis["replies"]),
            list_name="respostas",
            link=formats.count(kpis["replies"], "resposta", "respostas"),
        ),
        Card(
            kpi="kpi_first_reply_time",
            value=formats.duration(kpis["first_reply_median_seconds"]),
            change=formats.change(kpis["first_reply_change"]),
            good="down",
            previous=formats.duration(kpis["previous_first_reply_median_seconds"]),
            detail=_times(kpis, "first_reply", kpis["first_replies"]),
            list_name="respondidas",
            link=formats.count(kpis["first_replies"], "respondida", "respondidas"),
        ),
        Card(
            kpi="kpi_resolution_time",
            value=formats.duration(kpis["resolution_median_seconds"]),
            change=formats.change(kpis["resolution_change"]),
            good="down",
            previous=formats.duration(kpis["previous_resolution_median_seconds"]),
            detail=_times(kpis, "resolution", kpis["first_resolutions"]),
            list_name="primeira-resolucao",
            link=formats.count(kpis["first_resolutions"], "resolvida", "resolvidas"),
        ),
        Card(
            kpi="kpi_csat",
            value=formats.percent(kpis["csat"]),
            change=formats.points(kpis["csat_change"]),
            good="up",
            previous=formats.percent(kpis["previous_csat"]),
            detail=f"{formats.number(kpis['good_ratings'])} de "
            f"{formats.count(kpis['ratings'], 'nota', 'notas')} com 4 ou 5{_few(kpis['ratings'])}",
            list_name="avaliadas",
            link=formats.count(kpis["ratings"], "avaliada", "avaliadas"),
        ),
        Card(
            kpi="kpi_waiting_now",
            value=formats.number(now["waiting"]),
            change=None,
            good="down",
            previous=None,
            detail="nenhuma à espera"
            if formats.is_missing(now["longest_seconds"])
            else f"a mais antiga espera há {formats.duration(now['longest_seconds'])}",
            list_name="aguardando",
            link=f"{formats.number(now['waiting'])} aguardando",
        ),
        *(
            Card(
                kpi=f"kpi_{name}",
                value=formats.percent(kpis[f"{name}_share"]),
                change=formats.points(kpis[f"{name}_change"]),
                good=good,
                previous=formats.percent(kpis[f"previous_{name}_share"]),
                detail=f"{formats.number(kpis[name])} de "
                f"{formats.count(conversations, 'conversa', 'conversas')}{_few(conversations)}",
                list_name=list_name,
                link=f"{formats.number(kpis[name])} {word}",
            )
            for name, good, list_name, word in SHARES
        ),
    )


SHARES: tuple[tuple[str, Literal["up", "down"], str, str], ...] = (
    ("reopened", "down", "reabertas", "reabertas"),
    ("one_touch", "up", "um-toque", "em um toque"),
    ("bot_resolved", "up", "robo", "pelo robô"),
)


def _times(kpis: pd.Series, name: str, sample: int) -> str:
    business = kpis.get(f"{name}_business_median_seconds")
    in_hours = (
        ""
        if business is None or formats.is_missing(business)
        else f"  \nem horário comercial {formats.duration(business)}"
    )
    return f"mediana · p90 {formats.duration(kpis[f'{name}_p90_seconds'])}{_few(sample)}{in_hours}"


def _few(sample: int) -> str:
    return " · poucos dados" if 0 < sample < SMALL_SAMPLE else ""


def show_agents(agents: pd.DataFrame) -> None:
    """Who did what, each number with the conversations behind it."""
    if agents.empty:
        return
    shown = agents.assign(name=agents["name"].where(agents["agent_id"] > 0, NOBODY))
    shown["name"] = shown["name"].fillna("Agente removido do Chatwoot")
    for column, sample, write in MARKED:
        shown[f"{column}_text"] = [
            marked(value, size, write)
            for value, size in zip(agents[column], agents[sample], strict=True)
        ]
    has_hours = agents["reply_business_median_seconds"].notna().any()
    columns = tuple(
        column for column in AGENT_COLUMNS
        if has_hours or not column.name.startswith("reply_business")
    )  # fmt: skip
    frame.panel(
        "agents",
        "Agentes",
        "Respostas e tempos são de quem respondeu; resoluções, reaberturas e CSAT, do responsável "
        "atual da conversa. “Sem agente” são conversas sem responsável e respostas dadas no app do "
        "canal; robôs e automações não estão aqui. Cada número leva às conversas. "
        f"(*) menos de {SMALL_SAMPLE} casos: pouco para comparar.",
        rows=shown,
        columns=columns,
        is_open=True,
    )


def marked(value: float, sample: int, write: Callable[[float], str]) -> str:
    """A median or share as written, with a star where few stand behind it."""
    text = write(value)
    return f"{text} *" if text != formats.MISSING and sample < SMALL_SAMPLE else text


MARKED = (
    ("reply_median_seconds", "replies", formats.duration),
    ("reply_p90_seconds", "replies", formats.duration),
    ("reply_business_median_seconds", "replies", formats.duration),
    ("reopened_share", "conversations", formats.percent),
    ("csat", "ratings", formats.percent),
)


def _of_agent(list_name: str) -> Callable[[frame.Row], str | None]:
    def link(agent: frame.Row) -> str | None:
        agent_id = int(agent["agent_id"])
        is_by_reply = list_name in {"respostas", "respostas-no-horario", "primeiras-respostas"}
        part = Part(replied_by=agent_id) if is_by_reply else Part(agent_id=agent_id)
        return lists.href(list_name, part=part)

    return link


AGENT_COLUMNS = (
    Column("name", "Agente"),
    Column(
        "assigned_now", "Com ele agora", formats.number, is_number=True,
        link=_of_agent("nao-resolvidas"),
    ),
    Column(
        "waiting_now", "Aguardando", formats.number, is_number=True, link=_of_agent("aguardando")
    ),
    Column("replies", "Respostas", formats.number, is_number=True, link=_of_agent("respostas")),
    Column("reply_median_seconds_text", "Mediana", is_number=True, link=_of_agent("respostas")),
    Column("reply_p90_seconds_text", "p90", is_number=True, link=_of_agent("respostas")),
    Column(
        "reply_business_median_seconds_text", "Em horário comercial", is_number=True,
        link=_of_agent("respostas-no-horario"),
    ),
    Column(
        "first_replies", "1ªs respostas", formats.number, is_number=True,
        link=_of_agent("primeiras-respostas"),
    ),
    Column(
        "first_resolutions", "Resolvidas", formats.number, is_number=True,
        link=_of_agent("primeira-resolucao"),
    ),
    Column("reopened_share_text", "Reabertas", is_number=True, link=_of_agent("reabertas")),
    Column("csat_text", "CSAT", is_number=True, link=_of_agent("avaliadas")),
)  # fmt: skip


def show_reply_times(days: pd.DataFrame, kpis: pd.Series, chosen: Filters, *, dark: bool) -> None:
    """Median and p90 over time."""
    definition = definitions.definition("kpi_reply_time")
    if not kpis["replies"]:
        frame.panel(
            "reply-times", definition.label,
            "Nenhuma resposta de uma pessoa neste período: não há espera para medir.",
        )  # fmt: skip
        return
    frame.panel(
        "reply-times",
        definition.label,
        f"Metade das {formats.count(kpis['replies'], 'resposta', 'respostas')} saiu em até "
        f"{formats.duration(kpis['reply_median_seconds'])}, e 9 em cada 10 em até "
        f"{formats.duration(kpis['reply_p90_seconds'])}.{by_week(chosen)} A escala é logarítmica: "
        "cada marca vale várias vezes a de baixo.",
        charts.reply_times(days, dark=dark),
        kind="Gráfico de linhas",
        rows=days,
        columns=(
            Column("date", _unit(chosen), formats.day),
            Column(
                "replies",
                "Respostas",
                formats.number,
                is_number=True,
                link=_of_step("respostas", chosen),
            ),
            Column("median_seconds", "Mediana", formats.duration, is_number=True),
            Column("p90_seconds", "p90", formats.duration, is_number=True),
        ),
        help_text=definition.text,
    )


def _of_step(list_name: str, chosen: Filters) -> Callable[[frame.Row], str | None]:
    """Of a row that is a day or, from its Monday on, a week: as far as it is in the period."""
    length = 7 if chosen.days > queries.DAYS_BY_DAY else 1

    def link(row: frame.Row) -> str | None:
        days = (
            max(row["date"], chosen.start),
            min(row["date"] + timedelta(days=length - 1), chosen.end),
        )
        return lists.href(list_name, days=days)

    return link


def by_week(chosen: Filters) -> str:
    """Says so where a point stands for a week."""
    return " Cada ponto é uma semana." if chosen.days > queries.DAYS_BY_DAY else ""


def _unit(chosen: Filters) -> str:
    return "Semana de" if chosen.days > queries.DAYS_BY_DAY else "Dia"


def show_backlog(days: pd.DataFrame, visit: Visit, *, dark: bool) -> None:
    """What was open at the end of each day; the estimated part is marked."""
    definition = definitions.definition("kpi_backlog")
    if days.empty:
        frame.panel(
            "backlog", definition.label,
            "Nenhum dia deste período tem conversas contadas: a última carga é anterior a ele.",
        )  # fmt: skip
        return
    frame.panel(
        "backlog",
        definition.label,
        backlog_sentence(days),
        charts.backlog(days, dark=dark),
        kind="Gráfico de área",
        rows=days.assign(how=days["is_estimated"].map({True: "estimativa", False: "registrado"})),
        columns=(
            Column("date", "Dia", formats.day),
            Column(
                "open_conversations",
                "Abertas ou pendentes",
                formats.number,
                is_number=True,
                link=lambda row: lists.href("abertas-no-fim", day=row["date"]),
            ),
            Column("how", "Como"),
        ),
        help_text=definition.text,
    )


def backlog_sentence(days: pd.DataFrame) -> str:
    """What the chart says, and why a part of it is an estimate."""
    first, last = days.iloc[0], days.iloc[-1]
    text = (
        f"De {formats.number(first['first_open'])} para "
        f"{formats.count(last['last_open'], 'conversa aberta ou pendente', 'abertas ou pendentes')}"
        f" no fim do período; o maior número foi {formats.number(first['highest_open'])}, em "
        f"{formats.day(first['highest_date'])}."
    )
    if not days["is_estimated"].any():
        return text
    since = first["observed_from"]
    until = (
        "Todo o período é uma estimativa (linha tracejada)"
        if since is None or pd.isna(since)
        else f"Antes de {formats.day(since)} a linha tracejada é uma estimativa"
    )
    return (
        f"{text} {until}: o Chatwoot não guarda a situação que cada conversa tinha em cada dia, e "
        "antes do primeiro registro do Mirante ela é deduzida das criações e resoluções."
    )


def show_messages(days: pd.DataFrame, kpis: pd.Series, chosen: Filters, *, dark: bool) -> None:
    """Who wrote to the contacts: people, or machines."""
    total = days.iloc[0]
    title = "Mensagens de pessoas e do robô"
    if not total["total_agent"] + total["total_bot"]:
        frame.panel("messages", title, "Ninguém escreveu aos contatos neste período.")
        return
    frame.panel(
        "messages",
        title,
        f"{formats.count(total['total_agent'], 'mensagem', 'mensagens')} de pessoas e "
        f"{formats.number(total['total_bot'])} do robô e de automações "
        f"({formats.percent(total['bot_share'])}). O robô resolveu sozinho "
        f"{formats.count(kpis['bot_resolved'], 'conversa', 'conversas')}.{by_week(chosen)}",
        charts.messages(days, dark=dark),
        kind="Gráfico de barras empilhadas",
        rows=days,
        columns=(
            Column("date", _unit(chosen), formats.day),
            Column(
                "agent_messages",
                "Pessoas",
                formats.number,
                is_number=True,
                link=_of_step("mensagens-de-pessoas", chosen),
            ),
            Column(
                "bot_messages",
                "Robô",
                formats.number,
                is_number=True,
                link=_of_step("mensagens-do-robo", chosen),
            ),
            Column(
                "contact_messages",
                "Contatos",
                formats.number,
                is_number=True,
                link=_of_step("mensagens-de-contatos", chosen),
            ),
        ),
        help_text="Mensagens públicas, no dia em que foram escritas. Cada número da tabela leva às "
        "conversas em que elas estão, que são menos.",
    )


def show_ratings(rows: pd.DataFrame, kpis: pd.Series, *, dark: bool) -> None:
    """How the ratings spread."""
    definition = definitions.definition("kpi_csat")
    if not kpis["ratings"]:
        frame.panel(
            "ratings", definition.label,
            "Nenhuma pesquisa de satisfação respondida neste período. A pesquisa é ligada em cada "
            "caixa de entrada do Chatwoot.",
        )  # fmt: skip
        return
    few = " Poucas notas: o percentual ainda oscila muito." if _few(kpis["ratings"]) else ""
    frame.panel(
        "ratings",
        definition.label,
        f"{formats.percent(kpis['csat'])} das {formats.count(kpis['ratings'], 'nota', 'notas')} "
        f"foram 4 ou 5.{few}",
        charts.ratings(rows, dark=dark),
        kind="Gráfico de barras",
        rows=rows,
        columns=(
            Column("rating", "Nota", formats.number),
            Column(
                "answers", "Respostas", formats.number, is_number=True,
                link=lambda row: lists.href("avaliadas", part=Part(rating=int(row["rating"]))),
            ),
            Column("share", "Parte", formats.percent, is_number=True),
        ),
        help_text=definition.text,
    )  # fmt: skip
