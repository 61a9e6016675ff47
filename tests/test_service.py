"""The page "Atendimento": its numbers once more in Python, the lists behind them, the page."""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from playwright.sync_api import Browser, expect

from dashboard import cards, charts, definitions, formats, lists, queries
from dashboard.app_pages import service
from dashboard.auth import Sessions, Visit
from dashboard.filters import Filters
from dashboard.lists import Part, Selection
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
    settled,
    visitor,
)
from tests.conftest import Pipeline
from tests.serving import Served, visits

CONVERSATION = [
    "conversation_id",
    "inbox_id",
    "agent_id",
    "status",
    "created_date",
    "created_at",
    "first_reply_seconds",
    "first_reply_business_seconds",
    "first_resolved_date",
    "first_resolved_at",
    "first_resolution_seconds",
    "reopen_count",
    "is_one_touch",
    "is_bot_resolved",
    "is_waiting",
    "waiting_since",
    "csat_rating",
    "csat_answered_date",
]
REPLY = [
    "conversation_id",
    "inbox_id",
    "agent_id",
    "replied_date",
    "replied_at",
    "wait_seconds",
    "wait_business_seconds",
    "is_first",
]
Row = dict[str, Any]


def read(
    pipeline: Pipeline, table: str, columns: tuple[str, ...], chosen: Filters, tenant: int
) -> list:
    """A tenant's rows of the inboxes chosen, whatever their date."""
    rows = pipeline.query(
        f"select {', '.join(columns)} from marts.{table} where tenant_id = %s", tenant
    )
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    return [row for row in found if not chosen.inbox_ids or row["inbox_id"] in chosen.inbox_ids]


