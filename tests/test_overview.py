"""Visão geral and Canais: every number against other SQL, what is written, who sees it."""

import dataclasses
import html
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pandas as pd
import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

from dashboard import charts, definitions, formats, lists, queries, words
from dashboard.app_pages import channels, overview
from dashboard.auth import Sessions, Visit
from dashboard.filters import Filters
from dashboard.lists import Part
from tests.browsing import (
    DESKTOP,
    END,
    PERIOD,
    PHONE,
    START,
    card,
    chart,
    drawn,
    plain,
    serious_findings,
    visitor,
)
from tests.conftest import Pipeline
from tests.serving import HOSTILE_NAME, Served, visits
from warehouse.build import build

DAYS = (END - START).days + 1
WHOLE = Filters(START, END)
NOWHERE = Filters(date(2020, 1, 1), date(2020, 1, 7))
FAR = datetime(2026, 12, 1, tzinfo=UTC)  # the period is over

COUNTED = """
select
    count(*) as conversations,
    count(*) filter (where is_lead) as leads,
    count(*) filter (where is_visit_scheduled) as visits,
    count(*) filter (where is_converted) as conversions,
    count(*) filter (where contact_message_count > 0) as contacted,
    count(*) filter (where contact_message_count > 0 and agent_message_count = 0) as unanswered,
    count(*) filter (where lead_score is not null) as scored,
    count(*) filter (where first_reply_seconds is not null) as first_replies,
    count(distinct contact_id) as contacts,
    count(*) filter (where is_qualified) as qualified_leads,
    count(*) filter (where status = 'resolved') as resolved,
    avg(lead_score)::float8 as mean_score,
    percentile_cont(0.5) within group (order by first_reply_seconds) as median,
    percentile_cont(0.9) within group (order by first_reply_seconds) as p90
from marts.fct_conversations
where tenant_id = %s and created_date between %s and %s and inbox_id = any (%s)
    and created_at < %s and channel like %s
"""


@dataclasses.dataclass(frozen=True)
class Asked:
    """A tenant's visit with filters, and the same chosen inboxes as ids."""

    tenant_id: int
    visit: Visit
    filters: Filters
    inbox_ids: list[int]


def own_inboxes(pipeline: Pipeline, tenant_id: int) -> list[int]:
    rows = pipeline.query(
        "select inbox_id from marts.dim_inboxes where tenant_id = %s order by 1", tenant_id
    )
    return [inbox_id for (inbox_id,) in rows]


def everybody(pipeline: Pipeline, sessions: Sessions, period: Filters = WHOLE) -> Iterator[Asked]:
    """Every tenant, without an inbox chosen, with its first, with all but its first."""
    for tenant_id, visit in visits(pipeline, sessions).items():
        inboxes = own_inboxes(pipeline, tenant_id)
        assert len(inboxes) > 1
        for chosen in ([], inboxes[:1], inboxes[1:]):
            filters = dataclasses.replace(period, inbox_ids=tuple(chosen))
            yield Asked(tenant_id, visit, filters, chosen or inboxes)


def as_of(visit: Visit, moment: datetime) -> Visit:
    return dataclasses.replace(
        visit, load_state=dataclasses.replace(visit.load_state, last_loaded_at=moment)
    )


def counted(
    pipeline: Pipeline,
    asked: Asked,
    start: date,
    end: date,
    before: datetime = FAR,
    channel: str = "%",
) -> dict:
    """COUNTED by name, with the rates; None where there is no base."""
    ((*values,),) = pipeline.query(
        COUNTED, asked.tenant_id, start, end, asked.inbox_ids, before, channel
    )
    names = re.findall(r" as (\w+),?\n", COUNTED)
    found = dict(zip(names, values, strict=True))

    def share(part: str, whole: str) -> float | None:
        return found[part] / found[whole] if found[whole] else None

    return found | {
        "lead_rate": share("leads", "conversations"),
        "visits_of_leads": share("visits", "leads"),
        "crm_rate": share("conversions", "leads"),
        "visit_rate": share("conversions", "visits"),
        "unanswered_share": share("unanswered", "contacted"),
        "score_coverage": share("scored", "conversations"),
        "resolved_share": share("resolved", "conversations"),
        "qualified_of_leads": share("qualified_leads", "leads"),
    }


def same(found: float | None, expected: float | None) -> bool:
    if expected is None:
        return formats.is_missing(found)
    return bool(found == pytest.approx(expected))


KPIS = {
    **{
        name: name
        for name in (
            "conversations", "leads", "visits", "conversions", "contacted", "unanswered",
            "scored", "first_replies", "lead_rate", "visits_of_leads", "crm_rate", "visit_rate",
            "unanswered_share", "score_coverage", "mean_score",
        )
    },
    "first_reply_median_seconds": "median",
    "first_reply_p90_seconds": "p90",
}  # fmt: skip
PREVIOUS = (
    "conversations", "leads", "conversions", "lead_rate", "crm_rate", "unanswered_share",
    "mean_score", "first_reply_median_seconds",
)  # fmt: skip


# ---- the overview's questions -----------------------------------------------------------------


def test_every_kpi_and_the_period_before(pipeline: Pipeline, sessions: Sessions) -> None:
    before = timedelta(days=DAYS)
    for asked in everybody(pipeline, sessions):
        row = queries.overview(asked.visit, asked.filters).iloc[0]
        truth = counted(pipeline, asked, START, END)
        assert truth["conversations"] > 0
        for column, name in KPIS.items():
            assert same(row[column], truth[name]), (asked, column)
        earlier = counted(pipeline, asked, START - before, END - before)
        for column in PREVIOUS:
            assert same(row[f"previous_{column}"], earlier[KPIS[column]]), (asked, column)
        for column, name in (
            ("lead_rate_change", "lead_rate"),
            ("crm_rate_change", "crm_rate"),
            ("unanswered_change", "unanswered_share"),
            ("score_change", "mean_score"),
        ):
            has_base = truth[name] is not None and earlier[name] is not None
            assert same(row[column], truth[name] - earlier[name] if has_base else None)


