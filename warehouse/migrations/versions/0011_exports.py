"""Exports by session: allowed, paced and written down before the first row; saved filters."""

from warehouse.migrations import execute

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TABLES = r"""
create table app.saved_views (
    tenant_id integer not null references app.tenants (id) on delete cascade,
    user_id integer not null references app.users (id) on delete cascade,
    name text not null check (
        name = btrim(name) and length(name) between 1 and 60 and name !~ '[[:cntrl:]]'
    ),
    page text not null check (page ~ '^[a-z]{1,20}$'),
    parameters jsonb not null check (
        jsonb_typeof(parameters) = 'object' and octet_length(parameters::text) <= 2048
    ),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, user_id, name)
);
create index saved_views_user_id on app.saved_views (user_id);
comment on table app.saved_views is
    'Addresses that people keep under a name: page and filters, never a tenant, which is the '
    'session''s. Each person sees its own, a super_admin those of the tenant looked at. What is '
    'typed into a filter is in it.';
comment on column app.saved_views.page is 'Name of a page of the menu.';
comment on column app.saved_views.parameters is 'Lists of values by name of the parameter.';
"""

GRANTS = """
grant select, insert, update, delete on app.saved_views to mirante_auth;
grant select on app.opt_outs to mirante_auth;
"""

EXPORTS = """
-- Of the tenant that the transaction is set to, as the policies of the marts have it.
create function app.opted_out_contacts()
returns setof bigint
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select opt_outs.contact_id
    from app.opt_outs as opt_outs
    where opt_outs.tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::int;
end;

-- Before the first row is read: whether this session may have a file of the tenant, and the line
-- in the log that says so. `details` has ids and names of filters, nothing that was typed.
create function app.begin_export(
    session_token_sha256 bytea, idle_limit interval, of_tenant_id integer, details jsonb,
    from_address_hash text
)
returns table (outcome text, export_id bigint, wait_seconds integer)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    manager record;
begin
    wait_seconds := 0;
    select * into manager from app.managing(session_token_sha256, idle_limit);
    if not found then
        outcome := 'denied';
        return next;
        return;
    end if;
    if manager.tenant_id is distinct from of_tenant_id then
        outcome := 'switched';
        return next;
        return;
    end if;
    -- A person 20 files, then one every three minutes; a tenant 60, then one a minute.
    wait_seconds := app.take_turn(
        array[
            sha256(convert_to('export:user:' || manager.user_id, 'utf8')),
            sha256(convert_to('export:tenant:' || manager.tenant_id, 'utf8'))
        ],
        array[20, 60], array[180.0, 60.0]
    );
    if wait_seconds > 0 then
        outcome := 'too_many';
        return next;
        return;
    end if;
    outcome := 'ok';
    export_id := app.record_audit(
        'export.start', 'user', manager.user_id::text, manager.tenant_id, null, null, details,
        from_address_hash
    );
    return next;
end
$$;

-- Internal, and all that anybody reads of the log through a page: one tenant's newest exports.
create function app.exports_of_tenant(of_tenant_id integer)
returns table (started_at timestamptz, user_id integer, details jsonb, ending jsonb)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select
        started.at, case started.actor_kind when 'user' then started.actor_id::integer end,
        started.after, finished.after
    from app.audit_log as started
    left join app.audit_log as finished
        on finished.tenant_id = started.tenant_id
        and finished.action = 'export.finish'
        and finished.at >= started.at
        and finished.target = 'export:' || started.id
    where started.tenant_id = of_tenant_id and started.action = 'export.start'
    order by started.at desc, started.id desc
    limit 20;
end;

create function app.recent_exports(session_token_sha256 bytea, idle_limit interval)
returns table (
    started_at timestamptz, email text, is_agency boolean, kind text, file_format text,
    row_count bigint, ending text
)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select
        exports.started_at,
        case when users.tenant_id = managing.tenant_id then users.email end,
        coalesce(users.role = 'super_admin', false),
        exports.details ->> 'kind',
        exports.details ->> 'format',
        (exports.details ->> 'rows')::bigint,
        exports.ending ->> 'outcome'
    from app.managing(session_token_sha256, idle_limit) as managing
    cross join lateral app.exports_of_tenant(managing.tenant_id) as exports
    left join app.users as users on exports.user_id = users.id
    order by exports.started_at desc;
end;
"""