def percentile(values: list[Any], share: float) -> float | None:
    """Between the two nearest, as percentile_cont; None of nothing."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    place = share * (len(known) - 1)
    low = int(place)
    high = min(low + 1, len(known) - 1)
    return known[low] + (known[high] - known[low]) * (place - low)


def same(value: Any, expected: float | None) -> bool:
    """Equal, or both missing."""
    if expected is None:
        return formats.is_missing(value)
    return not formats.is_missing(value) and value == pytest.approx(expected)


def cases(pipeline: Pipeline, sessions: Sessions) -> Iterator[tuple[int, Visit, Filters]]:
    """Every tenant, all inboxes and one; a short period and a long one."""
    for tenant_id, visit in visits(pipeline, sessions).items():
        ((busiest,),) = pipeline.query(
            "select inbox_id from marts.fct_replies where tenant_id = %s group by 1"
            " order by count(*) desc limit 1",
            tenant_id,
        )
        for inbox_ids in ((), (busiest,)):
            yield tenant_id, visit, Filters(START, END, inbox_ids)
        yield tenant_id, visit, Filters(date(2026, 2, 1), END, (busiest,))


def within(rows: list[Row], column: str, start: date, end: date) -> list[Row]:
    return [row for row in rows if row[column] and start <= row[column] <= end]


def share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def kpis(talks: list[Row], replies: list[Row], start: date, end: date) -> dict[str, Any]:
    """What queries.service says of a period that is over."""
    replied = within(replies, "replied_date", start, end)
    created = within(talks, "created_date", start, end)
    resolved = within(talks, "first_resolved_date", start, end)
    rated = within(talks, "csat_answered_date", start, end)
    good = [talk for talk in rated if talk["csat_rating"] >= 4]

    def of(rows: list[Row], column: str, at: float = 0.5) -> float | None:
        return percentile([row[column] for row in rows], at)

    flags = {
        "reopened": sum(talk["reopen_count"] > 0 for talk in created),
        "one_touch": sum(talk["is_one_touch"] for talk in created),
        "bot_resolved": sum(talk["is_bot_resolved"] for talk in created),
    }
    return {
        "replies": len(replied),
        "reply_median_seconds": of(replied, "wait_seconds"),
        "reply_p90_seconds": of(replied, "wait_seconds", 0.9),
        "reply_business_median_seconds": of(replied, "wait_business_seconds"),
        "conversations": len(created),
        "first_replies": sum(talk["first_reply_seconds"] is not None for talk in created),
        "first_reply_median_seconds": of(created, "first_reply_seconds"),
        "first_reply_p90_seconds": of(created, "first_reply_seconds", 0.9),
        "first_reply_business_median_seconds": of(created, "first_reply_business_seconds"),
        **flags,
        **{f"{name}_share": share(count, len(created)) for name, count in flags.items()},
        "first_resolutions": len(resolved),
        "resolution_median_seconds": of(resolved, "first_resolution_seconds"),
        "resolution_p90_seconds": of(resolved, "first_resolution_seconds", 0.9),
        "ratings": len(rated),
        "good_ratings": len(good),
        "csat": share(len(good), len(rated)),
    }


def test_service_is_what_the_marts_say(pipeline: Pipeline, sessions: Sessions) -> None:
    for tenant_id, visit, chosen in cases(pipeline, sessions):
        talks = read(pipeline, "fct_conversations", CONVERSATION, chosen, tenant_id)
        replies = read(pipeline, "fct_replies", REPLY, chosen, tenant_id)
        row = queries.service(visit, chosen).iloc[0]
        expected = kpis(talks, replies, chosen.start, chosen.end)
        assert expected["replies"] > 50
        wrong = {
            name: (row[name], value) for name, value in expected.items()
            if not same(row[name], value)
        }  # fmt: skip
        assert wrong == {}
        days = timedelta(days=chosen.days)
        assert (row.previous_start, row.previous_end) == (chosen.start - days, chosen.end - days)
        before = kpis(talks, replies, chosen.start - days, chosen.end - days)
        for name, previous, is_share in (
            ("reply", "reply_median_seconds", False),
            ("first_reply", "first_reply_median_seconds", False),
            ("resolution", "resolution_median_seconds", False),
            ("reopened", "reopened_share", True),
            ("one_touch", "one_touch_share", True),
            ("bot_resolved", "bot_resolved_share", True),
            ("csat", "csat", True),
        ):
            now, then = expected[previous], before[previous]
            assert same(row[f"previous_{previous}"], then), name
            change = None
            if now is not None and then is not None and (is_share or then):
                change = now - then if is_share else now / then - 1
            assert same(row[f"{name}_change"], change), name
        assert not row.is_running


def test_a_running_day_is_compared_up_to_the_same_hour(
    pipeline: Pipeline, sessions: Sessions
) -> None:
    moment = datetime(2026, 6, 28, 15, tzinfo=UTC)
    for tenant_id, visit in visits(pipeline, sessions).items():
        state = dataclasses.replace(visit.load_state, last_loaded_at=moment)
        noon = dataclasses.replace(visit, load_state=state)
        row = queries.service(noon, Filters(START, END)).iloc[0]
        until = moment - timedelta(days=28)
        everything = Filters(START, END)
        replies = read(pipeline, "fct_replies", REPLY, everything, tenant_id)
        expected = percentile(
            [
                reply["wait_seconds"]
                for reply in within(replies, "replied_date", date(2026, 5, 4), date(2026, 5, 31))
                if reply["replied_at"] < until
            ],
            0.5,
        )
        assert same(row.previous_reply_median_seconds, expected)
        assert row.is_running
        assert "até a mesma hora" in service.period_text(row, "x")


def test_waiting_now_is_of_this_moment(pipeline: Pipeline, sessions: Sessions) -> None:
    for tenant_id, visit, chosen in cases(pipeline, sessions):
        talks = read(pipeline, "fct_conversations", CONVERSATION, chosen, tenant_id)
        waiting = [talk for talk in talks if talk["is_waiting"]]
        row = queries.waiting_now(visit, chosen).iloc[0]
        assert row.waiting == len(waiting)
        since = min(talk["waiting_since"] for talk in waiting if talk["waiting_since"])
        loaded_at = visit.load_state.last_loaded_at
        assert loaded_at
        assert row.longest_seconds == pytest.approx((loaded_at - since).total_seconds())
        unresolved = [talk for talk in talks if talk["status"] in ("open", "pending", "snoozed")]
        assert row.unresolved == len(unresolved)
        assert row.unassigned == sum(talk["agent_id"] is None for talk in unresolved)


def test_agents_add_up_and_are_the_tenants(pipeline: Pipeline, sessions: Sessions) -> None:
    for tenant_id, visit, chosen in cases(pipeline, sessions):
        talks = read(pipeline, "fct_conversations", CONVERSATION, chosen, tenant_id)
        replies = read(pipeline, "fct_replies", REPLY, chosen, tenant_id)
        names = dict(
            pipeline.query(
                "select agent_id, name from marts.dim_agents where tenant_id = %s", tenant_id
            )
        )
        replied = within(replies, "replied_date", chosen.start, chosen.end)
        created = within(talks, "created_date", chosen.start, chosen.end)
        resolved = within(talks, "first_resolved_date", chosen.start, chosen.end)
        rated = within(talks, "csat_answered_date", chosen.start, chosen.end)
        unresolved = [talk for talk in talks if talk["status"] in ("open", "pending", "snoozed")]
        frame = queries.agent_numbers(visit, chosen)
        everybody = {
            row["agent_id"] or 0 for rows in (replied, created, resolved, rated, unresolved)
            for row in rows
        }  # fmt: skip
        assert set(frame["agent_id"]) == everybody
        assert len(everybody) > 1
        if 0 in everybody:
            assert frame["agent_id"].iloc[-1] == 0
        for _, row in frame.iterrows():

            def of(rows: list[Row], agent_id: int = row["agent_id"]) -> list[Row]:
                return [one for one in rows if (one["agent_id"] or 0) == agent_id]

            waits = [reply["wait_seconds"] for reply in of(replied)]
            business = [reply["wait_business_seconds"] for reply in of(replied)]
            good = [talk for talk in of(rated) if talk["csat_rating"] >= 4]
            reopened = sum(talk["reopen_count"] > 0 for talk in of(created))
            name = row["name"] if isinstance(row["name"], str) else None
            assert name == names.get(row["agent_id"])
            assert row.assigned_now == len(of(unresolved))
            assert row.waiting_now == sum(talk["is_waiting"] for talk in of(unresolved))
            assert row.replies == len(waits)
            assert row.first_replies == sum(reply["is_first"] for reply in of(replied))
            assert same(row.reply_median_seconds, percentile(waits, 0.5))
            assert same(row.reply_p90_seconds, percentile(waits, 0.9))
            assert same(row.reply_business_median_seconds, percentile(business, 0.5))
            assert row.first_resolutions == len(of(resolved))
            assert (row.conversations, row.reopened) == (len(of(created)), reopened)
            assert same(row.reopened_share, share(reopened, len(of(created))))
            assert row.ratings == len(of(rated))
            assert same(row.csat, share(len(good), len(of(rated))))


BEHIND = """
select count(*) from marts.fct_conversations as conversations
where conversations.tenant_id = %(tenant_id)s and {dated} ({list}) and {part}
"""


def behind(pipeline: Pipeline, tenant_id: int, name: str, part: Part) -> int:
    """How many conversations a list has, without its page."""
    found = lists.LISTS[name]
    dated = (
        f"conversations.{found.dated_by} between %(start)s and %(end)s and"
        if found.dated_by
        else ""
    )
    sql = BEHIND.format(dated=dated, list=found.condition, part=lists.PART_CONDITION)
    given = {
        **vars(part), "tenant_id": tenant_id, "start": START, "end": END,
        "timezone": "America/Sao_Paulo", "as_of": datetime.now(UTC), "inbox_ids": None,
    }  # fmt: skip
    with psycopg.connect(pipeline.warehouse.dsn("owner")) as connection:
        row = connection.execute(sql, given).fetchone()  # type: ignore[call-overload]
    return int(row[0])


def test_a_number_has_its_conversations_behind_it(pipeline: Pipeline, sessions: Sessions) -> None:
    """The list each number of the table links to has as many rows as the number says."""
    for tenant_id, visit in visits(pipeline, sessions).items():
        chosen = Filters(START, END)
        for _, agent in queries.agent_numbers(visit, chosen).iterrows():
            agent_id = int(agent["agent_id"])
            for name, number, part in (
                ("nao-resolvidas", agent.assigned_now, Part(agent_id=agent_id)),
                ("aguardando", agent.waiting_now, Part(agent_id=agent_id)),
                ("primeiras-respostas", agent.first_replies, Part(replied_by=agent_id)),
                ("primeira-resolucao", agent.first_resolutions, Part(agent_id=agent_id)),
                ("reabertas", agent.reopened, Part(agent_id=agent_id)),
                ("avaliadas", agent.ratings, Part(agent_id=agent_id)),
            ):
                assert behind(pipeline, tenant_id, name, part) == number, (name, agent_id)
            part = Part(replied_by=agent_id)
            assert bool(agent.replies) == bool(behind(pipeline, tenant_id, "respostas", part))
        for _, rating in queries.ratings(visit, chosen).iterrows():
            part = Part(rating=int(rating["rating"]))
            assert behind(pipeline, tenant_id, "avaliadas", part) == rating["answers"]
        row = queries.service(visit, chosen).iloc[0]
        for name, number in (
            ("respondidas", row.first_replies), ("primeira-resolucao", row.first_resolutions),
            ("avaliadas", row.ratings), ("um-toque", row.one_touch),
            ("robo", row.bot_resolved), ("reabertas", row.reopened),
        ):  # fmt: skip
            assert behind(pipeline, tenant_id, name, Part()) == number, name
    read_back = lists.read({"lista": "respostas", "respondida-por": "7", "nota": "5"})
    assert (read_back.name, read_back.part) == ("respostas", Part(replied_by=7, rating=5))


def distinct(pipeline: Pipeline, mart: str, tenant_id: int, chosen: Filters, condition: str) -> int:
    """Conversations of a mart's rows that meet the condition, of the inboxes chosen."""
    ((found,),) = pipeline.query(
        f"select count(distinct conversation_id) from marts.{mart} where tenant_id = %s"
        f" and (%s or inbox_id = any (%s)) and {condition}",
        tenant_id, not chosen.inbox_ids, list(chosen.inbox_ids),
    )  # fmt: skip
    return int(found)


