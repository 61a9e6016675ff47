"""The numbers of the marts against what the sample's generator planted, row by row."""

import csv
import re
import unicodedata
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

from jinja2 import Template

from tests.conftest import Pipeline
from tests.test_isolation import MARTS
from warehouse.db import fetch_all
from warehouse.settings import PROJECT_ROOT

# Judgements of a careful reader: the quality of a scoring provider, not of the warehouse.
JUDGED = {"scenario", "lead_class", "intent", "sentiment", "is_lead", "is_visit_scheduled"}


def columns_of(dsn: str, schema: str, table: str) -> set[str]:
    rows = fetch_all(
        dsn,
        "select column_name from information_schema.columns"
        " where table_schema = %s and table_name = %s",
        [schema, table],
    )
    return {row[0] for row in rows}


def by_key(dsn: str, sql: str, columns: list[str], key_width: int = 1) -> dict:
    """Rows as {key: {column: value}}; the first `key_width` columns of the query are the key."""
    rows = fetch_all(dsn, sql)
    keyed = {row[:key_width]: dict(zip(columns, row[key_width:], strict=True)) for row in rows}
    assert len(keyed) == len(rows)
    return keyed


def differences(planted: dict, built: dict) -> list:
    """The first few keys whose rows differ, with the differing columns as (planted, built)."""
    found = [("missing", key) for key in planted.keys() - built.keys()]
    found += [("unexpected", key) for key in built.keys() - planted.keys()]
    for key in planted.keys() & built.keys():
        wrong = {
            column: (value, built[key][column])
            for column, value in planted[key].items()
            if value != built[key][column]
        }
        if wrong:
            found.append((key, wrong))
    return found[:5]


def test_every_conversation_is_as_planted(pipeline: Pipeline, sample_admin_dsn: str) -> None:
    truth = columns_of(sample_admin_dsn, "sample_truth", "conversations")
    columns = sorted(truth - JUDGED - {"conversation_id", "tenant_slug"})
    assert len(columns) > 20
    planted = by_key(
        sample_admin_dsn,
        f"select conversation_id, tenant_slug, {', '.join(columns)}"
        " from sample_truth.conversations where tenant_slug is not null",
        ["slug", *columns],
    )
    built = by_key(
        pipeline.warehouse.dsn("owner"),
        f"select conversation_id, slug, {', '.join('facts.' + c for c in columns)}"
        " from marts.fct_conversations as facts inner join marts.dim_tenants using (tenant_id)",
        ["slug", *columns],
    )
    assert len(planted) > 3000
    assert differences(planted, built) == []


def test_every_reply_is_as_planted(pipeline: Pipeline, sample_admin_dsn: str) -> None:
    columns = ["replied_at", "wait_seconds", "wait_business_seconds", "agent_id", "is_first"]
    planted = by_key(
        sample_admin_dsn,
        f"select conversation_id, waiting_since, {', '.join(columns)} from sample_truth.replies"
        " where conversation_id in (select conversation_id from sample_truth.conversations"
        " where tenant_slug is not null)",
        columns,
        key_width=2,
    )
    built = by_key(
        pipeline.warehouse.dsn("owner"),
        f"select conversation_id, waiting_since, {', '.join(columns)} from marts.fct_replies",
        columns,
        key_width=2,
    )
    assert len(planted) > 3000
    assert differences(planted, built) == []


def test_every_message_has_the_planted_side(pipeline: Pipeline, sample_admin_dsn: str) -> None:
    planted = by_key(
        sample_admin_dsn,
        "select messages.message_id, messages.sender_kind from sample_truth.messages"
        " inner join public.messages as source on source.id = messages.message_id"
        " inner join sample_truth.conversations on"
        " conversations.conversation_id = source.conversation_id"
        " where messages.sender_kind is not null and tenant_slug is not null",
        ["sender_kind"],
    )
    built = by_key(
        pipeline.warehouse.dsn("owner"),
        "select message_id, sender_kind from marts.fct_messages",
        ["sender_kind"],
    )
    assert len(planted) > 30000
    assert differences(planted, built) == []


def words_of(text: str) -> list[str]:
    """Lower case, without accents: what a reader who ignores them sees."""
    plain = re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFKD", text)).lower()
    return re.findall("[a-z0-9]+", plain)


