"""Pure frame → ECharts options. Nothing is computed here but where the marks of an axis are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pandas as pd

from dashboard import formats, words

# Of .streamlit/config.toml: Streamlit gives a chart its fonts, not its fill.
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

Option = dict[str, Any]
# Place, value, lines of the tooltip.
Point = list[Any]


@dataclass(frozen=True)
class Chart:
    """An option object of ECharts, and the height of the drawing in pixels.

    A point is a list: its place, its value, and then the lines that stand beside the pointer, which
    a tooltip names by number (`{@[2]}`) and so writes as text, whatever is in them.
    """

    option: Option
    height: int


def conversations_per_day(days: pd.DataFrame, *, dark: bool) -> Chart:
    """Area of `conversations` by `date`; a day that is not over is an open circle."""
    colors = DARK if dark else LIGHT
    points: list[Point] = [
        [
            place,
            int(conversations),
            f"{formats.weekday(day)}, {formats.day(day)}",
            formats.count(conversations, "conversa", "conversas")
            + (" · dia em andamento" if running else ""),
        ]
        for place, (day, conversations, running) in enumerate(
            zip(days["date"], days["conversations"], days["is_running"], strict=True)
        )
    ]
    line = {
        **_line("Conversas", points, colors["line"]),
        "areaStyle": {"color": colors["fill"], "opacity": 1},
        # One day has no line to draw.
        "showSymbol": len(points) == 1,
    }
    running = {
        "type": "scatter",
        "name": "Dia em andamento",
        "data": [point[:2] for point, is_running in zip(points, days["is_running"], strict=True)
                 if is_running],
        "symbol": "emptyCircle",
        "symbolSize": 9,
        "itemStyle": {"color": colors["line"], "borderWidth": 2.5},
        "silent": True,
    }  # fmt: skip
    return _over_time(
        [line, running], _days(days["date"]), _counts([point[1] for point in points]), colors,
        tooltip="{@[2]}<br><b>{@[3]}</b>", height=300,
    )  # fmt: skip


# ---- service ----

# Marks of an axis of durations: each is several times the one before.
DURATION_MARKS = {
    1: "1 s", 10: "10 s", 60: "1 min", 300: "5 min", 1800: "30 min", 7200: "2 h", 28_800: "8 h",
    86_400: "1 d", 604_800: "7 d", 2_592_000: "30 d", 31_536_000: "1 ano", 315_360_000: "10 anos",
}  # fmt: skip


def reply_times(days: pd.DataFrame, *, dark: bool) -> Chart:
    """Lines of `median_seconds` and `p90_seconds` by `date`, broken where nobody replied.

    The scale is logarithmic: a median of minutes and a p90 of days are both to be read.
    """
    colors = DARK if dark else LIGHT
    rows = list(zip(days["date"], days["replies"], days["median_seconds"], days["p90_seconds"],
                    strict=True))  # fmt: skip
    medians: list[Point] = [
        [
            place,
            _duration(median),
            formats.day(day),
            f"mediana {formats.duration(median)}",
            f"p90 {formats.duration(p90)}",
            formats.count(replies, "resposta", "respostas"),
        ]
        for place, (day, replies, median, p90) in enumerate(rows)
    ]
    p90s: list[Point] = [[place, _duration(p90)] for place, (*_, p90) in enumerate(rows)]
    known = [point[1] for point in (*medians, *p90s) if point[1] is not None]
    return _over_time(
        [
            {**_line("Mediana", medians, colors["line"]), "showSymbol": True, "symbolSize": 5},
            {
                **_line("p90: 9 em cada 10 até", p90s, colors["text"], width=1.5, dash="dotted"),
                "showSymbol": True,
                "symbolSize": 5,
            },
        ],
        _days(days["date"]),
        _durations(known),
        colors,
        tooltip="{@[2]}<br><b>{@[3]}</b><br>{@[4]}<br>{@[5]}",
        legend=True,
        logarithmic=True,
    )


def _duration(seconds: float) -> float | None:
    # A logarithm has no 0.
    return None if formats.is_missing(seconds) else max(float(seconds), 1.0)


def backlog(days: pd.DataFrame, *, dark: bool) -> Chart:
    """Line of `open_conversations` by `date`: dashed and lighter while `is_estimated`."""
    colors = DARK if dark else LIGHT
    points: list[Point] = [
        [
            place,
            int(count),
            f"{formats.weekday(day)}, {formats.day(day)}",
            formats.count(count, "conversa", "conversas"),
            "estimativa" if is_estimated else "",
        ]
        for place, (day, count, is_estimated) in enumerate(
            zip(days["date"], days["open_conversations"], days["is_estimated"], strict=True)
        )
    ]
    estimated = [point for point in points if point[4]]
    seen = [point for point in points if not point[4]]
    area = {"areaStyle": {"color": colors["fill"], "opacity": 1}}
    # The dashes reach to the first day that was seen, so that the line is one.
    dashed, solid = [*estimated, *seen[:1]], seen
    return _over_time(
        [
            # Of all days, for the pointer alone.
            {**_line("", points, "transparent"), "showSymbol": False},
            {
                **_line("Estimativa", dashed, colors["line"], width=1.5, dash="dashed"),
                **area,
                "showSymbol": len(dashed) == 1,
            },
            {
                **_line("Registrado pelo Mirante", solid, colors["line"]),
                **area,
                "showSymbol": len(solid) == 1,
            },
        ],
        _days(days["date"]),
        _counts([point[1] for point in points]),
        colors,
        tooltip="{@[2]}<br><b>{@[3]}</b><br>{@[4]}",
        legend=True,
    )


def messages(days: pd.DataFrame, *, dark: bool) -> Chart:
    """Stacked bars of `agent_messages` and `bot_messages` by `date`."""
    colors = DARK if dark else LIGHT
    parts = {"Pessoas": "agent_messages", "Robô e automações": "bot_messages"}
    heads = [formats.day(day) for day in days["date"]]
    return _stacked(
        heads,
        _days(days["date"]),
        [(name, days[column].tolist()) for name, column in parts.items()],
        (colors["line"], colors["second"]),
        colors,
        height=280,
    )


def ratings(rows: pd.DataFrame, *, dark: bool) -> Chart:
    """Bars of `answers` by `rating`: 4 and 5, which count as good, in full colour."""
    colors = DARK if dark else LIGHT
    names = [f"nota {rating}" for rating in rows["rating"]]
    return _labelled(
        names,
        names,
        rows["answers"].tolist(),
        [formats.percent(share) for share in rows["share"]],
        [formats.count(answers, "resposta", "respostas") for answers in rows["answers"]],
        [colors["line"] if rating >= 4 else colors["second"] for rating in rows["rating"]],
        colors,
        height=280,
    )


# ---- overview and channels ----


def conversations_by_inbox(rows: pd.DataFrame, names: Sequence[str], *, dark: bool) -> Chart:
    """Stacked bars of queries.conversations_by_inbox; `names` by rank."""
    colors, series = (DARK, DARK_SERIES) if dark else (LIGHT, LIGHT_SERIES)
    parts = [part for _, part in rows.groupby("rank")]
    return _stacked(
        _steps(parts[0]),
        _starts(parts[0]),
        [
            (_short(name), part["conversations"].tolist())
            for part, name in zip(parts, names, strict=True)
        ],
        (*series, colors["others"]),
        colors,
    )


def conversions_over_time(steps: pd.DataFrame, *, dark: bool) -> Chart:
    """Stacked bars: how far the leads of each step came."""
    colors = DARK if dark else LIGHT
    parts = {
        "Convertidas": "conversions",
        "Visita, sem conversão": "only_visits",
        "Lead, sem visita": "only_leads",
    }
    return _stacked(
        _steps(steps),
        _starts(steps),
        [(name, steps[column].tolist()) for name, column in parts.items()],
        (colors["converted"], colors["visit"], colors["lead"]),
        colors,
    )


def funnel(stages: pd.DataFrame, *, dark: bool) -> Chart:
    """`stage`, `conversations`, `share` (of the stage before; NULL for the first)."""
    colors = DARK if dark else LIGHT
    texts = [
        formats.number(count)
        if formats.is_missing(share)
        else f"{formats.number(count)} · {formats.percent(share)}"
        for count, share in zip(stages["conversations"], stages["share"], strict=True)
    ]
    return _across(
        stages["stage"].tolist(),
        stages["conversations"].tolist(),
        texts,
        [],
        [colors["lead"], colors["visit"], colors["converted"]],
        colors,
        height=240,
        # What is missing of the first stage can be seen.
        track=colors["empty"],
    )


def statuses(rows: pd.DataFrame, *, dark: bool) -> Chart:
    """Donut of `conversations` by `status`."""
    colors = DARK if dark else LIGHT
    slices = [
        {
            "name": name,
            "value": int(count),
            "itemStyle": {"color": colors.get(str(status), colors["others"])},
            # A thin slice has no room for its share: the sentence and the table have it.
            "label": {"show": bool(share >= 0.05), "formatter": formats.percent(share)},
            "labelLine": {"show": bool(share >= 0.05)},
            "tooltip": {"formatter": f"{name}<br><b>{formats.number(count)}</b>"},
        }
        for name, status, count, share in zip(
            [_status(status) for status in rows["status"]], rows["status"],
            rows["conversations"], rows["share"], strict=True,
        )
    ]  # fmt: skip
    donut = {
        "type": "pie",
        "data": slices,
        "radius": ["46%", "72%"],
        "center": ["50%", "45%"],
        "label": {"color": colors["strong"]},
        "labelLine": {"length": 6, "length2": 6},
        "itemStyle": {"borderColor": colors["card"], "borderWidth": 2},
    }
    return _chart(
        [donut], colors, height=320, legend={**_legend(colors), "bottom": 0},
        tooltip={"trigger": "item"},
    )  # fmt: skip


def rhythm(cells: pd.DataFrame, *, dark: bool) -> Chart:
    """Heatmap of `conversations` by `weekday` and `hour`; every third hour is named."""
    colors = DARK if dark else LIGHT
    points = [
        [
            int(hour),
            int(weekday) - 1,
            int(conversations),
            f"{formats.WEEKDAYS[int(weekday) - 1]}, {hour} h",
            formats.count(conversations, "conversa", "conversas"),
        ]
        for weekday, hour, conversations in zip(
            cells["weekday"], cells["hour"], cells["conversations"], strict=True
        )
    ]
    heat = {
        "type": "heatmap",
        "data": points,
        "itemStyle": {"borderColor": colors["card"], "borderWidth": 2},
    }
    return _chart(
        [heat],
        colors,
        height=320,
        tooltip={"trigger": "item", "formatter": "{@[3]}<br><b>{@[4]}</b>"},
        grid={"left": 40, "right": 8, "top": 8, "bottom": 28},
        xAxis={
            **_axis(colors),
            "data": [f"{hour}h" for hour in range(24)],
            "axisLabel": {"color": colors["text"], "interval": 2},
        },
        yAxis={
            **_axis(colors),
            "data": [name[:3] for name in formats.WEEKDAYS],
            "inverse": True,
            "axisLabel": {"color": colors["text"], "interval": 0},
        },
        visualMap={
            "show": False,
            "dimension": 2,
            "min": 0,
            "max": cells["conversations"].max().item() or 1,
            "inRange": {"color": [colors["empty"], colors["line"]]},
        },
    )


def first_reply_distribution(bands: pd.DataFrame, names: Sequence[str], *, dark: bool) -> Chart:
    """Bars of `conversations` by band, with the share of each."""
    colors = DARK if dark else LIGHT
    return _labelled(
        # In two lines, for a phone.
        [name.replace(" ", "\n", 1) for name in names],
        names,
        bands["conversations"].tolist(),
        [formats.percent(share) for share in bands["share"]],
        [formats.count(count, "conversa", "conversas") for count in bands["conversations"]],
        [colors["line"]] * len(bands),
        colors,
        height=320,
    )


def ranking(rows: pd.DataFrame, names: Sequence[str], texts: Sequence[str], *, dark: bool) -> Chart:
    """Bars of `value`, best on top; small samples are pale."""
    colors = DARK if dark else LIGHT
    return _across(
        names,
        rows["value"].tolist(),
        texts,
        [f"de {formats.number(sample)}" for sample in rows["sample"]],
        [colors["others" if small else "line"] for small in rows["is_small"]],
        colors,
        height=48 + 42 * len(rows),
    )


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


# ---- parts --------------------------------------------------------------------------------------


def _chart(
    series: Sequence[Option], colors: Mapping[str, str], *, height: int, **option: Any
) -> Chart:
    """What every chart has."""
    tooltip = {
        "confine": True,
        "backgroundColor": colors["label"],
        "borderColor": colors["grid"],
        "textStyle": {"color": colors["strong"]},
        **option.pop("tooltip", {}),
    }
    if "grid" in option:
        option["grid"]["outerBoundsMode"] = "none"  # room for labels is in the sides already
    return Chart({"animation": False, "series": list(series), "tooltip": tooltip, **option}, height)


def _axis(colors: Mapping[str, str]) -> Option:
    """Of names."""
    return {
        "type": "category",
        "axisTick": {"show": False},
        "axisLine": {"show": False},
        "splitLine": {"show": False},
        "axisLabel": {"color": colors["text"]},
    }


def _legend(colors: Mapping[str, str]) -> Option:
    """Nothing happens at a click."""
    return {
        "show": True,
        "left": 0,
        "selectedMode": False,
        "itemWidth": 14,
        "itemHeight": 10,
        "textStyle": {"color": colors["text"]},
    }


def _line(
    name: str, points: Sequence[Point], color: str, *, width: float = 2.5,
    dash: str = "solid",
) -> Option:  # fmt: skip
    return {
        "type": "line",
        "name": name,
        "data": list(points),
        "lineStyle": {"color": color, "width": width, "type": dash},
        "itemStyle": {"color": color},
        "symbol": "circle",
        "symbolSize": 6,
    }


def _over_time(
    series: Sequence[Option],
    names: Sequence[str],
    marks: Mapping[float, str],
    colors: Mapping[str, str],
    *,
    tooltip: str,
    height: int = 280,
    legend: bool = False,
    logarithmic: bool = False,
    bars: bool = False,
) -> Chart:
    """By day or step, whose `names` stand below, with `marks` as lines across, named at the left.

    ECharts writes numbers in English alone, so the axis of values has no labels of its own. The
    tooltip reads the first series.
    """
    across: Option = {
        "type": "line",
        "data": [],
        "silent": True,
        "markLine": {
            "silent": True,
            "symbol": "none",
            "animation": False,
            "z": 0,
            "label": {"position": "start", "formatter": "{b}", "color": colors["text"]},
            "lineStyle": {"type": "solid", "width": 1, "color": colors["grid"]},
            "data": [{"yAxis": place, "name": text} for place, text in marks.items()],
        },
    }
    named = [one["name"] for one in series if one["name"] and one["type"] != "scatter"]
    return _chart(
        [*series, across],
        colors,
        height=height,
        tooltip={
            "trigger": "axis",
            "formatter": tooltip,
            "axisPointer": {"type": "shadow" if bars else "line"},
        },
        **({"legend": {**_legend(colors), "data": named, "top": 0}} if legend else {}),
        grid={
            "left": 16 + 7 * max(len(text) for text in marks.values()),
            "right": 16,
            "top": 40 if legend else 12,
            "bottom": 28,
        },
        xAxis={
            **_axis(colors),
            "data": list(names),
            "boundaryGap": bars or len(names) == 1,
            "axisLabel": {
                "color": colors["text"],
                "interval": max(-(-len(names) // 8) - 1, 0),
                "hideOverlap": True,
            },
        },
        yAxis={
            "type": "log" if logarithmic else "value",
            "min": min(marks),
            "max": max(marks),
            "show": False,
        },
    )


def _stacked(
    heads: Sequence[str],
    names: Sequence[str],
    parts: Sequence[tuple[str, Sequence[int]]],
    fills: Sequence[str],
    colors: Mapping[str, str],
    *,
    height: int = 340,
) -> Chart:
    """Bars by step, made of `parts`; `heads` are the steps as the tooltip has them."""
    written = [
        [f"{name}: {formats.number(values[place])}" for name, values in parts]
        for place in range(len(heads))
    ]
    series = [
        {
            "type": "bar",
            "name": name,
            "stack": "all",
            "barCategoryGap": "25%",
            "itemStyle": {"color": fills[number]},
            "data": [
                [place, int(value), *([] if number else [heads[place], *written[place]])]
                for place, value in enumerate(values)
            ],
        }
        for number, (name, values) in enumerate(parts)
    ]
    tooltip = "<br>".join(f"{{@[{3 + number}]}}" for number in range(len(parts)))
    return _over_time(
        series,
        names,
        _counts([sum(part) for part in zip(*(values for _, values in parts), strict=True)]),
        colors,
        tooltip=f"<b>{{@[2]}}</b><br>{tooltip}",
        height=height,
        legend=True,
        bars=True,
    )


def _labelled(
    names: Sequence[str],
    heads: Sequence[str],
    values: Sequence[int],
    labels: Sequence[str],
    texts: Sequence[str],
    fills: Sequence[str],
    colors: Mapping[str, str],
    *,
    height: int,
) -> Chart:
    """Bars side by side, each with a label above it."""
    bars = {
        "type": "bar",
        "name": "",
        "barCategoryGap": "30%",
        "label": {
            "show": True, "position": "top", "formatter": "{@[4]}", "color": colors["text"],
        },
        "data": [
            {"value": [place, int(value), head, text, label], "itemStyle": {"color": fill}}
            for place, (value, head, text, label, fill) in enumerate(
                zip(values, heads, texts, labels, fills, strict=True)
            )
        ],
    }  # fmt: skip
    chart = _over_time(
        [bars], names, _counts(values), colors, tooltip="{@[2]}<br><b>{@[3]}</b>", height=height,
        bars=True,
    )  # fmt: skip
    chart.option["grid"] |= {"top": 24, "bottom": 44}
    chart.option["xAxis"]["axisLabel"] |= {
        "interval": 0, "hideOverlap": False, "lineHeight": 15,
    }  # fmt: skip
    return chart


def _across(
    names: Sequence[str],
    values: Sequence[float],
    labels: Sequence[str],
    details: Sequence[str],
    fills: Sequence[str],
    colors: Mapping[str, str],
    *,
    height: int,
    track: str | None = None,
) -> Chart:
    """Bars from left to right, the first on top, each with a label at its end."""
    bars = {
        "type": "bar",
        "barCategoryGap": "38%",
        "label": {
            "show": True, "position": "right", "formatter": "{@[3]}", "color": colors["strong"],
        },
        "data": [
            {
                "value": [
                    None if formats.is_missing(value) else float(value), place, names[place],
                    labels[place], details[place] if details else "",
                ],
                "itemStyle": {"color": fills[place]},
            }
            for place, value in enumerate(values)
        ],
        "encode": {"x": 0, "y": 1},
        "showBackground": track is not None,
        "backgroundStyle": {"color": track or "transparent"},
    }  # fmt: skip
    shown = [_short(name) for name in names]
    known = [float(value) for value in values if not formats.is_missing(value)]
    return _chart(
        [bars],
        colors,
        height=height,
        tooltip={"trigger": "item", "formatter": "{@[2]}<br><b>{@[3]}</b><br>{@[4]}"},
        grid={
            "left": 16 + 7 * max((len(name) for name in shown), default=0),
            # Room for the label beside the longest bar.
            "right": 16 + 7 * max((len(label) for label in labels), default=0),
            "top": 8,
            "bottom": 8,
        },
        xAxis={"type": "value", "show": False, "min": 0, "max": max(known, default=0) or 1},
        yAxis={
            **_axis(colors),
            "data": shown,
            "inverse": True,
            "axisLabel": {"color": colors["text"], "interval": 0},
        },
    )


def _counts(values: Sequence[int]) -> dict[float, str]:
    """Marks of an axis of whole numbers: from 0 to above the highest, at most six, round."""
    highest = max((int(value) for value in values), default=0)
    step = next(
        step
        for power in range(19)
        for step in (10**power, 2 * 10**power, 5 * 10**power)
        if step * 5 >= highest
    )
    return {
        float(place): formats.number(place)
        for place in range(0, max(-(-highest // step), 1) * step + 1, step)
    }


def _durations(seconds: Sequence[float]) -> dict[float, str]:
    """Marks around the durations, of DURATION_MARKS."""
    places = list(DURATION_MARKS)
    low, high = (min(seconds), max(seconds)) if seconds else (1.0, 1.0)
    first = max((place for place in places if place <= low), default=places[0])
    last = min((place for place in places if place >= high and place > first), default=places[-1])
    return {float(place): DURATION_MARKS[place] for place in places if first <= place <= last}


def _days(dates: pd.Series) -> list[str]:
    return [day.strftime("%d/%m") for day in dates]


def _steps(rows: pd.DataFrame) -> list[str]:
    return [
        formats.step(start, end, grain)
        for start, end, grain in zip(
            rows["start_date"], rows["end_date"], rows["grain"], strict=True
        )
    ]


def _starts(rows: pd.DataFrame) -> list[str]:
    """The steps by their first day."""
    return [
        formats.step(start, start, grain)
        for start, grain in zip(rows["start_date"], rows["grain"], strict=True)
    ]


def _status(status: str | None) -> str:
    return words.STATUSES.get(str(status), "Outra")


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:21]}…"
