"""Pure frame → figure. Nothing is computed here."""

import pandas as pd
import plotly.graph_objects as go

from dashboard import formats

# Of .streamlit/config.toml: Streamlit gives a figure its fonts and axes, not its fill.
LIGHT = {
    "line": "#0f766e",
    "fill": "rgba(15, 118, 110, 0.14)",
    "grid": "#e8ecf1",
    "text": "#5b6878",
    "label": "#ffffff",
    "strong": "#16212e",
    "second": "#d97706",
}
DARK = {
    "line": "#2dd4bf",
    "fill": "rgba(45, 212, 191, 0.16)",
    "grid": "#263244",
    "text": "#9aa7b8",
    "label": "#0e1520",
    "strong": "#e6ebf2",
    "second": "#fbbf24",
}


def conversations_per_day(days: pd.DataFrame, *, dark: bool) -> go.Figure:
    """Area of `conversations` by `date`; a day that is not over is an open circle."""
    colors = DARK if dark else LIGHT
    texts = [
        f"{formats.weekday(day)}, {formats.day(day)}<br>"
        f"<b>{formats.count(conversations, 'conversa', 'conversas')}</b>"
        + ("<br>dia em andamento" if running else "")
        for day, conversations, running in zip(
            days["date"], days["conversations"], days["is_running"], strict=True
        )
    ]
    figure = go.Figure(
        go.Scatter(
            x=days["date"],
            y=days["conversations"],
            # One day has no line to draw.
            mode="lines+markers" if len(days) == 1 else "lines",
            line={"color": colors["line"], "width": 2.5},
            fill="tozeroy",
            fillcolor=colors["fill"],
            hovertext=texts,
            hoverinfo="text",
            name="Conversas",
        )
    )
    running = days[days["is_running"]]
    if not running.empty:
        figure.add_scatter(
            x=running["date"],
            y=running["conversations"],
            mode="markers",
            marker={
                "size": 9,
                "color": colors["line"],
                "symbol": "circle-open",
                "line": {"width": 2.5},
            },
            hoverinfo="skip",
            name="Dia em andamento",
        )
    axis = {"fixedrange": True, "tickfont": {"color": colors["text"]}, "title": None}
    figure.update_layout(
        separators=",.",
        showlegend=False,
        height=300,
        margin={"l": 8, "r": 12, "t": 8, "b": 8},
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        hovermode="x",
        hoverlabel={
            "bgcolor": colors["label"],
            "font": {"color": colors["strong"]},
            "align": "left",
        },
        dragmode=False,
        xaxis={
            **axis,
            "showgrid": False,
            "tickformat": "%d/%m",
            "nticks": 8,
            "showspikes": True,
            "spikethickness": 1,
            "spikecolor": colors["text"],
            "spikedash": "dot",
            "spikesnap": "data",
            "spikemode": "across",
        },
        yaxis={
            **axis,
            "gridcolor": colors["grid"],
            "rangemode": "tozero",
            "tickformat": ",d",
            "nticks": 5,
        },
    )
    return figure


# ---- service ----

# Marks of an axis of durations: each is several times the one before.
DURATION_MARKS = {
    "1 s": 1, "10 s": 10, "1 min": 60, "5 min": 300, "30 min": 1800, "2 h": 7200, "8 h": 28_800,
    "1 d": 86_400, "7 d": 604_800, "30 d": 2_592_000, "1 ano": 31_536_000,
}  # fmt: skip
MARKS = 5


def reply_times(days: pd.DataFrame, *, dark: bool) -> go.Figure:
    """Lines of `median_seconds` and `p90_seconds` by `date`, broken where nobody replied.

    The scale is logarithmic: a median of minutes and a p90 of days are both to be read.
    """
    colors = DARK if dark else LIGHT
    texts = [
        f"{formats.day(day)}<br>mediana <b>{formats.duration(median)}</b>"
        f"<br>p90 {formats.duration(p90)}"
        f"<br>{formats.count(replies, 'resposta', 'respostas')}"
        for day, replies, median, p90 in zip(
            days["date"], days["replies"], days["median_seconds"], days["p90_seconds"], strict=True
        )
    ]
    figure = go.Figure()
    for name, column, color, dash in (
        ("Mediana", "median_seconds", colors["line"], "solid"),
        ("p90: 9 em cada 10 até", "p90_seconds", colors["text"], "dot"),
    ):
        figure.add_scatter(
            x=days["date"],
            y=days[column].clip(lower=1),  # a logarithm has no 0
            # A point between two gaps has no line to be seen by.
            mode="lines+markers",
            marker={"size": 5},
            line={"color": color, "width": 2.5 if dash == "solid" else 1.5, "dash": dash},
            hovertext=texts,
            hoverinfo="text" if column == "median_seconds" else "skip",
            name=name,
        )
    _draw(figure, colors)
    figure.update_yaxes(
        type="log",
        tickvals=list(DURATION_MARKS.values()),
        ticktext=list(DURATION_MARKS),
        tickformat=None,
    )
    return figure


