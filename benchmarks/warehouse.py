"""Building the marts and reading them, in numbers, each beside its floor, measured in one run.

    .venv/bin/python -m benchmarks.warehouse [--conversations 500000] [--messages-per 10]
        [--tenants 50] [--runs 3] [--readers 8] [--only build|tick|overview] [--keep DIR]

It makes a PostgreSQL of its own in a temporary folder, fills a Chatwoot there, brings it over with
`mirante extract`, and removes all at the end; with --keep the folder stays, and the next run with
the same sizes finds its data made, changed only by the ticks that were measured. At its defaults
it needs 16 GB. Autovacuum is off, so that nothing else reads or writes; a checkpoint and a sync
come before whatever is timed.

Chatwoot: its real tables, with those of its indexes by which the extraction reads (all of them
take longer to make than everything else here). 12 months, ids in the order of time, one tenant
with 30 % of all rows and the rest unevenly shared; notes, activities, bots, reopened talks, labels,
surveys, attachments, and reporting events. Scores: four conversations of five, written by SQL
straight into ai.conversation_scores for the transcripts that dbt made, because what is measured is
dbt. Nobody has a CRM file.

A ratio is the median of pairs measured one after the other, every second pair the other way round.
After each build the marts hold as many messages as the source, and each conversation its status and
its number of messages, or the program stops.
"""

import argparse
import json
import logging
import multiprocessing
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib import resources
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, cast
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import psycopg
from psycopg import ClientCursor, Connection
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from benchmarks.extract import MIRANTE, ROOT, WRAPPER, ProcessError, Results, in_turn, say
from extract.tables import grant_statements
from warehouse.db import Warehouse, open_pool, tenant_connection
from warehouse.embedded import EmbeddedServer
from warehouse.tenants import SEGMENTS, add_tenant

FULL_BUILD_LIMIT = 8.0
FULL_BUILD_SECONDS_LIMIT = 480.0
TICK_LIMIT = 1 / 30
TICK_HISTORY_LIMIT = 1.3
FRESH_PROCESS_LIMIT = 6.0
OVERVIEW_LIMIT = 100.0
RAW_LIMIT = 100.0
RLS_LIMIT = 1.1

DAYS = 365.0
HISTORY_SHARE = 10
CHANGED_SHARE = 1000
SLOWEST = 10
READ_SECONDS = 15.0
# A statement is planned for good at its sixth time.
WARM_UP = 10
MART_ROUNDS = 20
RLS_ROUNDS = 100
# What both sides know of each question; the marts' leads are more than the hand-written ones.
COMPARED = {
    "coverage": ("first_date", "last_date"),
    "inboxes": ("inbox_id", "name"),
    "overview": (
        "conversations", "contacts", "first_replies", "resolved", "contacted", "unanswered",
        "scored", "mean_score", "first_reply_median_seconds", "first_reply_p90_seconds",
    ),
    "trend": ("contacts", "mean_score", "first_reply_median_seconds"),
    "waiting": ("conversation_id", "contact", "waiting"),
    "conversations_per_day": ("date", "conversations"),
    "conversions_over_time": ("start_date",),
    "statuses": ("status", "conversations"),
    "rhythm": ("weekday", "hour", "conversations"),
    "first_reply_distribution": ("reply_from", "conversations"),
}  # fmt: skip
PREVIOUS = ("conversations", "contacts", "mean_score", "first_reply_median_seconds")
NO_UNITS = ("--exclude-resource-type", "unit_test")

READER = "chatwoot_bench"
# Of a server that only this program starts, on the loopback address.
PASSWORD = "bench"
PASSWORDS = {"owner": PASSWORD, "app": PASSWORD, "super": PASSWORD}
TIMEZONES = ("America/Sao_Paulo", "America/Manaus", "America/Santiago", "Europe/Lisbon")

# Chatwoot's indexes that the extraction reads by, and its primary keys.
SOURCE_INDEXES = """
create index on messages (created_at);
create index on messages (conversation_id);
create index on attachments (message_id);
create index on reporting_events (created_at);
create index on taggings (taggable_id);
"""

# `dice`: the same number for the same thing each time, of a seed for each question.
DICE = """
create schema bench;
create function bench.dice(thing bigint, seed integer, sides integer) returns integer
language sql immutable parallel safe
return mod(hashint8extended(thing, seed) & 2147483647, sides)::integer;
create function bench.tenant(contact bigint) returns integer
language sql immutable parallel safe
return case
    when bench.dice(contact, 1, 1000) < 300 then 1
    else 2 + floor(
        power(bench.dice(contact, 2, 10000) / 10000.0::float8, 1.5) * (%(tenants)s - 1)
    )::integer
end;
create function bench.inbox(contact bigint, tenant integer) returns integer
language sql immutable parallel safe
return tenant * 10 + bench.dice(contact, 4, 2 + mod(tenant, 4));
create function bench.contact_text(id bigint) returns text
language sql immutable parallel safe
return (array['Olá, tudo bem? ', 'Bom dia! ', 'Oi, por favor, ', 'Então, ', 'Boa noite, ', ''
    ])[1 + bench.dice(id, 20, 6)]
    || (array['queria saber o valor da mensalidade ', 'posso agendar uma aula experimental ',
        'ainda não recebi a confirmação do meu horário ', 'vou passar aí com a minha irmã ',
        'vocês aceitam cartão de crédito ', 'não quero mais receber essas mensagens ',
        'qual é o preço do plano anual ', 'preciso remarcar a consulta que tenho '
    ])[1 + bench.dice(id, 21, 8)]
    || (array['para a semana que vem', 'na unidade do centro', 'depois das seis da tarde',
        'no sábado de manhã', 'ainda este mês'])[1 + bench.dice(id, 22, 5)]
    || '? Obrigado, aguardo. ' || id;
create function bench.team_text(id bigint) returns text
language sql immutable parallel safe
return (array['Oi! ', 'Claro, ', 'Perfeito, ', 'Olá, tudo bem? ', 'Certo, '
    ])[1 + bench.dice(id, 20, 5)]
    || (array['temos horário na quinta às sete da manhã ', 'a mensalidade fica em R$ 149,90 ',
        'já confirmei aqui para você ', 'pode trazer um documento com foto ',
        'vou verificar com a equipe e já retorno ', 'aceitamos cartão, pix e dinheiro '
    ])[1 + bench.dice(id, 21, 6)]
    || (array['na unidade do centro', 'sem taxa de matrícula', 'até o fim do mês',
        'é só avisar por aqui'])[1 + bench.dice(id, 22, 4)]
    || '. Posso ajudar em mais alguma coisa?';
"""

FILL_FEW = """
insert into accounts (id, name, created_at, updated_at)
select n, 'Conta ' || n, %(begin)s, %(begin)s from generate_series(1, %(tenants)s) as n;
insert into users (id, name, email, uid, pubsub_token, created_at, updated_at)
select n * 20 + k, 'Agente ' || n * 20 + k, 'a' || n * 20 + k || '@example.com', 'a' || n * 20 + k,
    'p' || n * 20 + k, %(begin)s, %(begin)s
from generate_series(1, %(tenants)s) as n, generate_series(0, 7) as k where k < 3 + mod(n, 6);
insert into account_users (account_id, user_id, created_at, updated_at)
select id / 20, id, created_at, created_at from users;
insert into inboxes (id, channel_id, account_id, name, channel_type, timezone,
    working_hours_enabled, created_at, updated_at)
select n * 10 + k, n * 10 + k, n, 'Caixa ' || k,
    (array['Channel::Whatsapp', 'Channel::Instagram', 'Channel::WebWidget', 'Channel::Api',
        'Channel::Email'])[1 + k],
    (%(zones)s::text[])[1 + mod(n, 4)], mod(n, 3) = 1 and k < 2, %(begin)s, %(begin)s
from generate_series(1, %(tenants)s) as n, generate_series(0, 4) as k where k < 2 + mod(n, 4);
insert into working_hours (inbox_id, account_id, day_of_week, closed_all_day, open_hour,
    open_minutes, close_hour, close_minutes, created_at, updated_at)
select id, account_id, day, day in (0, 6), 9, 0, 17 + mod(account_id, 3), 30, created_at, created_at
from inboxes, generate_series(0, 6) as day;
insert into agent_bots (id, name, account_id, created_at, updated_at)
select n, 'Robô', n, %(begin)s, %(begin)s
from generate_series(1, %(tenants)s) as n where mod(n, 4) = 1;
insert into agent_bot_inboxes (id, inbox_id, agent_bot_id, status, account_id, created_at,
    updated_at)
select id, id * 10, id, 0, id, created_at, created_at from agent_bots;
insert into tags (id, name)
select n, name
from unnest(array['lead', 'agendado', 'retorno', 'vip', 'orcamento'])
    with ordinality as named (name, n);
insert into labels (title, account_id, created_at, updated_at)
select tags.name, accounts.id, %(begin)s, %(begin)s from accounts, tags;
insert into contacts (id, name, phone_number, email, account_id, created_at, updated_at,
    last_activity_at)
select n, 'Contato número ' || n, '+55119' || 10000000 + n,
    case when mod(n, 3) = 0 then 'c' || n || '@example.com' end, bench.tenant(n), %(begin)s,
    %(begin)s, %(end)s
from generate_series(1, %(conversations)s / 2) as n;
insert into contact_inboxes (id, contact_id, inbox_id, source_id, pubsub_token, created_at,
    updated_at)
select id, id, bench.inbox(id, account_id), substr(phone_number, 2), md5(id::text), created_at,
    created_at
from contacts;
"""

