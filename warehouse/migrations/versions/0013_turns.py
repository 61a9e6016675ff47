"""Changes through pages: paced, by a session that is still alive, and seen at once by one tenant;
opt-outs that outlive their contact.
"""

from warehouse.migrations import execute

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

VERSIONS = """
create table app.tenant_versions (
    tenant_id integer primary key references app.tenants (id) on delete cascade,
    version bigint not null
);
comment on table app.tenant_versions is
    'Rises with a change through a page that the tenant''s pages show at once, in its transaction; '
    'added to app.data_version in the cache keys of that tenant alone.';
grant select, insert, update on app.tenant_versions to mirante_auth;
revoke usage on sequence app.data_version from mirante_auth;
drop function app.raise_data_version(bytea, interval);
drop function app.load_state();
drop function app.begin_export(bytea, interval, integer, jsonb, text);
"""

# Owner's: see 0009 and 0010.
OWNERS = """
create or replace function app.store_correction(
    of_tenant_id integer, of_conversation_id bigint, new_sentiment text, new_intent text,
    new_lead_class text, new_visit_scheduled boolean, by_email text
)
returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
begin
    if to_regclass('intermediate.int_conversation_transcripts') is null then
        return false;
    end if;
    insert into ai.corrections as corrections (
        tenant_id, conversation_id, transcript_sha256, sentiment, intent, lead_class,
        visit_scheduled, corrected_by
    )
    select
        transcripts.tenant_id, transcripts.conversation_id, transcripts.transcript_sha256,
        new_sentiment, new_intent, new_lead_class, new_visit_scheduled, by_email
    from intermediate.int_conversation_transcripts as transcripts
    where transcripts.tenant_id = of_tenant_id
        and transcripts.conversation_id = of_conversation_id
    on conflict (tenant_id, conversation_id) do update set
        transcript_sha256 = excluded.transcript_sha256,
        sentiment = coalesce(excluded.sentiment, corrections.sentiment),
        intent = coalesce(excluded.intent, corrections.intent),
        lead_class = coalesce(excluded.lead_class, corrections.lead_class),
        visit_scheduled = coalesce(excluded.visit_scheduled, corrections.visit_scheduled),
        corrected_by = excluded.corrected_by,
        corrected_at = now();
    return found;
end
$$;

create or replace function app.ai_spending_of(for_tenant_id integer)
returns table (budget_usd numeric, used_usd numeric, may_leave boolean)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select limits.ai_budget_usd, spending.spent_usd, tenants.ai_outside_allowed
    from app.tenants as tenants
    inner join app.tenant_limits as limits on tenants.id = limits.tenant_id
    inner join ai.month_spending as spending on tenants.id = spending.tenant_id
    where tenants.id = for_tenant_id;
end;
"""

