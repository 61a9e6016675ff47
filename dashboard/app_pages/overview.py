"""Visão geral: who waits for an answer now, and how the tenant is doing."""

from datetime import date, timedelta
from html import escape

import pandas as pd
import streamlit as st

from dashboard import (
    cards,
    charts,
    definitions,
    filters,
    formats,
    frame,
    lists,
    navigation,
    queries,
    words,
)
from dashboard.auth import Visit
from dashboard.cards import Card, Spark
from dashboard.filters import Filters
from dashboard.frame import Column
from dashboard.lists import Part

ORDER, OLDEST, NEWEST = "espera", "Há mais tempo", "Mais recentes"
INBOXES, TOGETHER, APART = "caixas", "Juntas", "Separadas"
# On a phone five (pages.css).
WAITING_SHOWN, WAITING_SHOWN_PHONE = 7, 5
# As many colours as can be told apart.
INBOXES_SHOWN = 6


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
    names = filters.inbox_names(queries.inboxes(visit))
    st.caption(period_text(chosen, kpis, is_running=bool(days["is_running"].iloc[-1])))
    with st.container(key="now"):
        now, numbers = st.columns([5, 9], gap="small")
        with now:
            show_waiting(visit, chosen, names)
        with numbers:
            cards.show(kpi_cards(kpis), queries.trend(visit, chosen))
    if not kpis["conversations"]:
        last_date: date | None = coverage["last_date"]
        frame.empty(
            "Nenhuma conversa neste período",
            "Nestas caixas de entrada não há nenhuma: escolha outras, ou um período maior."
            if chosen.inbox_ids
            else f"A conversa mais recente é de {formats.day(last_date)}: escolha um período maior."
            if last_date
            else "Ainda não chegou nenhuma conversa nas caixas de entrada desta conta.",
        )
        return
    dark = st.context.theme.type == "dark"
    show_conversations(visit, chosen, days, names, dark=dark)
    with st.container(key="pairs"):
        wide, narrow = st.columns([9, 5], gap="small")
        with wide:
            show_conversions(queries.conversions_over_time(visit, chosen), dark=dark)
        with narrow:
            show_funnel(kpis, dark=dark)
        wide, narrow = st.columns([9, 5], gap="small")
        with wide:
            show_rhythm(queries.rhythm(visit, chosen), dark=dark)
        with narrow:
            show_statuses(queries.statuses(visit, chosen), dark=dark)
    show_first_replies(queries.first_reply_distribution(visit, chosen), dark=dark)


def period_text(chosen: Filters, kpis: pd.Series, *, is_running: bool) -> str:
    """Which days are shown, and which they are compared with."""
    previous = f"{formats.day(kpis['previous_start'])} a {formats.day(kpis['previous_end'])}"
    same_time = ", até a mesma hora" if is_running else ""
    return f"{formats.plain_markdown(chosen.text)} · comparado com {previous}{same_time}"


# ---- who waits --------------------------------------------------------------------------------


def show_waiting(visit: Visit, chosen: Filters, names: dict[int, str]) -> None:
    """Who to answer now: how many wait, since when, and the first of them."""
    definition = definitions.definition("kpi_waiting_now")
    with frame.box("waiting", definition.label, definition.text):
        order = st.segmented_control(
            "Ordem",
            [OLDEST, NEWEST],
            default=OLDEST,
            required=True,
            key=ORDER,
            bind="query-params",
            label_visibility="collapsed",
        )
        rows = queries.waiting(visit, chosen, newest_first=order == NEWEST, rows=WAITING_SHOWN)
        st.html(waiting_html(rows, names, visit.timezone))
        if not rows.empty:
            navigation.link(
                "leads",
                f"Ver todas as {formats.number(rows['waiting'].iloc[0])}"
                if rows["waiting"].iloc[0] > WAITING_SHOWN_PHONE
                else "Ver como lista",
                lists.parameters("aguardando"),
            )