def test_usual_characters_fold_one_by_one(pipeline: Pipeline) -> None:
    """Into a letter that a rule's pattern leaves open, or between two words: of all of Unicode."""
    macros = (PROJECT_ROOT / "macros" / "folded_words.sql").read_text()
    query = (
        "select count(*), count(*) filter (where folded not in"
        " (select ' b' || letter || 'd ' from unnest(string_to_array('aceinou', null)) as letter)"
        " and folded <> ' b  d ')"
        " from (select {{ folded_words(\"('b' || chr(n) || 'd')\") }} as folded"
        " from generate_series(128, 1114111) as n"
        " where n not between 55296 and 57343 and chr(n) !~ {{ unusual_characters() }}) as usual"
    )
    assert pipeline.query(Template(macros + query).render()) == [(2569, 0)]


def says(words: list[str], phrase: list[str]) -> bool:
    """Somewhere in a message, and not negated there by one of the three words before."""
    for start in range(len(words) - len(phrase) + 1):
        before = words[max(start - 3, 0) : start]
        negated = {"nao", "nunca", "nem", "sem"} & set(before) or any(
            pair in (("ja", "sou"), ("ja", "tenho")) for pair in pairwise(before)
        )
        if words[start : start + len(phrase)] == phrase and not negated:
            return True
    return False


def test_the_funnel_follows_the_rules(pipeline: Pipeline, project_root: Path) -> None:
    """Of the tenant and of its segment's pack, applied once more, in Python."""
    rules: dict[int, set[tuple[str, str, str]]] = defaultdict(set)
    for tenant_id, *rule in pipeline.query(
        "select tenant_id, stage, kind, value from app.funnel_rules"
    ):
        rules[tenant_id].add(tuple(rule))
    assert {kind for own in rules.values() for _, kind, _ in own} == {"ai", "crm", "label"}
    segments = pipeline.query("select id, segment from app.tenants")
    with (project_root / "seeds" / "funnel_segment_rules.csv").open() as lines:
        for row in csv.DictReader(lines):
            for tenant_id, segment in segments:
                if segment == row["segment"]:
                    rules[tenant_id].add((row["stage"], row["rule_kind"], row["rule_value"]))
    messages: dict[int, list[list[str]]] = defaultdict(list)
    for conversation_id, content in pipeline.query(
        "select conversation_id, content from marts.fct_messages"
        " where sender_kind = 'contact' and content is not null"
    ):
        messages[conversation_id].append(words_of(content))
    wrong, by_kind = [], Counter[str]()
    for tenant_id, conversation_id, labels, lead_class, has_visit, *flags in pipeline.query(
        "select facts.tenant_id, conversation_id, labels, facts.lead_class, visit_scheduled,"
        " is_lead, is_qualified, is_visit_scheduled, is_converted"
        " from marts.fct_conversations as facts"
        " left join ai.conversation_scores as scores using (tenant_id, conversation_id)"
    ):
        true = {("ai", f"lead_class={lead_class}"), ("ai", f"visit_scheduled={has_visit}".lower())}
        true |= {("label", label) for label in labels}
        true |= {
            ("keyword", value)
            for _, kind, value in rules[tenant_id]
            if kind == "keyword"
            and any(says(words, words_of(value)) for words in messages[conversation_id])
        }
        held = {(stage, kind) for stage, kind, value in rules[tenant_id] if (kind, value) in true}
        by_kind.update(kind for _, kind in held)
        stages = {stage for stage, _ in held}
        converted = "converted" in stages
        visit = converted or "visit_scheduled" in stages
        lead = visit or "lead" in stages
        if flags != [lead, visit or (lead and lead_class == "high"), visit, converted]:
            wrong.append(conversation_id)
    assert wrong == []
    assert min(by_kind[kind] for kind in ("ai", "label", "keyword")) > 100, by_kind
    (conversions, visits, qualified, leads, scored, count) = pipeline.query(
        "select count(*) filter (where is_converted), count(*) filter (where is_visit_scheduled),"
        " count(*) filter (where is_qualified), count(*) filter (where is_lead),"
        " count(*) filter (where ai_status = 'ok'), count(*) from marts.fct_conversations"
    )[0]
    assert 0 < conversions < visits < qualified < leads < scored <= count


def test_deleted_messages_keep_their_row_without_text(pipeline: Pipeline) -> None:
    (deleted, with_text) = pipeline.query(
        "select count(*), count(content) from marts.fct_messages where is_deleted"
    )[0]
    assert deleted > 0
    assert with_text == 0


