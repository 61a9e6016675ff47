"""The sample Chatwoot: its shape, what is in it, and that the truth about it holds together."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import resources

import psycopg
import pytest

from warehouse.db import Warehouse
from warehouse.errors import MiranteError
from warehouse.sample import SAMPLE_TENANTS, SECRET_MARKER, create_sample, sample_state, texts
from warehouse.sample.scenarios import NOTHING, SCENARIOS, Kind
from warehouse.sample.truth import Ledger, business_seconds
from warehouse.sample.world import BUSINESSES, week

UNTIL = datetime(2026, 4, 20, 13, tzinfo=UTC)
SMALL = 300


@pytest.fixture(scope="module")
def empty_database(warehouse: Warehouse) -> Iterator[str]:
    yield from _database(warehouse, "sample_empty")


@pytest.fixture(scope="module")
def small_dsn(warehouse: Warehouse) -> Iterator[str]:
    for dsn in _database(warehouse, "sample_small"):
        create_sample(dsn, conversations=SMALL, until=UNTIL)
        yield dsn


def _database(warehouse: Warehouse, name: str) -> Iterator[str]:
    with psycopg.connect(warehouse.admin_dsn, autocommit=True) as connection:
        connection.execute(f"create database {name}")
        yield warehouse.dsn("admin", name)
        connection.execute(f"drop database {name} with (force)")


def _rows(dsn: str, sql: str) -> list[tuple]:
    with psycopg.connect(dsn) as connection:
        connection.execute("set timezone to 'UTC'")
        return connection.execute(sql).fetchall()


def _one(dsn: str, sql: str) -> object:
    return _rows(dsn, sql)[0][0]


# Shape.


def test_schema_is_chatwoots(small_dsn: str) -> None:
    # 66 tables with data and 7 of nothing but credentials; counted from Chatwoot 4.14's schema.
    columns = "from information_schema.columns where table_schema = 'public'"
    assert _one(small_dsn, f"select count(distinct table_name) {columns}") == 73
    assert _one(small_dsn, f"select count(*) {columns}") == 767
    indexes = "from pg_indexes where schemaname = 'public' and indexname not like 'vector_idx_%'"
    assert _one(small_dsn, f"select count(*) {indexes}") == 294
    types = dict(
        _rows(
            small_dsn,
            """
            select attrelid::regclass || '.' || attname, format_type(atttypid, atttypmod)
            from pg_attribute
            where attrelid::regclass::text in ('messages', 'conversations', 'taggings')
            """,
        )
    )
    assert types["messages.id"] == "integer"
    assert types["messages.created_at"] == "timestamp without time zone"
    assert types["messages.content_attributes"] == "json"
    assert types["messages.additional_attributes"] == "jsonb"
    assert types["conversations.contact_id"] == "bigint"
    assert types["conversations.uuid"] == "uuid"
    assert types["conversations.waiting_since"] == "timestamp(6) without time zone"
    assert types["taggings.context"] == "character varying(128)"


def test_display_id_counts_within_an_account(small_dsn: str) -> None:
    for count, highest in _rows(
        small_dsn, "select count(*), max(display_id) from conversations group by account_id"
    ):
        assert count == highest


def test_a_new_row_gets_the_next_id(small_dsn: str) -> None:
    with psycopg.connect(small_dsn) as connection:
        row = connection.execute(
            "insert into conversations (account_id, inbox_id, created_at, updated_at)"
            " values (1, 1, now(), now()) returning id > (select max(id) from conversations)"
        ).fetchone()
        connection.rollback()
    assert row == (True,)


def test_inboxes_of_tenants(small_dsn: str) -> None:
    assert {t.segment for t in SAMPLE_TENANTS} == {"gym", "clinic", "shop", "school", "general"}
    owned = [inbox_id for tenant in SAMPLE_TENANTS for inbox_id in tenant.inbox_ids]
    assert len(owned) == len(set(owned))
    by_account = dict(_rows(small_dsn, "select account_id, array_agg(id) from inboxes group by 1"))
    assert set(owned) < set(by_account[1]), "one inbox of the agency belongs to nobody"
    assert [t.account_ids for t in SAMPLE_TENANTS] == [(), (), (), (), (2,)]


# Content.


def test_size_and_span(sample_admin_dsn: str) -> None:
    conversations, first, last = _rows(
        sample_admin_dsn, "select count(*), min(created_at), max(created_at) from conversations"
    )[0]
    assert conversations >= 4000
    assert (last - first).days >= 180
    counted = "select count(*) from sample_truth.messages where sender_kind is not null"
    assert _one(sample_admin_dsn, counted) >= 40_000
    assert _one(sample_admin_dsn, "select count(distinct content) from messages") > 10_000


def test_rhythm(sample_admin_dsn: str) -> None:
    local = "created_at at time zone 'UTC' at time zone 'America/Sao_Paulo'"
    by_hour = dict(
        _rows(
            sample_admin_dsn,
            f"select extract(hour from {local})::int, count(*) from conversations group by 1",
        )
    )
    assert by_hour[15] > 10 * by_hour.get(3, 0)
    by_day = dict(
        _rows(
            sample_admin_dsn,
            f"select extract(isodow from {local})::int, count(*) from conversations group by 1",
        )
    )
    assert by_day[1] > 2 * by_day[7]


ATTRIBUTES = """(case when json_typeof(content_attributes) = 'string'
    then (content_attributes #>> '{}')::jsonb else content_attributes::jsonb end)"""
FEATURES = {
    "every channel": "select count(distinct channel) = 9 from sample_truth.conversations",
    "Twilio WhatsApp": "select count(*) from conversations join inboxes on inboxes.id = inbox_id"
    " join channel_twilio_sms on channel_twilio_sms.id = channel_id"
    " where channel_type = 'Channel::TwilioSms' and medium = 1",
    "every status": "select count(distinct status) = 4 from conversations",
    "agent bot": "select count(*) from messages where sender_type = 'AgentBot'",
    "captain": "select count(*) from messages where sender_type = 'Captain::Assistant'",
    "handoff": "select count(*) from reporting_events where name = 'conversation_bot_handoff'",
    "captain handoff": "select count(*) from reporting_events"
    " where name = 'conversation_captain_inference_handoff'",
    "bot resolved": "select count(*) from reporting_events"
    " where name = 'conversation_bot_resolved'",
    "automation": f"select count(*) from messages where {ATTRIBUTES} ? 'automation_rule_id'",
    "signed automation": f"select count(*) from messages where {ATTRIBUTES} ? 'automation_rule_id'"
    " and sender_type = 'User'",
    "private notes": "select count(*) from messages where private",
    "activity": "select count(*) from messages where message_type = 2",
    "templates": "select count(*) from messages where message_type = 3",
    "echo": f"select count(*) from messages where {ATTRIBUTES} ? 'external_echo'"
    " and sender_id is null",
    "replies to a message": f"select count(*) from messages where {ATTRIBUTES} ? 'in_reply_to'",
    "labels": "select count(*) from taggings where taggable_type = 'Conversation'",
    "labels of contacts": "select count(*) from taggings where taggable_type = 'Contact'",
    "tag of both accounts": "select count(distinct account_id) = 2 from taggings"
    " join conversations on conversations.id = taggable_id where tag_id ="
    " (select id from tags where name = 'suporte')",
    "csat": "select count(*) from csat_survey_responses join messages on messages.id = message_id"
    " where content_type = 9",
    "csat as outgoing": "select count(*) from messages where content_type = 9 and message_type = 1",
    "working hours": "select count(*) from inboxes where working_hours_enabled",
    "inbox in a zone with daylight saving": "select count(*) from inboxes"
    " where timezone = 'Europe/Lisbon'",
    "reopened": "select count(*) from reporting_events"
    " where name = 'conversation_opened' and value > 0",
    "duplicate events": "select count(*) - count(distinct (conversation_id, name, event_end_time))"
    " from reporting_events",
    "late jobs": "select count(*) from reporting_events"
    " where created_at > event_end_time + interval '1 hour'",
    "campaign starts": "select count(*) from conversations join messages on conversation_id ="
    " conversations.id where campaign_id is not null"
    " and messages.additional_attributes ? 'campaign_id'",
    "utm": "select count(*) from sample_truth.conversations where utm_campaign is not null",
    "utm that was escaped": "select count(*) from sample_truth.conversations"
    " where utm_campaign like '% %'",
    "contact of two tenants": "select count(*) from (select contact_id from conversations"
    " join sample_truth.conversations as truth on truth.conversation_id = conversations.id"
    " where tenant_slug is not null group by 1 having count(distinct tenant_slug) > 1) as shared",
    "phone in both accounts": "select count(*) from (select phone_number from contacts group by 1"
    " having count(distinct account_id) > 1) as shared",
    "message without conversation": "select count(*) from messages where not exists"
    " (select from conversations where conversations.id = conversation_id)",
    "conversation without contact": "select count(*) from conversations where not exists"
    " (select from contacts where contacts.id = contact_id)",
    "conversation without message": "select count(*) from conversations where not exists"
    " (select from messages where conversation_id = conversations.id and not private)",
    "unmapped inbox": "select count(*) from sample_truth.conversations where tenant_slug is null",
    "deleted messages": f"select count(*) from messages where {ATTRIBUTES} ? 'deleted'",
    "double encoded": "select count(*) from messages"
    " where json_typeof(content_attributes) = 'string'"
    f" and {ATTRIBUTES} <> '{{}}'",
    "plain": "select count(*) from messages"
    " where json_typeof(content_attributes) = 'object'"
    f" and {ATTRIBUTES} <> '{{}}'",
    "attachments": "select count(*) from attachments",
    "failed delivery": "select count(*) from messages where status = 3",
    "e-mail": f"select count(*) from messages where {ATTRIBUTES} ? 'email' and content_type = 8",
    "longest text": "select count(*) from messages where length(content) = 150000",
    "empty text": "select count(*) from messages where content = ''",
    "no text": "select count(*) from messages where content is null",
    "emoji": "select count(*) from messages where content like '%😊%'",
    "html": "select count(*) from messages where content ~ '<script|<img|</div|javascript:|DROP'",
    "formula": "select count(*) from messages where content ~ '^[=+@\\t-]'",
    "prompt injection": "select count(*) from sample_truth.conversations"
    " where scenario = 'prompt_injection'",
    "microseconds": "select count(*) from messages"
    " where created_at <> date_trunc('second', created_at)",
    "group id as phone": "select count(*) from contacts where phone_number like '%@g.us'",
    "no name": "select count(*) from contacts where name is null",
    "hostile name": "select count(*) from contacts where name ~ '^[=<]'",
    "empty name": "select count(*) from contacts where name = ''",
    "blocked": "select count(*) from contacts where blocked",
    "imported history": "select count(*) from messages as old join messages as new"
    " on new.id = old.id - 1 where old.source_id like 'WAID:%'"
    " and old.created_at < new.created_at - interval '10 days'",
    "snoozed": "select count(*) from conversations where snoozed_until is not null and status = 3",
    "waiting": "select count(*) from sample_truth.conversations where is_waiting",
    "priority": "select count(*) from conversations where priority is not null",
    "custom attributes": "select count(*) from conversations where custom_attributes <> '{}'",
}


@pytest.mark.parametrize("feature", FEATURES)
def test_feature_is_there_even_in_a_small_sample(small_dsn: str, feature: str) -> None:
    assert _one(small_dsn, FEATURES[feature])


def test_every_scenario_is_there_even_in_a_small_sample(small_dsn: str) -> None:
    played = {
        name for (name,) in _rows(small_dsn, "select scenario from sample_truth.conversations")
    }
    assert played == {scenario.name for scenario in SCENARIOS}


def test_every_credential_column_bears_the_marker(small_dsn: str) -> None:
    ddl = resources.files("warehouse.sample").joinpath("chatwoot.sql").read_text("utf-8")
    tables, whole_tables = ddl.split("-- Whole tables of credentials")
    secrets = [
        (table, column)
        for table, body in re.findall(r"create table (\w+) \((.*?)\n\);", tables, re.DOTALL)
        for column in re.findall(r"^    (\w+) ", body.partition("-- credentials")[2], re.MULTILINE)
    ]
    assert len(secrets) == 56
    for table, column in secrets:
        if (table, column) != ("users", "consumed_timestep"):  # an integer cannot bear it
            found = f"select count(*) from {table} where {column}::text like '%{SECRET_MARKER}%'"
            assert _one(small_dsn, found), f"{table}.{column}"
    for table in re.findall(r"create table (\w+) ", whole_tables):
        found = f"select count(*) from {table} where {table}::text like '%{SECRET_MARKER}%'"
        assert _one(small_dsn, found), table


def test_texts_leave_no_template_behind(small_dsn: str) -> None:
    hostile = " and content not like '%DROP TABLE%' and content not like '%negrito%'"
    left = "select content from messages where content ~ '[{}|]|\\[|\\]| // |=>'" + hostile
    said = [text for (text,) in _rows(small_dsn, left)]
    assert [text for text in said if text not in SPECIAL] == []


SPECIAL = {*texts.PROMPT_INJECTIONS, *texts.HOSTILE_FORMULAS, *texts.ODD_TEXTS, *texts.HOSTILE_HTML}


@pytest.mark.parametrize("segment", texts.LEXICONS)
def test_every_phrase_of_every_script_can_be_said(segment: str) -> None:
    special = {"hostile_html", "hostile_formula", "prompt_injection", "odd_text", "empty_audio",
               "null_image", "longest_text"}  # fmt: skip
    wordless = {Kind.HANDOFF, Kind.RESOLVE, Kind.REOPEN, Kind.SNOOZE, Kind.PENDING, Kind.TRANSFER,
                Kind.LABEL, Kind.DELETE}  # fmt: skip
    for scenario in SCENARIOS:
        for step in scenario.script:
            pool = step.phrase.rpartition("_")[0]
            if step.kind is Kind.EXCHANGE:
                assert texts.topics(segment, step.phrase)
            elif step.kind not in wordless and step.phrase not in special:
                assert pool in texts.POOLS or texts.templates(segment, step.phrase)


# Making it.


def _content_hash(dsn: str) -> str:
    tables = _rows(
        dsn,
        "select table_schema, table_name from information_schema.tables"
        " where table_schema in ('public', 'sample_truth') order by 1, 2",
    )
    hashes = [
        _one(
            dsn, f"select md5(string_agg(t::text, ',' order by t::text)) from {schema}.{table} as t"
        )
        for schema, table in tables
    ]
    return json.dumps(hashes)


def test_same_seed_same_content(warehouse: Warehouse) -> None:
    hashes = []
    for n, seed in enumerate((7, 7, 8)):
        for dsn in _database(warehouse, f"sample_repeat_{n}"):
            create_sample(dsn, conversations=100, seed=seed, until=UNTIL)
            hashes.append(_content_hash(dsn))
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]


def test_an_interrupted_fill_leaves_nothing(empty_database: str) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if what == "indexes":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_sample(empty_database, conversations=100, until=UNTIL, progress=interrupt)
    assert sample_state(empty_database) is None

    create_sample(empty_database, conversations=100, until=UNTIL)
    state = sample_state(empty_database)
    assert state is not None
    assert (state.conversations, state.until) == (100, UNTIL)
    with pytest.raises(MiranteError, match="sample_empty is not empty"):
        create_sample(empty_database, conversations=100, until=UNTIL)


def test_too_small_a_sample_is_refused(warehouse: Warehouse) -> None:
    with pytest.raises(MiranteError, match="of 5 conversations is too small"):
        create_sample(warehouse.admin_dsn, conversations=5)


def test_nobody_else_reads_the_truth(small_dsn: str) -> None:
    allowed = "select has_schema_privilege('mirante_analyst', 'sample_truth', 'usage')"
    assert _one(small_dsn, allowed) is False


# Truth.


def test_truth_adds_up(small_dsn: str) -> None:
    counted = """
        select count(*) from sample_truth.conversations as truth
        where (contact_message_count, agent_message_count, bot_message_count) <> (
            select count(*) filter (where sender_kind = 'contact'),
                count(*) filter (where sender_kind = 'agent'),
                count(*) filter (where sender_kind = 'bot')
            from messages join sample_truth.messages as kinds on kinds.message_id = messages.id
            where messages.conversation_id = truth.conversation_id)
        """
    assert _one(small_dsn, counted) == 0
    broken = """
        select scenario from sample_truth.conversations as truth
        where is_waiting <> (status <> 'resolved' and last_side is not distinct from 'contact')
            or is_waiting <> (waiting_since is not null)
            or is_lead <> (lead_class in ('high', 'medium'))
            or (is_visit_scheduled and lead_class <> 'high')
            or (first_reply_at is null) <> (first_reply_seconds is null)
            or first_reply_seconds > extract(epoch from first_reply_at - first_contact_message_at)
            or first_reply_business_seconds > first_reply_seconds
            or (resolution_count = 0) <> (first_resolved_at is null)
            or first_resolved_at > last_resolved_at
            or reopen_count > resolution_count
            or (is_one_touch and agent_message_count <> 1)
            or (is_bot_resolved and agent_message_count > 0)
        """
    assert _rows(small_dsn, broken) == []
    replies = """
        select count(*) from sample_truth.replies join sample_truth.conversations
            using (conversation_id)
        where is_first <> (replied_at = first_reply_at) or wait_seconds < 0
            or wait_business_seconds > wait_seconds
        """
    assert _one(small_dsn, replies) == 0


def test_history_ends_where_it_ends(small_dsn: str) -> None:
    until = f"'{UNTIL:%Y-%m-%d %H:%M:%S}'"
    for table in (
        "conversations",
        "messages",
        "reporting_events",
        "csat_survey_responses",
        "contacts",
    ):
        late = f"select count(*) from {table} where greatest(created_at, updated_at) > {until}"
        assert _one(small_dsn, late) == 0, table


# What a script must come to, whatever the dice say. Only conversations that were played out.
EXPECTED = {
    "purchase": "lead_class = 'high' and intent = 'purchase' and sentiment = 'positive'",
    "visit": "is_visit_scheduled and 'agendado' = any (labels) in (true, false)",
    "visit_cancelled": "not is_visit_scheduled and lead_class = 'low' and intent = 'purchase'",
    "declined": "lead_class = 'low' and not is_lead",
    "unanswered": "agent_message_count = 0 and first_reply_at is null",
    "one_touch": "is_one_touch and agent_message_count = 1",
    "bot_resolved": "is_bot_resolved and agent_message_count = 0 and resolution_count = 1",
    "bot_waiting": "is_waiting and waiting_since = first_contact_message_at and status = 'pending'",
    "bot_only": "not is_waiting and last_side = 'bot'",
    "handoff": "first_reply_seconds + 1"
    " < extract(epoch from first_reply_at - first_contact_message_at)",
    "outbound_ignored": "contact_message_count = 0 and first_reply_at is null",
    "campaign_ignored": "bot_message_count = 1 and agent_message_count = 0",
    "phone_app": "first_reply_at is not null and agent_message_count > 1",
    "resolved_unanswered": "status = 'resolved' and resolution_count = 1"
    " and not exists (select from sample_truth.replies"
    " where replies.conversation_id = conversations.conversation_id)",
    "thanks_after_resolve": "resolution_count = 2 and reopen_count = 1",
    "reopened_twice": "resolution_count = 3 and reopen_count = 2",
    "reopened_by_agent": "resolution_count = 2 and reopen_count = 1",
    "imported_history": "status = 'resolved' and resolution_count = 0 or status = 'open'",
    "notes_only": "last_side is null and contact_message_count = 0",
    "spam": "lead_class = 'low'",
    "prompt_injection": "lead_class = 'low' and not is_visit_scheduled",
    "snoozed": "status = 'snoozed' and lead_class = 'medium'",
}


@pytest.mark.parametrize("scenario", EXPECTED)
def test_script_comes_to_what_it_must(small_dsn: str, scenario: str) -> None:
    played_out = (
        f"from sample_truth.conversations where scenario = '{scenario}'"
        f" and last_message_at < '{UNTIL}'::timestamptz - interval '9 days'"
    )
    if scenario == "notes_only":
        played_out = f"from sample_truth.conversations where scenario = '{scenario}'"
    if scenario == "snoozed":  # they are recent by their nature
        played_out = played_out.replace("9 days", "2 days")
    assert _one(small_dsn, f"select count(*) {played_out}")
    assert _rows(small_dsn, f"select * {played_out} and not ({EXPECTED[scenario]})") == []


def test_conversation_rows_fit_their_messages(small_dsn: str) -> None:
    misfits = """
        select count(*) from conversations
        where last_activity_at <> coalesce(
                (select max(created_at) from messages where conversation_id = conversations.id),
                conversations.created_at)
            or updated_at < last_activity_at
            or coalesce(cached_label_list, '') <> coalesce((
                select string_agg(tags.name, ', ' order by tags.name collate "C")
                from taggings join tags on tags.id = tag_id
                where taggable_id = conversations.id and taggable_type = 'Conversation'), '')
            or (status = 1 and waiting_since is not null and id not in (
                select conversation_id from messages where source_id like 'WAID:%'))
        """
    assert _one(small_dsn, misfits) == 0
    backwards = """
        select count(*) from (
            select created_at, lag(created_at) over (order by id) as before
            from messages where coalesce(source_id, '') not like 'WAID:%') as pairs
        where created_at < before
        """
    assert _one(small_dsn, backwards) == 0, "ids grow with time"


def test_tags_count_their_taggings(small_dsn: str) -> None:
    wrong = """
        select name from tags where taggings_count <>
            (select count(*) from taggings where tag_id = tags.id)
        """
    assert _rows(small_dsn, wrong) == []


# The ledger itself, by hand.


def at(clock: str) -> datetime:
    return datetime.strptime(f"2026-03-02 {clock}", "%Y-%m-%d %H:%M:%S")


def test_a_bot_ends_no_wait() -> None:
    ledger = Ledger(NOTHING)
    ledger.contact(at("09:00:00"))
    ledger.bot(at("09:00:05"))
    ledger.contact(at("09:01:00"))
    assert ledger.is_waiting("open")
    assert ledger.open_wait_since == at("09:00:00")
    ledger.agent(at("09:10:00"), 5)
    assert [(r.seconds, r.agent_id, r.is_first) for r in ledger.replies] == [(600, 5, True)]
    assert not ledger.is_waiting("open")


def test_a_handoff_restarts_the_clock_of_the_first_reply_only() -> None:
    ledger = Ledger(NOTHING)
    ledger.contact(at("09:00:00"))
    ledger.handoff(at("09:30:00"))
    ledger.agent(at("09:30:40"), 5)
    assert ledger.first_reply_seconds == 40
    assert ledger.replies[0].seconds == 1840


def test_an_earlier_handoff_counts_for_nothing() -> None:
    ledger = Ledger(NOTHING)
    ledger.handoff(at("08:00:00"))
    ledger.contact(at("09:00:00"))
    ledger.agent(at("09:05:00"), 5)
    assert ledger.first_reply_seconds == 300


def test_who_wrote_first_did_not_reply() -> None:
    ledger = Ledger(NOTHING)
    ledger.agent(at("08:00:00"), 5)
    assert ledger.first_reply_at is None
    ledger.contact(at("09:00:00"))
    ledger.agent(at("09:00:07"), 6)
    assert (ledger.first_reply_at, ledger.first_reply_seconds) == (at("09:00:07"), 7)


def test_a_resolve_drops_an_open_wait() -> None:
    ledger = Ledger(NOTHING)
    ledger.contact(at("09:00:00"))
    ledger.resolved(at("10:00:00"))
    ledger.contact(at("11:00:00"))
    ledger.opened()
    ledger.opened()
    assert ledger.open_wait_since == at("11:00:00")
    ledger.agent(at("11:00:30"), None)
    assert [reply.seconds for reply in ledger.replies] == [30]
    assert (ledger.resolution_count, ledger.reopen_count) == (1, 1)
    assert ledger.first_reply_seconds == 7230


def test_business_seconds_by_hand() -> None:
    hours = week((9, 18), (9, 13))
    zone = "America/Sao_Paulo"  # three hours behind UTC all year
    friday, monday = datetime(2026, 3, 6, 20, 30), datetime(2026, 3, 9, 12, 15)
    # Half an hour on Friday, four on Saturday, a quarter on Monday.
    assert business_seconds(hours, zone, friday, monday) == 1800 + 4 * 3600 + 900
    assert business_seconds(hours, zone, datetime(2026, 3, 8, 3), datetime(2026, 3, 8, 20)) == 0


def test_business_seconds_when_the_clocks_change() -> None:
    always = week((0, 24), (0, 24), (0, 24))
    # Lisbon, 29 March 2026: from one o'clock to two, so that day has 23 hours.
    day = datetime(2026, 3, 29), datetime(2026, 3, 29, 23)
    assert business_seconds(always, "Europe/Lisbon", *day) == 23 * 3600
    before, after = datetime(2026, 3, 27, 9), datetime(2026, 3, 30, 8)
    hours = week((9, 18), None)
    assert business_seconds(hours, "Europe/Lisbon", before, after) == 9 * 3600
    assert business_seconds(hours, "Europe/Lisbon", before, after.replace(hour=9)) == 10 * 3600


def test_every_business_has_a_different_rhythm() -> None:
    assert len({business.hours for business in BUSINESSES}) == len(BUSINESSES)
    assert len({business.timezone for business in BUSINESSES}) >= 5