# One row a conversation; 2 to twice the mean of messages, a bot first in some inboxes.
FILL_TALKS = """
create unlogged table bench.talks as
select n as id, contact, tenant, inbox, at as created_at,
    tenant * 20 + bench.dice(n, 5, 3 + mod(tenant, 6)) as agent,
    2 + bench.dice(n, 8, 2 * %(messages_per)s - 3) as messages,
    60 + bench.dice(n, 9, 600) as step,
    mod(tenant, 4) = 1 and inbox = tenant * 10 as has_bot,
    bench.dice(n, 10, 100) < 8 as is_unanswered,
    bench.dice(n, 14, 100) < 25 as is_reopened
from generate_series(1, %(conversations)s) as n
cross join lateral (
    select 1 + bench.dice(n, 3, %(conversations)s / 2) as contact,
        %(end)s - (%(end)s - %(begin)s) * ((%(conversations)s - n) / %(conversations)s::float8)
            as at
) as who
cross join lateral (select bench.tenant(contact) as tenant) as whose
cross join lateral (select bench.inbox(contact, tenant) as inbox) as via;
analyze bench.talks;
"""

# One row a message, numbered in the order of time. kind: 0 contact, 1 agent, 2 bot, 3 private note,
# 4 activity, 5 template. A night lies between the seventh and the eighth, and so on.
FILL_TURNS = """
create unlogged table bench.turns as
select (row_number() over (order by at, talk, turn))::integer as id, talk, turn, at, kind
from (
    select talks.id as talk, turn::smallint as turn,
        talks.created_at + interval '1 second'
            * (turn * talks.step + turn / 7 * (46800 + bench.dice(talks.id, 11, 36000))) as at,
        case
            when turn = 0 then 0
            when talks.has_bot and turn = 1 then 2
            when die < 5 then 3
            when die < 9 then 4
            when die < 10 then 5
            when die < 12 then 2
            when talks.is_unanswered then 0
            else mod(turn + (die >= 90)::integer, 2)
        end::smallint as kind
    from bench.talks as talks
    cross join lateral generate_series(0, talks.messages - 1) as turn
    cross join lateral (select bench.dice(talks.id::bigint * 64 + turn, 7, 100) as die) as thrown
) as spoken
where at <= %(end)s;
analyze bench.turns;
"""
FILL_MESSAGES = """
insert into messages (id, content, account_id, inbox_id, conversation_id, message_type, created_at,
    updated_at, private, status, source_id, content_type, content_attributes, sender_type,
    sender_id)
select turns.id,
    case turns.kind
        when 0 then bench.contact_text(turns.id)
        when 4 then 'Conversa atribuída a Agente ' || talks.agent
        else bench.team_text(turns.id)
    end,
    talks.tenant, talks.inbox, talks.id, (array[0, 1, 1, 1, 2, 3])[turns.kind + 1], turns.at,
    turns.at + interval '3 seconds', turns.kind = 3, bench.dice(turns.id, 12, 3),
    case when turns.kind < 3 then 'wamid.HBgMNTUxMTk4' || md5(turns.id::text) end, 0,
    case
        when turns.kind = 2 and not talks.has_bot then '"{\\"automation_rule_id\\":7}"'
        when turns.kind = 1 and echo < 1 then '{"external_echo": true}'
        when echo < 4 then '"{\\"in_reply_to\\":' || turns.id - 1 || '}"'
        else '"{}"'
    end::json,
    case
        when turns.kind = 0 then 'Contact'
        when turns.kind = 2 and talks.has_bot then 'AgentBot'
        when turns.kind = 3 or turns.kind = 1 and echo >= 1 then 'User'
    end,
    case
        when turns.kind = 0 then talks.contact
        when turns.kind = 2 and talks.has_bot then talks.tenant
        when turns.kind = 3 or turns.kind = 1 and echo >= 1 then talks.agent
    end
from bench.turns as turns
inner join bench.talks as talks on turns.talk = talks.id
cross join lateral (select bench.dice(turns.id, 13, 100) as echo) as thrown
order by turns.id
"""
FILL_CONVERSATIONS = """
insert into conversations (id, account_id, inbox_id, status, assignee_id, created_at, updated_at,
    contact_id, display_id, contact_inbox_id, last_activity_at, first_reply_created_at,
    waiting_since, cached_label_list, additional_attributes)
select talks.id, talks.tenant, talks.inbox,
    case
        when spoken.last_at > %(end)s - interval '1 day' then bench.dice(talks.id, 6, 2) * 2
        when die < 78 then 1
        when die < 82 then 2
        when die < 85 then 3
        else 0
    end,
    talks.agent, talks.created_at, spoken.last_at, talks.contact, talks.id, talks.contact,
    spoken.last_at, spoken.first_reply_at,
    case when spoken.last_kind = 0 then spoken.last_at end,
    case when bench.dice(talks.id, 15, 100) < 30 then tags.name end,
    case
        when mod(talks.inbox, 10) = 2 then '{"referer": "https://academia.example/planos?utm_source='
            || (array['google', 'instagram', 'site'])[1 + bench.dice(talks.id, 18, 3)]
            || '&utm_medium=cpc&utm_campaign=campanha-' || bench.dice(talks.id, 19, 8) || '"}'
        else '{}'
    end::jsonb
from bench.talks as talks
inner join (
    select talk, max(at) as last_at, min(at) filter (where kind = 1) as first_reply_at,
        mod(max(id * 8::bigint + kind) filter (where kind < 3), 8) as last_kind
    from bench.turns group by talk
) as spoken on talks.id = spoken.talk
inner join tags on tags.id = 1 + bench.dice(talks.id, 16, 5)
cross join lateral (select bench.dice(talks.id, 17, 100) as die) as thrown
order by talks.id
"""
FILL_EVENTS = """
insert into reporting_events (name, value, value_in_business_hours, account_id, inbox_id, user_id,
    conversation_id, event_start_time, event_end_time, created_at, updated_at)
select name, seconds, case when mod(talks.tenant, 3) = 1 then seconds / 3 else 0 end,
    talks.tenant, talks.inbox, talks.agent, talks.id, events.start_at, events.at,
    events.at + interval '4 seconds', events.at + interval '4 seconds'
from (
    select talk, case when first then 'first_response' else 'reply_time' end as name,
        case when first then null else heard_at end as start_at, at
    from (
        select talk, at, kind, lag(kind) over talks as heard, lag(at) over talks as heard_at,
            count(*) filter (where kind = 1) over talks = 1 as first
        from bench.turns where kind < 2
        window talks as (partition by talk order by id)
    ) as spoken
    where kind = 1 and (first or heard = 0)
    union all
    select turns.talk, 'conversation_bot_handoff', null, turns.at + interval '20 seconds'
    from bench.turns as turns
    inner join bench.talks as talks on turns.talk = talks.id
    where talks.has_bot and turns.turn = 1
    union all
    select turns.talk,
        case turns.turn when 6 then 'conversation_resolved' else 'conversation_opened' end, null,
        turns.at + (turns.turn = 6)::integer * interval '50 seconds'
    from bench.turns as turns
    inner join bench.talks as talks on turns.talk = talks.id
    where talks.is_reopened and talks.messages > 7 and turns.turn in (6, 7)
    union all
    select id, name, null, updated_at + interval '45 seconds'
    from conversations
    cross join unnest(array['conversation_resolved', 'conversation_bot_resolved']) as name
    where status = 1 and (
        name = 'conversation_resolved'
        or first_reply_created_at is null and mod(account_id, 4) = 1 and mod(inbox_id, 10) = 0
    )
) as events
inner join bench.talks as talks on events.talk = talks.id
cross join lateral (
    select extract(epoch from events.at - coalesce(events.start_at, talks.created_at))::integer
        as seconds
) as lasted
-- A job that is retried writes its event again.
cross join lateral generate_series(1, 1 + (mod(talks.id, 97) = 0)::integer) as job
where events.at <= %(end)s
order by events.at
"""
FILL_REST = """
insert into taggings (tag_id, taggable_type, taggable_id, context, created_at)
select tags.id, 'Conversation', conversations.id, 'labels',
    conversations.created_at + interval '5 minutes'
from conversations
inner join tags on conversations.cached_label_list = tags.name
order by conversations.id;
insert into attachments (message_id, account_id, file_type, extension, created_at, updated_at)
select turns.id, talks.tenant, bench.dice(turns.id, 24, 4), 'jpg', turns.at, turns.at
from bench.turns as turns
inner join bench.talks as talks on turns.talk = talks.id
where turns.kind < 2 and bench.dice(turns.id, 23, 100) < 5
order by turns.id;
insert into csat_survey_responses (account_id, conversation_id, message_id, rating, contact_id,
    assigned_agent_id, created_at, updated_at)
select account_id, conversations.id, spoken.last_id, 1 + (bench.dice(conversations.id, 26, 25)) / 5,
    contact_id, assignee_id, updated_at + interval '10 minutes', updated_at + interval '10 minutes'
from conversations
inner join (
    select talk, max(id) as last_id from bench.turns group by talk
) as spoken on conversations.id = spoken.talk
where status = 1 and bench.dice(conversations.id, 25, 100) < 12
order by updated_at;
drop table bench.turns, bench.talks;
select setval('messages_id_seq', (select max(id) from messages)),
    setval('conversations_id_seq', (select max(id) from conversations)),
    setval('contact_inboxes_id_seq', (select max(id) from contact_inboxes));
"""