def test_a_day_has_its_conversations_behind_it(pipeline: Pipeline, sessions: Sessions) -> None:
    """Of the backlog as many as it says, on every day; of messages and replies those they are in,
    by day and by week."""
    backlogs = weeks = 0
    for tenant_id, visit, chosen in cases(pipeline, sessions):

        def of(
            name: str, start: date, end: date, replied_by: int | None = None,
            visit: Visit = visit, inbox_ids: tuple[int, ...] = chosen.inbox_ids,
        ) -> int:  # fmt: skip
            part = Part(replied_by=replied_by)
            return queries.selected(visit, Filters(start, end, inbox_ids), Selection(name, part))

        for _, row in queries.backlog(visit, chosen).iloc[::3].iterrows():
            assert of("abertas-no-fim", row["date"], row["date"]) == row.open_conversations
            backlogs += row.open_conversations
        days = queries.messages_over_time(visit, chosen)
        for _, row in days.iloc[:: max(len(days) // 4, 1)].iterrows():
            href = service._of_step("mensagens-de-pessoas", chosen)(row)
            first, last = parse_qs(urlsplit(str(href)).query)["datas"]
            assert chosen.start.isoformat() <= first <= last <= chosen.end.isoformat()
            weeks += first < last
            dated = f"created_date between '{first}' and '{last}' and sender_kind = "
            start, end = date.fromisoformat(first), date.fromisoformat(last)
            for kind, name in (("agent", "mensagens-de-pessoas"), ("bot", "mensagens-do-robo"),
                               ("contact", "mensagens-de-contatos")):  # fmt: skip
                truth = distinct(pipeline, "fct_messages", tenant_id, chosen, f"{dated}'{kind}'")
                assert of(name, start, end) == truth, (name, start)
                ((written,),) = pipeline.query(
                    "select count(*) from marts.fct_messages where tenant_id = %s"
                    f" and (%s or inbox_id = any (%s)) and {dated}'{kind}'",
                    tenant_id, not chosen.inbox_ids, list(chosen.inbox_ids),
                )  # fmt: skip
                assert row[f"{kind}_messages"] == written
            dated = f"replied_date between '{first}' and '{last}'"
            assert of("respostas", start, end) == distinct(
                pipeline, "fct_replies", tenant_id, chosen, dated
            )
        for _, agent in queries.agent_numbers(visit, chosen).iterrows():
            whose = (
                f"replied_date between '{chosen.start}' and '{chosen.end}'"
                f" and coalesce(agent_id, 0) = {agent['agent_id']}"
            )
            agent_id = int(agent["agent_id"])
            for name, condition in (
                ("respostas", whose),
                ("respostas-no-horario", f"{whose} and wait_business_seconds is not null"),
            ):
                truth = distinct(pipeline, "fct_replies", tenant_id, chosen, condition)
                assert of(name, chosen.start, chosen.end, agent_id) == truth, (name, agent_id)
    assert backlogs > 1000
    assert weeks > 0


def test_charts_over_time(pipeline: Pipeline, sessions: Sessions) -> None:
    """By day, and by week where the period is long; every day or week is there."""
    for tenant_id, visit, chosen in cases(pipeline, sessions):
        step = 1 if chosen.days <= queries.DAYS_BY_DAY else 7
        first = chosen.start - timedelta(days=chosen.start.weekday() if step == 7 else 0)
        calendar = [
            first + timedelta(days=offset)
            for offset in range(0, (chosen.end - first).days + 1, step)
        ]

        def bucket(day: date, step: int = step) -> date:
            return day - timedelta(days=day.weekday()) if step == 7 else day

        replies = read(pipeline, "fct_replies", REPLY, chosen, tenant_id)
        waits: dict[date, list[int]] = {}
        for reply in within(replies, "replied_date", chosen.start, chosen.end):
            waits.setdefault(bucket(reply["replied_date"]), []).append(reply["wait_seconds"])
        times = queries.reply_times(visit, chosen)
        assert times["date"].tolist() == calendar
        for _, row in times.iterrows():
            assert row.replies == len(waits.get(row["date"], []))
            assert same(row.median_seconds, percentile(waits.get(row["date"], []), 0.5))
            assert same(row.p90_seconds, percentile(waits.get(row["date"], []), 0.9))

        counted: Counter[tuple[date, str]] = Counter()
        for day, kind, count in pipeline.query(
            "select created_date, sender_kind, count(*) from marts.fct_messages where tenant_id"
            " = %s and created_date between %s and %s and (%s or inbox_id = any (%s))"
            " group by 1, 2",
            tenant_id, chosen.start, chosen.end, not chosen.inbox_ids, list(chosen.inbox_ids),
        ):  # fmt: skip
            counted[bucket(day), kind] += count
        messages = queries.messages_over_time(visit, chosen)
        assert messages["date"].tolist() == calendar
        for kind in ("contact", "agent", "bot"):
            assert messages[f"{kind}_messages"].tolist() == [counted[day, kind] for day in calendar]
        bots = sum(count for (_, kind), count in counted.items() if kind == "bot")
        people = sum(count for (_, kind), count in counted.items() if kind == "agent")
        assert same(messages.bot_share.iloc[0], share(bots, bots + people))

        backlog = queries.backlog(visit, chosen)
        truth = pipeline.query(
            "select date, sum(open_conversations)::bigint, bool_or(is_estimated)"
            " from marts.agg_backlog where tenant_id = %s and date between %s and %s"
            " and (%s or inbox_id = any (%s)) group by 1 order by 1",
            tenant_id, chosen.start, chosen.end, not chosen.inbox_ids, list(chosen.inbox_ids),
        )  # fmt: skip
        columns = ["date", "open_conversations", "is_estimated"]
        assert [tuple(row) for row in backlog[columns].itertuples(index=False)] == truth
        most = max(count for _, count, _ in truth)
        assert (backlog.highest_open.iloc[0], backlog.last_open.iloc[0]) == (most, truth[-1][1])
        assert {day: count for day, count, _ in truth}[backlog.highest_date.iloc[0]] == most
        sentence = service.backlog_sentence(backlog)
        assert ("estimativa" in sentence) == any(estimated for *_, estimated in truth)

        ratings = queries.ratings(visit, chosen)
        assert ratings["rating"].tolist() == [1, 2, 3, 4, 5]
        row = queries.service(visit, chosen).iloc[0]
        assert ratings["answers"].sum() == row.ratings
        assert ratings["answers"].iloc[3:].sum() == row.good_ratings
        for dark in (False, True):
            medians = drawn(charts.reply_times(times, dark=dark))
            assert [value is None for value in medians] == times["median_seconds"].isna().tolist()
            lines = charts.backlog(backlog, dark=dark).option["series"]
            assert lines[1]["lineStyle"]["type"] == "dashed"
            seen = {point[0] for line in lines[1:3] for point in line["data"]}
            assert seen == set(range(len(backlog)))
            assert drawn(charts.messages(messages, dark=dark), 1) == (
                messages["bot_messages"].tolist()
            )
            bars = charts.ratings(ratings, dark=dark).option["series"][0]["data"]
            assert [bar["value"][1] for bar in bars] == ratings["answers"].tolist()


def test_the_seen_part_of_the_backlog_is_a_whole_line(
    pipeline: Pipeline, sessions: Sessions
) -> None:
    """From the first snapshot on, with a sentence that says from when."""
    visit = next(iter(visits(pipeline, sessions).values()))
    days = queries.backlog(visit, Filters(START, END)).assign(is_estimated=False)
    days["observed_from"] = days["date"].min()
    assert "estimativa" not in service.backlog_sentence(days)
    days.loc[:9, "is_estimated"] = True
    days["observed_from"] = days["date"].iloc[10]
    assert f"Antes de {formats.day(days['date'].iloc[10])}" in service.backlog_sentence(days)
    _, dashed, solid, _ = charts.backlog(days, dark=False).option["series"]
    assert dashed["data"][-1][0] == solid["data"][0][0] == 10


def test_an_empty_period_has_no_rates(pipeline: Pipeline, sessions: Sessions) -> None:
    (visit, *_) = visits(pipeline, sessions).values()
    empty = Filters(date(2020, 1, 1), date(2020, 1, 7))
    row = queries.service(visit, empty).iloc[0]
    now = queries.waiting_now(visit, empty).iloc[0]
    written = service.kpi_cards(row, now)
    assert [one.value for one in written if one.kpi != "kpi_waiting_now"] == ["–"] * 7
    assert [one.change for one in written] == [None] * 8
    assert {one.previous for one in written} == {"–", None}
    assert queries.backlog(visit, empty).empty
    assert queries.reply_times(visit, empty)["replies"].sum() == 0
    assert queries.ratings(visit, empty)["share"].isna().all()
    assert queries.messages_over_time(visit, empty)["bot_share"].isna().all()
    for dark in (False, True):  # drawn from nothing all the same
        charts.reply_times(queries.reply_times(visit, empty), dark=dark)


def test_few_cases_are_marked_and_good_is_told_from_bad(
    pipeline: Pipeline, sessions: Sessions
) -> None:
    (visit, *_) = visits(pipeline, sessions).values()
    row = queries.service(visit, Filters(START, END)).iloc[0]
    now = queries.waiting_now(visit, Filters(START, END)).iloc[0]
    written = {one.kpi: one for one in service.kpi_cards(row, now)}
    good = {kpi for kpi, one in written.items() if one.good == "up"}
    assert good == {"kpi_csat", "kpi_one_touch", "kpi_bot_resolved"}
    assert all(definitions.definition(kpi).text for kpi in written)
    assert "poucos dados" not in written["kpi_reply_time"].detail
    few = service.kpi_cards(row.copy().set_axis(row.index).replace({row.replies: 3}), now)
    assert "poucos dados" in few[0].detail
    assert service.marked(60, 3, formats.duration) == "1\u00a0min\u00a000\u00a0s *"
    assert service.marked(60, 10, formats.duration) == "1\u00a0min\u00a000\u00a0s"
    assert service.marked(float("nan"), 0, formats.duration) == "–"
    unmoved = dataclasses.replace(written["kpi_csat"], change=formats.points(0.0))
    assert cards.delta_color(unmoved) == "off"


@pytest.mark.parametrize("setting", [None, "", "foreign"])
def test_of_a_to_b_nothing_is_found(
    pipeline: Pipeline, sessions: Sessions, monkeypatch: pytest.MonkeyPatch, setting: str | None
) -> None:
    """Row security alone, and the query's own condition alone, both suffice: for every question
    that takes a visit and filters, of every page."""
    mine, other, *_ = visits(pipeline, sessions).values()

    @contextmanager
    def wrong(pool: Any, tenant_id: int) -> Iterator[psycopg.Connection]:
        with pool.connection() as connection, connection.transaction():
            if setting is not None:
                value = str(other.tenant_id) if setting == "foreign" else setting
                connection.execute("select set_config('app.current_tenant_id', %s, true)", [value])
            yield connection

    monkeypatch.setattr(queries, "tenant_connection", wrong)
    chosen = Filters(START, END)
    for question in (queries.agent_numbers, queries.backlog, queries.ai_coverage, queries.parity,
                     queries.parity_reasons):  # fmt: skip
        assert question(mine, chosen).empty, question.__name__
    row = queries.service(mine, chosen).iloc[0]
    assert (row.replies, row.conversations, row.first_resolutions, row.ratings) == (0, 0, 0, 0)
    assert queries.waiting_now(mine, chosen).iloc[0].unresolved == 0
    assert queries.reply_times(mine, chosen)["replies"].sum() == 0
    assert queries.messages_over_time(mine, chosen).filter(like="_messages").to_numpy().sum() == 0
    assert queries.ratings(mine, chosen)["answers"].sum() == 0
    gaps = queries.gaps(mine, chosen).iloc[0]
    assert (gaps.conversations, gaps.failed_messages) == (0, 0)


# ---- in the browser ---------------------------------------------------------------------------

PAGE = "/atendimento" + PERIOD.removeprefix("/")


@pytest.mark.browser
@pytest.mark.parametrize(
    ("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"]
)
def test_page(
    browser: Browser, served: Served, pipeline: Pipeline, size: tuple[int, int], scheme: str
) -> None:
    slug, (email, password) = next(iter(pipeline.users.items()))
    tenant_id = pipeline.tenants[slug]
    everything = Filters(START, END)
    talks = read(pipeline, "fct_conversations", CONVERSATION, everything, tenant_id)
    replies = read(pipeline, "fct_replies", REPLY, everything, tenant_id)
    expected = kpis(talks, replies, START, END)
    agents = pipeline.query(
        "select name from marts.dim_agents where tenant_id = %s and name is not null", tenant_id
    )
    others = pipeline.query(
        "select distinct name from marts.dim_agents where tenant_id <> %s and name is not null"
        " except select name from marts.dim_agents where tenant_id = %s",
        tenant_id, tenant_id,
    )  # fmt: skip
    with visitor(browser, served, size, scheme) as someone:
        page = someone.page
        someone.let_in(email, password)
        someone.open(PAGE)
        chart(page)
        expect(page.locator(".st-key-panel-ratings canvas").first).to_be_visible()
        for key, value in (
            ("kpi-reply-time", formats.duration(expected["reply_median_seconds"])),
            ("kpi-first-reply-time", formats.duration(expected["first_reply_median_seconds"])),
            ("kpi-resolution-time", formats.duration(expected["resolution_median_seconds"])),
            ("kpi-csat", formats.percent(expected["csat"])),
            ("kpi-waiting-now", formats.number(sum(talk["is_waiting"] for talk in talks))),
            ("kpi-reopened", formats.percent(expected["reopened_share"])),
            ("kpi-one-touch", formats.percent(expected["one_touch_share"])),
            ("kpi-bot-resolved", formats.percent(expected["bot_resolved_share"])),
        ):
            assert plain(value) in card(page, key).splitlines(), key
        table = page.locator(".st-key-panel-agents table")
        shown = plain(table.inner_text())
        assert [name for (name,) in agents if name in shown]
        assert [name for (name,) in others if name in page.content()] == []
        hrefs = [link.get_attribute("href") or "" for link in table.locator("a").all()]
        assert all(re.match(r"/leads\?periodo=.*(agente|respondida-por)=\d+$", h) for h in hrefs)
        assert len(hrefs) > 10
        median = table.locator("tbody tr").first.locator("td").nth(3).locator("a")
        assert "lista=respostas&respondida-por=" in (median.get_attribute("href") or "")
        # What every chart shows is a table too, and every panel says something.
        for name in ("reply-times", "backlog", "messages", "ratings"):
            panel = page.locator(f".st-key-panel-{name}")
            expect(panel.locator("[data-testid=stCaptionContainer]")).to_contain_text(".")
            panel.locator("summary").click()
            expect(panel.locator("table")).to_be_visible()
            assert panel.locator("tbody a").count() > 0, name
        expect(page.locator(".st-key-panel-backlog")).to_contain_text("estimativa")
        assert serious_findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        # Another period, one inbox: the address says so and a reload keeps it.
        ((inbox, inbox_id),) = pipeline.query(
            "select name, inbox_id from marts.dim_inboxes where tenant_id = %s order by 2 limit 1",
            tenant_id,
        )
        someone.open(f"{PAGE}&caixa={inbox.replace(' ', '%20')}")
        chart(page)
        own = Filters(START, END, (inbox_id,))
        part = kpis(
            read(pipeline, "fct_conversations", CONVERSATION, own, tenant_id),
            read(pipeline, "fct_replies", REPLY, own, tenant_id), START, END,
        )  # fmt: skip
        value = plain(formats.duration(part["reply_median_seconds"]))
        assert value in card(page, "kpi-reply-time").splitlines()
        page.locator(".st-key-kpi-csat a").click()
        expect(page).to_have_url(re.compile(r"/leads\?.*lista=avaliadas"))
        # The filters go along, once each: by a card, by the menu, back, and through a reload.
        filters = re.compile(
            r"^[^?]*/(leads|canais)\?(?=.*caixa=)(?=.*datas=2026-06-01&datas=2026-06-28)"
            r"(?=.*periodo=Personalizado)(?!.*periodo=.*periodo=)(?!.*caixa=.*caixa=).*$"
        )
        expect(page).to_have_url(filters)
        page.get_by_role("link", name="Canais").click()
        expect(page).to_have_url(re.compile("/canais"))
        expect(page).to_have_url(filters)
        # Streamlit brings a page that is still being drawn back into the address.
        expect(page.locator(".st-key-panel-channels-table")).to_be_visible()
        settled(page)
        page.go_back()
        expect(page).to_have_url(re.compile("/leads"))
        expect(page).to_have_url(filters)
        page.reload()
        expect(page.get_by_role("radio", name="Personalizado")).to_be_checked()
        expect(page).to_have_url(filters)
        # A day on which nothing happened, by an address that says it twice.
        ((quiet,),) = pipeline.query(
            "select max(day)::date from generate_series(%s::timestamp, %s, interval '1 day') as"
            " days (day) where not exists (select 1 from marts.agg_daily where tenant_id = %s"
            " and date = day and (conversations + replies + first_resolutions) > 0)",
            date(2026, 1, 5), END, tenant_id,
        )  # fmt: skip
        if quiet:
            someone.open(f"/atendimento?periodo=Personalizado&datas={quiet}&datas={quiet}")
            expect(page.get_by_text("Nenhum atendimento neste período")).to_be_visible()
            value = page.locator(".st-key-kpi-reply-time [data-testid=stMetricValue]")
            expect(value).to_have_text("–")
