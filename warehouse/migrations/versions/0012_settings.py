"""What an admin sets for its tenant: rules of the funnel, AI, looks; each in a function that checks
the session itself. A plan may bound the AI budget.
"""

from warehouse.migrations import execute

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

BUDGETS = """
alter table app.plans add column max_ai_budget_usd numeric(12, 2)
    constraint plans_max_ai_budget_usd_check check (max_ai_budget_usd between 0 and 9999999);
comment on column app.plans.max_ai_budget_usd is
    'AI budget of a tenant that has none of its own, and the most that its admin may set.';

create or replace view app.tenant_limits as
select
    tenants.id as tenant_id,
    coalesce(tenants.max_users, plans.max_users) as max_users,
    coalesce(tenants.max_inboxes, plans.max_inboxes) as max_inboxes,
    coalesce(tenants.max_conversations_per_month, plans.max_conversations_per_month)
        as max_conversations_per_month,
    coalesce(tenants.ai_budget_usd, plans.max_ai_budget_usd) as ai_budget_usd
from app.tenants as tenants
inner join app.plans as plans on tenants.plan = plans.name;

create view ai.month_spending as
select
    tenants.id as tenant_id,
    coalesce(paid.usd, 0) + coalesce(open.usd, 0) as spent_usd
from app.tenants as tenants
left join (
    select
        tenant_id,
        sum(cost_usd + uncertain_usd) as usd
    from ai.ledger
    where day >= date_trunc('month', now() at time zone 'utc')::date
    group by tenant_id
) as paid on tenants.id = paid.tenant_id
left join (
    select
        tenant_id,
        sum(reserved_usd) as usd
    from ai.requests
    where state = 'reserved'
    group by tenant_id
) as open on tenants.id = open.tenant_id;
comment on column app.tenant_limits.ai_budget_usd is
    'US dollars a calendar month (UTC); NULL: only the limit of all tenants together.';
comment on view ai.month_spending is
    'US dollars that scoring cost each tenant this month (UTC), with what is reserved right now.';
"""

GRANTS = """
grant usage on schema ai to mirante_auth;
grant select on ai.month_spending, app.tenant_limits, app.plans, app.tenant_inboxes to mirante_auth;
grant select, insert, delete on app.funnel_rules to mirante_auth;
grant update (ai_budget_usd, ai_outside_allowed, updated_at) on app.tenants to mirante_auth;
grant select, insert, update, delete on app.tenant_branding to mirante_auth;
create policy managed on app.tenant_branding to mirante_auth using (true) with check (true);
grant usage on sequence app.data_version to mirante_auth;
"""