def waiting_html(rows: pd.DataFrame, names: dict[int, str], timezone: str) -> str:
    """Of queries.waiting: how many, and each with a link to the conversation; escaped."""
    moment = "<small>número de agora, sem período anterior</small>"
    if rows.empty:
        return (
            f'<p class="m-now"><b>0</b> {moment}</p>'
            '<p class="m-calm">Ninguém espera resposta: nenhuma conversa em aberto tem o contato '
            "por último.</p>"
        )
    first = rows.iloc[0]
    longest = (
        ""
        if formats.is_missing(first["longest_seconds"])
        else f"<small>a que espera mais: {_ago(first['longest_seconds'])}</small>"
    )
    items = "".join(
        f'<li><a href="{escape(_conversation(row["conversation_id"]))}" target="_self">'
        f"<b><bdi>{escape('Contato sem nome' if pd.isna(row['contact']) else row['contact'])}"
        "</bdi></b>"
        f'<span class="m-since"{_moment_title(row, timezone)}>{_since(row)}</span>'
        f"<small>{escape(names.get(row['inbox_id'], formats.MISSING))}</small></a></li>"
        for _, row in rows.iterrows()
    )
    return (
        f'<p class="m-now"><b>{formats.number(first["waiting"])}</b> {longest}{moment}</p>'
        f'<ul class="m-waiting">{items}</ul>'
    )


def _conversation(conversation_id: int) -> str:
    return filters.href(
        "/conversas", {**filters.shared_parameters(), "conversa": str(conversation_id)}
    )


def _since(row: pd.Series) -> str:
    """An opened-again conversation has no wait that began."""
    seconds = row["waiting_seconds"]
    return "reaberta" if formats.is_missing(seconds) else _ago(seconds)


def _ago(seconds: float) -> str:
    return formats.age(timedelta(seconds=max(int(seconds), 0)))


def _moment_title(row: pd.Series, timezone: str) -> str:
    since = row["waiting_since"]
    return "" if pd.isna(since) else f' title="desde {formats.moment(since, timezone)}"'


# ---- numbers ----------------------------------------------------------------------------------


def kpi_cards(kpis: pd.Series) -> tuple[Card, ...]:
    """The KPIs of a row of queries.overview, in Portuguese."""
    return (
        Card(
            kpi="kpi_conversations",
            value=formats.number(kpis["conversations"]),
            change=formats.change(kpis["conversations_change"]),
            good="up",
            previous=formats.number(kpis["previous_conversations"]),
            detail="iniciadas no período",
            link="Ver conversas",
            list_name="todas",
            spark=Spark(
                "conversations_per_day", lambda per_day: f"{formats.number(per_day, 1)} por dia"
            ),
        ),
        Card(
            kpi="kpi_unique_contacts",
            value=formats.number(kpis["contacts"]),
            change=formats.change(kpis["contacts_change"]),
            good="up",
            previous=formats.number(kpis["previous_contacts"]),
            detail="pessoas diferentes",
            link=f"Ver {formats.count(kpis['contacts'], 'contato', 'contatos')}",
            list_name="contatos",
            spark=Spark("contacts", formats.number),
        ),
        Card(
            kpi="kpi_resolved",
            value=formats.percent(kpis["resolved_share"]),
            change=formats.points(kpis["resolved_change"]),
            good="up",
            previous=formats.percent(kpis["previous_resolved_share"]),
            detail=f"de {formats.count(kpis['conversations'], 'conversa', 'conversas')}",
            link=f"Ver {formats.count(kpis['resolved'], 'resolvida', 'resolvidas')}",
            list_name="resolvidas",
            spark=Spark("resolved_share", formats.percent),
        ),
        Card(
            kpi="kpi_lead_rate",
            value=formats.percent(kpis["lead_rate"]),
            change=formats.points(kpis["lead_rate_change"]),
            good="up",
            previous=formats.percent(kpis["previous_lead_rate"]),
            detail=f"de {formats.count(kpis['conversations'], 'conversa', 'conversas')}",
            link=f"Ver {formats.count(kpis['leads'], 'lead', 'leads')}",
            list_name="leads",
            spark=Spark("lead_rate", formats.percent),
        ),
        Card(
            kpi="kpi_qualified_leads",
            value=formats.number(kpis["qualified_leads"]),
            change=formats.change(kpis["qualified_leads_change"]),
            good="up",
            previous=formats.number(kpis["previous_qualified_leads"]),
            detail=f"{formats.percent(kpis['qualified_of_leads'])} dos leads",
            link=f"Ver {formats.count(kpis['qualified_leads'], 'qualificado', 'qualificados')}",
            list_name="qualificados",
            spark=Spark(
                "qualified_per_day", lambda per_day: f"{formats.number(per_day, 1)} por dia"
            ),
        ),
        Card(
            kpi="kpi_crm_rate",
            value=formats.percent(kpis["crm_rate"]),
            change=formats.points(kpis["crm_rate_change"]),
            good="up",
            previous=formats.percent(kpis["previous_crm_rate"]),
            detail=f"de {formats.count(kpis['leads'], 'lead', 'leads')}",
            link=f"Ver {formats.count(kpis['conversions'], 'cliente', 'clientes')}",
            list_name="convertidas",
            spark=Spark("crm_rate", formats.percent),
        ),
        Card(
            kpi="kpi_first_reply_time",
            value=formats.duration(kpis["first_reply_median_seconds"]),
            change=formats.change(kpis["first_reply_change"]),
            good="down",
            previous=formats.duration(kpis["previous_first_reply_median_seconds"]),
            detail=f"mediana · p90 {formats.duration(kpis['first_reply_p90_seconds'])}",
            link=f"Ver {formats.count(kpis['first_replies'], 'respondida', 'respondidas')}",
            list_name="respondidas",
            spark=Spark("first_reply_median_seconds", formats.duration),
        ),
        Card(
            kpi="kpi_unanswered",
            value=formats.percent(kpis["unanswered_share"]),
            change=formats.points(kpis["unanswered_change"]),
            good="down",
            previous=formats.percent(kpis["previous_unanswered_share"]),
            detail=f"de {formats.number(kpis['contacted'])} em que o contato escreveu",
            link=f"Ver {formats.number(kpis['unanswered'])} sem resposta",
            list_name="sem-resposta",
            spark=Spark("unanswered_share", formats.percent),
        ),
        Card(
            kpi="kpi_lead_score",
            value=formats.number(kpis["mean_score"], 1),
            change=formats.difference(kpis["score_change"]),
            good="up",
            previous=formats.number(kpis["previous_mean_score"], 1),
            detail=f"de 0 a 100 · cobertura {formats.percent(kpis['score_coverage'])}",
            link=f"Ver {formats.count(kpis['scored'], 'analisada', 'analisadas')}",
            list_name="analisadas",
            spark=Spark("mean_score", formats.number),
        ),
    )