def test_a_running_day_is_compared_with_the_same_hours(
    pipeline: Pipeline, sessions: Sessions
) -> None:
    """Sums of days and the cut day together: as many as the facts say, whatever the hour."""
    before = timedelta(days=DAYS)
    cut = 0
    for asked in everybody(pipeline, sessions):
        for hour in (3, 15, 23):
            moment = datetime(END.year, END.month, END.day, hour, 20, tzinfo=UTC)
            running = as_of(asked.visit, moment)
            row = queries.overview(running, asked.filters).iloc[0]
            earlier = counted(pipeline, asked, START - before, END - before, moment - before)
            for column in PREVIOUS:
                assert same(row[f"previous_{column}"], earlier[KPIS[column]]), (asked, column)
            whole = counted(pipeline, asked, START - before, END - before)
            cut += whole["conversations"] - earlier["conversations"]
    assert cut > 0


def test_people_and_what_came_of_them(pipeline: Pipeline, sessions: Sessions) -> None:
    """Once the period is over, and while its last day runs."""
    before = timedelta(days=DAYS)
    fewer = cut = 0
    for asked in everybody(pipeline, sessions):
        truth = counted(pipeline, asked, START, END)
        fewer += truth["contacts"] < truth["conversations"]
        for moment in (FAR, *(datetime(2026, 6, 28, hour, 20, tzinfo=UTC) for hour in (3, 15, 23))):
            row = queries.overview(as_of(asked.visit, moment), asked.filters).iloc[0]
            for column in ("conversations", "contacts", "qualified_leads", "qualified_of_leads",
                           "resolved", "resolved_share"):  # fmt: skip
                assert same(row[column], truth[column]), (asked, column)
            earlier = counted(pipeline, asked, START - before, END - before, moment - before)
            for column in ("contacts", "qualified_leads", "resolved_share"):
                assert same(row[f"previous_{column}"], earlier[column]), (asked, column)
            for column in ("contacts", "qualified_leads"):
                base = earlier[column]
                assert same(row[f"{column}_change"], truth[column] / base - 1 if base else None)
            has_base = earlier["resolved_share"] is not None
            assert same(
                row["resolved_change"],
                truth["resolved_share"] - earlier["resolved_share"] if has_base else None,
            )
            whole = counted(pipeline, asked, START - before, END - before)
            cut += whole["contacts"] - earlier["contacts"]
    assert fewer > 0  # some came back
    assert cut > 0