# As ai_enrich would have scored them; of each five conversations one is not scored yet.
SCORES = """
insert into ai.conversation_scores (tenant_id, conversation_id, transcript_sha256, prompt_version,
    provider, model, status, sentiment, intent, lead_class, lead_score, visit_scheduled, summary,
    next_step, evidence_message_ids, cost_usd, scored_at)
select tenant_id, conversation_id, transcript_sha256, 'bench', 'local', 'bench', 'ok',
    (array['positive', 'neutral', 'negative'])[1 + mod(conversation_id, 3)],
    (array['purchase', 'information', 'support', 'complaint'])[1 + mod(conversation_id, 4)],
    (array['high', 'medium', 'low'])[1 + mod(conversation_id, 7) / 3],
    mod(conversation_id * 37, 101), mod(conversation_id, 9) = 0,
    'A pessoa perguntou o valor da mensalidade e quer uma aula experimental.',
    'Confirmar o horário da aula.', message_ids[1:2], 0, last_message_at + interval '1 hour'
from intermediate.int_conversation_transcripts
where mod(conversation_id, 5) > 0
on conflict do nothing
"""

# What a few minutes bring: %(rows)s conversations, nine of ten of those begun in the last week of
# the data, and one of five new. Each changed one gets a question, an answer, another status and the
# event of it, and one in four a label. Triggers are off, so display_id is given.
CHANGES = """
create temporary table changed on commit drop as
select conversations.*, clock_timestamp() at time zone 'utc' as now
from conversations
where id in (
    (
        select id from conversations
        where created_at >= (select max(created_at) from conversations) - interval '7 days'
        order by random() limit %(rows)s * 72 / 100
    )
    union (select id from conversations order by random() limit %(rows)s * 8 / 100)
);
insert into contact_inboxes (contact_id, inbox_id, source_id, pubsub_token, created_at, updated_at)
select contact_id, inbox_id, source_id, gen_random_uuid()::text, now, now
from (
    select contact_id, inbox_id, source_id, clock_timestamp() at time zone 'utc' as now
    from contact_inboxes order by random() limit %(rows)s - (select count(*) from changed)
) as chosen;
with begun as (
    insert into conversations (id, display_id, account_id, inbox_id, status, assignee_id,
        created_at, updated_at, contact_id, contact_inbox_id, last_activity_at,
        first_reply_created_at)
    select numbered.id, numbered.id, inboxes.account_id, newest.inbox_id, 1,
        inboxes.account_id * 20, newest.created_at, newest.created_at, newest.contact_id, newest.id,
        newest.created_at, newest.created_at
    from (
        select * from contact_inboxes
        order by id desc limit %(rows)s - (select count(*) from changed)
    ) as newest
    inner join inboxes on newest.inbox_id = inboxes.id
    cross join lateral (
        select nextval('conversations_id_seq') as id where newest.id > 0
    ) as numbered
    returning *
)
insert into changed select *, created_at as now from begun;
insert into messages (content, account_id, inbox_id, conversation_id, message_type, created_at,
    updated_at, status, content_attributes, sender_type, sender_id)
select case kind when 0 then bench.contact_text(id) else bench.team_text(id) end, account_id,
    inbox_id, id, kind, now + kind * interval '40 milliseconds', now, 0, '"{}"',
    (array['Contact', 'User'])[kind + 1], (array[contact_id, assignee_id])[kind + 1]
from changed
cross join generate_series(0, 1) as kind
order by kind, id;
update conversations set status = case conversations.status when 1 then 0 else 1 end,
    updated_at = now, last_activity_at = now, waiting_since = null
from changed where conversations.id = changed.id;
insert into reporting_events (name, value, value_in_business_hours, account_id, inbox_id, user_id,
    conversation_id, event_start_time, event_end_time, created_at, updated_at)
select case changed.status when 1 then 'conversation_opened' else 'conversation_resolved' end,
    extract(epoch from now - created_at)::integer, 0, account_id, inbox_id, assignee_id, id,
    created_at, now, now, now
from changed;
insert into taggings (tag_id, taggable_type, taggable_id, context, created_at)
select 1 + mod(id, 5), 'Conversation', id, 'labels', now
from changed
where mod(id, 4) = 0 and not exists (
    select 1 from taggings where taggable_id = changed.id and tag_id = 1 + mod(changed.id, 5)
);
"""

# The marts' own condition on raw, and the order of theirs.
FLOOR = """
create table intermediate.bench_floor as
select coalesce(tenant_inboxes.tenant_id, tenant_accounts.tenant_id) as tenant_id,
    messages.conversation_id, messages.id as message_id, messages.inbox_id, messages.sender_type,
    messages.sender_id, messages.message_type, messages.content, messages.content_type,
    messages.status, messages.created_at
from raw_chatwoot.messages as messages
inner join raw_chatwoot.inboxes as inboxes on messages.inbox_id = inboxes.id
left join app.tenant_inboxes as tenant_inboxes on inboxes.id = tenant_inboxes.inbox_id
left join app.tenant_accounts as tenant_accounts on inboxes.account_id = tenant_accounts.account_id
where messages._deleted_at is null and not messages.private and messages.message_type in (0, 1)
order by tenant_id, messages.conversation_id, messages.created_at, messages.id
"""
# Conversations, their messages, and a sum that no other statuses and numbers of messages give.
IN_SOURCE = """
select count(*), sum(messages)::bigint,
    sum(mod(hashtextextended(concat_ws(':', id, status, messages), 0), 1000003))::bigint
from (
    select conversations.id,
        (array['open', 'resolved', 'pending', 'snoozed'])[conversations.status + 1] as status,
        (
            select count(*) from messages
            where messages.conversation_id = conversations.id
                and not private and message_type in (0, 1)
        ) as messages
    from conversations
) as counted
"""
IN_MARTS = """
select count(*), (select count(*) from marts.fct_messages),
    sum(mod(hashtextextended(concat_ws(':', conversation_id, status, message_count), 0), 1000003)
    )::bigint
from marts.fct_conversations
"""

