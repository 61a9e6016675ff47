"""Tenants, ownership of inboxes, users and sessions, rules, the erasure ledger, run records."""

from warehouse.migrations import execute

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TENANTS = """
create table app.tenants (
    id integer generated always as identity primary key,
    slug text not null unique check (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    name text not null check (btrim(name) <> ''),
    segment text not null check (segment in ('gym', 'clinic', 'shop', 'school', 'general')),
    timezone text not null default 'America/Sao_Paulo',
    currency text not null default 'BRL' check (currency ~ '^[A-Z]{3}$'),
    status text not null default 'active' check (status in ('active', 'suspended', 'cancelled')),
    plan text not null default 'standard',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table app.tenants is 'One client business a row.';
comment on column app.tenants.timezone is 'IANA name; every *_date of the tenant is in it.';

create table app.tenant_accounts (
    account_id bigint primary key check (account_id > 0),
    tenant_id integer not null references app.tenants (id) on delete cascade,
    created_at timestamptz not null default now()
);
comment on table app.tenant_accounts is
    'A Chatwoot account owned whole: every inbox of it that app.tenant_inboxes gives to nobody.';

create table app.tenant_inboxes (
    inbox_id bigint primary key check (inbox_id > 0),
    tenant_id integer not null references app.tenants (id) on delete cascade,
    created_at timestamptz not null default now()
);
comment on table app.tenant_inboxes is
    'A Chatwoot inbox owned by one tenant; goes before the ownership of its account.';
create index tenant_inboxes_tenant_id on app.tenant_inboxes (tenant_id);

create table app.funnel_rules (
    id integer generated always as identity,
    tenant_id integer not null references app.tenants (id) on delete cascade,
    stage text not null check (stage in ('lead', 'visit_scheduled', 'converted')),
    kind text not null check (kind in ('label', 'custom_attribute', 'ai', 'crm', 'keyword')),
    value text not null default '',
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, stage, kind, value)
);
comment on table app.funnel_rules is
    'What makes a conversation reach a stage. ai: lead_class=high, lead_class=medium, '
    'lead_class=low or visit_scheduled=true; label: a title; custom_attribute: key=value; '
    'keyword: a phrase; crm: empty.';
"""

USERS = """
create table app.users (
    id integer generated always as identity primary key,
    email text not null check (email = lower(btrim(email)) and email ~ '^[^@[:space:]]+@[^@[:space:]]+$'),
    password_hash text not null,
    role text not null check (role in ('client', 'admin', 'super_admin')),
    tenant_id integer references app.tenants (id) on delete cascade,
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check ((role = 'super_admin') = (tenant_id is null))
);
create unique index users_email on app.users (email);
comment on table app.users is 'People who open the dashboard; a super_admin (the agency) has no tenant.';

create table app.sessions (
    token_sha256 bytea primary key check (octet_length(token_sha256) = 32),
    user_id integer not null references app.users (id) on delete cascade,
    viewed_tenant_id integer references app.tenants (id) on delete cascade,
    created_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    expires_at timestamptz not null
);
comment on table app.sessions is
    'Log-ins of the dashboard; only the hash of the token is kept. '
    'viewed_tenant_id: the client a super_admin looks at.';
create index sessions_user_id on app.sessions (user_id);
"""

ANALYSTS = r"""
create table app.analyst_logins (
    role_name text primary key check (role_name ~ '^mirante_analyst_[a-z0-9]{12,}_t[1-9][0-9]*$'),
    tenant_id integer not null references app.tenants (id) on delete cascade,
    created_at timestamptz not null default now(),
    check (tenant_id = substring(role_name from '_t([0-9]+)$')::integer)
);
comment on table app.analyst_logins is
    'SQL log-ins of analysts, each bound to one tenant, whose id ends the name: the policy of every '
    'mart compares it with the row, and asks app.login_is_active() once.';
create index analyst_logins_tenant_id on app.analyst_logins (tenant_id);

-- By session_user: no SET, SET ROLE or custom setting changes it.
create function app.login_is_active()
returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select exists (
        select 1
        from app.analyst_logins
        inner join app.tenants as tenants on analyst_logins.tenant_id = tenants.id
        where analyst_logins.role_name = session_user and tenants.status = 'active'
    );
end;
"""