def backlog(days: pd.DataFrame, *, dark: bool) -> go.Figure:
    """Line of `open_conversations` by `date`: dashed and lighter while `is_estimated`."""
    colors = DARK if dark else LIGHT
    estimated = days[days["is_estimated"]]
    # The dashes reach to the first day that was seen, so that the line is one.
    seen = days[~days["is_estimated"]]
    figure = go.Figure()
    for name, rows, dash, width, end in (
        ("Estimativa", pd.concat([estimated, seen.head(1)]), "dash", 1.5, "<br>estimativa"),
        ("Registrado pelo Mirante", seen, "solid", 2.5, ""),
    ):
        figure.add_scatter(
            x=rows["date"],
            y=rows["open_conversations"],
            mode="lines+markers" if len(rows) == 1 else "lines",
            opacity=0.7 if dash == "dash" else 1,
            line={"color": colors["line"], "width": width, "dash": dash},
            fill="tozeroy",
            fillcolor=colors["fill"],
            hovertext=[
                f"{formats.weekday(day)}, {formats.day(day)}<br>"
                f"<b>{formats.count(count, 'conversa', 'conversas')}</b>{end * is_estimated}"
                for day, count, is_estimated in zip(
                    rows["date"], rows["open_conversations"], rows["is_estimated"], strict=True
                )
            ],
            hoverinfo="text",
            name=name,
        )
    return _draw(figure, colors)


def messages(days: pd.DataFrame, *, dark: bool) -> go.Figure:
    """Stacked bars of `agent_messages` and `bot_messages` by `date`."""
    colors = DARK if dark else LIGHT
    figure = go.Figure()
    for name, column, color in (
        ("Pessoas", "agent_messages", colors["line"]),
        ("Robô e automações", "bot_messages", colors["second"]),
    ):
        figure.add_bar(
            x=days["date"],
            y=days[column],
            marker={"color": color, "line": {"width": 0}},
            hovertext=[
                f"{formats.day(day)}<br>{name}: "
                f"<b>{formats.count(count, 'mensagem', 'mensagens')}</b>"
                for day, count in zip(days["date"], days[column], strict=True)
            ],
            hoverinfo="text",
            name=name,
        )
    return _draw(figure, colors).update_layout(barmode="stack", bargap=0.25)


def ratings(rows: pd.DataFrame, *, dark: bool) -> go.Figure:
    """Bars of `answers` by `rating`: 4 and 5, which count as good, in full colour."""
    colors = DARK if dark else LIGHT
    figure = go.Figure(
        go.Bar(
            x=[f"nota {rating}" for rating in rows["rating"]],
            y=rows["answers"],
            marker={
                "color": [
                    colors["line"] if rating >= 4 else colors["second"] for rating in rows["rating"]
                ]
            },
            text=[formats.percent(share) for share in rows["share"]],
            textposition="outside",
            textfont={"color": colors["text"]},
            cliponaxis=False,
            hovertext=[
                f"nota {rating}<br><b>{formats.count(answers, 'resposta', 'respostas')}</b>"
                for rating, answers in zip(rows["rating"], rows["answers"], strict=True)
            ],
            hoverinfo="text",
        )
    )
    _draw(figure, colors)
    figure.update_xaxes(showspikes=False, tickformat=None, type="category")
    return figure.update_layout(showlegend=False, margin={"t": 24}, bargap=0.35)


def _draw(figure: go.Figure, colors: dict[str, str]) -> go.Figure:
    """The look of a chart over time with a legend above it."""
    axis = {"fixedrange": True, "tickfont": {"color": colors["text"]}, "title": None}
    return figure.update_layout(
        separators=",.",
        showlegend=True,
        legend={
            "orientation": "h", "traceorder": "normal", "x": 0, "y": 1.02, "yanchor": "bottom",
            "font": {"color": colors["text"]}, "itemclick": False, "itemdoubleclick": False,
        },
        height=280,
        margin={"l": 8, "r": 12, "t": 8, "b": 8},
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        hovermode="x",
        hoverlabel={
            "bgcolor": colors["label"], "font": {"color": colors["strong"]}, "align": "left",
        },
        dragmode=False,
        xaxis={**axis, "showgrid": False, "tickformat": "%d/%m", "nticks": 8},
        yaxis={
            **axis, "gridcolor": colors["grid"], "rangemode": "tozero", "tickformat": ",d",
            "nticks": MARKS,
        },
    )  # fmt: skip