# The figures of the overview from the raw tables, for one tenant: what queries.py answers, written
# by hand. Leads are those by AI score alone and nobody is converted: labels, keywords and CRM rows,
# which the marts know too, would only add to it.
RAW_PARTS = """
with own_inboxes as (
    select inboxes.id
    from raw_chatwoot.inboxes as inboxes
    left join app.tenant_inboxes as tenant_inboxes on inboxes.id = tenant_inboxes.inbox_id
    left join app.tenant_accounts as tenant_accounts
        on inboxes.account_id = tenant_accounts.account_id
    where inboxes._deleted_at is null
        and coalesce(tenant_inboxes.tenant_id, tenant_accounts.tenant_id) = %(tenant_id)s
),
own_conversations as (
    select conversations.id, conversations.contact_id, conversations.status,
        conversations.created_at at time zone 'utc' at time zone %(timezone)s as created_at,
        (conversations.created_at at time zone 'utc' at time zone %(timezone)s)::date
            as created_date
    from raw_chatwoot.conversations as conversations
    inner join own_inboxes on conversations.inbox_id = own_inboxes.id
    where conversations._deleted_at is null
)
"""
# Those that began in the period, by a `part` of it.
RAW_PERIOD = """,
asked as (
    select *, {part} as part
    from own_conversations
    where created_date between %(start)s and %(end)s
)
"""
# What was said in the conversations `asked`.
RAW_SPOKEN = """,
spoken as (
    select messages.conversation_id, messages.id, messages.created_at,
        messages.message_type = 0 as is_contact,
        messages.message_type = 1
            and (
                messages.sender_type = 'User'
                or messages.content_attributes::text like '%%external_echo%%'
            )
            and messages.content_attributes::text not like '%%automation_rule_id%%'
            and messages.additional_attributes ->> 'campaign_id' is null as is_agent
    from raw_chatwoot.messages as messages
    inner join asked on messages.conversation_id = asked.id
    where messages._deleted_at is null and not messages.private and messages.message_type in (0, 1)
)
"""
RAW_FIRST_REPLIES = (
    RAW_SPOKEN
    + """,
asking as (
    select conversation_id, min(created_at) filter (where is_contact) as asked_at,
        bool_or(is_agent) as has_agent
    from spoken group by conversation_id
),
replied as (
    select asking.conversation_id, asking.asked_at, min(spoken.created_at) as replied_at
    from asking
    inner join spoken on asking.conversation_id = spoken.conversation_id
    where spoken.is_agent and spoken.created_at >= asking.asked_at
    group by asking.conversation_id, asking.asked_at
),
timed as (
    select replied.conversation_id,
        floor(extract(epoch from replied.replied_at
            - coalesce(max(events.event_end_time), replied.asked_at)))::bigint as seconds
    from replied
    left join raw_chatwoot.reporting_events as events
        on replied.conversation_id = events.conversation_id
        and events.name in ('conversation_bot_handoff', 'conversation_captain_inference_handoff')
        and events.event_end_time between replied.asked_at and replied.replied_at
    group by replied.conversation_id, replied.asked_at, replied.replied_at
)
"""
)
RAW_SCORED = """,
scored as (
    select distinct on (scores.conversation_id)
        scores.conversation_id, scores.lead_class, scores.lead_score
    from ai.conversation_scores as scores
    where scores.tenant_id = %(tenant_id)s and scores.status = 'ok'
    order by scores.conversation_id, scores.scored_at desc
)
"""
# Put together by grouping: estimates of a tenant's share are so low that a join of them is planned
# as a comparison of all pairs.
RAW_TOGETHER = (
    RAW_FIRST_REPLIES
    + RAW_SCORED
    + """,
together as (
    select id, part, contact_id, status, null::bigint as seconds, null::text as lead_class,
        null::numeric as lead_score, null::boolean as is_answered
    from asked
    union all
    select conversation_id, null, null, null, seconds, null, null, null from timed
    union all
    select conversation_id, null, null, null, null, lead_class, lead_score, null from scored
    union all
    select conversation_id, null, null, null, null, null, null, coalesce(has_agent, false)
    from asking
    where asked_at is not null
),
conversations as (
    select max(part) as part, max(contact_id) as contact_id, max(status) as status,
        max(seconds) as seconds, max(lead_class) as lead_class, max(lead_score) as lead_score,
        bool_or(is_answered) as is_answered
    from together group by id
)
select part, count(*) as conversations, count(distinct contact_id) as contacts,
    count(seconds) as first_replies,
    count(*) filter (where lead_class in ('high', 'medium')) as leads,
    count(*) filter (where lead_class = 'high') as qualified_leads,
    count(*) filter (where status = 1) as resolved,
    count(is_answered) as contacted,
    count(*) filter (where not is_answered) as unanswered,
    count(lead_score) as scored,
    avg(lead_score)::double precision as mean_score,
    percentile_cont(0.5) within group (order by seconds) as first_reply_median_seconds,
    percentile_cont(0.9) within group (order by seconds) as first_reply_p90_seconds
from conversations
where part is not null
group by part
order by part
"""
)
RAW_QUERIES = {
    "coverage": RAW_PARTS + "select min(created_date) as first_date, max(created_date) as last_date"
    " from own_conversations",
    "inboxes": RAW_PARTS
    + """
select inboxes.id as inbox_id, inboxes.name
from raw_chatwoot.inboxes as inboxes
inner join own_inboxes on inboxes.id = own_inboxes.id
order by inboxes.name, inboxes.id
""",
    # Part 1 is the period, part 0 as many days before it.
    "overview": RAW_PARTS
    + """,
asked as (
    select *, (created_date >= %(start)s)::integer as part
    from own_conversations
    where created_date between %(start)s::date - (%(end)s::date - %(start)s::date + 1) and %(end)s
)
"""
    + RAW_TOGETHER,
    "trend": RAW_PARTS
    + RAW_PERIOD.format(
        part="14 * (created_date - %(start)s::date) / (%(end)s::date - %(start)s::date + 1)"
    )
    + RAW_TOGETHER,
    "waiting": RAW_PARTS
    + """,
asked as (select * from own_conversations where status <> 1)
"""
    + RAW_SPOKEN
    + """,
ended as (
    select conversation_id,
        (array_agg(is_contact order by created_at desc, id desc))[1] as is_waiting,
        max((created_at, id)) filter (where is_agent) as last_agent
    from spoken group by conversation_id
),
resolved as (
    select ended.conversation_id, max(events.event_end_time) as resolved_at
    from ended
    left join raw_chatwoot.reporting_events as events
        on ended.conversation_id = events.conversation_id
        and events.name = 'conversation_resolved' and events._deleted_at is null
    where ended.is_waiting
    group by ended.conversation_id
),
waiting as (
    select ended.conversation_id,
        min(spoken.created_at) filter (
            where spoken.is_contact
                and (ended.last_agent is null or (spoken.created_at, spoken.id) > ended.last_agent)
                and (resolved.resolved_at is null or spoken.created_at > resolved.resolved_at)
        ) as waiting_since
    from ended
    inner join resolved on ended.conversation_id = resolved.conversation_id
    inner join spoken on ended.conversation_id = spoken.conversation_id
    group by ended.conversation_id
)
select waiting.conversation_id, coalesce(contacts.name, contacts.phone_number) as contact,
    count(*) over () as waiting
from waiting
inner join raw_chatwoot.conversations as conversations
    on waiting.conversation_id = conversations.id
left join raw_chatwoot.contacts as contacts on conversations.contact_id = contacts.id
order by waiting.waiting_since, waiting.conversation_id
limit %(rows)s
""",
    "conversations_per_day": RAW_PARTS
    + """
select calendar.day::date as date, count(own_conversations.id) as conversations
from generate_series(%(start)s::timestamp, %(end)s::timestamp, interval '1 day') as calendar (day)
left join own_conversations on calendar.day::date = own_conversations.created_date
group by calendar.day order by calendar.day
""",
    "conversions_over_time": RAW_PARTS
    + RAW_PERIOD.format(part="date_trunc('month', created_date::timestamp)::date")
    + RAW_SCORED
    + """,
together as (
    select id, part, null::text as lead_class from asked
    union all
    select conversation_id, null, lead_class from scored
),
conversations as (
    select max(part) as part, max(lead_class) as lead_class from together group by id
)
select greatest(part, %(start)s::date) as start_date,
    count(*) filter (where lead_class in ('high', 'medium')) as leads
from conversations
where part is not null
group by part
order by part
""",
    "statuses": RAW_PARTS
    + RAW_PERIOD.format(part="status")
    + """
select (array['open', 'resolved', 'pending', 'snoozed'])[part + 1] as status,
    count(*) as conversations
from asked group by part order by conversations desc, status
""",
    "rhythm": RAW_PARTS
    + RAW_PERIOD.format(part="0")
    + """
select extract(isodow from created_at)::integer as weekday,
    extract(hour from created_at)::integer as hour, count(*) as conversations
from asked group by weekday, hour order by weekday, hour
""",
    "first_reply_distribution": RAW_PARTS
    + RAW_PERIOD.format(part="0")
    + RAW_FIRST_REPLIES
    + """
select (array[0, 300, 900, 3600, 14400, 86400])[
        width_bucket(seconds, array[0, 300, 900, 3600, 14400, 86400]::bigint[])
    ] as reply_from,
    count(*) as conversations
from timed group by reply_from order by reply_from
""",
}