SAVED_VIEWS = """
create function app.saved_views(session_token_sha256 bytea, idle_limit interval)
returns table (name text, page text, parameters jsonb)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select saved.name, saved.page, saved.parameters
    from app.current_session(session_token_sha256, idle_limit) as viewer
    inner join app.saved_views as saved
        on viewer.tenant_id = saved.tenant_id and viewer.user_id = saved.user_id
    order by lower(saved.name), saved.name;
end;

-- of_tenant_id is the client the page was of: an agency may have switched in another tab since.
create function app.save_view(
    session_token_sha256 bytea, idle_limit interval, of_tenant_id integer, new_name text,
    new_page text, new_parameters jsonb
)
returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    viewer record;
begin
    select * into viewer from app.current_session(session_token_sha256, idle_limit);
    if not found or viewer.tenant_id is null then
        return 'denied';
    end if;
    if viewer.tenant_id is distinct from of_tenant_id then
        return 'switched';
    end if;
    -- The lock makes two at once wait, so that neither passes the limit.
    perform 1 from app.users as users where users.id = viewer.user_id for no key update;
    if not exists (
        select 1 from app.saved_views as saved
        where saved.tenant_id = viewer.tenant_id and saved.user_id = viewer.user_id
            and saved.name = btrim(new_name)
    ) and (
        select count(*) from app.saved_views as saved
        where saved.tenant_id = viewer.tenant_id and saved.user_id = viewer.user_id
    ) >= 50 then
        return 'full';
    end if;
    begin
        insert into app.saved_views as saved (tenant_id, user_id, name, page, parameters)
        values (viewer.tenant_id, viewer.user_id, btrim(new_name), new_page, new_parameters)
        on conflict (tenant_id, user_id, name) do update
        set page = excluded.page, parameters = excluded.parameters, updated_at = now();
    exception
        when check_violation or not_null_violation then return 'invalid';
    end;
    return 'ok';
end
$$;

create function app.delete_view(
    session_token_sha256 bytea, idle_limit interval, of_tenant_id integer, old_name text
)
returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
begin
    delete from app.saved_views as saved
    using app.current_session(session_token_sha256, idle_limit) as viewer
    where saved.tenant_id = viewer.tenant_id
        and saved.user_id = viewer.user_id
        and viewer.tenant_id = of_tenant_id
        and saved.name = old_name;
    return found;
end
$$;
"""

LOG_READER = "app.exports_of_tenant(integer)"
APP_FUNCTIONS = (
    "app.opted_out_contacts()",
    "app.begin_export(bytea, interval, integer, jsonb, text)",
    "app.recent_exports(bytea, interval)",
    "app.saved_views(bytea, interval)",
    "app.save_view(bytea, interval, integer, text, text, jsonb)",
    "app.delete_view(bytea, interval, integer, text)",
)


def upgrade() -> None:
    """Create them; the functions are mirante_auth's, but what reads the log is the log's owner's."""
    for step in (TABLES, GRANTS, EXPORTS, SAVED_VIEWS):
        execute(step)
    execute(f"alter function {LOG_READER} owner to mirante_audit")
    execute(f"revoke all on function {LOG_READER} from public")
    execute(f"grant execute on function {LOG_READER} to mirante_auth")
    execute("grant create on schema app to mirante_auth")
    for function in APP_FUNCTIONS:
        execute(f"alter function {function} owner to mirante_auth")
        execute(f"revoke all on function {function} from public")
        execute(f"grant execute on function {function} to mirante_app")
    execute("revoke create on schema app from mirante_auth")
