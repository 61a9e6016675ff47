"""What the page on the data's quality may know: loads, failures, the AI budget, nobody's inboxes."""

from warehouse.migrations import execute

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# How a try to score ended: text, cost and error stay out. It runs as its owner, so the condition
# of a mart's policy is its own; the barrier keeps a reader's functions behind it.
FAILURES = """
create view ai.score_failures with (security_barrier) as
select
    scores.tenant_id,
    scores.conversation_id,
    scores.provider,
    scores.status,
    scores.scored_at
from ai.conversation_scores as scores
where scores.status <> 'ok'
    and scores.tenant_id
        = (select nullif(current_setting('app.current_tenant_id', true), '')::int);
comment on view ai.score_failures is
    'Tries that gave no score, of the tenant that is set: refused, failed, skipped_budget.';
grant select on ai.score_failures to mirante_app;
grant select on app.sync_tables to mirante_auth;
"""

# Internal: mirante_owner's, because they read what mirante_auth may not (tables of Chatwoot that
# are there only after a first load, money, marts), and mirante_auth's alone to call.
OWNERS = r"""
-- gap: missing (assigned to the tenant, not in Chatwoot), waiting (the tenant's, not built yet);
-- with whole_source also unowned (nobody's), whose names may be other businesses'.
create function app.inbox_gaps_of(for_tenant_id integer, whole_source boolean)
returns table (
    gap text, account_name text, inbox_id bigint, inbox_name text, conversations bigint,
    last_conversation_at timestamptz
)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
begin
    if to_regclass('raw_chatwoot.inboxes') is null
        or to_regclass('raw_chatwoot.accounts') is null
        or to_regclass('raw_chatwoot.conversations') is null
        or to_regclass('marts.dim_inboxes') is null
    then
        return;
    end if;
    return query
    with owned as (
        select inboxes.id, inboxes.name::text, inboxes.account_id,
            coalesce(by_name.tenant_id, by_account.tenant_id) as tenant_id
        from raw_chatwoot.inboxes as inboxes
        left join app.tenant_inboxes as by_name on inboxes.id = by_name.inbox_id
        left join app.tenant_accounts as by_account on inboxes.account_id = by_account.account_id
        where inboxes._deleted_at is null
    )
    select 'missing', null::text, assigned.inbox_id, null::text, null::bigint, null::timestamptz
    from app.tenant_inboxes as assigned
    where assigned.tenant_id = for_tenant_id
        and not exists (select 1 from owned where owned.id = assigned.inbox_id)
    union all
    select 'waiting', null::text, owned.id, owned.name, null::bigint, null::timestamptz
    from owned
    where owned.tenant_id = for_tenant_id
        and not exists (
            select 1 from marts.dim_inboxes as built
            where built.tenant_id = for_tenant_id and built.inbox_id = owned.id
        )
    union all
    select 'unowned', accounts.name::text, owned.id, owned.name, counted.conversations,
        counted.last_at at time zone 'utc'
    from owned
    left join raw_chatwoot.accounts as accounts on owned.account_id = accounts.id
    cross join lateral (
        select count(*) as conversations, max(talks.created_at) as last_at
        from raw_chatwoot.conversations as talks
        where talks.inbox_id = owned.id and talks._deleted_at is null
            and isfinite(talks.created_at)
    ) as counted
    where whole_source and owned.tenant_id is null
    order by 1, 5 desc nulls last, 3;
end
$$;

create function app.ai_spending_of(for_tenant_id integer)
returns table (budget_usd numeric, used_usd numeric, may_leave boolean)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select
        tenants.ai_budget_usd,
        (
            select coalesce(sum(ledger.cost_usd + ledger.uncertain_usd), 0)
            from ai.ledger as ledger
            where ledger.tenant_id = tenants.id
                and ledger.day >= date_trunc('month', now() at time zone 'utc')::date
        ) + (
            select coalesce(sum(requests.reserved_usd), 0)
            from ai.requests as requests
            where requests.tenant_id = tenants.id and requests.state = 'reserved'
        ),
        tenants.ai_outside_allowed
    from app.tenants as tenants
    where tenants.id = for_tenant_id;
end;
"""