# A process that stays: `extract` or `build`, one a line on its standard input.
RESIDENT = """
import json, sys, time
import warehouse.build
from extract.pipeline import run_extract
from warehouse.build import build
from warehouse.db import open_warehouse, source_dsn
from warehouse.settings import load_settings
answers, sys.stdout = sys.stdout, sys.stderr
settings, report = load_settings(), warehouse.build._report
def noted(results):  # dbt is told to write no timings
    seconds = {one.node.name: one.execution_time for one in results}
    (settings.home / "timings.json").write_text(json.dumps(seconds))
    return report(results)
warehouse.build._report = noted
with open_warehouse(settings) as access:
    source, target = source_dsn(settings, access), access.dsn("owner")
    for line in sys.stdin:
        started = time.perf_counter()
        if line == "extract\\n":
            run_extract(source, target, settings.home)
        else:
            build(settings, access)
        print(json.dumps(time.perf_counter() - started), file=answers, flush=True)
"""
# The full build's models without its data tests, or its data tests alone.
DBT = """
import os, sys
from pathlib import Path
from dbt.cli.main import dbtRunner
from warehouse.build import dbt_environment
from warehouse.db import open_warehouse
from warehouse.settings import PROJECT_ROOT, load_settings
settings, (command, folder, *options) = load_settings(), sys.argv[1:]
Path(folder).mkdir(parents=True, exist_ok=True)
Path(folder, "profiles.yml").write_text((PROJECT_ROOT / "profiles.yml.example").read_text())
with open_warehouse(settings) as warehouse:
    os.environ.update(dbt_environment(settings, warehouse))
    done = dbtRunner().invoke([
        command, *options, "--project-dir", str(PROJECT_ROOT), "--profiles-dir", folder,
        "--target-path", folder, "--log-path", folder, "--quiet", "--log-level-file", "none",
    ])
sys.exit(not done.success)
"""


@dataclass(frozen=True)
class History:
    """A Chatwoot of so many conversations in so many days, and the warehouse that follows it."""

    conversations: int
    days: float
    source: str
    warehouse: str


@dataclass(frozen=True)
class Tenant:
    """Whose overview is read."""

    id: int
    timezone: str
    conversations: int