LEDGERS = """
create table app.erased_rows (
    source_table text not null,
    source_id bigint not null,
    erased_at timestamptz not null default now(),
    reason text not null default 'erasure',
    primary key (source_table, source_id)
);
comment on table app.erased_rows is
    'Erasure ledger: rows of Chatwoot that extraction never brings (back) into raw_chatwoot.';

create table app.sync_runs (
    id bigint generated always as identity primary key,
    pass text not null check (pass in ('tick', 'full', 'reconcile')),
    status text not null default 'running' check (status in ('running', 'succeeded', 'failed')),
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    rows_read bigint,
    rows_changed bigint,
    error text
);
create index sync_runs_succeeded on app.sync_runs (started_at) where status = 'succeeded';
comment on table app.sync_runs is 'One extraction a row; as-of time of all numbers is the last success.';

create table app.sync_tables (
    sync_run_id bigint not null references app.sync_runs (id) on delete cascade,
    source_table text not null,
    rows_read bigint not null,
    rows_inserted bigint not null,
    rows_updated bigint not null,
    rows_deleted bigint not null default 0,
    seconds double precision not null,
    watermark text,
    primary key (sync_run_id, source_table)
);
comment on table app.sync_tables is 'What one extraction did to one table.';

create table app.builds (
    id bigint generated always as identity primary key,
    status text not null default 'running' check (status in ('running', 'succeeded', 'failed')),
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    selection text,
    inputs_sha256 text,
    error text
);
create index builds_succeeded on app.builds (started_at) where status = 'succeeded';
comment on table app.builds is
    'One dbt build a row. selection: the part of the project that was built, NULL for all of it. '
    'inputs_sha256: what the marts were then built from; equal inputs need no new build.';

create sequence app.data_version;
comment on sequence app.data_version is
    'Rises whenever a page could show something else; part of every cache key.';
"""

AI = """
create table ai.conversation_scores (
    tenant_id integer not null references app.tenants (id) on delete cascade,
    conversation_id bigint not null,
    transcript_sha256 text not null,
    prompt_version text not null,
    provider text not null check (provider in ('openai', 'local')),
    model text not null,
    status text not null check (status in ('ok', 'refused', 'failed', 'skipped_budget')),
    sentiment text check (sentiment in ('positive', 'neutral', 'negative')),
    intent text check (intent in ('purchase', 'information', 'support', 'complaint')),
    lead_class text check (lead_class in ('high', 'medium', 'low')),
    lead_score smallint check (lead_score between 0 and 100),
    visit_scheduled boolean,
    summary text,
    next_step text,
    objections text[],
    evidence_message_ids bigint[],
    prompt_tokens integer,
    cached_tokens integer,
    completion_tokens integer,
    cost_usd numeric(12, 6),
    scored_at timestamptz not null default now(),
    error text,
    primary key (tenant_id, conversation_id, transcript_sha256, prompt_version, provider, model)
);
comment on table ai.conversation_scores is
    'Scores of conversations, written by ai_enrich and read by dbt. The key makes a second run free.';
"""