FUNCTIONS = """
-- What every page shows and every cache key carries: the version is of the data that all tenants
-- share, and of what one changed itself. last_loaded_at: see 0001.
create function app.load_state(for_tenant_id integer default null)
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
        (select data_version.last_value from app.data_version) + coalesce(
            (
                select versions.version from app.tenant_versions as versions
                where versions.tenant_id = for_tenant_id
            ),
            0
        );
end;

-- Internal.
create function app.raise_tenant_version(of_tenant_id integer)
returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    insert into app.tenant_versions as versions (tenant_id, version) values (of_tenant_id, 1)
    on conflict (tenant_id) do update set version = versions.version + 1;
end;

-- Internal: the session's manager and tenant, and NULL for the refusal; or why not. Every change of
-- a tenant through a page begins here. page_tenant_id is the client the page was of: an agency may
-- have switched in another tab since. The tenant's row is locked, the session held in place until
-- the change is done; who was thrown out while they were waited for is found out by a second look.
-- A person has 60 changes, then one every 5 seconds; a tenant 180, then one every 2.
create or replace function app.managing_page(
    session_token_sha256 bytea, idle_limit interval, page_tenant_id integer
)
returns table (user_id integer, tenant_id integer, is_agency boolean, refusal text)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
begin
    for look in 1..2 loop
        select managing.user_id, managing.tenant_id, users.role = 'super_admin'
        into user_id, tenant_id, is_agency
        from app.managing(session_token_sha256, idle_limit) as managing
        inner join app.users as users on managing.user_id = users.id;
        if not found then
            refusal := 'denied';
        elsif tenant_id is distinct from page_tenant_id then
            refusal := 'switched';
        end if;
        if refusal is not null then
            return next;
            return;
        end if;
        if look = 1 then
            -- In the order of who suspends a tenant, which ends sessions.
            perform 1 from app.tenants as tenants
            where tenants.id = page_tenant_id for no key update;
            perform 1 from app.sessions as sessions
            where sessions.token_sha256 = session_token_sha256 for key share;
        end if;
    end loop;
    if app.take_turn(
        array[
            sha256(convert_to('change:user:' || user_id, 'utf8')),
            sha256(convert_to('change:tenant:' || tenant_id, 'utf8'))
        ],
        array[60, 180], array[5.0, 2.0]
    ) > 0 then
        refusal := 'too_many';
    end if;
    return next;
end
$$;

-- How it went: ok, denied, switched, too_many, invalid, or missing where the tenant has no such
-- conversation with a text.
create or replace function app.correct_conversation(
    session_token_sha256 bytea, idle_limit interval, of_tenant_id integer,
    of_conversation_id bigint, new_sentiment text, new_intent text, new_lead_class text,
    new_visit_scheduled boolean
)
returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    page record;
begin
    select managed.*, users.email into page
    from app.managing_page(session_token_sha256, idle_limit, of_tenant_id) as managed
    left join app.users as users on managed.user_id = users.id;
    if page.refusal is not null then
        return page.refusal;
    end if;
    begin
        if not app.store_correction(
            page.tenant_id, of_conversation_id, new_sentiment, new_intent, new_lead_class,
            new_visit_scheduled, page.email
        ) then
            return 'missing';
        end if;
    exception
        when check_violation then return 'invalid';
    end;
    perform app.raise_tenant_version(page.tenant_id);
    perform app.record_audit(
        'correction.set', 'user', page.user_id::text, page.tenant_id,
        'conversation:' || of_conversation_id, null,
        jsonb_strip_nulls(jsonb_build_object(
            'sentiment', new_sentiment, 'intent', new_intent, 'lead_class', new_lead_class,
            'visit_scheduled', new_visit_scheduled
        )),
        null
    );
    return 'ok';
end
$$;

-- The whole look from now on: NULL is Mirante's own. Without a new logo the old one stays where
-- keeps_logo.
create or replace function app.set_looks(
    session_token_sha256 bytea, idle_limit interval, page_tenant_id integer,
    new_display_name text, new_primary_color text, new_accent_color text,
    new_logo bytea, new_logo_type text, keeps_logo boolean
)
returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    page record;
    before app.tenant_branding%rowtype;
    wanted app.tenant_branding%rowtype;
begin
    select * into page from app.managing_page(session_token_sha256, idle_limit, page_tenant_id);
    if page.refusal is not null then
        return page.refusal;
    end if;
    select * into before from app.tenant_branding as branding
    where branding.tenant_id = page.tenant_id;
    wanted.display_name := new_display_name;
    wanted.primary_color := new_primary_color;
    wanted.accent_color := new_accent_color;
    wanted.logo := case when new_logo is null and keeps_logo then before.logo else new_logo end;
    wanted.logo_type := case
        when new_logo is null and keeps_logo then before.logo_type else new_logo_type
    end;
    if row(
        before.display_name, before.primary_color, before.accent_color, before.logo,
        before.logo_type
    ) is not distinct from row(
        wanted.display_name, wanted.primary_color, wanted.accent_color, wanted.logo,
        wanted.logo_type
    ) then
        return 'same';
    end if;
    delete from app.tenant_branding as branding where branding.tenant_id = page.tenant_id;
    if num_nonnulls(
        wanted.display_name, wanted.primary_color, wanted.accent_color, wanted.logo
    ) > 0 then
        insert into app.tenant_branding (
            tenant_id, display_name, primary_color, accent_color, logo, logo_type
        )
        values (
            page.tenant_id, wanted.display_name, wanted.primary_color, wanted.accent_color,
            wanted.logo, wanted.logo_type
        );
    end if;
    perform app.record_audit(
        'tenant.brand', 'user', page.user_id::text, page.tenant_id, 'tenant:' || page.tenant_id,
        jsonb_strip_nulls(jsonb_build_object(
            'display_name', app.without_personal(before.display_name),
            'primary_color', before.primary_color, 'accent_color', before.accent_color,
            'logo', octet_length(before.logo) || ' bytes'
        )),
        jsonb_strip_nulls(jsonb_build_object(
            'display_name', app.without_personal(wanted.display_name),
            'primary_color', wanted.primary_color, 'accent_color', wanted.accent_color,
            'logo', octet_length(wanted.logo) || ' bytes'
        )),
        null
    );
    perform app.raise_tenant_version(page.tenant_id);
    return 'ok';
end
$$;

-- of_tenant_id is the client the page was of: an agency may have switched in another tab since.
create or replace function app.save_view(
    session_token_sha256 bytea, idle_limit interval, of_tenant_id integer, new_name text,
    new_page text, new_parameters jsonb
)
returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    viewer record;
begin
    for look in 1..2 loop
        select * into viewer from app.current_session(session_token_sha256, idle_limit);
        if not found or viewer.tenant_id is null then
            return 'denied';
        end if;
        if viewer.tenant_id is distinct from of_tenant_id then
            return 'switched';
        end if;
        if look = 1 then
            -- The lock makes two at once wait, so that neither passes the limit. In the order of
            -- who disables a user, which ends sessions.
            perform 1 from app.users as users where users.id = viewer.user_id for no key update;
            perform 1 from app.sessions as sessions
            where sessions.token_sha256 = session_token_sha256 for key share;
        end if;
    end loop;
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
"""

