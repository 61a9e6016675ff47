"""Visão geral: how the tenant is doing, in four numbers and one chart."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from dashboard import charts, definitions, formats, frame, queries
from dashboard.auth import Visit

MONTH, CUSTOM = "mes", "personalizado"
PRESETS = {
    "7": "7 dias",
    "30": "30 dias",
    "90": "90 dias",
    MONTH: "Mês atual",
    CUSTOM: "Personalizado",
}
DEFAULT_PRESET = "30"


@dataclass(frozen=True)
class Card:
    """One KPI as it is written; `kpi` names its docs block."""

    kpi: str
    value: str
    change: str | None
    good: Literal["up", "down"]
    previous: str
    detail: str


def show(visit: Visit) -> None:
    """Draw the page."""
    if visit.load_state.last_loaded_at is None or visit.load_state.last_built_at is None:
        frame.empty(
            "A primeira carga ainda não terminou",
            "Os números aparecem aqui assim que as conversas forem carregadas e processadas.",
        )
        return
    coverage = queries.coverage(visit).iloc[0]
    if not coverage["is_built"]:
        frame.empty(
            "Sua conta ainda não foi processada",
            "Ela foi criada depois da última carga. Os números aparecem após a próxima.",
        )
        return
    if not coverage["has_inboxes"]:
        frame.empty(
            "Nenhuma caixa de entrada ligada a esta conta",
            "Peça a quem administra o sistema para ligar as suas caixas de entrada do Chatwoot.",
        )
        return

    period = choose_period(datetime.now(ZoneInfo(visit.timezone)).date(), coverage["first_date"])
    if period is None:
        return
    start, end = period
    kpis = queries.overview(visit, start, end).iloc[0]
    days = queries.conversations_per_day(visit, start, end)
    st.caption(period_text(start, end, kpis, is_running=bool(days["is_running"].iloc[-1])))
    show_cards(cards(kpis))
    if not kpis["conversations"]:
        last_date: date | None = coverage["last_date"]
        frame.empty(
            "Nenhuma conversa neste período",
            f"A conversa mais recente é de {formats.day(last_date)}: escolha um período maior."
            if last_date
            else "Ainda não chegou nenhuma conversa nas caixas de entrada desta conta.",
        )
        return
    show_conversations_per_day(days)


def choose_period(today: date, first_date: date | None) -> tuple[date, date] | None:
    """The period the viewer chose, kept in the address; None while half of it is chosen."""
    preset = st.segmented_control(
        "Período",
        list(PRESETS),
        default=DEFAULT_PRESET,
        required=True,
        format_func=PRESETS.__getitem__,
        key="periodo",
        bind="query-params",
        label_visibility="collapsed",
    )
    if preset == CUSTOM:
        chosen = st.date_input(
            "De … até …",
            value=(today - timedelta(days=29), today),
            min_value=min(first_date or today, today - timedelta(days=89)),
            max_value=today,
            format="DD/MM/YYYY",
            key="datas",
            bind="query-params",
            width=320,
        )
        if not isinstance(chosen, tuple) or len(chosen) != 2:
            st.caption("Escolha a data inicial e a final.")
            return None
        return chosen
    if preset == MONTH:
        return today.replace(day=1), today
    return today - timedelta(days=int(preset or DEFAULT_PRESET) - 1), today


def period_text(start: date, end: date, kpis: pd.Series, *, is_running: bool) -> str:
    """Which days are shown, and which they are compared with."""
    previous = f"{formats.day(kpis['previous_start'])} a {formats.day(kpis['previous_end'])}"
    same_time = ", até a mesma hora" if is_running else ""
    return f"{formats.day(start)} a {formats.day(end)} · comparado com {previous}{same_time}"


def cards(kpis: pd.Series) -> tuple[Card, ...]:
    """The four KPIs of a row of queries.overview, written in Portuguese."""
    return (
        Card(
            kpi="kpi_conversations",
            value=formats.number(kpis["conversations"]),
            change=formats.change(kpis["conversations_change"]),
            good="up",
            previous=formats.number(kpis["previous_conversations"]),
            detail="iniciadas no período",
        ),
        Card(
            kpi="kpi_lead_rate",
            value=formats.percent(kpis["lead_rate"]),
            change=formats.points(kpis["lead_rate_change"]),
            good="up",
            previous=formats.percent(kpis["previous_lead_rate"]),
            detail=formats.count(kpis["leads"], "lead", "leads"),
        ),
        Card(
            kpi="kpi_crm_rate",
            value=formats.percent(kpis["crm_rate"]),
            change=formats.points(kpis["crm_rate_change"]),
            good="up",
            previous=formats.percent(kpis["previous_crm_rate"]),
            detail=formats.count(kpis["conversions"], "cliente convertido", "clientes convertidos"),
        ),
        Card(
            kpi="kpi_first_reply_time",
            value=formats.duration(kpis["first_reply_median_seconds"]),
            change=formats.change(kpis["first_reply_change"]),
            good="down",
            previous=formats.duration(kpis["previous_first_reply_median_seconds"]),
            detail=f"mediana · p90 {formats.duration(kpis['first_reply_p90_seconds'])}",
        ),
    )


def show_cards(row: tuple[Card, ...]) -> None:
    """Side by side; two by two on a phone (pages.css)."""
    with st.container(key="kpis"):
        for column, card in zip(st.columns(len(row)), row, strict=True):
            definition = definitions.definition(card.kpi)
            with column.container(border=True, key=card.kpi.replace("_", "-")):
                st.metric(
                    definition.label,
                    card.value,
                    card.change,
                    delta_color="normal" if card.good == "up" else "inverse",
                    help=definition.text,
                )
                st.caption(f"{card.detail}  \nantes: {card.previous}")


def show_conversations_per_day(days: pd.DataFrame) -> None:
    """The chart, what it says, and its numbers."""
    sentence = conversations_sentence(days.iloc[0])
    with st.container(border=True, key="panel-conversations-per-day"):
        st.header("Conversas por dia", anchor=False)
        st.caption(sentence)
        st.plotly_chart(
            charts.conversations_per_day(days, dark=st.context.theme.type == "dark"),
            config={"displayModeBar": False},
            key="chart-conversations-per-day",
            alt=f"Gráfico de área: conversas por dia. {sentence}",
        )
        with st.expander("Ver como tabela"):
            table: Any = days[["date", "conversations"]].rename(
                columns={"date": "Dia", "conversations": "Conversas"}
            )
            st.dataframe(
                table.style.format({"Dia": formats.day, "Conversas": formats.number}),
                hide_index=True,
                height=300,
            )


def conversations_sentence(day: pd.Series) -> str:
    """What the chart shows, in one sentence; `day` is any row of queries.conversations_per_day."""
    total = formats.count(day["total"], "conversa", "conversas")
    mean = (
        ""
        if formats.is_missing(day["mean_per_day"])
        else f", em média {formats.number(day['mean_per_day'], 1)} por dia"
    )
    busiest = day["busiest_date"]
    return (
        f"{total} no período{mean}. O dia mais movimentado foi "
        f"{formats.weekday(busiest)}, {formats.day(busiest)}, "
        f"com {formats.number(day['busiest_conversations'])}."
    )