# Before log-in there is no tenant, so mirante_app has no privilege on users and sessions, only
# these functions of one row. mirante_auth owns them: NOLOGIN, and no more rights than they need.
FUNCTIONS = """
grant usage on schema app to mirante_auth;
grant select on app.users, app.tenants, app.analyst_logins, app.builds, app.sync_runs to mirante_auth;
grant select, insert, update, delete on app.sessions to mirante_auth;
grant select on sequence app.data_version to mirante_auth;

create function app.login_candidate(candidate_email text)
returns table (user_id integer, password_hash text)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select users.id, users.password_hash
    from app.users as users
    left join app.tenants as tenants on users.tenant_id = tenants.id
    where users.email = lower(btrim(candidate_email))
        and users.is_active
        and (users.role = 'super_admin' or tenants.status = 'active');
end;

create function app.open_session(for_user_id integer, new_token_sha256 bytea, lifetime interval)
returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    delete from app.sessions as sessions where sessions.expires_at < now();
    insert into app.sessions (token_sha256, user_id, expires_at)
    values (new_token_sha256, for_user_id, now() + least(lifetime, interval '30 days'));
end;

-- One row while the session, its user and its tenant are all alive; none otherwise.
-- tenant_id is what the pages may show: the user's own, or the one a super_admin looks at.
create function app.current_session(session_token_sha256 bytea, idle_limit interval)
returns table (
    user_id integer, email text, role text, tenant_id integer,
    tenant_slug text, tenant_name text, timezone text, currency text, segment text
)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select
        users.id, users.email, users.role, tenants.id,
        tenants.slug, tenants.name, tenants.timezone, tenants.currency, tenants.segment
    from app.sessions as sessions
    inner join app.users as users on sessions.user_id = users.id
    left join app.tenants as tenants
        on tenants.id = case users.role
            when 'super_admin' then sessions.viewed_tenant_id else users.tenant_id
        end
    where sessions.token_sha256 = session_token_sha256
        and sessions.expires_at > now()
        and sessions.last_seen_at > now() - idle_limit
        and users.is_active
        and (users.role = 'super_admin' or tenants.status = 'active');
end;

create function app.touch_session(session_token_sha256 bytea, idle_limit interval)
returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    update app.sessions as sessions set last_seen_at = now()
    where sessions.token_sha256 = session_token_sha256
        and sessions.last_seen_at < now() - interval '1 minute'
        and sessions.last_seen_at > now() - idle_limit;
end;

create function app.close_session(session_token_sha256 bytea)
returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    delete from app.sessions as sessions where sessions.token_sha256 = session_token_sha256;
end;

-- The agency's list of clients and its choice of one: nothing without a live super_admin session.
create function app.selectable_tenants(session_token_sha256 bytea, idle_limit interval)
returns table (tenant_id integer, tenant_slug text, tenant_name text, segment text, status text)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select tenants.id, tenants.slug, tenants.name, tenants.segment, tenants.status
    from app.tenants as tenants
    where exists (
        select 1 from app.current_session(session_token_sha256, idle_limit) as viewer
        where viewer.role = 'super_admin'
    )
    order by tenants.name;
end;

create function app.view_tenant(
    session_token_sha256 bytea, idle_limit interval, wanted_tenant_id integer
)
returns boolean
language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    with changed as (
        update app.sessions as sessions set viewed_tenant_id = wanted_tenant_id
        where sessions.token_sha256 = session_token_sha256
            and exists (
                select 1
                from app.selectable_tenants(session_token_sha256, idle_limit) as selectable
                where selectable.tenant_id = wanted_tenant_id
            )
        returning 1
    )
    select count(*) = 1 from changed;
end;

-- What every page shows and every cache key carries; no tenant's data. last_loaded_at is the
-- newest extraction that the marts show: one that changed rows waits for a whole build.
create function app.load_state()
returns table (last_loaded_at timestamptz, last_built_at timestamptz, data_version bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    with last_build as (
        select max(builds.started_at) as started_at
        from app.builds
        where builds.status = 'succeeded' and builds.selection is null
    ),
    waiting as (
        select min(sync_runs.started_at) as started_at
        from app.sync_runs
        cross join last_build
        where sync_runs.status = 'succeeded' and sync_runs.rows_changed > 0
            and sync_runs.finished_at > last_build.started_at
    )
    select
        (
            select max(sync_runs.started_at)
            from app.sync_runs
            cross join last_build
            cross join waiting
            where sync_runs.status = 'succeeded' and last_build.started_at is not null
                and sync_runs.started_at < coalesce(waiting.started_at, 'infinity')
        ),
        (select max(builds.finished_at) from app.builds where builds.status = 'succeeded'),
        (select data_version.last_value from app.data_version);
end;
"""

APP_FUNCTIONS = (
    "app.login_candidate(text)",
    "app.open_session(integer, bytea, interval)",
    "app.current_session(bytea, interval)",
    "app.touch_session(bytea, interval)",
    "app.close_session(bytea)",
    "app.selectable_tenants(bytea, interval)",
    "app.view_tenant(bytea, interval, integer)",
    "app.load_state()",
)


def upgrade() -> None:
    """Create the control plane's tables and the few functions the dashboard may call."""
    for step in (TENANTS, USERS, ANALYSTS, LEDGERS, AI, FUNCTIONS):
        execute(step)
    # The new owner of a function needs CREATE on its schema while it takes it over, not after.
    execute("grant create on schema app to mirante_auth")
    for function in APP_FUNCTIONS:
        execute(f"alter function {function} owner to mirante_auth")
        execute(f"revoke all on function {function} from public")
        execute(f"grant execute on function {function} to mirante_app")
    execute("alter function app.login_is_active() owner to mirante_auth")
    execute("revoke all on function app.login_is_active() from public")
    execute("grant execute on function app.login_is_active() to mirante_analyst")
    execute("revoke create on schema app from mirante_auth")
    execute("grant usage on schema app to mirante_app, mirante_analyst")
    execute("grant usage on schema marts to mirante_app, mirante_analyst, mirante_super")