# Loads are of whole tables, shared by all tenants: times and states to every log-in, numbers of
# rows and texts of errors to the agency alone.
FUNCTIONS = """
create function app.source_loads(session_token_sha256 bytea, idle_limit interval)
returns table (
    source_table text, loaded_at timestamptz, age_seconds double precision,
    rows_read bigint, rows_changed bigint
)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select
        tables.source_table,
        coalesce(tables.watermark::timestamp at time zone 'utc', last_run.finished_at),
        extract(
            epoch from now()
            - coalesce(tables.watermark::timestamp at time zone 'utc', last_run.finished_at)
        )::double precision,
        case when viewer.role = 'super_admin' then tables.rows_read end,
        case
            when viewer.role = 'super_admin'
                then tables.rows_inserted + tables.rows_updated + tables.rows_deleted
        end
    from app.current_session(session_token_sha256, idle_limit) as viewer
    cross join lateral (
        select runs.id, runs.finished_at
        from app.sync_runs as runs
        where runs.status = 'succeeded'
        order by runs.id desc
        limit 1
    ) as last_run
    inner join app.sync_tables as tables on last_run.id = tables.sync_run_id
    order by tables.source_table;
end;

-- Of load and build each the last success, and the last failure since. failure: source, warehouse,
-- interrupted or other.
create function app.pipeline_state(session_token_sha256 bytea, idle_limit interval)
returns table (
    step text, succeeded_at timestamptz, is_running boolean, failed_at timestamptz, failure text,
    error text
)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    with succeeded as (
        (
            select 'load' as step, runs.id, runs.finished_at
            from app.sync_runs as runs
            where runs.status = 'succeeded'
            order by runs.id desc
            limit 1
        )
        union all
        (
            select 'build', builds.id, builds.finished_at
            from app.builds as builds
            where builds.status = 'succeeded'
            order by builds.id desc
            limit 1
        )
    ),
    later as (
        select 'load' as step, runs.id, runs.status, runs.finished_at, runs.error
        from app.sync_runs as runs
        where runs.id > coalesce(
            (select succeeded.id from succeeded where succeeded.step = 'load'), 0
        )
        union all
        select 'build', builds.id, builds.status, builds.finished_at, builds.error
        from app.builds as builds
        where builds.id > coalesce(
            (select succeeded.id from succeeded where succeeded.step = 'build'), 0
        )
    )
    select
        names.step,
        succeeded.finished_at,
        exists (
            select 1 from later where later.step = names.step and later.status = 'running'
        ),
        failed.finished_at,
        case
            when failed.finished_at is null then null
            when failed.error ~ '^(source|replica)' then 'source'
            when failed.error ~ '^warehouse' then 'warehouse'
            when failed.error in ('interrupted', 'the process ended before the run did')
                then 'interrupted'
            else 'other'
        end,
        case when viewer.role = 'super_admin' then failed.error end
    from app.current_session(session_token_sha256, idle_limit) as viewer
    cross join (values (1, 'load'), (2, 'build')) as names (place, step)
    left join succeeded on names.step = succeeded.step
    left join lateral (
        select later.finished_at, later.error
        from later
        where later.step = names.step and later.status = 'failed'
        order by later.id desc
        limit 1
    ) as failed on true
    order by names.place;
end;

-- The tenant's own month (UTC), to those who manage it; amounts to the agency alone.
create function app.ai_budget(session_token_sha256 bytea, idle_limit interval)
returns table (
    has_budget boolean, used_share double precision, may_leave boolean, budget_usd numeric,
    used_usd numeric
)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select
        spending.budget_usd is not null,
        (spending.used_usd / nullif(spending.budget_usd, 0))::double precision,
        spending.may_leave,
        case when viewer.role = 'super_admin' then spending.budget_usd end,
        case when viewer.role = 'super_admin' then spending.used_usd end
    from app.current_session(session_token_sha256, idle_limit) as viewer
    cross join lateral app.ai_spending_of(viewer.tenant_id) as spending
    where viewer.role in ('admin', 'super_admin');
end;

-- An admin learns of its own tenant's inboxes alone: in an account of several tenants nobody's
-- inbox may be the next client's.
create function app.inbox_gaps(session_token_sha256 bytea, idle_limit interval)
returns table (
    gap text, account_name text, inbox_id bigint, inbox_name text, conversations bigint,
    last_conversation_at timestamptz
)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select
        gaps.gap, gaps.account_name, gaps.inbox_id, gaps.inbox_name, gaps.conversations,
        gaps.last_conversation_at
    from app.current_session(session_token_sha256, idle_limit) as viewer
    cross join lateral app.inbox_gaps_of(
        viewer.tenant_id, viewer.role = 'super_admin'
    ) as gaps
    where viewer.role in ('admin', 'super_admin') and viewer.tenant_id is not null;
end;
"""

INTERNAL = ("app.inbox_gaps_of(integer, boolean)", "app.ai_spending_of(integer)")
APP_FUNCTIONS = (
    "app.source_loads(bytea, interval)",
    "app.pipeline_state(bytea, interval)",
    "app.ai_budget(bytea, interval)",
    "app.inbox_gaps(bytea, interval)",
)


def upgrade() -> None:
    """Four functions of the app role's, each of which checks the session itself; one view."""
    for step in (FAILURES, OWNERS, FUNCTIONS):
        execute(step)
    for function in INTERNAL:
        execute(f"revoke all on function {function} from public")
        execute(f"grant execute on function {function} to mirante_auth")
    execute("grant create on schema app to mirante_auth")
    for function in APP_FUNCTIONS:
        execute(f"alter function {function} owner to mirante_auth")
        execute(f"revoke all on function {function} from public")
        execute(f"grant execute on function {function} to mirante_app")
    execute("revoke create on schema app from mirante_auth")
