"""Pure frame → figure. Nothing is computed here."""

from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

import pandas as pd
import plotly.graph_objects as go

from dashboard import formats, words

# Of .streamlit/config.toml: Streamlit gives a figure its fonts and axes, not its fill.
LIGHT = {
    "line": "#0f766e",
    "fill": "rgba(15, 118, 110, 0.14)",
    "grid": "#e8ecf1",
    "text": "#5b6878",
    "label": "#ffffff",
    "strong": "#16212e",
    "second": "#d97706",
    "card": "#ffffff",
    "empty": "#eef2f6",
    "others": "#94a3b8",
    "lead": "#a7d8d3",
    "visit": "#2f9c92",
    "converted": "#0b4a45",
    "open": "#d97706",
    "pending": "#4f46e5",
    "snoozed": "#94a3b8",
    "resolved": "#0f766e",
}
DARK = {
    "line": "#2dd4bf",
    "fill": "rgba(45, 212, 191, 0.16)",
    "grid": "#263244",
    "text": "#9aa7b8",
    "label": "#0e1520",
    "strong": "#e6ebf2",
    "second": "#fbbf24",
    "card": "#182230",
    "empty": "#1f2b3b",
    "others": "#64748b",
    "lead": "#1e5f5b",
    "visit": "#2dd4bf",
    "converted": "#d3faf4",
    "open": "#fbbf24",
    "pending": "#a5b4fc",
    "snoozed": "#64748b",
    "resolved": "#2dd4bf",
}
# Of .streamlit/config.toml too: parts that are told apart by colour, and never by it alone.
LIGHT_SERIES = ("#0f766e", "#d97706", "#4f46e5", "#be185d", "#0369a1", "#65a30d")
DARK_SERIES = ("#2dd4bf", "#fbbf24", "#a5b4fc", "#f472b6", "#38bdf8", "#a3e635")


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
            # whole where the day has none yet
            cliponaxis=False,
        )
    figure.update_layout(
        **_layout(colors),
        hovermode="x",
        showlegend=False,
        xaxis={
            **_axis(colors),
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
        yaxis=_counts(colors),
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


def conversations_by_inbox(rows: pd.DataFrame, names: Sequence[str], *, dark: bool) -> go.Figure:
    """Stacked bars of queries.conversations_by_inbox; `names` by rank."""
    colors, series = (DARK, DARK_SERIES) if dark else (LIGHT, LIGHT_SERIES)
    figure = go.Figure()
    for position, ((_, part), name) in enumerate(zip(rows.groupby("rank"), names, strict=True)):
        steps = _steps(part)
        figure.add_bar(
            x=steps,
            y=part["conversations"],
            name=_short(name),
            marker={
                "color": series[position] if position < len(series) else colors["others"],
                "line": {"width": 0},
            },
            hovertext=[
                f"{escape(name)}<br>{step}: <b>{formats.number(conversations)}</b>"
                for step, conversations in zip(steps, part["conversations"], strict=True)
            ],
            hoverinfo="text",
        )
    figure.update_layout(
        **_layout(colors, height=340), barmode="stack", **_stacked(colors, rows[rows["rank"] == 1])
    )
    return figure


def conversions_over_time(steps: pd.DataFrame, *, dark: bool) -> go.Figure:
    """Stacked bars: how far the leads of each step came."""
    colors = DARK if dark else LIGHT
    labels = _steps(steps)
    figure = go.Figure()
    for column, name, color in (
        ("conversions", "Convertidas", "converted"),
        ("only_visits", "Visita, sem conversão", "visit"),
        ("only_leads", "Lead, sem visita", "lead"),
    ):
        figure.add_bar(
            x=labels,
            y=steps[column],
            name=name,
            marker={"color": colors[color], "line": {"width": 0}},
            hovertext=[
                f"{label}<br>{name}: <b>{formats.number(value)}</b>"
                for label, value in zip(labels, steps[column], strict=True)
            ],
            hoverinfo="text",
        )
    figure.update_layout(**_layout(colors, height=340), barmode="stack", **_stacked(colors, steps))
    return figure


def funnel(stages: pd.DataFrame, *, dark: bool) -> go.Figure:
    """`stage`, `conversations`, `share` (of the stage before; NULL for the first)."""
    colors = DARK if dark else LIGHT
    figure = go.Figure(
        go.Funnel(
            y=stages["stage"],
            x=stages["conversations"],
            text=[
                formats.number(count)
                if formats.is_missing(share)
                else f"{formats.number(count)}<br>{formats.percent(share)}"
                for count, share in zip(stages["conversations"], stages["share"], strict=True)
            ],
            textinfo="text",
            textposition="auto",
            insidetextfont={"color": [colors["strong"], colors["label"], colors["label"]]},
            outsidetextfont={"color": colors["strong"]},
            marker={"color": [colors["lead"], colors["visit"], colors["converted"]]},
            connector={"fillcolor": colors["empty"], "line": {"width": 0}},
            hoverinfo="skip",
        )
    )
    figure.update_layout(
        **_layout(colors, height=340),
        showlegend=False,
        yaxis={**_axis(colors), "showgrid": False},
        xaxis={"visible": False, "fixedrange": True},
    )
    return figure


def statuses(rows: pd.DataFrame, *, dark: bool) -> go.Figure:
    """Donut of `conversations` by `status`."""
    colors = DARK if dark else LIGHT
    names = [_status(status) for status in rows["status"]]
    figure = go.Figure(
        go.Pie(
            labels=names,
            values=rows["conversations"],
            # A thin slice has no room for its share: the sentence and the table have it.
            text=[formats.percent(share) if share >= 0.05 else "" for share in rows["share"]],
            textinfo="text",
            textposition="outside",
            textfont={"color": colors["strong"]},
            hovertext=[
                f"{name}: <b>{formats.number(count)}</b>"
                for name, count in zip(names, rows["conversations"], strict=True)
            ],
            hoverinfo="text",
            hole=0.62,
            sort=False,
            direction="clockwise",
            marker={
                "colors": [colors.get(str(status), colors["others"]) for status in rows["status"]],
                "line": {"color": colors["card"], "width": 2},
            },
        )
    )
    figure.update_layout(**_layout(colors, height=320), legend=_legend(colors))
    figure.update_layout(margin={"l": 8, "r": 8, "t": 24, "b": 8})
    return figure


def rhythm(cells: pd.DataFrame, *, dark: bool) -> go.Figure:
    """Heatmap of `conversations` by `weekday` and `hour`; every third hour is named."""
    colors = DARK if dark else LIGHT
    hours = sorted(cells["hour"].unique())
    weekdays = [(number, name) for number, name in enumerate(formats.WEEKDAYS, start=1)]
    grid = {
        (weekday, hour): conversations
        for weekday, hour, conversations in zip(
            cells["weekday"], cells["hour"], cells["conversations"], strict=True
        )
    }
    figure = go.Figure(
        go.Heatmap(
            x=hours,
            y=[name[:3] for _, name in weekdays],
            z=[[grid[number, hour] for hour in hours] for number, _ in weekdays],
            hovertext=[
                [
                    f"{name}, {hour} h<br><b>"
                    f"{formats.count(grid[number, hour], 'conversa', 'conversas')}</b>"
                    for hour in hours
                ]
                for number, name in weekdays
            ],
            hoverinfo="text",
            colorscale=[[0, colors["empty"]], [1, colors["line"]]],
            showscale=False,
            xgap=2,
            ygap=2,
        )
    )
    figure.update_layout(
        **_layout(colors, height=320),
        xaxis={
            **_axis(colors),
            "showgrid": False,
            "tickvals": hours[::3],
            "ticktext": [f"{hour}h" for hour in hours[::3]],
        },
        yaxis={**_axis(colors), "showgrid": False, "autorange": "reversed"},
    )
    return figure


def first_reply_distribution(bands: pd.DataFrame, names: Sequence[str], *, dark: bool) -> go.Figure:
    """Bars of `conversations` by band, with the share of each."""
    colors = DARK if dark else LIGHT
    figure = go.Figure(
        go.Bar(
            # In two lines, for a phone.
            x=[name.replace(" ", "<br>", 1) for name in names],
            y=bands["conversations"],
            text=[formats.percent(share) for share in bands["share"]],
            textposition="outside",
            cliponaxis=False,
            textfont={"color": colors["text"]},
            hovertext=[
                f"{name}<br><b>{formats.count(count, 'conversa', 'conversas')}</b>"
                for name, count in zip(names, bands["conversations"], strict=True)
            ],
            hoverinfo="text",
            marker={"color": colors["line"], "line": {"width": 0}},
        )
    )
    figure.update_layout(
        **_layout(colors, height=320),
        xaxis={**_axis(colors), "showgrid": False, "type": "category", "tickangle": 0},
        yaxis=_counts(colors),
    )
    figure.update_layout(margin={"l": 8, "r": 12, "t": 24, "b": 8})
    return figure


def ranking(
    rows: pd.DataFrame, names: Sequence[str], texts: Sequence[str], *, dark: bool
) -> go.Figure:
    """Bars of `value`, best on top; small samples are pale."""
    colors = DARK if dark else LIGHT
    positions = list(range(len(rows)))
    figure = go.Figure(
        go.Bar(
            x=rows["value"],
            y=positions,
            orientation="h",
            text=list(texts),
            textposition="outside",
            cliponaxis=False,
            textfont={"color": colors["strong"]},
            hovertext=[
                f"{escape(name)}: <b>{text}</b><br>de {formats.number(sample)}"
                for name, text, sample in zip(names, texts, rows["sample"], strict=True)
            ],
            hoverinfo="text",
            marker={
                "color": [colors["others" if small else "line"] for small in rows["is_small"]],
                "line": {"width": 0},
            },
            width=0.62,
        )
    )
    figure.update_layout(
        **_layout(colors, height=48 + 42 * len(rows)),
        xaxis={**_axis(colors), "visible": False, "rangemode": "tozero"},
        yaxis={
            **_axis(colors),
            "showgrid": False,
            "autorange": "reversed",
            "tickvals": positions,
            "ticktext": [_short(name) for name in names],
        },
    )
    # Room for the text beside the longest bar.
    figure.update_layout(margin={"l": 8, "r": 72, "t": 8, "b": 8})
    return figure


def sparkline(values: Sequence[float]) -> str:
    """A line as a CSS image, for a mask: it has the shape alone, the page gives the colour."""
    known = [value for value in values if not formats.is_missing(value)]
    if not known:
        return "none"
    low, span = min(known), (max(known) - min(known)) or 1
    width = max(len(values) - 1, 1)
    path, is_down = "", False
    for position, value in enumerate(values):
        if formats.is_missing(value):
            is_down = False
            continue
        y = 26 - 24 * (value - low) / span
        # The second point draws a dot where nothing follows.
        path += f"{'L' if is_down else 'M'}{100 * position / width:.1f} {y:.1f}" + (
            "" if is_down else "h.1"
        )
        is_down = True
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 28" preserveAspectRatio="none">'
        f'<path d="{path}" fill="none" stroke="#000" stroke-width="2" stroke-linecap="round"'
        ' stroke-linejoin="round" vector-effect="non-scaling-stroke"/></svg>'
    )
    return f"url('data:image/svg+xml,{quote(svg, safe='')}')"


def _steps(rows: pd.DataFrame) -> list[str]:
    return [
        formats.step(start, end, grain)
        for start, end, grain in zip(
            rows["start_date"], rows["end_date"], rows["grain"], strict=True
        )
    ]


def _status(status: str | None) -> str:
    return words.STATUSES.get(str(status), "Outra")


def _short(name: str) -> str:
    """Data, for a place that reads a little HTML and has little room."""
    return escape(name if len(name) <= 22 else f"{name[:21]}…")


def _layout(colors: dict[str, str], *, height: int = 300) -> dict[str, Any]:
    """What every figure has."""
    return {
        "separators": ",.",
        "height": height,
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "hoverlabel": {
            "bgcolor": colors["label"],
            "font": {"color": colors["strong"]},
            "align": "left",
        },
        "dragmode": False,
    }


def _axis(colors: dict[str, str]) -> dict[str, Any]:
    return {"fixedrange": True, "tickfont": {"color": colors["text"]}, "title": None}


def _counts(colors: dict[str, str]) -> dict[str, Any]:
    """An axis of whole numbers from 0."""
    return {
        **_axis(colors),
        "gridcolor": colors["grid"],
        "rangemode": "tozero",
        "tickformat": ",d",
        "nticks": 5,
    }


def _stacked(colors: dict[str, str], rows: pd.DataFrame) -> dict[str, Any]:
    """Of stacked bars by step; some of the steps are named, by their first day."""
    every = -(-len(rows) // 6)
    named = rows.iloc[::every]
    return {
        "legend": {**_legend(colors), "traceorder": "normal"},
        "bargap": 0.25,
        "xaxis": {
            **_axis(colors),
            "showgrid": False,
            "type": "category",
            "tickvals": _steps(named),
            "ticktext": [
                formats.step(start, start, grain)
                for start, grain in zip(named["start_date"], named["grain"], strict=True)
            ],
            "tickangle": 0,
        },
        "yaxis": _counts(colors),
    }


def _legend(colors: dict[str, str]) -> dict[str, Any]:
    """Below the chart, nothing happens at a click."""
    return {
        "orientation": "h",
        "yanchor": "top",
        "y": -0.14,
        "x": 0,
        "font": {"color": colors["text"]},
        "itemclick": False,
        "itemdoubleclick": False,
    }