@pytest.mark.parametrize("days", [1, 5, 28, 90])
def test_their_trend_while_the_last_day_runs(
    pipeline: Pipeline, sessions: Sessions, days: int
) -> None:
    period = Filters(END - timedelta(days=days - 1), END)
    running = datetime(2026, 6, 28, 15, 20, tzinfo=UTC)
    for asked in everybody(pipeline, sessions, period):
        parts = queries.trend(as_of(asked.visit, running), asked.filters)
        for _, part in parts.iloc[:: max(1, len(parts) // 3)].iterrows():
            truth = counted(pipeline, asked, part["start_date"], part["end_date"])
            length = (part["end_date"] - part["start_date"]).days + 1
            assert part["contacts"] == truth["contacts"]
            assert same(part["qualified_per_day"], truth["qualified_leads"] / length)
            assert same(part["resolved_share"], truth["resolved_share"])


def test_a_line_has_no_day_that_is_not_over(pipeline: Pipeline, sessions: Sessions) -> None:
    """A few hours would look like a fall; a period of that day alone has no other."""
    (asked, *_) = everybody(pipeline, sessions)
    running = as_of(asked.visit, datetime(2026, 6, 28, 15, 20, tzinfo=UTC))
    over = as_of(asked.visit, datetime(2026, 6, 29, 3, tzinfo=UTC))  # midnight there
    assert queries.trend(running, WHOLE)["end_date"].iloc[-1] == END - timedelta(days=1)
    assert queries.trend(over, WHOLE)["end_date"].iloc[-1] == END
    alone = queries.trend(running, Filters(END, END))
    assert alone[["start_date", "end_date"]].to_numpy().tolist() == [[END, END]]


@pytest.mark.parametrize("days", [1, 5, 14, 28, 90])
def test_trend_has_at_most_fourteen_points(
    pipeline: Pipeline, sessions: Sessions, days: int
) -> None:
    period = Filters(END - timedelta(days=days - 1), END)
    for asked in everybody(pipeline, sessions, period):
        parts = queries.trend(asked.visit, asked.filters)
        assert len(parts) == min(days, 14)
        covered = [
            start + timedelta(days=n)
            for start, end in zip(parts["start_date"], parts["end_date"], strict=True)
            for n in range((end - start).days + 1)
        ]
        assert covered == [period.start + timedelta(days=n) for n in range(days)]
        lengths = [len(range((e - s).days + 1)) for s, e in zip(
            parts["start_date"], parts["end_date"], strict=True
        )]  # fmt: skip
        assert max(lengths) - min(lengths) <= 1
        for _, part in parts.iloc[:: max(1, len(parts) // 3)].iterrows():
            truth = counted(pipeline, asked, part["start_date"], part["end_date"])
            length = (part["end_date"] - part["start_date"]).days + 1
            assert same(part["conversations_per_day"], truth["conversations"] / length)
            assert same(part["first_reply_median_seconds"], truth["median"])
            for name in ("lead_rate", "crm_rate", "unanswered_share", "mean_score"):
                assert same(part[name], truth[name])


def test_who_waits_now(pipeline: Pipeline, sessions: Sessions) -> None:
    """Whatever the period; the longest first, those without a beginning last."""
    waits = 0
    for asked in everybody(pipeline, sessions, NOWHERE):
        rows = queries.waiting(asked.visit, asked.filters, rows=10_000)
        loaded_at = asked.visit.load_state.last_loaded_at
        truth = pipeline.query(
            "select conversation_id, inbox_id, waiting_since, contact_name, contact_phone"
            " from marts.fct_conversations where tenant_id = %s and inbox_id = any (%s)"
            " and is_waiting",
            asked.tenant_id, asked.inbox_ids,
        )  # fmt: skip
        waits += len(truth)
        unknown = datetime.max.replace(tzinfo=UTC)
        truth.sort(key=lambda row: (row[2] or unknown, row[0]))
        assert rows["conversation_id"].tolist() == [row[0] for row in truth]
        assert set(rows["inbox_id"]) <= set(asked.inbox_ids)
        for found, (_, inbox_id, since, name, phone) in zip(rows.itertuples(), truth, strict=True):
            assert found.inbox_id == inbox_id
            contact = (name or "").strip() or phone
            assert pd.isna(found.contact) if contact is None else found.contact == contact
            seconds = int((loaded_at - since).total_seconds() // 1) if since else None
            assert formats.is_missing(found.waiting_seconds) if seconds is None else (
                abs(found.waiting_seconds - seconds) <= 1
            )  # fmt: skip
            assert found.waiting == len(truth)
        few = queries.waiting(asked.visit, asked.filters, rows=2)
        assert few["conversation_id"].tolist() == rows["conversation_id"].tolist()[:2]
        assert few.empty or few["waiting"].iloc[0] == len(truth)
        newest = queries.waiting(asked.visit, asked.filters, newest_first=True, rows=2)
        known = [row for row in truth if row[2]]
        assert (
            newest["conversation_id"].tolist()[: len(known)]
            == [row[0] for row in sorted(known, key=lambda row: (-row[2].timestamp(), row[0]))][:2]
        )
    assert waits > 0


@pytest.mark.parametrize(
    ("days", "grain"), [(1, "day"), (31, "day"), (32, "week"), (182, "week"), (183, "month")]
)
def test_steps_are_days_weeks_or_months(
    pipeline: Pipeline, sessions: Sessions, days: int, grain: str
) -> None:
    period = Filters(END - timedelta(days=days - 1), END)
    for asked in everybody(pipeline, sessions, period):
        steps = queries.conversions_over_time(asked.visit, asked.filters)
        assert set(steps["grain"]) == {grain}
        assert steps["start_date"].iloc[0] == period.start
        assert steps["end_date"].iloc[-1] == END
        ends = steps["end_date"].tolist()
        assert steps["start_date"].tolist()[1:] == [end + timedelta(days=1) for end in ends[:-1]]
        for start in steps["start_date"].tolist()[1:]:
            assert grain == "day" or start.weekday() == 0 or grain == "month"
            assert grain != "month" or start.day == 1
        for step in steps.iloc[:: max(1, len(steps) // 2)].itertuples():
            truth = counted(pipeline, asked, step.start_date, step.end_date)
            assert step.leads == truth["leads"]
            assert step.visits == truth["visits"]
            assert step.conversions == truth["conversions"]
        assert (
            steps["only_leads"] + steps["only_visits"] + steps["conversions"]
        ).tolist() == steps["leads"].tolist()
        truth = counted(pipeline, asked, period.start, END)
        first = steps.iloc[0]
        assert (first.total_leads, first.total_visits, first.total_conversions) == (
            truth["leads"], truth["visits"], truth["conversions"],
        )  # fmt: skip


def test_inboxes_apart_are_all_of_them(pipeline: Pipeline, sessions: Sessions) -> None:
    for asked in everybody(pipeline, sessions):
        by_day_and_inbox = Counter(
            pipeline.query(
                "select created_date, inbox_id from marts.fct_conversations where tenant_id = %s"
                " and created_date between %s and %s and inbox_id = any (%s)",
                asked.tenant_id, START, END, asked.inbox_ids,
            )
        )  # fmt: skip
        by_inbox: Counter[int] = Counter()
        for (_, inbox_id), number in by_day_and_inbox.items():
            by_inbox[inbox_id] += number
        order = sorted(by_inbox, key=lambda one: (-by_inbox[one], one))
        for largest in (1, 6):
            rows = queries.conversations_by_inbox(asked.visit, asked.filters, largest=largest)
            groups = [[one] for one in order[:largest]] + (
                [sorted(order[largest:])] if order[largest:] else []
            )
            shown = rows.drop_duplicates("rank")
            assert shown["inbox_ids"].tolist() == groups
            assert shown["inbox_conversations"].tolist() == [
                sum(by_inbox[one] for one in group) for group in groups
            ]
            assert set(rows["total"]) == {sum(by_inbox.values())}
            assert same(rows["inbox_share"].iloc[0], by_inbox[order[0]] / sum(by_inbox.values()))
            assert len(rows) == DAYS * len(groups)
            for row in rows.itertuples():
                assert row.start_date == row.end_date
                assert row.conversations == sum(
                    by_day_and_inbox[row.start_date, one] for one in row.inbox_ids
                )


def test_statuses_rhythm_and_first_replies(pipeline: Pipeline, sessions: Sessions) -> None:
    for asked in everybody(pipeline, sessions):
        facts = pipeline.query(
            "select status, extract(isodow from created_at at time zone %s)::int,"
            " extract(hour from created_at at time zone %s)::int, first_reply_seconds"
            " from marts.fct_conversations"
            " where tenant_id = %s and created_date between %s and %s and inbox_id = any (%s)",
            asked.visit.timezone, asked.visit.timezone, asked.tenant_id, START, END,
            asked.inbox_ids,
        )  # fmt: skip
        statuses = queries.statuses(asked.visit, asked.filters)
        found = dict(zip(statuses["status"], statuses["conversations"], strict=True))
        assert found == Counter(status for status, *_ in facts)
        assert statuses["conversations"].tolist() == sorted(found.values(), reverse=True)
        assert same(statuses["share"].iloc[0], max(found.values()) / len(facts))

        cells = queries.rhythm(asked.visit, asked.filters)
        truth = Counter((weekday, hour) for _, weekday, hour, _ in facts)
        assert len(cells) == 168
        assert {
            (row.weekday, row.hour): row.conversations
            for row in cells.itertuples()
            if row.conversations
        } == truth
        first = cells.iloc[0]
        busiest = min(truth, key=lambda cell: (-truth[cell], cell))
        assert (first.busiest_weekday, first.busiest_hour) == busiest
        assert (first.busiest_conversations, first.total) == (truth[busiest], len(facts))

        bands = queries.first_reply_distribution(asked.visit, asked.filters)
        replies = [seconds for *_, seconds in facts if seconds is not None]
        assert bands["reply_from"].tolist() == [0, 300, 900, 3600, 14400, 86400]
        up_to = 0
        for band in bands.itertuples():
            upper = float("inf") if formats.is_missing(band.reply_to) else band.reply_to
            inside = sum(band.reply_from <= seconds < upper for seconds in replies)
            up_to += inside
            assert (band.conversations, band.total) == (inside, len(replies))
            assert same(band.share, inside / len(replies))
            assert same(band.share_up_to, up_to / len(replies))


def test_a_second_more_is_another_band(copied: Pipeline) -> None:
    """299 and 300 seconds part; a day is the last band's."""
    (tenant_id, conversation_ids) = copied.query(
        "select tenant_id, (array_agg(conversation_id))[:5] from marts.fct_conversations"
        " where created_date between %s and %s group by 1 limit 1", START, END,
    )[0]  # fmt: skip
    with psycopg.connect(copied.warehouse.dsn("owner"), autocommit=True) as connection:
        connection.execute(
            "update marts.fct_conversations set first_reply_seconds = null where tenant_id = %s",
            [tenant_id],
        )
        for conversation_id, seconds in zip(
            conversation_ids, (0, 299, 300, 86_399, 86_400), strict=True
        ):
            connection.execute(
                "update marts.fct_conversations set first_reply_seconds = %s"
                " where tenant_id = %s and conversation_id = %s",
                [seconds, tenant_id, conversation_id],
            )
        build(copied.settings, copied.warehouse, select="agg_daily", full_refresh=True)
        cursor = connection.execute(
            queries.FIRST_REPLY_DISTRIBUTION,
            {"tenant_id": tenant_id, "start": START, "end": END, "inbox_ids": None},
        )
        place = [column.name for column in cursor.description or ()].index("conversations")
        assert [row[place] for row in cursor] == [2, 1, 0, 0, 1, 1]


# ---- Canais -----------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["inbox", "channel"])
@pytest.mark.parametrize("measure", channels.MEASURES, ids=lambda one: one.column)
def test_channels_are_ranked_best_first(
    pipeline: Pipeline, sessions: Sessions, by: str, measure: channels.Measure
) -> None:
    samples = {
        "crm_rate": "leads", "first_reply_median_seconds": "first_replies",
        "unanswered_share": "contacted", "mean_score": "scored",
    }  # fmt: skip
    is_better_lower = measure.column in {"first_reply_median_seconds", "unanswered_share"}
    small = 0
    for asked in everybody(pipeline, sessions):
        of_tenant = pipeline.query(
            "select distinct channel from marts.fct_conversations where tenant_id = %s"
            " and inbox_id = any (%s)",
            asked.tenant_id, asked.inbox_ids,
        )  # fmt: skip
        rows = queries.channels(
            asked.visit, asked.filters, by=by, measure=measure.column, enough=40  # type: ignore[arg-type]
        )  # fmt: skip
        assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
        own = {name for (name,) in of_tenant}
        expected = own if by == "channel" else {str(one) for one in asked.inbox_ids}
        assert set(rows["part"]) == expected
        for _, row in rows.iterrows():
            if by == "channel":  # an inbox may have two: Facebook and Instagram
                truth = counted(pipeline, asked, START, END, channel=row["part"])
            else:
                alone = dataclasses.replace(asked, inbox_ids=[int(row["part"])])
                truth = counted(pipeline, alone, START, END)
            for column in (
                "conversations", "leads", "visits", "conversions", "contacted", "unanswered",
                "scored", "first_replies", "lead_rate", "crm_rate", "unanswered_share",
                "mean_score", "first_reply_median_seconds", "first_reply_p90_seconds",
            ):  # fmt: skip
                assert same(row[column], truth[KPIS[column]]), (asked, by, column)
            assert same(row["value"], truth[KPIS[measure.column]])
            assert row["sample"] == truth[samples.get(measure.column, "conversations")]
            assert row["is_small"] == (measure.column != "conversations" and row["sample"] < 40)
            small += row["is_small"]
        assert rows["is_small"].tolist() == sorted(rows["is_small"])
        for _, group in rows.groupby("is_small"):
            values = [value for value in group["value"] if not formats.is_missing(value)]
            assert values == sorted(values, reverse=not is_better_lower)
    assert small > 0 or measure.column == "conversations"


def test_an_inbox_without_conversations_is_there(pipeline: Pipeline, sessions: Sessions) -> None:
    for asked in everybody(pipeline, sessions, NOWHERE):
        rows = queries.channels(
            asked.visit, asked.filters, by="inbox", measure="lead_rate", enough=30
        )
        assert sorted(int(part) for part in rows["part"]) == sorted(asked.inbox_ids)
        assert not rows["conversations"].any()
        assert rows["lead_rate"].isna().all()


# ---- the list behind a number -----------------------------------------------------------------


def listed(
    pipeline: Pipeline,
    asked: Asked,
    name: str,
    part: Part | None = None,
    days: tuple[date, date] = (START, END),
) -> int:
    """How many conversations the list of that name and part holds."""
    one = lists.LISTS[name]
    where = "tenant_id = %(tenant_id)s and inbox_id = any (%(inbox_ids)s)"
    if one.dated_by:
        where += f" and {one.dated_by} between %(start)s and %(end)s"
    parameters = {
        "tenant_id": asked.tenant_id, "inbox_ids": asked.inbox_ids, "start": days[0],
        "end": days[1], "timezone": asked.visit.timezone, **vars(part or Part()),
        "as_of": asked.visit.load_state.last_loaded_at,
    }  # fmt: skip
    with psycopg.connect(pipeline.warehouse.dsn("owner")) as connection:
        ((number,),) = connection.execute(
            f"select count(*) from marts.fct_conversations as conversations"
            f" where {where} and ({one.condition}) and ({lists.PART_CONDITION})".encode(),
            parameters,
        ).fetchall()
    return int(number)


def test_a_number_is_as_long_as_its_list(pipeline: Pipeline, sessions: Sessions) -> None:
    for asked in everybody(pipeline, sessions):
        kpis = queries.overview(asked.visit, asked.filters).iloc[0]
        behind = [
            kpis[name]
            for name in (
                "conversations", "contacts", "resolved", "leads", "qualified_leads", "conversions",
                "first_replies", "unanswered", "scored",
            )
        ]  # fmt: skip
        cards = overview.kpi_cards(kpis)
        assert [listed(pipeline, asked, one.list_name) for one in cards] == behind
        for one, number in list(zip(cards, behind, strict=True))[1:]:
            assert formats.number(number) in one.link
        for stage in overview.funnel_stages(kpis).itertuples():
            assert listed(pipeline, asked, stage.list_name) == stage.conversations
        waiting = queries.waiting(asked.visit, asked.filters, rows=1)
        number = 0 if waiting.empty else waiting["waiting"].iloc[0]
        assert listed(pipeline, asked, "aguardando") == number
        for row in queries.statuses(asked.visit, asked.filters).itertuples():
            part = Part(status=row.status)
            assert listed(pipeline, asked, "todas", part) == row.conversations
        cells = queries.rhythm(asked.visit, asked.filters)
        for row in cells.nlargest(3, "conversations").itertuples():
            part = Part(weekday=row.weekday, hour=row.hour)
            assert listed(pipeline, asked, "todas", part) == row.conversations
        bands = queries.first_reply_distribution(asked.visit, asked.filters)
        for _, band in bands.iterrows():
            part = overview._band_part(band)
            assert listed(pipeline, asked, "respondidas", part) == band["conversations"]
    for asked in everybody(pipeline, sessions):
        rows = queries.channels(
            asked.visit, asked.filters, by="channel", measure="lead_rate", enough=30
        )
        for row in rows.itertuples():
            part = Part(channel=row.part)
            assert listed(pipeline, asked, "leads", part) == row.leads
            assert listed(pipeline, asked, "sem-resposta", part) == row.unanswered


# ---- nothing there, nobody else's -------------------------------------------------------------


def test_an_empty_period_is_said(pipeline: Pipeline, sessions: Sessions) -> None:
    for asked in everybody(pipeline, sessions, NOWHERE):
        trend = queries.trend(asked.visit, asked.filters)
        counts = ["conversations_per_day", "contacts", "qualified_per_day"]
        assert not trend[counts].any(axis=None)
        assert trend.drop(columns=["start_date", "end_date", *counts]).isna().all(axis=None)
        assert queries.statuses(asked.visit, asked.filters).empty
        assert queries.conversations_by_inbox(asked.visit, asked.filters, largest=6).empty
        bands = queries.first_reply_distribution(asked.visit, asked.filters)
        assert not bands["conversations"].any()
        assert bands["total"].isna().all()
        steps = queries.conversions_over_time(asked.visit, asked.filters)
        assert len(steps) == 7
        assert not steps["leads"].any()
        assert queries.rhythm(asked.visit, asked.filters)["total"].iloc[0] == 0
        kpis = queries.overview(asked.visit, asked.filters).iloc[0]
        for one in overview.kpi_cards(kpis):
            assert one.spark
            shape = charts.sparkline(trend[one.spark.series].tolist())
            assert shape.startswith(("none", "url("))
        assert overview.funnel_sentence(kpis) == "Nenhum lead entre as conversas do período."


QUESTIONS: dict[str, Callable[[Visit, Filters], pd.DataFrame]] = {
    "trend": queries.trend,
    "waiting": lambda visit, filters: queries.waiting(visit, filters, rows=9),
    "conversations_by_inbox": lambda visit, filters: queries.conversations_by_inbox(
        visit, filters, largest=6
    ),
    "conversions_over_time": queries.conversions_over_time,
    "statuses": queries.statuses,
    "rhythm": queries.rhythm,
    "first_reply_distribution": queries.first_reply_distribution,
    "channels": lambda visit, filters: queries.channels(
        visit, filters, by="inbox", measure="lead_rate", enough=30
    ),
    "channels_by_channel": lambda visit, filters: queries.channels(
        visit, filters, by="channel", measure="conversations", enough=30
    ),
}


def has_nothing(rows: pd.DataFrame) -> bool:
    """No row, or none that counts a conversation."""
    known = {"conversations", "contacts", "conversations_per_day", "leads", "waiting"}
    counts = known & set(rows.columns)
    assert counts
    return rows.empty or not rows[list(counts)].fillna(0).to_numpy().any()


@pytest.mark.parametrize("setting", [None, "", "0", "999999", "foreign"])
def test_questions_of_a_to_b_find_nothing(
    pipeline: Pipeline, sessions: Sessions, monkeypatch: pytest.MonkeyPatch, setting: str | None
) -> None:
    """Row security alone and the query's own condition alone both suffice."""
    mine, other, *_ = visits(pipeline, sessions).values()
    for name, question in QUESTIONS.items():
        assert not has_nothing(question(other, WHOLE)), name
    theirs = dataclasses.replace(
        WHOLE, inbox_ids=tuple(own_inboxes(pipeline, other.tenant_id))
    )  # as somebody who knows their ids would ask
    for name, question in QUESTIONS.items():
        assert has_nothing(question(mine, theirs)), name

    @contextmanager
    def wrong(pool: object, tenant_id: int) -> Iterator[psycopg.Connection]:
        with pool.connection() as connection, connection.transaction():  # type: ignore[attr-defined]
            if setting is not None:
                value = str(other.tenant_id) if setting == "foreign" else setting
                connection.execute("select set_config('app.current_tenant_id', %s, true)", [value])
            yield connection

    monkeypatch.setattr(queries, "tenant_connection", wrong)
    queries._answer.clear()
    for name, question in QUESTIONS.items():
        assert has_nothing(question(mine, WHOLE)), name
        assert has_nothing(question(mine, theirs)), name


# ---- how it is written ------------------------------------------------------------------------


def test_texts_of_the_overview(pipeline: Pipeline, sessions: Sessions) -> None:
    (asked, *_) = everybody(pipeline, sessions)
    kpis = queries.overview(asked.visit, asked.filters).iloc[0]
    sentence = overview.funnel_sentence(kpis)
    assert formats.percent(kpis["visits_of_leads"]) in sentence
    assert formats.percent(kpis["visit_rate"]) in sentence
    steps = queries.conversions_over_time(asked.visit, asked.filters)
    assert overview.conversions_sentence(steps.iloc[0]).startswith(
        f"{formats.count(kpis['leads'], 'lead', 'leads')} no período, "
    )
    cells = queries.rhythm(asked.visit, asked.filters)
    busiest = cells.sort_values(["conversations"], ascending=False).iloc[0]
    assert formats.number(busiest["conversations"]) in overview.rhythm_sentence(cells.iloc[0])
    bands = queries.first_reply_distribution(asked.visit, asked.filters)
    assert formats.percent(bands["share_up_to"].iloc[2]) in overview.first_replies_sentence(bands)
    assert [
        plain(overview.band_name(*band))
        for band in zip(bands["reply_from"], bands["reply_to"], strict=True)
    ] == ["até 5 min", "5 a 15 min", "15 min a 1 h", "1 a 4 h", "4 a 24 h", "mais de 24 h"]
    rows = queries.conversations_by_inbox(asked.visit, asked.filters, largest=6)
    wide = overview.steps_by_inbox(rows)
    assert len(wide) == DAYS
    assert wide["1"].sum() == rows["inbox_conversations"].iloc[0]
    hours = overview.hours_by_weekday(cells)
    assert hours["hour"].tolist() == list(range(24))
    assert hours[[str(n) for n in range(1, 8)]].to_numpy().sum() == kpis["conversations"]


def test_charts_draw_what_the_questions_say(pipeline: Pipeline, sessions: Sessions) -> None:
    (asked, *_) = everybody(pipeline, sessions)
    steps = queries.conversions_over_time(asked.visit, asked.filters)
    cells = queries.rhythm(asked.visit, asked.filters)
    bands = queries.first_reply_distribution(asked.visit, asked.filters)
    statuses = queries.statuses(asked.visit, asked.filters)
    inboxes = queries.conversations_by_inbox(asked.visit, asked.filters, largest=1)
    stages = overview.funnel_stages(queries.overview(asked.visit, asked.filters).iloc[0])
    ranked = queries.channels(
        asked.visit, asked.filters, by="inbox", measure="lead_rate", enough=100_000
    )
    names = [f"{HOSTILE_NAME} {n}" for n in range(len(ranked))]
    for dark in (False, True):
        chart = charts.conversions_over_time(steps, dark=dark)
        assert [sum(drawn(chart, number)) for number in range(3)] == [
            steps[name].sum() for name in ("conversions", "only_visits", "only_leads")
        ]
        heat = charts.rhythm(cells, dark=dark).option["series"][0]["data"]
        assert {(weekday + 1, hour): count for hour, weekday, count, *_ in heat} == {
            (cell.weekday, cell.hour): cell.conversations for cell in cells.itertuples()
        }
        bars = charts.first_reply_distribution(bands, list("abcdef"), dark=dark)
        values = [bar["value"][1] for bar in bars.option["series"][0]["data"]]
        assert values == bands["conversations"].tolist()
        slices = charts.statuses(statuses, dark=dark).option["series"][0]["data"]
        assert [one["value"] for one in slices] == statuses["conversations"].tolist()
        assert {one["name"] for one in slices} <= set(words.STATUSES.values())
        steps_down = charts.funnel(stages, dark=dark).option["series"][0]["data"]
        assert [one["value"][0] for one in steps_down] == stages["conversations"].tolist()
        stacked = charts.conversations_by_inbox(inboxes, [HOSTILE_NAME, "Outras"], dark=dark)
        total = sum(drawn(stacked, 0)) + sum(drawn(stacked, 1))
        assert total == inboxes["total"].iloc[0]
        ranking = charts.ranking(ranked, names, ["x"] * len(ranked), dark=dark)
        bars = ranking.option["series"][0]["data"]
        assert [bar["value"][0] for bar in bars] == ranked["value"].tolist()
        assert len({bar["itemStyle"]["color"] for bar in bars}) == 1  # all pale
        # HTML are the templates alone; names are values that they call by number.
        for chart in (stacked, ranking):
            assert HOSTILE_NAME[:10] not in chart.option["tooltip"]["formatter"]
            assert "formatter" not in str(chart.option["series"][0]["data"])


def test_names_of_data_are_text() -> None:
    rows = pd.DataFrame(
        {
            "conversation_id": [7, 8, 9],
            "contact": [HOSTILE_NAME, None, "Ana"],
            "inbox_id": [1, 2, 3],
            "waiting_since": [datetime(2026, 6, 1, 12, tzinfo=UTC), pd.NaT, pd.NaT],
            "waiting_seconds": [7200.0, None, None],
            "waiting": [3, 3, 3],
            "longest_seconds": [7200.0, 7200.0, 7200.0],
        }
    )
    shown = overview.waiting_html(rows, {1: HOSTILE_NAME, 2: "Site"}, "America/Sao_Paulo")
    assert shown.count(html.escape(HOSTILE_NAME)) == 2
    assert "<img" not in shown
    assert "<script" not in shown
    assert "Contato sem nome" in shown
    assert shown.count("reaberta") == 2
    assert 'title="desde 01/06/2026 09:00"' in shown
    assert 'href="/conversas?conversa=7"' in shown
    assert "há\u00a02\u00a0h\u00a000\u00a0min" in shown
    nobody = overview.waiting_html(rows.iloc[:0], {}, "America/Sao_Paulo")
    assert "Ninguém espera resposta" in nobody

    written = formats.plain_markdown("**a** [b](//c) :smile: $x$ <i>\n# d")
    assert "\n" not in written
    assert re.sub(r"\\(.)", r"\1", written) == "**a** [b](//c) :smile: $x$ <i> # d"
    assert re.findall(r"(?<!\\)[*\[\]():$<>#]", written) == []


def test_steps_and_differences_are_brazilian() -> None:
    first, last = date(2026, 6, 1), date(2026, 6, 7)
    assert formats.step(first, first, "day") == "01/06"
    assert formats.step(first, last, "week") == "01/06 a 07/06"
    assert formats.step(first, last, "month") == "jun 2026"
    assert formats.difference(-2.14) == "-2,1"
    assert formats.difference(12) == "+12,0"
    assert formats.difference(0.01) == "0"
    assert formats.difference(None) is None


def test_sparkline_is_a_shape() -> None:
    assert charts.sparkline([float("nan"), float("nan")]) == "none"
    shape = unquote(charts.sparkline([1.0, 3.0, float("nan"), 2.0]))
    assert re.search(r'd="M0.0 26.0h.1L33.3 2.0M100.0 14.0h.1"', shape)
    assert charts.sparkline([5.0]).startswith("url('data:image/svg+xml,")
    assert not set("\"<>()' ") & set(charts.sparkline([1, 2]).removeprefix("url('")[:-2])


def test_small_samples_say_why() -> None:
    rows = pd.DataFrame(
        {
            "part": ["1", "2", "3"],
            "value": [0.5, 0.25, 0.9],
            "sample": [100, 60, 3],
            "is_small": [False, False, True],
            "conversations": [100, 60, 3],
            "lead_rate": [0.5, 0.25, 0.9],
            "leads": [50, 15, 2],
            "crm_rate": [0.1, None, 1.0],
            "first_reply_median_seconds": [60.0, 70.0, None],
            "first_replies": [90, 29, 0],
            "unanswered_share": [0.1, 0.2, 0.0],
            "contacted": [100, 60, 3],
            "mean_score": [50.0, 40.0, None],
            "scored": [30, 29, 0],
        }
    )
    measure = channels.MEASURES[0]
    names = channels.part_names(rows, "inbox", {1: "**Um**", 2: "Dois"})
    assert names == ["**Um**", "Dois", "Caixa 3"]
    sentence = channels.ranking_sentence(rows.assign(name=names), measure)
    assert r"\*\*Um\*\* vem primeiro" in sentence
    assert "Dois por último" in sentence  # the small one is not compared
    (reason,) = channels.small_sample(rows, measure)
    assert "menos de 30 conversas" in reason
    assert channels.small_sample(rows[:2], measure) == []
    marked = channels.marked(rows)
    assert [plain(text) for text in marked["lead_rate_text"]] == ["50,0 %", "25,0 %", "90,0 %*"]
    assert [plain(text) for text in marked["crm_rate_text"]] == ["10,0 %", "–", "100,0 %*"]
    assert [plain(text) for text in marked["first_reply_text"]] == [
        "1 min 00 s", "1 min 10 s*", "–",
    ]  # fmt: skip
    by_channel = rows.assign(part=["whatsapp", "web", "new"])
    assert channels.part_names(by_channel, "channel", {}) == ["WhatsApp", "Site", "Outro"]


def test_measures_are_of_the_dictionary() -> None:
    labels = [definitions.definition(measure.kpi).label for measure in channels.MEASURES]
    assert len(set(labels)) == len(channels.MEASURES)
    assert set(words.CHANNELS) == {
        "whatsapp", "instagram", "facebook", "telegram", "email", "web", "api", "sms", "line",
        "tiktok", "other",
    }  # fmt: skip


# ---- in a browser -----------------------------------------------------------------------------


def open_page(page: Page, address: str) -> None:
    page.goto(address)
    chart(page)


@pytest.mark.browser
@pytest.mark.parametrize(
    ("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"]
)
def test_overview_in_a_browser(
    browser: Browser,
    served: Served,
    pipeline: Pipeline,
    tmp_path: Path,
    size: tuple[int, int],
    scheme: str,
) -> None:
    slug, (email, password) = next(iter(pipeline.users.items()))
    tenant_id = pipeline.tenants[slug]
    waiting = pipeline.query(
        "select conversation_id, coalesce(nullif(trim(contact_name), ''), contact_phone)"
        " from marts.fct_conversations where tenant_id = %s and is_waiting"
        " order by waiting_since nulls last, conversation_id",
        tenant_id,
    )
    with visitor(browser, served, size, scheme) as someone:
        page = someone.page
        someone.let_in(email, password)
        open_page(page, served.address + PERIOD)
        people = page.locator(".m-waiting a")
        expect(people).to_have_count(7)
        expect(people.nth(4)).to_be_visible()
        expect(people.nth(5)).to_be_visible(visible=size == DESKTOP)
        assert people.locator("b").all_text_contents() == [
            name or "Contato sem nome" for _, name in waiting[:7]
        ]
        for link, (conversation_id, _) in zip(people.all(), waiting, strict=False):
            address = urlsplit(link.get_attribute("href"))
            assert address.path == "/conversas"
            assert parse_qs(str(address.query))["conversa"] == [str(conversation_id)]
        expect(page.locator(".m-now b")).to_have_text(formats.number(len(waiting)))
        # The answer is on the first screen.
        box = people.nth(5 if size == DESKTOP else 3).bounding_box()
        assert box
        assert box["y"] + box["height"] <= size[1]

        for key in ("conversations-per-day", "conversions", "funnel", "rhythm", "statuses",
                    "first-replies"):  # fmt: skip
            panel = page.locator(f".st-key-panel-{key}")
            expect(panel.locator("canvas").first).to_be_visible()
            panel.get_by_text("Ver como tabela").click()
            expect(panel.locator("table")).to_be_visible()
            assert panel.locator("tbody a").count() > 0
            panel.get_by_text("Ver como tabela").click()
        expect(page.locator(".m-spark")).to_have_count(9)
        assert page.locator(".m-spark").first.evaluate(
            "spark => getComputedStyle(spark).maskImage.startsWith('url(')"
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert serious_findings(page) == []
        page.screenshot(path=tmp_path / f"overview-{scheme}.png", full_page=True)
        # Where one is, is underlined, in full, and said to readers of the screen.
        here = page.get_by_role("link", name="Visão geral (página atual)", exact=True)
        line, bar = here.bounding_box(), page.locator(".st-key-menu").bounding_box()
        assert line
        assert bar
        assert line["y"] + line["height"] <= bar["y"] + bar["height"]
        assert here.evaluate("link => getComputedStyle(link).borderBottomWidth") == "3px"
        others = page.get_by_role("link", name="Canais", exact=True)
        transparent = "link => getComputedStyle(link).borderBottomColor"
        assert others.evaluate(transparent) == "rgba(0, 0, 0, 0)" != here.evaluate(transparent)

        # Inboxes apart and the newest first are in the address, and survive a reload.
        page.get_by_role("radio", name="Separadas").click()
        page.get_by_role("radio", name="Mais recentes").click()
        expect(page).to_have_url(re.compile("caixas=Separadas"))
        expect(page).to_have_url(re.compile(r"espera=Mais(\+|%20)recentes"))
        page.reload()
        chart(page)
        expect(page.get_by_role("radio", name="Separadas")).to_be_checked()
        expect(page.get_by_role("radio", name="Mais recentes")).to_be_checked()
        expect(people.first.locator("b")).not_to_have_text(str(waiting[0][1]))
        panel = page.locator(".st-key-panel-conversations-per-day")
        panel.get_by_text("Ver como tabela").click()
        names = [
            name
            for (name,) in pipeline.query(
                "select name from marts.dim_inboxes where tenant_id = %s", tenant_id
            )
        ]
        assert set(panel.locator("thead th").all_inner_texts()[1:]) <= set(names)
        link = panel.locator("tbody a").first.get_attribute("href") or ""
        query = parse_qs(urlsplit(link).query)
        assert query["datas"][0] == query["datas"][1]
        assert set(query["caixa"]) <= set(names)

        # From a number to its list, without leaving the page's session.
        unanswered = card(page, "kpi-unanswered")
        page.locator(".st-key-kpi-unanswered [data-testid=stPageLink-NavLink]").click()
        expect(page).to_have_url(re.compile("/leads.*lista=sem-resposta"))
        assert "sem resposta" in unanswered
        # The period goes along, by the menu too, and stays through a reload.
        for link in ("Canais", "Leads"):
            page.get_by_role("link", name=link, exact=True).click()
            expect(page).to_have_url(re.compile(rf"/{link.lower()}\?.*datas={START}&datas={END}"))
            expect(page.get_by_role("radio", name="Personalizado")).to_be_checked()
        page.reload()
        expect(page.get_by_role("radio", name="Personalizado")).to_be_checked()
        expect(page).to_have_url(re.compile(f"datas={START}&datas={END}"))
        page.get_by_role("radio", name="7 dias").click()
        expect(page).to_have_url(re.compile(r"/leads\?periodo=7(\+|%20)dias$"))


@pytest.mark.browser
@pytest.mark.parametrize(
    ("size", "scheme"), [(DESKTOP, "dark"), (PHONE, "light")], ids=["desktop", "phone"]
)
def test_channels_in_a_browser(
    browser: Browser,
    served: Served,
    pipeline: Pipeline,
    tmp_path: Path,
    size: tuple[int, int],
    scheme: str,
) -> None:
    slug, (email, password) = list(pipeline.users.items())[1]
    tenant_id = pipeline.tenants[slug]
    ranked = pipeline.query(
        "select name, count(*), count(*) filter (where is_lead)::float8 / count(*)"
        " from marts.fct_conversations join marts.dim_inboxes using (tenant_id, inbox_id)"
        " where tenant_id = %s and created_date between %s and %s group by 1"
        " order by count(*) < 30, 3 desc, 2 desc",
        tenant_id, START, END,
    )  # fmt: skip
    with visitor(browser, served, size, scheme) as someone:
        page = someone.page
        someone.let_in(email, password)
        open_page(page, f"{served.address}/canais{PERIOD.removeprefix('/')}")
        table = page.locator(".st-key-panel-channels-table table")
        expect(table).to_be_visible()
        assert table.locator("tbody th").all_inner_texts() == [name for name, *_ in ranked]
        for row, (name, total, rate) in zip(table.locator("tbody tr").all(), ranked, strict=True):
            cells = [plain(text) for text in row.locator("td").all_inner_texts()]
            assert cells[0] == formats.number(total)
            assert cells[2].rstrip("*") == plain(formats.percent(rate))
            assert cells[2].endswith("*") == (total < 30)
            query = parse_qs(urlsplit(row.locator("a").first.get_attribute("href") or "").query)
            assert query["caixa"] == [name]
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert serious_findings(page) == []
        page.screenshot(path=tmp_path / f"channels-{scheme}.png", full_page=True)

        page.get_by_role("radio", name="Canais").click()
        expect(page).to_have_url(re.compile("comparar=Canais"))
        expect(table.locator("thead th").first).to_have_text("Canal")
        assert set(table.locator("tbody th").all_inner_texts()) <= set(words.CHANNELS.values())
        someone.open(
            f"/canais{PERIOD.removeprefix('/')}&comparar=Canais&medida=Conversas"
            "&caixa=<i>lixo</i> **x**"
        )
        chart(page)
        # An inbox that is not there is said, as it was written, and chooses none.
        warning = page.locator("[data-testid=stAlert]")
        expect(warning).to_contain_text(
            "uma caixa de entrada que não existe mais, ou mudou de nome: <i>lixo</i> **x**."
        )
        expect(page.locator(".st-key-panel-ranking h2")).to_contain_text("Conversas por canal")
        counts = [
            int(text.replace(".", ""))
            for text in table.locator("tbody tr td:nth-child(2)").all_inner_texts()
        ]
        assert counts == sorted(counts, reverse=True)
        href = table.locator("tbody a").first.get_attribute("href") or ""
        assert parse_qs(urlsplit(href).query)["canal"][0] in words.CHANNELS

        someone.open("/canais")  # the last 30 days: the sample ended before
        expect(page.get_by_text("Nenhuma conversa neste período")).to_be_visible()
