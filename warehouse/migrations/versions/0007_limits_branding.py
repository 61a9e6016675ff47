"""Plans and limits of tenants, deletion with a grace period, branding."""

from warehouse.migrations import execute

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

LIMITS = r"""
create table app.plans (
    name text primary key check (name ~ '^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$'),
    max_users integer check (max_users > 0),
    max_inboxes integer check (max_inboxes > 0),
    max_conversations_per_month integer check (max_conversations_per_month > 0),
    updated_at timestamptz not null default now()
);
comment on table app.plans is 'What a tenant of the plan may use at most; NULL: no limit.';
comment on column app.plans.max_conversations_per_month is
    'Of the tenant''s calendar month. Told, never cut: nothing is lost above it.';
insert into app.plans (name) values ('standard')
on conflict do nothing;
insert into app.plans (name) select distinct plan from app.tenants
on conflict do nothing;

alter table app.tenants
    add column max_users integer check (max_users > 0),
    add column max_inboxes integer check (max_inboxes > 0),
    add column max_conversations_per_month integer check (max_conversations_per_month > 0),
    add column purge_after timestamptz,
    add constraint tenants_plan_fkey foreign key (plan) references app.plans (name),
    add constraint tenants_purge_after_check check (purge_after is null or status = 'cancelled');
comment on column app.tenants.max_users is 'Own limit in place of the plan''s.';
comment on column app.tenants.max_inboxes is 'Own limit in place of the plan''s.';
comment on column app.tenants.max_conversations_per_month is 'Own limit in place of the plan''s.';
comment on column app.tenants.purge_after is
    'Deleted, and brought back by `tenant restore` until then; afterwards a purge removes it.';

create view app.tenant_limits as
select
    tenants.id as tenant_id,
    coalesce(tenants.max_users, plans.max_users) as max_users,
    coalesce(tenants.max_inboxes, plans.max_inboxes) as max_inboxes,
    coalesce(tenants.max_conversations_per_month, plans.max_conversations_per_month)
        as max_conversations_per_month
from app.tenants as tenants
inner join app.plans as plans on tenants.plan = plans.name;
comment on view app.tenant_limits is 'The limits that hold: the tenant''s own, else its plan''s.';
"""

# In the database, so that no way of adding a user passes it by; the lock makes two at once wait.
USER_LIMIT = r"""
create function app.check_user_limit()
returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    owner_slug text;
    user_limit integer;
    users_now bigint;
begin
    select tenants.slug into owner_slug
    from app.tenants as tenants
    where tenants.id = new.tenant_id
    for no key update;
    select limits.max_users into user_limit
    from app.tenant_limits as limits
    where limits.tenant_id = new.tenant_id;
    if user_limit is null then
        return new;
    end if;
    select count(*) into users_now
    from app.users as users
    where users.tenant_id = new.tenant_id and users.is_active and users.id <> new.id;
    if users_now >= user_limit then
        raise exception 'tenant % has % of its % users: disable one, or raise --max-users',
            owner_slug, users_now, user_limit;
    end if;
    return new;
end;
$$;
revoke all on function app.check_user_limit() from public;

create trigger users_limit_of_new
before insert on app.users
for each row when (new.is_active and new.tenant_id is not null)
execute function app.check_user_limit();

create trigger users_limit_of_changed
before update of is_active, tenant_id on app.users
for each row when (
    new.is_active and new.tenant_id is not null
    and (not old.is_active or old.tenant_id is distinct from new.tenant_id)
)
execute function app.check_user_limit();
"""

BRANDING = r"""
create table app.tenant_branding (
    tenant_id integer primary key references app.tenants (id) on delete cascade,
    display_name text check (btrim(display_name) <> '' and length(display_name) <= 80),
    primary_color text check (primary_color ~ '^#[0-9a-f]{6}$'),
    accent_color text check (accent_color ~ '^#[0-9a-f]{6}$'),
    logo bytea check (octet_length(logo) between 1 and 262144),
    logo_type text check (logo_type in ('image/png', 'image/jpeg', 'image/webp')),
    updated_at timestamptz not null default now(),
    check ((logo is null) = (logo_type is null))
);
comment on table app.tenant_branding is
    'How a tenant''s pages look: the name shown, a logo decoded and written anew, two colours that '
    'are readable on white and under white.';
alter table app.tenant_branding enable row level security;
create policy tenant_isolation on app.tenant_branding for select to mirante_app
using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::int));
grant select on app.tenant_branding to mirante_app;
"""

# A function or type that a later step or model makes is nobody's until it is granted.
DEFAULTS = """
alter default privileges revoke execute on functions from public;
alter default privileges revoke usage on types from public;
"""


def upgrade() -> None:
    """Create them; mirante_owner's future functions start closed."""
    for step in (LIMITS, USER_LIMIT, BRANDING, DEFAULTS):
        execute(step)