EXPORTS = """
-- Before the rows of a file are counted: whether this session may have one of the tenant now.
create function app.admit_export(
    session_token_sha256 bytea, idle_limit interval, of_tenant_id integer
)
returns table (outcome text, wait_seconds integer)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    manager record;
begin
    wait_seconds := 0;
    select * into manager from app.managing(session_token_sha256, idle_limit);
    if not found then
        outcome := 'denied';
    elsif manager.tenant_id is distinct from of_tenant_id then
        outcome := 'switched';
    else
        -- A person 20 files, then one every three minutes; a tenant 60, then one a minute.
        wait_seconds := app.take_turn(
            array[
                sha256(convert_to('export:user:' || manager.user_id, 'utf8')),
                sha256(convert_to('export:tenant:' || manager.tenant_id, 'utf8'))
            ],
            array[20, 60], array[180.0, 60.0]
        );
        outcome := case when wait_seconds > 0 then 'too_many' else 'ok' end;
    end if;
    return next;
end
$$;

-- Before the first row is read: the line in the log that says so. `details` has ids and names of
-- filters, nothing that was typed.
create function app.begin_export(
    session_token_sha256 bytea, idle_limit interval, of_tenant_id integer, details jsonb,
    from_address_hash text
)
returns table (outcome text, export_id bigint)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    manager record;
begin
    select * into manager from app.managing(session_token_sha256, idle_limit);
    if not found then
        outcome := 'denied';
    elsif manager.tenant_id is distinct from of_tenant_id then
        outcome := 'switched';
    else
        outcome := 'ok';
        export_id := app.record_audit(
            'export.start', 'user', manager.user_id::text, manager.tenant_id, null, null, details,
            from_address_hash
        );
    end if;
    return next;
end
$$;
"""

