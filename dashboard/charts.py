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
}
DARK = {
    "line": "#2dd4bf",
    "fill": "rgba(45, 212, 191, 0.16)",
    "grid": "#263244",
    "text": "#9aa7b8",
    "label": "#0e1520",
    "strong": "#e6ebf2",
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