class Bench:
    """The server and its databases."""

    def __init__(self, arguments: argparse.Namespace, folder: Path, admin_dsn: str) -> None:
        self.conversations: int = arguments.conversations
        self.messages_per: int = arguments.messages_per
        self.tenants: int = arguments.tenants
        self.runs: int = arguments.runs
        self.readers: int = arguments.readers
        self.folder = folder
        self.results = Results()
        self._admin = urlsplit(admin_dsn)

    def admin(self, database: str = "postgres") -> str:
        return self._admin._replace(path=f"/{database}").geturl()

    def access(self, history: History) -> Warehouse:
        """The log-ins of its warehouse."""
        return Warehouse(self.admin(history.warehouse), PASSWORDS, is_embedded=False)

    def home(self, history: History) -> Path:
        return self.folder / f"home_{history.warehouse}"

    def environment(self, history: History) -> dict[str, str]:
        """Of a process of ours."""
        place = self._admin.netloc.rpartition("@")[2]
        reader = self._admin._replace(
            netloc=f"{READER}:{PASSWORD}@{place}", path=f"/{history.source}"
        )
        kept = {name: value for name, value in os.environ.items() if "MIRANTE_" not in name}
        return kept | {
            "MIRANTE_CHATWOOT_DSN": reader.geturl(),
            "MIRANTE_WAREHOUSE_DSN": self.admin(history.warehouse),
            "MIRANTE_HOME": str(self.home(history)),
            **{f"MIRANTE_{role.upper()}_PASSWORD": PASSWORD for role in PASSWORDS},
        }

    def query(self, dsn: str, query: str) -> list[Any]:
        """Rows of one statement."""
        with psycopg.connect(dsn, autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def settle(self) -> None:
        """Have everything on disk that was written so far, so that nobody else pays for it."""
        self.query(self.admin(), "checkpoint")
        os.sync()

    def process(self, command: Sequence[str | Path], history: History) -> tuple[float, float]:
        """Run one process to its end: seconds, and MB at its peak. Output only when it fails."""
        report = self.folder / "measured.json"
        report.unlink(missing_ok=True)
        wrapped = [sys.executable, "-I", "-S", "-c", WRAPPER, str(report), *map(str, command)]
        self.settle()
        # A group of its own: what the wrapper started ends with it.
        with subprocess.Popen(
            wrapped, cwd=ROOT, env=self.environment(history), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as running:  # fmt: skip
            try:
                output, _ = running.communicate()
            except BaseException:
                os.killpg(running.pid, signal.SIGKILL)
                raise
        found = json.loads(report.read_text()) if report.exists() else {"code": running.returncode}
        if found["code"]:
            name = " ".join(map(str, command[:2]))[:80]
            raise ProcessError(f"{name} ended with {found['code']}\n{output[-2000:]}")
        return found["seconds"], found["peak"] / 1e6

    @cached_property
    def whole(self) -> History:
        """All conversations in 12 months."""
        return self._made(self.conversations, DAYS)

    @cached_property
    def tenth(self) -> History:
        """A tenth of the past of the same customers: as busy a week, fewer weeks."""
        return self._made(self.conversations // HISTORY_SHARE, DAYS / HISTORY_SHARE)

    def _made(self, conversations: int, days: float) -> History:
        sizes = f"{conversations}_{self.messages_per}_{self.tenants}_{days:.0f}"
        history = History(conversations, days, f"chatwoot_{sizes}", f"warehouse_{sizes}")
        there = {name for (name,) in self.query(self.admin(), "select datname from pg_database")}
        if history.source not in there:
            self._make(history.source, lambda name: make_chatwoot(self, name, history))
        if history.warehouse not in there:
            self._make(history.warehouse, lambda name: make_warehouse(self, name, history))
        else:
            self.process([MIRANTE, "migrate"], history)  # a kept one may be of an older version
        return history

    def _make(self, name: str, fill: Callable[[str], None]) -> None:
        """A database that has its name only once it is whole."""
        making = f"making_{name}"
        self.query(self.admin(), f"drop database if exists {making} with (force)")
        self.query(self.admin(), f"create database {making}")
        fill(making)
        self.query(self.admin(), f"alter database {making} rename to {name}")

    def build(self, history: History) -> tuple[float, float]:
        """A full build as a process of its own: seconds, and MB at its peak."""
        return self.process([MIRANTE, "build", "--full-refresh"], history)

    def ensure_built(self, history: History) -> None:
        """Build what was never built; kept marts may be those of an older project."""
        (found,) = self.query(
            self.admin(history.warehouse), "select to_regclass('marts.fct_conversations')"
        )
        if found == (None,):
            say(f"full build of {history.conversations:,} conversations, not measured")
            self.build(history)
        self.check_built(history)

    @cached_property
    def full_build_seconds(self) -> float:
        """Of a full build, as a whole process; measured here where `build` did not run."""
        say("full build, for the ratio")
        seconds, _ = self.build(self.whole)
        self.check_built(self.whole)
        return seconds

    def check_built(self, history: History) -> None:
        """Stop unless the marts hold the source's messages and the status of each conversation."""
        source = self.query(self.admin(history.source), IN_SOURCE)[0]
        marts = self.query(self.admin(history.warehouse), IN_MARTS)[0]
        if source != marts:
            raise ProcessError(f"marts hold {marts}, the source {source}: count, messages, sum")

    def slowest(self, title: str, seconds: dict[str, float], count: int) -> None:
        """Lines of what took longest of dbt's own timings."""
        self.results.note(title if seconds else f"{title} dbt left no timings")
        for name, spent in sorted(seconds.items(), key=lambda pair: -pair[1])[:count]:
            self.results.note(f"  {name:<56}{spent:>10.2f} s")


def timings(folder: Path, since: float, kind: str) -> tuple[float, dict[str, float]]:
    """Seconds of dbt's last run there, and of each `model` or `test` in it; 0 without a new one."""
    file = folder / "run_results.json"
    if not file.exists() or file.stat().st_mtime < since:
        return 0.0, {}
    found = json.loads(file.read_text())
    ids = {one["unique_id"]: one["execution_time"] for one in found["results"]}
    return found["elapsed_time"], {
        id_.split(".")[2]: seconds for id_, seconds in ids.items() if id_.startswith(f"{kind}.")
    }


def make_chatwoot(bench: Bench, name: str, history: History) -> None:
    """The source, and a log-in that may read the allow-list."""
    say(f"a Chatwoot of {history.conversations:,} conversations")
    started = time.monotonic()
    ddl = resources.files("warehouse.sample").joinpath("chatwoot.sql").read_text("utf-8")
    tables, _ = ddl.split("\n-- Indexes\n")
    end = datetime.now(UTC).replace(tzinfo=None)
    sizes = {
        "conversations": history.conversations,
        "messages_per": bench.messages_per,
        "tenants": bench.tenants,
        "zones": list(TIMEZONES),
        "begin": end - timedelta(days=history.days),
        "end": end,
    }
    roles = bench.query(bench.admin(), "select rolname from pg_roles")
    if (READER,) not in roles:
        bench.query(bench.admin(), f"create role {READER} login password '{PASSWORD}'")
    with psycopg.connect(bench.admin(name), cursor_factory=ClientCursor) as connection:
        connection.execute("set local client_min_messages = warning")
        connection.execute("set local work_mem = '512MB'")
        connection.execute("set local maintenance_work_mem = '512MB'")
        connection.execute(tables.encode())
        connection.execute("set local session_replication_role = replica")
        for statements in (
            DICE, FILL_FEW, FILL_TALKS, FILL_TURNS, FILL_MESSAGES, FILL_CONVERSATIONS, FILL_EVENTS,
            FILL_REST,
        ):  # fmt: skip
            connection.execute(statements.encode(), sizes)
        say(f"its indexes, after {time.monotonic() - started:.0f} s")
        connection.execute(SOURCE_INDEXES)
        for statement in grant_statements(READER):
            connection.execute(statement.encode())
    bench.query(bench.admin(name), "vacuum analyze")
    say(f"made in {time.monotonic() - started:.0f} s")


def make_warehouse(bench: Bench, name: str, history: History) -> None:
    """A warehouse with its tenants, all of the source in raw, and scores; no mart yet."""
    making = History(history.conversations, history.days, history.source, name)
    bench.process([MIRANTE, "migrate"], making)
    owner = bench.access(making).dsn("owner")
    inboxes = bench.query(bench.admin(history.source), "select account_id, id from inboxes")
    for number in range(1, bench.tenants + 1):
        by_inbox = number % 10 == 0  # most own an account, some own inboxes
        add_tenant(
            owner,
            slug=f"cliente-{number}",
            name=f"Cliente {number}",
            segment=SEGMENTS[number % len(SEGMENTS)],
            timezone=TIMEZONES[number % len(TIMEZONES)],
            account_ids=[] if by_inbox else [number],
            inbox_ids=[id_ for account, id_ in inboxes if account == number and by_inbox],
        )
    for round_ in ("first load", "the second makes the indexes that the first left"):
        seconds, _ = bench.process([MIRANTE, "extract"], making)
        say(f"extract, {round_}: {seconds:.0f} s")
    say("transcripts and scores")
    folder = bench.folder / "transcripts"
    select = ["--select", "+int_conversation_transcripts"]
    no_tests = ("--exclude-resource-type", "test", "unit_test")
    bench.process([sys.executable, "-c", DBT, "build", folder, *no_tests, *select], making)
    bench.query(owner, SCORES)
    bench.query(bench.admin(name), "vacuum analyze ai.conversation_scores")
    shutil.rmtree(bench.home(making), ignore_errors=True)


def build(bench: Bench) -> None:
    """The full build, and one sorted copy of the same messages."""
    results, history = bench.results, bench.whole
    messages = bench.query(
        bench.admin(history.warehouse), "select count(*) from raw_chatwoot.messages"
    )[0][0]
    results.title(
        f"Full build of {history.conversations:,} conversations, {messages:,} messages,"
        f" {bench.tenants} tenants"
    )
    owner = bench.access(history).dsn("owner")
    got: dict[str, list[float]] = defaultdict(list)

    def floor() -> None:
        bench.settle()
        started = time.perf_counter()
        bench.query(owner, FLOOR)
        got["floor"].append(time.perf_counter() - started)
        bench.query(owner, "drop table intermediate.bench_floor")

    def full() -> None:
        seconds, megabytes = bench.build(history)
        got["whole"].append(seconds)
        got["memory"].append(megabytes)
        bench.check_built(history)

    for number in range(bench.runs):
        say(f"full build, pair {number + 1} of {bench.runs}")
        in_turn(number, floor, full)
    say("models without data tests, data tests alone")
    since = time.time()
    places = [bench.folder / "models", bench.folder / "tests"]
    for command in (["run", places[0], "--full-refresh"], ["test", places[1], *NO_UNITS]):
        bench.process([sys.executable, "-c", DBT, *command], history)
    models, seconds_by_model = timings(places[0], since, "model")
    tests, seconds_by_test = timings(places[1], since, "test")
    bench.full_build_seconds = statistics.median(got["whole"])
    results.row("one create table as select, the same order", got["floor"], "s")
    results.row(
        "mirante build --full-refresh, whole process",
        got["whole"], "s", at_most=FULL_BUILD_SECONDS_LIMIT,
    )  # fmt: skip
    results.row("its peak memory, the server's apart", got["memory"], "MB")
    results.row("of it dbt's models without data tests, run alone", [models], "s")
    results.row("of it the data tests, run alone", [tests], "s")
    results.row(
        "ratio: whole process / create table as",
        [ours / floor for ours, floor in zip(got["whole"], got["floor"], strict=True)],
        at_most=FULL_BUILD_LIMIT,
    )
    results.row(
        "ratio: models without data tests / create table as",
        [models / statistics.median(got["floor"])],
    )
    bench.slowest("the slowest models, two at a time:", seconds_by_model, SLOWEST)
    bench.slowest("the slowest data tests, two at a time:", seconds_by_test, SLOWEST // 2)


class Resident:
    """A process that has built once already and waits for the next command."""

    def __init__(self, bench: Bench, history: History) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", RESIDENT], cwd=ROOT, env=bench.environment(history), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> "Resident":
        try:
            for command in ("extract", "build"):
                self.run(command)
        except BaseException:
            self._process.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind:
            self._process.kill()
        self._process.communicate()

    def run(self, command: str) -> float:
        """Do one; its seconds."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise ProcessError(f"{command} in the resident process ended it, see above")
        return float(json.loads(line))


def tick(bench: Bench) -> None:
    """The build after a small change: beside the full one, a shorter history, a fresh process."""
    results = bench.results
    rows = max(bench.conversations // CHANGED_SHARE, 10)
    full = bench.full_build_seconds
    say(f"full build of {bench.tenth.conversations:,} conversations")
    bench.build(bench.tenth)
    bench.check_built(bench.tenth)
    got: dict[str, list[float]] = defaultdict(list)
    seconds_by_model: dict[str, float] = {}
    with ExitStack() as residents:
        say("two resident processes, their first builds")
        resident = {
            history: residents.enter_context(Resident(bench, history))
            for history in (bench.whole, bench.tenth)
        }

        def ticked(history: History, name: str) -> None:
            change(bench, history, rows)
            bench.settle()
            got[f"{name} extract"].append(resident[history].run("extract"))
            bench.settle()
            got[name].append(resident[history].run("build"))
            if history == bench.whole:
                noted = bench.home(history) / "timings.json"
                seconds_by_model.update(json.loads(noted.read_text()))
            bench.check_built(history)

        def fresh() -> None:
            change(bench, bench.whole, rows)
            resident[bench.whole].run("extract")
            seconds, _ = bench.process([MIRANTE, "build"], bench.whole)
            got["fresh"].append(seconds)
            bench.check_built(bench.whole)

        for number in range(bench.runs):
            say(f"tick, round {number + 1} of {bench.runs}")
            in_turn(
                number,
                lambda: ticked(bench.whole, "tick"),
                lambda: ticked(bench.tenth, "tenth"),
                fresh,
            )
    results.title(
        f"Tick: {rows:,} conversations changed or new, of {bench.whole.conversations:,}"
        f" and of {bench.tenth.conversations:,}"
    )
    results.row("extract, resident process", got["tick extract"], "s")
    results.row("build, resident process", got["tick"], "s")
    results.row("full build, whole process", [full], "s")
    results.row(
        "ratio: build after the change / full build",
        [seconds / full for seconds in got["tick"]],
        at_most=TICK_LIMIT,
    )
    results.row(
        "ratio: extract and build / full build",
        [(a + b) / full for a, b in zip(got["tick extract"], got["tick"], strict=True)],
    )
    results.row("build, a tenth of the history", got["tenth"], "s")
    results.row(
        "ratio: build, all of the history / a tenth of it",
        [a / b for a, b in zip(got["tick"], got["tenth"], strict=True)],
        at_most=TICK_HISTORY_LIMIT,
    )
    results.row("mirante build, fresh process", got["fresh"], "s")
    results.row(
        "difference: fresh process - resident process",
        [a - b for a, b in zip(got["fresh"], got["tick"], strict=True)],
        "s",
        at_most=FRESH_PROCESS_LIMIT,
    )
    bench.slowest("the slowest models of the last tick:", seconds_by_model, SLOWEST)


def change(bench: Bench, history: History, rows: int) -> None:
    """Let a few minutes pass in a Chatwoot."""
    with psycopg.connect(bench.admin(history.source), cursor_factory=ClientCursor) as connection:
        connection.execute("set local session_replication_role = replica")
        connection.execute(CHANGES.encode(), {"rows": rows})


@dataclass(frozen=True)
class Statement:
    """One question of the overview, as the dashboard asks it."""

    name: str
    sql: str
    parameters: dict[str, Any] = field(repr=False)


class Recording(Connection[Any]):
    """A connection that notes what is asked of it."""

    asked: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        if isinstance(params, dict):  # the tenant is set with a list
            self.asked.append((query, params))
        return super().execute(query, params, **options)


def overview_statements(bench: Bench, tenant: Tenant) -> list[Statement]:
    """What the page asks for 12 months: its own functions, called with their statements noted.

    Raises ProcessError when the page asks something else than is asked here.
    """
    import streamlit  # noqa: F401  # it sets up its log when it is imported

    # It says that no server of its own is running.
    logging.getLogger("streamlit.runtime.caching.cache_data_api").setLevel(logging.ERROR)
    from dashboard import queries, state
    from dashboard.app_pages.overview import WAITING_SHOWN
    from dashboard.auth import LoadState, Sessions, Viewer, Visit
    from dashboard.filters import Filters

    page = (ROOT / "dashboard" / "app_pages" / "overview.py").read_text("utf-8")
    end = datetime.now(ZoneInfo(tenant.timezone)).date() - timedelta(days=1)
    year = Filters(end - timedelta(days=364), end)
    viewer = Viewer(
        token_sha256=b"", user_id=0, email="", role="client", tenant_id=tenant.id,
        tenant_slug="", tenant_name="", timezone=tenant.timezone, currency="BRL", segment="gym",
    )  # fmt: skip
    now = datetime.now(UTC)
    visit = Visit(viewer, LoadState(now, now, 1))
    calls: dict[str, Callable[[], Any]] = {
        "coverage": lambda: queries.coverage(visit),
        "inboxes": lambda: queries.inboxes(visit),
        "overview": lambda: queries.overview(visit, year),
        "trend": lambda: queries.trend(visit, year),
        "waiting": lambda: queries.waiting(visit, year, rows=WAITING_SHOWN),
        "conversations_per_day": lambda: queries.conversations_per_day(visit, year),
        "conversions_over_time": lambda: queries.conversions_over_time(visit, year),
        "statuses": lambda: queries.statuses(visit, year),
        "rhythm": lambda: queries.rhythm(visit, year),
        "first_reply_distribution": lambda: queries.first_reply_distribution(visit, year),
    }
    # frame.loaded asks the first; inboxes apart are asked for by a click, and only then.
    asked_by_page = {"coverage", *re.findall(r"queries\.(\w+)\(", page)}
    if asked := asked_by_page - {"conversations_by_inbox"} ^ set(calls):
        raise ProcessError(f"the overview and this program differ in {', '.join(sorted(asked))}")
    statements = []
    with ConnectionPool(
        bench.access(bench.whole).dsn("app"), min_size=1, open=True,
        connection_class=Recording, kwargs={"autocommit": True},
    ) as pool:  # fmt: skip
        state.use(
            state.Dashboard(
                sessions=cast(Sessions, NoSessions()),
                reads=pool,
                brand_name="",
                cookie_secure=False,
            )
        )
        for name, call in calls.items():
            Recording.asked.clear()
            call()
            statements += [Statement(name, sql, values) for sql, values in Recording.asked]
    return statements


class NoSessions:
    """In the place of the dashboard's: nobody logs in here."""

    def verify(self, visit: object) -> None:
        pass


def ask(pool: ConnectionPool[Connection[Any]], tenant_id: int, statement: Statement) -> list[Any]:
    """One question in a transaction of its own, the tenant set in it, as the dashboard does."""
    with tenant_connection(pool, tenant_id) as connection:
        return connection.execute(statement.sql.encode(), statement.parameters).fetchall()


_barrier: Barrier | None = None


def meet(barrier: Barrier) -> None:
    """First thing in a reader's process."""
    global _barrier
    _barrier = barrier


def read(task: tuple[str, int, list[Statement], float]) -> list[list[float]]:
    """Seconds of each statement, overview after overview, without a rest, from when all stand."""
    dsn, tenant_id, statements, seconds = task
    assert _barrier is not None
    times = []
    with open_pool(dsn, max_size=1) as pool:
        for _ in range(WARM_UP):
            for statement in statements:
                ask(pool, tenant_id, statement)
        _barrier.wait(120)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            row = []
            for statement in statements:
                started = time.perf_counter()
                ask(pool, tenant_id, statement)
                row.append(time.perf_counter() - started)
            times.append(row)
    return times


def read_together(
    bench: Bench, tenant: Tenant, statements: list[Statement], readers: int
) -> list[list[float]]:
    """What so many readers measured, each a process with a connection of its own."""
    context = multiprocessing.get_context("spawn")
    task = (bench.access(bench.whole).dsn("app"), tenant.id, statements, READ_SECONDS)
    with context.Pool(readers, initializer=meet, initargs=(context.Barrier(readers),)) as pool:
        found = pool.map(read, [task] * readers, chunksize=1)
    return [row for rows in found for row in rows]


def overview(bench: Bench) -> None:
    """The dashboard's first page: many readers, raw tables, row-level security."""
    history = bench.whole
    bench.ensure_built(history)
    # As autovacuum leaves them a minute after a build.
    bench.query(bench.admin(history.warehouse), "vacuum analyze")
    rows = bench.query(
        bench.admin(history.warehouse),
        "select tenant_id, (select timezone from app.tenants where id = tenant_id), count(*)"
        " from marts.fct_conversations group by tenant_id order by count(*) desc",
    )
    for title, row in (("the biggest", rows[0]), ("a middle", rows[len(rows) // 2])):
        measure_overview(bench, title, Tenant(*row))


def measure_overview(bench: Bench, title: str, tenant: Tenant) -> None:
    results = bench.results
    say(f"overview of {title} tenant")
    statements = overview_statements(bench, tenant)
    results.title(
        f"Overview of {title} tenant, 12 months, {tenant.conversations:,} conversations:"
        f" {len(statements)} statements"
    )
    for readers in (bench.readers, 1):
        times = read_together(bench, tenant, statements, readers)
        whole = [sum(row) * 1000 for row in times]
        together = readers == bench.readers
        results.row(
            f"p95 of {len(whole):,} overviews, {readers} at a time without a rest",
            [percentile(whole)], "ms", at_most=OVERVIEW_LIMIT if together else None,
        )  # fmt: skip
        for number, statement in enumerate(statements):
            values = [row[number] * 1000 for row in times]
            results.row(f"  p95 of {statement.name}", [percentile(values)], "ms")
    compare_with_raw(bench, tenant, statements)
    compare_without_rls(bench, tenant, statements)


def percentile(values: Sequence[float], rank: int = 95) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[rank - 1]


def compare_with_raw(bench: Bench, tenant: Tenant, statements: list[Statement]) -> None:
    """The same figures from both, each alone; stop unless they are the same."""
    access = bench.access(bench.whole)
    parameters = {name: value for one in statements for name, value in one.parameters.items()}
    compared = [one for one in statements if one.name in RAW_QUERIES]
    if {one.name for one in statements} != set(RAW_QUERIES) or len(statements) != len(compared):
        raise ProcessError("the overview asks what is not asked of the raw tables")
    pairs: list[tuple[float, float]] = []
    with (
        open_pool(access.dsn("app"), max_size=1, row_factory=dict_row) as pool,
        psycopg.connect(access.dsn("owner"), autocommit=True, row_factory=dict_row) as connection,
    ):

        def from_marts() -> tuple[float, dict[str, list[Any]]]:
            started = time.perf_counter()
            answers = {one.name: ask(pool, tenant.id, one) for one in compared}
            return time.perf_counter() - started, answers

        def from_raw() -> tuple[float, dict[str, list[Any]]]:
            started = time.perf_counter()
            answers = {
                name: connection.execute(sql.encode(), parameters).fetchall()
                for name, sql in RAW_QUERIES.items()
            }
            return time.perf_counter() - started, answers

        raw_answers, mart_answers = from_raw()[1], from_marts()[1]
        check_figures(raw_answers, mart_answers)
        for _ in range(WARM_UP):
            from_marts()
        for _ in range(bench.runs):
            marts = statistics.median(from_marts()[0] for _ in range(MART_ROUNDS))
            pairs.append((from_raw()[0], marts))
    bench.results.row("from the raw tables, alone", [raw * 1000 for raw, _ in pairs], "ms")
    bench.results.row("from the marts, alone", [marts * 1000 for _, marts in pairs], "ms")
    bench.results.row(
        "ratio: raw tables / marts", [raw / marts for raw, marts in pairs], at_least=RAW_LIMIT
    )


def check_figures(raw: dict[str, list[Any]], marts: dict[str, list[Any]]) -> None:
    """Stop where hand-written SQL and the marts disagree in what both know."""

    def figure(value: Any) -> Any:
        return round(value, 9) if isinstance(value, float) else value

    def pick(rows: list[Any], names: Sequence[str]) -> list[Any]:
        return [tuple(figure(row[name]) for name in names) for row in rows]

    for question, names in COMPARED.items():
        by_hand, by_marts = raw[question], marts[question]
        if question == "overview":
            earlier = next((row for row in by_hand if row["part"] == 0), {})
            by_hand = [row for row in by_hand if row["part"] == 1]
            previous = [figure(earlier.get(name) or 0) for name in PREVIOUS]
            ours = [figure(by_marts[0][f"previous_{name}"] or 0) for name in PREVIOUS]
            if previous != ours:
                raise ProcessError(f"before it by hand {previous}, from the marts {ours}"[:900])
        elif question in ("rhythm", "first_reply_distribution"):  # by hand without empty cells
            by_marts = [row for row in by_marts if row["conversations"]]
        one, other = pick(by_hand, names), pick(by_marts, names)
        if one != other:
            raise ProcessError(f"{question} by hand {one}, from the marts {other}"[:900])


def compare_without_rls(bench: Bench, tenant: Tenant, statements: list[Statement]) -> None:
    """The same statements, which filter by tenant themselves, as a role under RLS and without."""
    access = bench.access(bench.whole)
    # What the one role is set to, the other is too.
    (found,) = bench.query(
        bench.admin(), "select rolconfig from pg_roles where rolname = 'mirante_app'"
    )
    settings = " ".join(f"-c {one}" for one in found[0])
    ratios, app_times, owner_times = [], [], []
    with (
        open_pool(access.dsn("app"), max_size=1) as app,
        open_pool(access.dsn("owner"), max_size=1, options=settings) as owner,
    ):
        for number in range(bench.runs + 1):
            spent: dict[str, list[float]] = defaultdict(list)

            def one(name: str, pool: ConnectionPool[Connection[Any]]) -> None:
                started = time.perf_counter()
                for statement in statements:
                    ask(pool, tenant.id, statement)
                spent[name].append(time.perf_counter() - started)  # noqa: B023

            for turn in range(RLS_ROUNDS):
                in_turn(turn, lambda: one("app", app), lambda: one("owner", owner))
            if number:  # the first is for warming up
                app_times.append(statistics.median(spent["app"]))
                owner_times.append(statistics.median(spent["owner"]))
                ratios.append(app_times[-1] / owner_times[-1])
    bench.results.row("app role, under RLS, alone", [t * 1000 for t in app_times], "ms")
    bench.results.row("owner, the explicit filter alone", [t * 1000 for t in owner_times], "ms")
    bench.results.row("ratio: under RLS / without", ratios, at_most=RLS_LIMIT)


@contextmanager
def server(folder: Path, *, keep: bool) -> Iterator[str]:
    """A PostgreSQL that does nothing by itself; yields its administrator's URI."""
    embedded = EmbeddedServer(folder / "server")
    try:
        with embedded.running() as dsn:
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("alter system set autovacuum = off")
                connection.execute("select pg_reload_conf()")
            yield dsn
    finally:
        if not keep:
            shutil.rmtree(embedded.root, ignore_errors=True)  # it may be outside the folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--conversations", type=int, default=500_000)
    parser.add_argument("--messages-per", type=int, default=10)
    parser.add_argument("--tenants", type=int, default=50)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--only", choices=sorted(SECTIONS))
    parser.add_argument("--keep", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    if arguments.conversations < 1000 or arguments.messages_per < 3 or arguments.tenants < 2:
        parser.error("at least --conversations 1000 --messages-per 3 --tenants 2")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    with ExitStack() as stack:
        if arguments.keep:
            folder = arguments.keep.absolute()
            folder.mkdir(parents=True, exist_ok=True)
        else:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="mirante bench "))
            folder = Path(name)
        folder.chmod(0o755)
        dsn = stack.enter_context(server(folder, keep=bool(arguments.keep)))
        bench = Bench(arguments, folder, dsn)
        try:
            for section, measure in SECTIONS.items():
                if arguments.only in (None, section):
                    measure(bench)
        except ProcessError as error:
            sys.exit(f"stopped: {error}")
        except KeyboardInterrupt:
            sys.exit("interrupted")
        finally:
            print(*bench.results.lines, sep="\n")
            load = "/".join(f"{one:.1f}" for one in os.getloadavg())
            print(
                f"\n{time.monotonic() - started:,.0f} s in all, {os.cpu_count()} processors,"
                f" load average {load}"
            )


SECTIONS: dict[str, Callable[[Bench], None]] = {
    "build": build,
    "tick": tick,
    "overview": overview,
}

if __name__ == "__main__":
    main()