FUNCTIONS = r"""
-- Internal: what the audit log may hold of a text that somebody typed (warehouse/audit.py).
create function app.without_personal(typed text)
returns text
language sql immutable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select case
        when typed ~* (
            '[^@\s]+@[^@\s]+|\y\d{1,3}(\.\d{1,3}){3}\y|\y([0-9a-f]{0,4}:){3,}|(\d[\s().-]*){8,}'
        ) then '(looks like somebody''s address)'
        else typed
    end;
end;

-- Internal: the session's manager and tenant, its row locked, and NULL for the refusal; or why not.
-- page_tenant_id is the client the page was of: an agency may have switched in another tab since.
create function app.managing_page(
    session_token_sha256 bytea, idle_limit interval, page_tenant_id integer
)
returns table (user_id integer, tenant_id integer, is_agency boolean, refusal text)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
begin
    select managing.user_id, managing.tenant_id, users.role = 'super_admin'
    into user_id, tenant_id, is_agency
    from app.managing(session_token_sha256, idle_limit) as managing
    inner join app.users as users on managing.user_id = users.id;
    if not found then
        refusal := 'denied';
    elsif tenant_id is distinct from page_tenant_id then
        refusal := 'switched';
    else
        perform 1 from app.tenants as tenants where tenants.id = page_tenant_id for no key update;
    end if;
    return next;
end
$$;

create function app.managed_settings(session_token_sha256 bytea, idle_limit interval)
returns table (
    tenant_id integer, segment text, plan text, users bigint, inbox_ids bigint[],
    max_users integer, max_inboxes integer, max_conversations_per_month integer,
    ai_own_budget_usd numeric, ai_plan_budget_usd numeric, ai_spent_usd numeric,
    ai_outside_allowed boolean,
    display_name text, primary_color text, accent_color text, logo bytea, logo_type text
)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select
        tenants.id, tenants.segment, tenants.plan,
        (
            select count(*) from app.users as users
            where users.tenant_id = tenants.id and users.is_active
        ),
        array(
            select inboxes.inbox_id from app.tenant_inboxes as inboxes
            where inboxes.tenant_id = tenants.id
        ),
        limits.max_users, limits.max_inboxes, limits.max_conversations_per_month,
        tenants.ai_budget_usd, plans.max_ai_budget_usd, spending.spent_usd,
        tenants.ai_outside_allowed,
        branding.display_name, branding.primary_color, branding.accent_color, branding.logo,
        branding.logo_type
    from app.managing(session_token_sha256, idle_limit) as managing
    inner join app.tenants as tenants on managing.tenant_id = tenants.id
    inner join app.plans as plans on tenants.plan = plans.name
    inner join app.tenant_limits as limits on tenants.id = limits.tenant_id
    inner join ai.month_spending as spending on tenants.id = spending.tenant_id
    left join app.tenant_branding as branding on tenants.id = branding.tenant_id;
end;

create function app.managed_rules(session_token_sha256 bytea, idle_limit interval)
returns table (rule_id integer, stage text, kind text, value text)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select rules.id, rules.stage, rules.kind, rules.value
    from app.managing(session_token_sha256, idle_limit) as managing
    inner join app.funnel_rules as rules on managing.tenant_id = rules.tenant_id
    order by rules.stage, rules.kind, rules.value;
end;

create function app.add_rule(
    session_token_sha256 bytea, idle_limit interval, page_tenant_id integer,
    new_stage text, new_kind text, new_value text
)
returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    page record;
    new_id integer;
begin
    select * into page from app.managing_page(session_token_sha256, idle_limit, page_tenant_id);
    if page.refusal is not null then
        return page.refusal;
    end if;
    if (
        new_stage in ('lead', 'visit_scheduled', 'converted')
        and length(new_value) <= 200
        and new_value = btrim(new_value)
        and case new_kind
            when 'label' then new_value <> ''
            when 'keyword' then new_value <> ''
            when 'custom_attribute' then new_value ~ '^[^=]+=.'
            when 'ai' then new_value in (
                'lead_class=high', 'lead_class=medium', 'lead_class=low', 'visit_scheduled=true'
            )
            when 'crm' then new_value = '' and new_stage = 'converted'
        end
    ) is not true then
        return 'invalid';
    end if;
    if (select count(*) from app.funnel_rules as rules where rules.tenant_id = page.tenant_id) >= 200
    then
        return 'full';
    end if;
    insert into app.funnel_rules (tenant_id, stage, kind, value)
    values (page.tenant_id, new_stage, new_kind, new_value)
    on conflict do nothing
    returning id into new_id;
    if new_id is null then
        return 'taken';
    end if;
    perform app.record_audit(
        'rule.add', 'user', page.user_id::text, page.tenant_id, 'rule:' || new_id, null,
        jsonb_build_object(
            'stage', new_stage, 'kind', new_kind, 'value', app.without_personal(new_value)
        ),
        null
    );
    return 'ok';
end
$$;

create function app.remove_rule(
    session_token_sha256 bytea, idle_limit interval, page_tenant_id integer,
    removed_rule_id integer
)
returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    page record;
    removed record;
begin
    select * into page from app.managing_page(session_token_sha256, idle_limit, page_tenant_id);
    if page.refusal is not null then
        return page.refusal;
    end if;
    delete from app.funnel_rules as rules
    where rules.tenant_id = page.tenant_id and rules.id = removed_rule_id
    returning rules.stage, rules.kind, rules.value into removed;
    if not found then
        return 'missing';
    end if;
    perform app.record_audit(
        'rule.remove', 'user', page.user_id::text, page.tenant_id, 'rule:' || removed_rule_id,
        jsonb_build_object(
            'stage', removed.stage, 'kind', removed.kind,
            'value', app.without_personal(removed.value)
        ),
        null, null
    );
    return 'ok';
end
$$;

-- NULL: the plan's, and without one only the limit of all tenants together.
create function app.set_ai_budget(
    session_token_sha256 bytea, idle_limit interval, page_tenant_id integer, new_budget_usd numeric
)
returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    page record;
    bounds record;
begin
    select * into page from app.managing_page(session_token_sha256, idle_limit, page_tenant_id);
    if page.refusal is not null then
        return page.refusal;
    end if;
    select tenants.ai_budget_usd as old_usd, plans.max_ai_budget_usd as most_usd into bounds
    from app.tenants as tenants
    inner join app.plans as plans on tenants.plan = plans.name
    where tenants.id = page.tenant_id;
    if not new_budget_usd between 0 and 9999999 then  -- NaN is above all numbers
        return 'invalid';
    end if;
    if not page.is_agency and new_budget_usd is null and bounds.most_usd is null then
        return 'invalid';
    end if;
    -- Without a plan's maximum, what the agency set is one: only lower.
    if not page.is_agency and new_budget_usd > coalesce(bounds.most_usd, bounds.old_usd) then
        return 'above';
    end if;
    if round(new_budget_usd, 2) is not distinct from bounds.old_usd then
        return 'same';
    end if;
    update app.tenants as tenants
    set ai_budget_usd = round(new_budget_usd, 2), updated_at = clock_timestamp()
    where tenants.id = page.tenant_id;
    perform app.record_audit(
        'tenant.edit', 'user', page.user_id::text, page.tenant_id, 'tenant:' || page.tenant_id,
        jsonb_build_object('ai_budget_usd', bounds.old_usd),
        jsonb_build_object('ai_budget_usd', round(new_budget_usd, 2)), null
    );
    return 'ok';
end
$$;

create function app.set_ai_outside(
    session_token_sha256 bytea, idle_limit interval, page_tenant_id integer, new_is_allowed boolean
)
returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    page record;
begin
    select * into page from app.managing_page(session_token_sha256, idle_limit, page_tenant_id);
    if page.refusal is not null then
        return page.refusal;
    end if;
    update app.tenants as tenants
    set ai_outside_allowed = new_is_allowed, updated_at = clock_timestamp()
    where tenants.id = page.tenant_id and tenants.ai_outside_allowed <> new_is_allowed;
    if not found then
        return 'same';
    end if;
    perform app.record_audit(
        'tenant.edit', 'user', page.user_id::text, page.tenant_id, 'tenant:' || page.tenant_id,
        jsonb_build_object('ai_outside_allowed', not new_is_allowed),
        jsonb_build_object('ai_outside_allowed', new_is_allowed), null
    );
    return 'ok';
end
$$;

-- The whole look from now on: NULL is Mirante's own. Without a new logo the old one stays where
-- keeps_logo.
create function app.set_looks(
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
    if (before.display_name, before.primary_color, before.accent_color, before.logo, before.logo_type)
        is not distinct from
        (wanted.display_name, wanted.primary_color, wanted.accent_color, wanted.logo, wanted.logo_type)
    then
        return 'same';
    end if;
    delete from app.tenant_branding as branding where branding.tenant_id = page.tenant_id;
    if num_nonnulls(wanted.display_name, wanted.primary_color, wanted.accent_color, wanted.logo) > 0 then
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
    perform nextval('app.data_version');
    return 'ok';
end
$$;

-- Once more after a commit: a page that read between the first rise and it has cached the old.
create function app.raise_data_version(session_token_sha256 bytea, idle_limit interval)
returns bigint
language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    select nextval('app.data_version') from app.managing(session_token_sha256, idle_limit);
end;
"""

INTERNAL = (
    "app.without_personal(text)",
    "app.managing_page(bytea, interval, integer)",
)
APP_FUNCTIONS = (
    "app.managed_settings(bytea, interval)",
    "app.managed_rules(bytea, interval)",
    "app.add_rule(bytea, interval, integer, text, text, text)",
    "app.remove_rule(bytea, interval, integer, integer)",
    "app.set_ai_budget(bytea, interval, integer, numeric)",
    "app.set_ai_outside(bytea, interval, integer, boolean)",
    "app.set_looks(bytea, interval, integer, text, text, text, bytea, text, boolean)",
    "app.raise_data_version(bytea, interval)",
)


def upgrade() -> None:
    """Create them; every function is mirante_auth's, some the app role may call."""
    for step in (BUDGETS, GRANTS, FUNCTIONS):
        execute(step)
    execute("grant create on schema app to mirante_auth")
    for function in (*INTERNAL, *APP_FUNCTIONS):
        execute(f"alter function {function} owner to mirante_auth")
        execute(f"revoke all on function {function} from public")
    for function in APP_FUNCTIONS:
        execute(f"grant execute on function {function} to mirante_app")
    execute("revoke create on schema app from mirante_auth")