def test_no_note_activity_or_template_reaches_a_mart(pipeline: Pipeline) -> None:
    assert pipeline.query(
        "select count(*) from marts.fct_messages as facts"
        " inner join raw_chatwoot.messages as source on source.id = facts.message_id"
        " where source.private or source.message_type not in (0, 1)"
    ) == [(0,)]


def test_nothing_of_an_unmapped_inbox_reaches_a_mart(pipeline: Pipeline) -> None:
    unmapped = {
        row[0]
        for row in pipeline.query(
            "select id from raw_chatwoot.inboxes"
            " where id not in (select inbox_id from app.tenant_inboxes)"
            " and account_id not in (select account_id from app.tenant_accounts)"
        )
    }
    assert unmapped
    for mart in MARTS:
        if "inbox_id" in columns_of(pipeline.warehouse.dsn("owner"), "marts", mart):
            seen = {row[0] for row in pipeline.query(f"select distinct inbox_id from marts.{mart}")}
            assert seen
            assert not seen & unmapped, mart


def test_a_contact_of_two_tenants_has_each_ones_dates(pipeline: Pipeline) -> None:
    own = (
        "select tenant_id, contact_id, count(distinct conversation_id) as conversation_count,"
        " min(messages.created_at) as first_message_at,"
        " max(messages.created_at) as last_message_at"
        " from marts.fct_conversations as conversations"
        " left join marts.fct_messages as messages using (tenant_id, conversation_id)"
        " where contact_id is not null group by tenant_id, contact_id"
    )
    kept = (
        "select tenant_id, contact_id, conversation_count, first_message_at, last_message_at"
        " from marts.dim_contacts"
    )
    assert pipeline.query(f"({own}) except ({kept})") == []
    assert pipeline.query(f"({kept}) except ({own})") == []
    (shared,) = pipeline.query(
        "select count(*) from (select contact_id from marts.dim_contacts"
        " group by contact_id having count(*) > 1) as shared"
    )[0]
    assert shared > 0


def test_events_are_the_distinct_rows_of_chatwoots(pipeline: Pipeline) -> None:
    kinds = {
        "conversation_opened": "opened",
        "conversation_resolved": "resolved",
        "conversation_bot_resolved": "bot_resolved",
        "conversation_bot_handoff": "bot_handoff",
        "conversation_captain_inference_handoff": "bot_handoff",
    }
    expected = {
        (conversation_id, kinds[name], at.replace(tzinfo=UTC))
        for conversation_id, name, at in pipeline.query(
            "select conversation_id, name, event_end_time from raw_chatwoot.reporting_events"
            " where conversation_id in (select conversation_id from marts.fct_conversations)"
        )
        if name in kinds
    }
    rows = pipeline.query(
        "select conversation_id, event_kind, event_at from marts.fct_conversation_events"
    )
    assert len(rows) == len(expected) > 3000
    assert set(rows) == expected
    assert {kind for _, kind, _ in rows} == set(kinds.values())


def test_backlog_of_a_day_is_who_was_open_at_its_end(pipeline: Pipeline) -> None:
    """Conversation by conversation, at the midnights of a few days of before the first snapshot."""
    zones = dict(pipeline.query("select tenant_id, timezone from marts.dim_tenants"))
    events: dict[int, list[tuple[datetime, bool]]] = defaultdict(list)
    for conversation_id, kind, at in pipeline.query(
        "select conversation_id, event_kind, event_at from marts.fct_conversation_events"
        " where event_kind in ('opened', 'resolved')"
    ):
        events[conversation_id].append((at, kind == "opened"))
    conversations = pipeline.query(
        "select tenant_id, inbox_id, conversation_id, created_at, last_message_at, status"
        " from marts.fct_conversations"
    )
    built = {
        row[:3]: row[3:]
        for row in pipeline.query(
            "select tenant_id, inbox_id, date, open_conversations, is_estimated"
            " from marts.agg_backlog"
        )
    }
    for day in (date(2026, 1, 20), date(2026, 4, 5), date(2026, 6, 29)):
        expected: dict[tuple[int, int, date], int] = Counter()
        for tenant_id, inbox_id, conversation_id, created_at, last_at, status in conversations:
            midnight = datetime.combine(
                day + timedelta(days=1), time(), tzinfo=ZoneInfo(zones[tenant_id])
            )
            happened = sorted(row for row in events[conversation_id] if row[0] < midnight)
            is_imported_closed = status in ("resolved", "snoozed") and not any(
                not opened for _, opened in events[conversation_id]
            )
            is_open = happened[-1][1] if happened else True
            if (
                is_imported_closed
                and last_at < midnight
                and (not happened or happened[-1][0] <= last_at)
            ):
                is_open = False
            expected[tenant_id, inbox_id, day] += created_at < midnight and is_open
        assert sum(expected.values()) > 100
        wrong = {
            key: (count, built.get(key))
            for key, count in expected.items()
            if built.get(key, (0, True)) != (count, True)
        }
        assert wrong == {}


