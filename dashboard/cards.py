"""Cards of KPIs: the number, what it was before, what it is of, and the conversations behind it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape
from typing import Literal

import pandas as pd
import streamlit as st

from dashboard import charts, definitions, lists, navigation


@dataclass(frozen=True)
class Spark:
    """The line of a card: `series` is a column of a trend, `write` says its values in words."""

    series: str
    write: Callable[[float], str]


@dataclass(frozen=True)
class Card:
    """One KPI as it is written; `kpi` names its docs block, `list_name` what is behind it.

    `previous` is None where the KPI is of this moment and has no earlier period.
    """

    kpi: str
    value: str
    change: str | None
    good: Literal["up", "down"]
    previous: str | None
    detail: str
    list_name: str
    link: str
    spark: Spark | None = None


def show(cards: Iterable[Card], trend: pd.DataFrame | None = None) -> None:
    """In a grid; two by two on a phone (pages.css). `trend`: a row a point of the cards' lines."""
    with st.container(key="kpis"), st.container(key="cards"):
        for card in cards:
            definition = definitions.definition(card.kpi)
            with st.container(border=True, key=card.kpi.replace("_", "-")):
                color = delta_color(card)
                st.metric(
                    definition.label,
                    card.value,
                    card.change,
                    delta_color=color,
                    delta_arrow="off" if color == "off" else "auto",
                    help=definition.text,
                )
                before = "" if card.previous is None else f"antes: {card.previous}  \n"
                st.caption(f"{before}{card.detail}")
                if card.spark and trend is not None:
                    st.html(spark_html(trend, card.spark))
                navigation.link("leads", card.link, lists.parameters(card.list_name))


def delta_color(card: Card) -> Literal["normal", "inverse", "off"]:
    """Green where it went the good way, grey where it did not move."""
    if card.change is None or card.change.startswith("0"):
        return "off"
    return "normal" if card.good == "up" else "inverse"


def spark_html(trend: pd.DataFrame, spark: Spark) -> str:
    """The period in at most fourteen points, told to readers of the screen as numbers."""
    values = trend[spark.series].tolist()
    written = "; ".join(spark.write(value) for value in values)
    return (
        f'<div class="m-spark" role="img" aria-label="Evolução no período: {escape(written)}" '
        f'style="--m-shape: {charts.sparkline(values)}"></div>'
    )
