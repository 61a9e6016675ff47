"""Visão geral: how the tenant is doing, in four numbers and one chart."""

from dataclasses import dataclass
from datetime import date
from typing import Literal

import pandas as pd
import streamlit as st

from dashboard import charts, definitions, filters, formats, frame, lists, queries
from dashboard.auth import Visit
from dashboard.filters import Filters
from dashboard.frame import Column


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
    coverage = frame.loaded(visit)
    if coverage is None:
        return
    chosen = filters.choose(visit, coverage["first_date"])
    if chosen is None:
        return
    kpis = queries.overview(visit, chosen).iloc[0]
    days = queries.conversations_per_day(visit, chosen)
    st.caption(period_text(chosen, kpis, is_running=bool(days["is_running"].iloc[-1])))
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


def period_text(chosen: Filters, kpis: pd.Series, *, is_running: bool) -> str:
    """Which days are shown, and which they are compared with."""
    previous = f"{formats.day(kpis['previous_start'])} a {formats.day(kpis['previous_end'])}"
    same_time = ", até a mesma hora" if is_running else ""
    return f"{chosen.text} · comparado com {previous}{same_time}"


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
    frame.panel(
        "conversations-per-day",
        "Conversas por dia",
        sentence,
        charts.conversations_per_day(days, dark=st.context.theme.type == "dark"),
        kind="Gráfico de área",
        rows=days,
        columns=(
            Column("date", "Dia", formats.day),
            Column(
                "conversations", "Conversas", formats.number, is_number=True,
                link=lambda day: lists.href("todas", day=day["date"]),
            ),
        ),
    )  # fmt: skip


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