OPT_OUTS = r"""
create table app.opt_out_keys (
    tenant_id integer not null,
    contact_id bigint not null,
    key_sha256 bytea not null check (octet_length(key_sha256) = 32),
    primary key (tenant_id, contact_id, key_sha256),
    foreign key (tenant_id, contact_id) references app.opt_outs (tenant_id, contact_id)
        on delete cascade
);
comment on table app.opt_out_keys is
    'Who opted out, when the contact is merged or deleted: SHA-256 of "<tenant_id>:phone:<phone>" or '
    '"<tenant_id>:email:<e-mail>", all that the contact had since. Of a phone anybody can try all '
    'there are: personal data still, kept to honour the opt-out.';
comment on column app.opt_out_keys.key_sha256 is
    'As the macro person_key has it: phone in E.164 without Brazil''s ninth digit, e-mail in lower '
    'case.';
grant select on app.opt_out_keys to mirante_auth;

-- From Chatwoot's own tables, so that a build can take them in that begins with it. Of a contact
-- that the tenant talked to alone.
create function app.keep_opt_out_keys() returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    if to_regclass('raw_chatwoot.contacts') is null
        or to_regclass('raw_chatwoot.conversations') is null
    then
        return;
    end if;
    insert into app.opt_out_keys (tenant_id, contact_id, key_sha256)
    select
        opt_outs.tenant_id, opt_outs.contact_id,
        sha256(convert_to(opt_outs.tenant_id || person.key, 'utf8'))
    from app.opt_outs as opt_outs
    inner join raw_chatwoot.contacts as contacts on opt_outs.contact_id = contacts.id
    cross join lateral (
        values
            (':phone:' || regexp_replace(
                contacts.phone_number, '^([+]55[1-9][0-9])9([6-9][0-9]{7})$', '\1\2'
            )),
            (':email:' || nullif(lower(btrim(contacts.email)), ''))
    ) as person (key)
    where person.key is not null
        and contacts._deleted_at is null
        and exists (
            select 1
            from raw_chatwoot.conversations as talks
            left join app.tenant_inboxes as by_inbox on talks.inbox_id = by_inbox.inbox_id
            left join app.tenant_accounts as by_account
                on talks.account_id = by_account.account_id
            where talks.contact_id = opt_outs.contact_id
                and coalesce(by_inbox.tenant_id, by_account.tenant_id) = opt_outs.tenant_id
        )
    on conflict do nothing;
end
$$;
comment on function app.keep_opt_out_keys() is
    'Adds what is known by now of the contacts who opted out; a second run adds nothing.';
revoke all on function app.keep_opt_out_keys() from public;

create function app.keep_opt_out_keys_of_new() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    perform app.keep_opt_out_keys();
    return null;
end
$$;
revoke all on function app.keep_opt_out_keys_of_new() from public;
create trigger keep_keys after insert or update on app.opt_outs
for each statement execute function app.keep_opt_out_keys_of_new();
select app.keep_opt_out_keys();
"""

# Of the tenant that the transaction is set to, as app.opted_out_contacts().
OPT_OUTS_OF_PAGES = """
create function app.opted_out_keys()
returns setof bytea
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select distinct keys.key_sha256
    from app.opt_out_keys as keys
    where keys.tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::int;
end;
"""

# Those that are new; a function that is replaced keeps its owner and grants.
INTERNAL = ("app.raise_tenant_version(integer)",)
APP_FUNCTIONS = (
    "app.load_state(integer)",
    "app.opted_out_keys()",
    "app.admit_export(bytea, interval, integer)",
    "app.begin_export(bytea, interval, integer, jsonb, text)",
)


def upgrade() -> None:
    """Create and replace them; every new function is mirante_auth's, some the app role may call."""
    execute(VERSIONS)
    execute(OWNERS)
    execute(OPT_OUTS)
    execute("grant create on schema app to mirante_auth")
    execute(FUNCTIONS)
    execute(EXPORTS)
    execute(OPT_OUTS_OF_PAGES)
    for function in (*INTERNAL, *APP_FUNCTIONS):
        execute(f"alter function {function} owner to mirante_auth")
        execute(f"revoke all on function {function} from public")
    for function in APP_FUNCTIONS:
        execute(f"grant execute on function {function} to mirante_app")
    execute("revoke create on schema app from mirante_auth")