# ---- charts -----------------------------------------------------------------------------------


def show_conversations(
    visit: Visit, chosen: Filters, days: pd.DataFrame, names: dict[int, str], *, dark: bool
) -> None:
    """Conversations over time, of all inboxes together or of each apart."""
    key, title = "conversations-per-day", "Conversas no tempo"
    with frame.box(key, title):
        shown = TOGETHER
        if len(names) > 1 and len(chosen.inbox_ids) != 1:
            shown = st.segmented_control(
                "Caixas de entrada",
                [TOGETHER, APART],
                default=TOGETHER,
                required=True,
                key=INBOXES,
                bind="query-params",
                label_visibility="collapsed",
            )
        if shown != APART:
            frame.contents(
                key,
                title,
                conversations_sentence(days.iloc[0]),
                charts.conversations_per_day(days, dark=dark),
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
            return
        rows = queries.conversations_by_inbox(visit, chosen, largest=INBOXES_SHOWN)
        groups = inbox_groups(rows, names)
        frame.contents(
            key,
            title,
            inboxes_sentence(rows.iloc[0], groups[0][0]),
            charts.conversations_by_inbox(rows, [name for name, _ in groups], dark=dark),
            kind="Gráfico de barras empilhadas",
            rows=steps_by_inbox(rows),
            columns=(
                STEP,
                *(
                    _of_inboxes(rank, name, own)
                    for rank, (name, own) in enumerate(groups, start=1)
                ),
            ),
        )  # fmt: skip


def _of_inboxes(rank: int, name: str, own: list[str]) -> Column:
    return Column(
        str(rank), name, formats.number, is_number=True,
        link=lambda step: lists.href(
            "todas", days=(step["start_date"], step["end_date"]), inboxes=own
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


def inbox_groups(rows: pd.DataFrame, names: dict[int, str]) -> list[tuple[str, list[str]]]:
    """By rank of queries.conversations_by_inbox: what it is called, names of its inboxes."""
    groups = []
    for _, part in rows.groupby("rank"):
        own = [names[inbox_id] for inbox_id in part["inbox_ids"].iloc[0] if inbox_id in names]
        is_rest = part["rank"].iloc[0] > INBOXES_SHOWN
        groups.append(("Outras caixas" if is_rest or not own else own[0], own))
    return groups


def inboxes_sentence(first: pd.Series, name: str) -> str:
    """`first` is a row of rank 1 of queries.conversations_by_inbox."""
    return (
        f"{formats.count(first['total'], 'conversa', 'conversas')} no período; a caixa com mais é "
        f"{formats.plain_markdown(name)}, com {formats.number(first['inbox_conversations'])} "
        f"({formats.percent(first['inbox_share'])})."
    )


def steps_by_inbox(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a step, a column a rank, for the table."""
    wide = rows.pivot(
        index=["start_date", "end_date", "grain"], columns="rank", values="conversations"
    )
    wide.columns = wide.columns.astype(str)
    return with_steps(wide.reset_index())


def with_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """With the name of each day, week or month as `step`."""
    named = [
        formats.step(start, end, grain)
        for start, end, grain in zip(
            rows["start_date"], rows["end_date"], rows["grain"], strict=True
        )
    ]
    return rows.assign(step=named)


STEP = Column("step", "Período")


def show_conversions(steps: pd.DataFrame, *, dark: bool) -> None:
    """How far the leads of each day, week or month came."""

    def stage(column: str, title: str, list_name: str) -> Column:
        return Column(
            column, title, formats.number, is_number=True,
            link=lambda step: lists.href(list_name, days=(step["start_date"], step["end_date"])),
        )  # fmt: skip

    frame.panel(
        "conversions",
        "Conversões no tempo",
        conversions_sentence(steps.iloc[0]),
        charts.conversions_over_time(steps, dark=dark),
        kind="Gráfico de barras empilhadas",
        rows=with_steps(steps),
        columns=(
            STEP,
            stage("leads", _label("kpi_leads"), "leads"),
            stage("visits", _label("kpi_visits"), "visitas"),
            stage("conversions", _label("kpi_conversions"), "convertidas"),
        ),
    )


def conversions_sentence(step: pd.Series) -> str:
    """`step` is any row of queries.conversions_over_time."""
    return (
        f"{formats.count(step['total_leads'], 'lead', 'leads')} no período, "
        f"{formats.number(step['total_visits'])} com visita agendada e "
        f"{formats.count(step['total_conversions'], 'convertido', 'convertidos')}. "
        "Cada conversa conta uma vez, no dia em que começou e na etapa mais avançada."
    )


def show_funnel(kpis: pd.Series, *, dark: bool) -> None:
    """Lead, visit, customer."""
    stages = funnel_stages(kpis)
    frame.panel(
        "funnel",
        "Funil",
        funnel_sentence(kpis),
        charts.funnel(stages, dark=dark),
        kind="Funil",
        rows=stages,
        columns=(
            Column("stage", "Etapa"),
            Column(
                "conversations", "Conversas", formats.number, is_number=True,
                link=lambda stage: lists.href(stage["list_name"]),
            ),
            Column("share", "Da etapa anterior", formats.percent, is_number=True),
        ),
    )  # fmt: skip


def funnel_stages(kpis: pd.Series) -> pd.DataFrame:
    """One row a stage: stage, conversations, share of the stage before, list_name."""
    return pd.DataFrame(
        [
            ("Leads", kpis["leads"], None, "leads"),
            ("Visitas", kpis["visits"], kpis["visits_of_leads"], "visitas"),
            ("Clientes", kpis["conversions"], kpis["visit_rate"], "convertidas"),
        ],
        columns=["stage", "conversations", "share", "list_name"],
    )


def funnel_sentence(kpis: pd.Series) -> str:
    """What the funnel says."""
    if not kpis["leads"]:
        return "Nenhum lead entre as conversas do período."
    if not kpis["visits"]:
        return "Nenhum lead do período chegou a uma visita agendada."
    return (
        f"{formats.percent(kpis['visits_of_leads'])} dos leads agendam visita; "
        f"das visitas, {formats.percent(kpis['visit_rate'])} viram cliente."
    )


def show_rhythm(cells: pd.DataFrame, *, dark: bool) -> None:
    """When conversations begin."""

    def weekday(number: int, name: str) -> Column:
        return Column(
            str(number), name[:3], formats.number, is_number=True,
            link=lambda row: lists.href(
                "todas", part=Part(weekday=number, hour=int(row["hour"]))
            ),
        )  # fmt: skip

    frame.panel(
        "rhythm",
        "Quando as conversas começam",
        rhythm_sentence(cells.iloc[0]),
        charts.rhythm(cells, dark=dark),
        kind="Mapa de calor",
        rows=hours_by_weekday(cells),
        columns=(
            Column("hour", "Hora", lambda hour: f"{hour} h"),
            *(weekday(number, name) for number, name in enumerate(formats.WEEKDAYS, start=1)),
        ),
    )


def rhythm_sentence(cell: pd.Series) -> str:
    """`cell` is any row of queries.rhythm."""
    hour = int(cell["busiest_hour"])
    return (
        f"O horário com mais conversas novas é {formats.WEEKDAYS[cell['busiest_weekday'] - 1]} "
        f"entre {hour} h e {hour + 1} h: "
        f"{formats.number(cell['busiest_conversations'])} de {formats.number(cell['total'])}."
    )


def hours_by_weekday(cells: pd.DataFrame) -> pd.DataFrame:
    """A row an hour, a column a weekday (`1` to `7`), for the table."""
    wide = cells.pivot(index="hour", columns="weekday", values="conversations")
    wide.columns = wide.columns.astype(str)
    return wide.reset_index()


def show_statuses(rows: pd.DataFrame, *, dark: bool) -> None:
    """How the conversations of the period stand now."""
    named = rows.assign(name=[words.STATUSES.get(str(one), "Outra") for one in rows["status"]])
    frame.panel(
        "statuses",
        "Situação de agora",
        statuses_sentence(named),
        charts.statuses(rows, dark=dark),
        kind="Gráfico de rosca",
        rows=named,
        columns=(
            Column("name", "Situação"),
            Column(
                "conversations", "Conversas", formats.number, is_number=True,
                link=lambda row: lists.href("todas", part=Part(status=row["status"]))
                if isinstance(row["status"], str)
                else None,
            ),
            Column("share", "Parte", formats.percent, is_number=True),
        ),
    )  # fmt: skip


def statuses_sentence(named: pd.DataFrame) -> str:
    """The shares in words, the most frequent first."""
    shares = ", ".join(
        f"{formats.percent(share)} {name.lower()}"
        for name, share in zip(named["name"], named["share"], strict=True)
    )
    return f"Conversas iniciadas no período, como estão agora: {shares}."


def show_first_replies(bands: pd.DataFrame, *, dark: bool) -> None:
    """How fast the first reply came."""
    title = "Em quanto tempo vem a 1ª resposta"
    if formats.is_missing(bands["total"].iloc[0]):
        frame.panel(
            "first-replies", title, "Nenhuma conversa do período teve resposta de uma pessoa."
        )
        return
    names = [
        band_name(band_from, band_to)
        for band_from, band_to in zip(bands["reply_from"], bands["reply_to"], strict=True)
    ]
    frame.panel(
        "first-replies",
        title,
        first_replies_sentence(bands),
        charts.first_reply_distribution(bands, names, dark=dark),
        kind="Gráfico de barras",
        rows=bands.assign(name=names),
        columns=(
            Column("name", "1ª resposta"),
            Column(
                "conversations", "Conversas", formats.number, is_number=True,
                link=lambda band: lists.href("respondidas", part=_band_part(band)),
            ),
            Column("share", "Parte", formats.percent, is_number=True),
            Column("share_up_to", "Até aqui", formats.percent, is_number=True),
        ),
        help_text=definitions.definition("kpi_first_reply_time").text,
    )  # fmt: skip


def _band_part(band: frame.Row) -> Part:
    upper = band["reply_to"]
    return Part(
        reply_from=int(band["reply_from"]) or None,
        reply_to=None if formats.is_missing(upper) else int(upper),
    )


def band_name(reply_from: float, reply_to: float | None) -> str:
    """`até 5 min`, `5 a 15 min`, `1 a 4 h`, `mais de 24 h`."""

    def amount(seconds: float) -> tuple[int, str]:
        minutes = int(seconds) // 60
        return (minutes // 60, "h") if minutes >= 60 else (minutes, "min")

    lower, lower_unit = amount(reply_from)
    if reply_to is None or formats.is_missing(reply_to):
        return f"mais{formats.NBSP}de {lower}{formats.NBSP}{lower_unit}"
    upper, upper_unit = amount(reply_to)
    if not lower:
        return f"até {upper}{formats.NBSP}{upper_unit}"
    first = str(lower) if lower_unit == upper_unit else f"{lower}{formats.NBSP}{lower_unit}"
    return f"{first}{formats.NBSP}a {upper}{formats.NBSP}{upper_unit}"


def first_replies_sentence(bands: pd.DataFrame) -> str:
    """Of bands with a total."""
    fast, within_hour = bands.iloc[0], bands.iloc[2]
    return (
        f"Das {formats.count(fast['total'], 'conversa respondida', 'conversas respondidas')}, "
        f"{formats.percent(fast['share_up_to'])} tiveram a 1ª resposta em menos de 5 minutos e "
        f"{formats.percent(within_hour['share_up_to'])} em menos de 1 hora."
    )


def _label(kpi: str) -> str:
    return definitions.definition(kpi).label