def test_the_comparison_of_tenants_is_each_ones_months(pipeline: Pipeline) -> None:
    """Medians by Python, sums against the days."""
    values: dict[tuple[int, date], list[int]] = defaultdict(list)
    contacts: dict[tuple[int, date], set[int]] = defaultdict(set)
    for tenant_id, created, seconds, contact_id in pipeline.query(
        "select tenant_id, created_date, first_reply_seconds, contact_id"
        " from marts.fct_conversations"
    ):
        month = (tenant_id, created.replace(day=1))
        contacts[month] |= {contact_id} - {None}
        if seconds is not None:
            values[month].append(seconds)
    rows = pipeline.query(
        "select tenant_id, month, first_reply_seconds_median, unique_contacts"
        " from marts.rpt_tenant_comparison"
    )
    assert len(rows) > 30
    for tenant_id, month, median_seconds, unique_contacts in rows:
        expected = values[tenant_id, month]
        assert median_seconds == (median(expected) if expected else None)
        assert unique_contacts == len(contacts[tenant_id, month])
    columns = columns_of(pipeline.warehouse.dsn("owner"), "marts", "agg_daily")
    sums = ", ".join(f"sum({c})" for c in sorted(columns - {"tenant_id", "date", "inbox_id"}))
    assert sums.count("sum") > 25
    assert pipeline.query(
        f"select tenant_id, {sums} from marts.agg_daily group by 1 order by 1"
    ) == pipeline.query(
        f"select tenant_id, {sums} from marts.rpt_tenant_comparison group by 1 order by 1"
    )


def test_the_queue_is_every_contact_whose_latest_lead_is_still_to_win(pipeline: Pipeline) -> None:
    blocked = {
        contact_id
        for (contact_id,) in pipeline.query("select id from raw_chatwoot.contacts where blocked")
    }
    whole = {
        tenant_id for (tenant_id,) in pipeline.query("select tenant_id from app.tenant_accounts")
    }
    latest: dict[tuple[int, int], tuple] = {}
    for row in pipeline.query(
        "select tenant_id, contact_id, conversation_id, is_converted, status, lead_class, labels,"
        " channel, last_contact_message_at from marts.fct_conversations"
        " where is_lead and contact_id is not null order by created_at, conversation_id"
    ):
        latest[row[:2]] = row[2:]
    expected = {}
    for (tenant_id, contact_id), row in latest.items():
        conversation_id, is_converted, status, lead_class, labels, channel, last_at = row
        lost = lead_class == "low" or {"perdido", "sem-interesse", "desistiu"} & set(labels)
        if is_converted or (status == "resolved" and lost):
            continue
        if tenant_id in whole and contact_id in blocked:
            continue
        free = channel in ("whatsapp", "facebook", "instagram") and last_at is not None
        ends_at = last_at + timedelta(hours=24) if free else None
        expected[tenant_id, contact_id] = (conversation_id, ends_at)
    built = {
        row[:2]: row[2:]
        for row in pipeline.query(
            "select tenant_id, contact_id, conversation_id, free_window_ends_at"
            " from marts.rpt_remarketing_queue"
        )
    }
    assert len(latest) > len(expected) > 1000
    assert built == expected


def test_comments_reach_the_database(pipeline: Pipeline) -> None:
    """Of every table, view and column that dbt makes."""
    made = (
        "relnamespace in ('staging'::regnamespace, 'intermediate'::regnamespace,"
        " 'marts'::regnamespace) and relkind in ('r', 'v')"
    )
    ((relations,),) = pipeline.query(f"select count(*) from pg_class where {made}")
    assert relations > 60
    assert (
        pipeline.query(
            f"select relname from pg_class where {made} and obj_description(oid) is null"
        )
        == []
    )
    assert (
        pipeline.query(
            "select relname, attname from pg_attribute inner join pg_class on oid = attrelid"
            f" where {made} and attnum > 0 and not attisdropped"
            " and col_description(attrelid, attnum) is null"
        )
        == []
    )
