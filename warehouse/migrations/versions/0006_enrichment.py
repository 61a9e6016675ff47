"""What scoring costs and may cost, what left for a provider, and what people corrected."""

from warehouse.migrations import execute

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = """
alter table app.tenants
    add column if not exists ai_budget_usd numeric(12, 2),
    add column if not exists ai_outside_allowed boolean not null default true;
alter table app.tenants
    drop constraint if exists tenants_ai_budget_usd_check,
    add constraint tenants_ai_budget_usd_check check (ai_budget_usd >= 0);
comment on column app.tenants.ai_budget_usd is
    'US dollars a calendar month (UTC) for scoring by a provider outside; NULL: only the limit of all.';
comment on column app.tenants.ai_outside_allowed is
    'False: no text of the tenant leaves this database, the local model scores.';

create table ai.corrections (
    tenant_id integer not null references app.tenants (id) on delete cascade,
    conversation_id bigint not null check (conversation_id > 0),
    transcript_sha256 text not null,
    sentiment text check (sentiment in ('positive', 'neutral', 'negative')),
    intent text check (intent in ('purchase', 'information', 'support', 'complaint')),
    lead_class text check (lead_class in ('high', 'medium', 'low')),
    lead_score smallint check (lead_score between 0 and 100),
    visit_scheduled boolean,
    corrected_by text not null check (btrim(corrected_by) <> ''),
    corrected_at timestamptz not null default now(),
    primary key (tenant_id, conversation_id),
    check (num_nonnulls(sentiment, intent, lead_class, lead_score, visit_scheduled) > 0)
);
comment on table ai.corrections is
    'What a person says of a conversation. It wins over every score; NULL leaves the score''s value.';
comment on column ai.corrections.transcript_sha256 is 'The transcript the person judged.';
comment on column ai.corrections.corrected_by is 'E-mail of the person, or the name of the command.';

create table ai.batches (
    tenant_id integer not null references app.tenants (id) on delete cascade,
    id bigint generated always as identity,
    model text not null,
    prompt_version text not null,
    state text not null default 'claimed'
        check (state in ('claimed', 'uploaded', 'submitted', 'stored', 'failed')),
    input_file_id text,
    remote_id text,
    conversations integer not null default 0,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    error text,
    primary key (tenant_id, id)
);
comment on table ai.batches is
    'One job of the provider''s batch interface, of one tenant; state says where a later run goes on.';

create table ai.requests (
    tenant_id integer not null references app.tenants (id) on delete cascade,
    conversation_id bigint not null,
    transcript_sha256 text not null,
    prompt_version text not null,
    provider text not null check (provider = 'openai'),
    model text not null,
    state text not null check (state in ('reserved', 'settled', 'released')),
    outcome text check (outcome in ('ok', 'refused', 'failed')),
    worker bigint,
    batch_id bigint,
    attempts smallint not null default 1,
    reserved_usd numeric(16, 10) not null check (reserved_usd >= 0),
    sent_text text,
    reserved_at timestamptz not null default now(),
    settled_at timestamptz,
    primary key (tenant_id, conversation_id, transcript_sha256, prompt_version, provider, model),
    foreign key (tenant_id, batch_id) references ai.batches (tenant_id, id),
    check (state <> 'reserved' or (worker is null) <> (batch_id is null)),
    check ((state = 'settled') = (outcome is not null))
);
create index requests_reserved on ai.requests (tenant_id, worker) where state = 'reserved';
create index requests_batch on ai.requests (tenant_id, batch_id) where batch_id is not null;
create index requests_sent on ai.requests (settled_at) where sent_text is not null;
comment on table ai.requests is
    'What was asked of a provider outside, one row for each score; a reserved row is a claim, so two '
    'runs never ask the same.';
comment on column ai.requests.worker is
    'Advisory lock that the run asking holds while it lives: a free lock means the run is dead.';
comment on column ai.requests.sent_text is
    'The text that left, masked; NULL once its retention is over. Personal data.';

create table ai.ledger (
    tenant_id integer not null references app.tenants (id) on delete cascade,
    day date not null,
    provider text not null check (provider in ('openai', 'local')),
    model text not null,
    requests bigint not null default 0,
    prompt_tokens bigint not null default 0,
    cached_tokens bigint not null default 0,
    completion_tokens bigint not null default 0,
    cost_usd numeric(18, 10) not null default 0,
    uncertain_usd numeric(18, 10) not null default 0,
    primary key (tenant_id, day, provider, model)
);
comment on table ai.ledger is 'What scoring cost, by tenant, day (UTC) and model.';
comment on column ai.ledger.uncertain_usd is
    'Upper estimate of requests whose answer never came: the provider may bill them, so they count '
    'towards the budget.';
"""

# A page of the tenant's own will write corrections: its rows and nobody else's.
POLICIES = """
alter table ai.corrections enable row level security;
grant usage on schema ai to mirante_app;
grant select, insert, update, delete on ai.corrections to mirante_app;
create policy tenant_isolation on ai.corrections to mirante_app
    using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::int))
    with check (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::int));
"""


def upgrade() -> None:
    """Create the tables; the dashboard's role gets its own tenant's corrections, nothing else."""
    execute(TABLES)
    execute(POLICIES)
