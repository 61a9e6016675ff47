"""Canais: inboxes and channels compared, best first."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import streamlit as st

from dashboard import charts, definitions, filters, formats, frame, lists, queries, words
from dashboard.auth import Visit
from dashboard.frame import Column
from dashboard.lists import Part

BY, MEASURE = "comparar", "medida"
BY_INBOX, BY_CHANNEL = "Caixas", "Canais"
# Fewer conversations say little of a rate.
ENOUGH = 30


@dataclass(frozen=True)
class Measure:
    """What is compared: a column of queries.channels, its docs block, and what it rests on."""

    column: str
    kpi: str
    write: Callable[[float], str]
    sample: str
    list_name: str


MEASURES = (
    Measure("lead_rate", "kpi_lead_rate", formats.percent, "conversas", "leads"),
    Measure("crm_rate", "kpi_crm_rate", formats.percent, "leads", "convertidas"),
    Measure("conversations", "kpi_conversations", formats.number, "conversas", "todas"),
    Measure(
        "first_reply_median_seconds", "kpi_first_reply_time", formats.duration,
        "conversas respondidas", "respondidas",
    ),
    Measure(
        "unanswered_share", "kpi_unanswered", formats.percent,
        "conversas em que o contato escreveu", "sem-resposta",
    ),
    Measure(
        "mean_score", "kpi_lead_score", lambda score: formats.number(score, 1),
        "conversas analisadas", "analisadas",
    ),
)  # fmt: skip


def show(visit: Visit) -> None:
    """Draw the page."""
    coverage = frame.loaded(visit)
    if coverage is None:
        return
    chosen = filters.choose(visit, coverage["first_date"])
    if chosen is None:
        return
    by, measure = _choose()
    rows = queries.channels(visit, chosen, by=by, measure=measure.column, enough=ENOUGH)
    st.caption(formats.plain_markdown(chosen.text))
    if not rows["conversations"].any():
        frame.empty(
            "Nenhuma conversa neste período",
            "Escolha um período maior ou outras caixas de entrada para comparar.",
        )
        return
    names = part_names(rows, by, filters.inbox_names(queries.inboxes(visit)))
    show_ranking(rows, names, measure, by, dark=st.context.theme.type == "dark")
    show_table(rows, names, by)


def _choose() -> tuple[Literal["inbox", "channel"], Measure]:
    labels = {_label(measure.kpi): measure for measure in MEASURES}
    with st.container(horizontal=True, vertical_alignment="bottom", key="comparison"):
        by = st.segmented_control(
            "Comparar",
            [BY_INBOX, BY_CHANNEL],
            default=BY_INBOX,
            required=True,
            key=BY,
            bind="query-params",
        )
        label = st.selectbox(
            "Ordenar por", list(labels), key=MEASURE, bind="query-params", width=320
        )
    return "channel" if by == BY_CHANNEL else "inbox", labels[label]


def part_names(rows: pd.DataFrame, by: str, inboxes: dict[int, str]) -> list[str]:
    """What each row of queries.channels is called."""
    if by == "channel":
        return [words.CHANNELS.get(str(part), words.CHANNELS["other"]) for part in rows["part"]]
    return [inboxes.get(int(part), f"Caixa {part}") for part in rows["part"]]


def show_ranking(
    rows: pd.DataFrame, names: list[str], measure: Measure, by: str, *, dark: bool
) -> None:
    """One measure, best on top."""
    definition = definitions.definition(measure.kpi)
    shown = rows.assign(name=names)
    texts = [measure.write(value) for value in rows["value"]]
    frame.panel(
        "ranking",
        f"{definition.label} por {'canal' if by == 'channel' else 'caixa de entrada'}",
        " ".join((ranking_sentence(shown, measure), *small_sample(rows, measure))),
        charts.ranking(rows, names, texts, dark=dark),
        kind="Gráfico de barras",
        help_text=definition.text,
    )


def ranking_sentence(shown: pd.DataFrame, measure: Measure) -> str:
    """`shown`: rows of queries.channels with their `name`."""
    first = shown.iloc[0]
    if formats.is_missing(first["value"]):
        return "Nada a comparar neste período."
    name, value = formats.plain_markdown(first["name"]), measure.write(first["value"])
    compared = shown[shown["value"].notna() & ~shown["is_small"]]
    if len(compared) < 2:
        return f"{name}: {value}."
    last = compared.iloc[-1]
    return (
        f"Do melhor ao pior: {name} vem primeiro, com {value}; "
        f"{formats.plain_markdown(last['name'])} por último, com {measure.write(last['value'])}."
        if measure.column != "conversations"
        else f"{name} tem mais conversas, {value}; "
        f"{formats.plain_markdown(last['name'])} tem menos, {measure.write(last['value'])}."
    )


def small_sample(rows: pd.DataFrame, measure: Measure) -> list[str]:
    """Why some bars are pale and last; empty when none is."""
    if not rows["is_small"].any():
        return []
    where = "Todas com" if rows["is_small"].all() else "Em cinza, depois das outras:"
    return [
        f"{where} amostra pequena, menos de {ENOUGH} {measure.sample}; "
        "o número ainda pode mudar muito."
    ]


def show_table(rows: pd.DataFrame, names: list[str], by: str) -> None:
    """Every KPI of each."""
    title = "Todos os números"

    def number(
        column: str, kpi: str, list_name: str, write: Callable[[float], str] = formats.number
    ) -> Column:
        return Column(
            column, _label(kpi), write, is_number=True, link=lambda row: _list(row, by, list_name)
        )

    frame.panel(
        "channels-table",
        title,
        "Cada número leva às conversas por trás dele. Uma taxa sem conversas que a sustentem é –; "
        f"com amostra pequena (menos de {ENOUGH}) leva um asterisco.",
        rows=marked(rows).assign(name=names),
        columns=(
            Column("name", "Canal" if by == "channel" else "Caixa de entrada"),
            number("conversations", "kpi_conversations", "todas"),
            number("leads", "kpi_leads", "leads"),
            number("lead_rate_text", "kpi_lead_rate", "leads", str),
            number("visits", "kpi_visits", "visitas"),
            number("conversions", "kpi_conversions", "convertidas"),
            number("crm_rate_text", "kpi_crm_rate", "convertidas", str),
            number("first_reply_text", "kpi_first_reply_time", "respondidas", str),
            Column(
                "first_reply_p90_seconds",
                "p90",
                formats.duration,
                is_number=True,
                link=lambda row: _list(row, by, "respondidas"),
            ),
            number("unanswered_text", "kpi_unanswered", "sem-resposta", str),
            number("mean_score_text", "kpi_lead_score", "analisadas", str),
        ),
        is_open=True,
    )


# Column of the written value, of the value, of the conversations it rests on.
_MARKED = (
    ("lead_rate_text", "lead_rate", "conversations"),
    ("crm_rate_text", "crm_rate", "leads"),
    ("first_reply_text", "first_reply_median_seconds", "first_replies"),
    ("unanswered_text", "unanswered_share", "contacted"),
    ("mean_score_text", "mean_score", "scored"),
)


def marked(rows: pd.DataFrame) -> pd.DataFrame:
    """With each value that a small sample can distort as text, an asterisk after a small one's."""
    writes = {measure.column: measure.write for measure in MEASURES}
    written = {
        text: [
            writes[column](value)
            + ("*" if sample < ENOUGH and not formats.is_missing(value) else "")
            for value, sample in zip(rows[column], rows[sample_column], strict=True)
        ]
        for text, column, sample_column in _MARKED
    }
    return rows.assign(**written)


def _list(row: frame.Row, by: str, list_name: str) -> str:
    if by == "channel":
        return lists.href(list_name, part=Part(channel=row["part"]))
    return lists.href(list_name, inboxes=[row["name"]])


def _label(kpi: str) -> str:
    return definitions.definition(kpi).label
