"""Second factor, one-time links, known devices, throttles; what a person may do to its own account
and an admin to its tenant's, each in a function that checks the session itself.
"""

from warehouse.migrations import execute

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = r"""
alter table app.users
    alter column password_hash drop not null,
    add column password_changed_at timestamptz not null default now(),
    add column totp_secret text check (totp_secret ~ '^[A-Z2-7]{32}$'),
    add column totp_last_step bigint,
    add column last_log_in_at timestamptz;
comment on column app.users.password_hash is
    'bcrypt over a pre-hash; NULL until the person sets one through its link.';
comment on column app.users.totp_secret is
    'Base32 of 160 bits, once a code of it was given; NULL: no second factor yet.';
comment on column app.users.totp_last_step is
    'The 30-second step of the last code that was taken: none up to it is taken again.';

alter table app.sessions
    add column id bigint generated always as identity unique,
    add column stage text not null default 'full' check (stage in ('code', 'enrol', 'full')),
    add column offered_totp_secret text check (offered_totp_secret ~ '^[A-Z2-7]{32}$'),
    add column code_attempts smallint not null default 0,
    add column device text not null default '' check (length(device) <= 80);
comment on column app.sessions.stage is
    'full: logged in. code: the password was right, a code of the second factor is due. enrol: it '
    'was right, and a second factor must be set up first. Only full ones reach anything.';
comment on column app.sessions.offered_totp_secret is 'Shown to be set up, not yet confirmed.';
comment on column app.sessions.device is 'Browser and system by name, such as Chrome · Android.';

create table app.devices (
    token_sha256 bytea not null check (octet_length(token_sha256) = 32),
    user_id integer not null references app.users (id) on delete cascade,
    created_at timestamptz not null default now(),
    last_used_at timestamptz not null default now(),
    primary key (token_sha256, user_id)
);
comment on table app.devices is
    'Browsers a user logged in with: other people''s failures never slow them. No way in by itself.';
create index devices_user_id on app.devices (user_id);

create table app.recovery_codes (
    user_id integer not null references app.users (id) on delete cascade,
    code_sha256 bytea not null check (octet_length(code_sha256) = 32),
    primary key (user_id, code_sha256)
);
comment on table app.recovery_codes is
    'Codes of 80 random bits in place of the second factor, each for one time: a used one is deleted.';

create table app.user_links (
    token_sha256 bytea primary key check (octet_length(token_sha256) = 32),
    user_id integer not null unique references app.users (id) on delete cascade,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null
);
comment on table app.user_links is
    'One-time links by which a person sets its password (an invite, or a reset); the newest of a '
    'user alone is live, a used one is deleted.';

create table app.throttles (
    key bytea primary key check (octet_length(key) = 32),
    free_at timestamptz not null
);
comment on table app.throttles is
    'Tries of late, by keyed hash of account, address or device: free_at runs ahead of the clock by '
    'one pace a try (generic cell rate). A row whose free_at is past says nothing and is deleted.';
create index throttles_free_at on app.throttles (free_at);
"""

GRANTS = """
grant insert, update on app.users to mirante_auth;
grant select, insert, update, delete
    on app.devices, app.recovery_codes, app.user_links, app.throttles to mirante_auth;
grant execute
    on function app.record_audit(text, text, text, integer, text, jsonb, jsonb, text)
    to mirante_auth;
"""

# Whoever changes them (command line, page, plain SQL): sessions end in the same transaction.
TRIGGERS = """
create function app.end_sessions()
returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_table_name = 'tenants' then
        delete from app.sessions as sessions using app.users as users
        where sessions.user_id = users.id and users.tenant_id = new.id;
    else
        delete from app.sessions as sessions where sessions.user_id = new.id;
        if new.password_changed_at <> old.password_changed_at then
            delete from app.devices as devices where devices.user_id = new.id;
        end if;
        if not new.is_active or new.password_changed_at <> old.password_changed_at then
            delete from app.user_links as links where links.user_id = new.id;
        end if;
    end if;
    return null;
end
$$;
create trigger users_end_sessions
    after update of is_active, role, tenant_id, password_changed_at, totp_secret on app.users
    for each row when (
        not new.is_active
        or old.role <> new.role
        or old.tenant_id is distinct from new.tenant_id
        or old.password_changed_at <> new.password_changed_at
        or old.totp_secret is distinct from new.totp_secret
    )
    execute function app.end_sessions();
create trigger tenants_end_sessions
    after update of status on app.tenants
    for each row when (new.status <> 'active')
    execute function app.end_sessions();
"""

# plpgsql where a step depends on the one before; its variables are the parameters alone.
LOG_IN = """
drop function app.open_session(integer, bytea, interval);

create or replace function app.login_candidate(candidate_email text)
returns table (user_id integer, password_hash text)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select users.id, users.password_hash
    from app.users as users
    left join app.tenants as tenants on users.tenant_id = tenants.id
    where users.email = lower(btrim(candidate_email))
        and users.is_active
        and users.password_hash is not null
        and (users.role = 'super_admin' or tenants.status = 'active');
end;

create or replace function app.current_session(session_token_sha256 bytea, idle_limit interval)
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
        and sessions.stage = 'full'
        and sessions.expires_at > now()
        and sessions.last_seen_at > now() - idle_limit
        and users.is_active
        and (users.role = 'super_admin' or tenants.status = 'active');
end;

-- Internal: charges every key one try, or none and says how many seconds to wait. Of each key
-- `bursts` tries are free at once, then one every `paces` seconds.
create function app.take_turn(keys bytea[], bursts integer[], paces double precision[])
returns integer
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    moment timestamptz;
    wait double precision;
begin
    -- Locks every row, always in one order.
    insert into app.throttles as throttles (key, free_at)
    select wanted.key, clock_timestamp() from unnest(keys) as wanted (key) order by wanted.key
    on conflict (key) do update set free_at = throttles.free_at;
    moment := clock_timestamp();
    select max(extract(epoch from throttles.free_at - moment) - (wanted.burst - 1) * wanted.pace)
    into wait
    from unnest(keys, bursts, paces) as wanted (key, burst, pace)
    inner join app.throttles as throttles on wanted.key = throttles.key;
    if wait > 0.001 then
        return ceil(wait);
    end if;
    update app.throttles as throttles
    set free_at = greatest(throttles.free_at, moment) + make_interval(secs => wanted.pace)
    from unnest(keys, paces) as wanted (key, pace)
    where throttles.key = wanted.key;
    return 0;
end
$$;

-- Before a password is checked. A try is charged at once, so that many at the same moment do not
-- all pass, and given back by forgive_log_in() when it was right. Failures of an address slow that
-- address; a browser the user logged in with before has a count of its own; and an account under
-- attack from many addresses leaves each strange one a try a minute, the first always at once.
create function app.admit_log_in(
    candidate_email text, account_key bytea, address_key bytea, pair_key bytea,
    device_token_sha256 bytea
)
returns table (wait_seconds integer, is_known_device boolean)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    under_attack boolean;
begin
    is_known_device := exists (
        select 1
        from app.devices as devices
        inner join app.users as users on devices.user_id = users.id
        where devices.token_sha256 = device_token_sha256
            and users.email = lower(btrim(candidate_email))
    );
    if is_known_device then
        wait_seconds := app.take_turn(
            array[sha256(device_token_sha256)], array[10], array[30.0]
        );
        return next;
        return;
    end if;
    select exists (
        select 1 from app.throttles as throttles
        where throttles.key = account_key
            and throttles.free_at > clock_timestamp() + interval '10 minutes'
    ) into under_attack;
    wait_seconds := app.take_turn(
        array[address_key, pair_key],
        array[20, case when under_attack then 1 else 5 end],
        array[6.0, case when under_attack then 60.0 else 30.0 end]
    );
    if wait_seconds = 0 then
        insert into app.throttles as throttles (key, free_at)
        values (account_key, clock_timestamp() + interval '6 seconds')
        on conflict (key) do update set free_at = least(
            greatest(throttles.free_at, clock_timestamp()) + interval '6 seconds',
            clock_timestamp() + interval '15 minutes'
        );
    end if;
    -- Last, so that nothing else is waited for with these rows in hand.
    delete from app.throttles as throttles
    where throttles.key in (
        select stale.key from app.throttles as stale
        where stale.free_at < clock_timestamp() - interval '1 minute'
        limit 100 for update skip locked
    );
    return next;
end
$$;

-- Gives a try back: one that was right takes the failures before it along, one that was not looked
-- at (was_right false) nothing but itself.
create function app.forgive_log_in(
    account_key bytea, address_key bytea, pair_key bytea, device_token_sha256 bytea,
    was_right boolean
)
returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
begin
    -- Locked in the order of admit_log_in(), rows that are not there yet too; the account last.
    if was_right then
        delete from app.throttles as throttles where throttles.key = sha256(device_token_sha256);
    else
        update app.throttles as throttles set free_at = throttles.free_at - interval '30 seconds'
        where throttles.key = sha256(device_token_sha256);
    end if;
    insert into app.throttles as throttles (key, free_at)
    select wanted.key, clock_timestamp()
    from unnest(array[address_key, pair_key]) as wanted (key) order by wanted.key
    on conflict (key) do update set free_at = throttles.free_at;
    if was_right then
        delete from app.throttles as throttles where throttles.key = pair_key;
    else
        update app.throttles as throttles set free_at = throttles.free_at - interval '30 seconds'
        where throttles.key = pair_key;
    end if;
    update app.throttles as throttles set free_at = throttles.free_at - interval '6 seconds'
    where throttles.key = address_key;
    update app.throttles as throttles set free_at = throttles.free_at - interval '6 seconds'
    where throttles.key = account_key;
end
$$;

-- After the password was checked: the stage the new session is in; NULL when the user, its tenant
-- or its password changed meanwhile.
create function app.open_session(
    for_user_id integer, checked_password_hash text, new_token_sha256 bytea, lifetime interval,
    on_device text, from_address_hash text
)
returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    person record;
    new_stage text;
begin
    delete from app.sessions as sessions where sessions.expires_at < now();
    select users.id, users.role, users.tenant_id, users.totp_secret into person
    from app.users as users
    left join app.tenants as tenants on users.tenant_id = tenants.id
    where users.id = for_user_id and users.password_hash = checked_password_hash
        and users.is_active
        and (users.role = 'super_admin' or tenants.status = 'active')
    for update of users;
    if not found then
        return null;
    end if;
    new_stage := case
        when person.totp_secret is not null then 'code'
        when person.role = 'super_admin' then 'enrol'
        else 'full'
    end;
    insert into app.sessions (token_sha256, user_id, expires_at, stage, device)
    values (
        new_token_sha256, person.id,
        now() + case
            when new_stage = 'full' then least(lifetime, interval '30 days')
            else interval '10 minutes'
        end,
        new_stage, left(on_device, 80)
    );
    if new_stage = 'full' then
        update app.users as users set last_log_in_at = now() where users.id = person.id;
    end if;
    perform app.record_audit(
        'session.open', 'user', person.id::text, person.tenant_id, 'user:' || person.id,
        null, jsonb_build_object('stage', new_stage), from_address_hash
    );
    return new_stage;
end
$$;

-- A better hash of the password that was just checked; ends nothing.
create function app.rehash_password(for_user_id integer, old_hash text, new_hash text)
returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    update app.users as users set password_hash = new_hash
    where users.id = for_user_id and users.password_hash = old_hash;
end;

create function app.remember_device(
    session_token_sha256 bytea, idle_limit interval, device_token_sha256 bytea
)
returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    delete from app.devices as devices where devices.last_used_at < now() - interval '400 days';
    insert into app.devices as devices (token_sha256, user_id)
    select device_token_sha256, viewer.user_id
    from app.current_session(session_token_sha256, idle_limit) as viewer
    on conflict (token_sha256, user_id) do update set last_used_at = now();
end;
"""

SECOND_FACTOR = """
create function app.pending_session(session_token_sha256 bytea)
returns table (user_id integer, email text, stage text, totp_secret text)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select
        users.id, users.email, sessions.stage,
        case sessions.stage when 'code' then users.totp_secret else sessions.offered_totp_secret end
    from app.sessions as sessions
    inner join app.users as users on sessions.user_id = users.id
    left join app.tenants as tenants on users.tenant_id = tenants.id
    where sessions.token_sha256 = session_token_sha256
        and sessions.stage <> 'full'
        and sessions.expires_at > now()
        and users.is_active
        and (users.role = 'super_admin' or tenants.status = 'active');
end;

-- Before a code is checked: seconds to wait, 0 when it may be. Five wrong codes end a session that
-- waits for one; of an account, strange browsers have ten tries, then one every 30 seconds.
create function app.admit_code(session_token_sha256 bytea, device_token_sha256 bytea)
returns integer
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    owner_id integer;
    attempts integer;
    current_stage text;
    is_known_device boolean;
begin
    update app.sessions as sessions set code_attempts = sessions.code_attempts + 1
    where sessions.token_sha256 = session_token_sha256
    returning sessions.user_id, sessions.code_attempts, sessions.stage
    into owner_id, attempts, current_stage;
    if not found then
        return 0;
    end if;
    if current_stage = 'code' and attempts > 5 then
        delete from app.sessions as sessions where sessions.token_sha256 = session_token_sha256;
        return 0;
    end if;
    is_known_device := exists (
        select 1 from app.devices as devices
        where devices.token_sha256 = device_token_sha256 and devices.user_id = owner_id
    );
    return app.take_turn(
        array[sha256(convert_to(
            'code:' || owner_id
            || case when is_known_device then encode(device_token_sha256, 'hex') else '' end,
            'utf8'
        ))],
        array[10], array[30.0]
    );
end
$$;

-- Internal: takes a step of the clock or a recovery code, once.
create function app.take_code(for_user_id integer, totp_step bigint, recovery_code_sha256 bytea)
returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
begin
    if totp_step is not null then
        update app.users as users set totp_last_step = totp_step
        where users.id = for_user_id and users.totp_secret is not null
            and coalesce(users.totp_last_step, -1) < totp_step;
    else
        delete from app.recovery_codes as codes
        where codes.user_id = for_user_id and codes.code_sha256 = recovery_code_sha256;
    end if;
    return found;
end
$$;

create function app.pass_second_factor(
    session_token_sha256 bytea, totp_step bigint, recovery_code_sha256 bytea,
    new_token_sha256 bytea, lifetime interval, from_address_hash text
)
returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    person record;
    old_device text;
begin
    select users.id, users.tenant_id into person
    from app.users as users
    inner join app.pending_session(session_token_sha256) as pending
        on users.id = pending.user_id
    where pending.stage = 'code'
    for update of users;
    if not found or not app.take_code(person.id, totp_step, recovery_code_sha256) then
        return false;
    end if;
    delete from app.sessions as sessions where sessions.token_sha256 = session_token_sha256
    returning sessions.device into old_device;
    if not found then  -- ended while the row of the user was waited for
        return false;
    end if;
    insert into app.sessions (token_sha256, user_id, expires_at, device)
    values (new_token_sha256, person.id, now() + least(lifetime, interval '30 days'), old_device);
    update app.users as users set last_log_in_at = now() where users.id = person.id;
    -- After the session, as in admit_code().
    delete from app.throttles as throttles
    where throttles.key = sha256(convert_to('code:' || person.id, 'utf8'));
    perform app.record_audit(
        'session.open', 'user', person.id::text, person.tenant_id, 'user:' || person.id, null,
        jsonb_build_object(
            'stage', 'full', 'by', case when totp_step is null then 'recovery code' else 'totp' end
        ),
        from_address_hash
    );
    return true;
end
$$;

-- The secret to set up: the one already shown to this session, else the new one; NULL to a session
-- that is over, or whose user has a second factor.
create function app.offer_totp(
    session_token_sha256 bytea, idle_limit interval, new_totp_secret text
)
returns text
language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    update app.sessions as sessions
    set offered_totp_secret = coalesce(sessions.offered_totp_secret, new_totp_secret)
    from app.users as users
    where sessions.token_sha256 = session_token_sha256
        and sessions.user_id = users.id
        and users.totp_secret is null
        and (
            exists (
                select 1 from app.pending_session(session_token_sha256) as pending
                where pending.stage = 'enrol'
            )
            or exists (select 1 from app.current_session(session_token_sha256, idle_limit))
        )
    returning sessions.offered_totp_secret;
end;

-- A code of the offered secret was given: it counts from now on, and every other session ends.
create function app.confirm_totp(
    session_token_sha256 bytea, idle_limit interval, checked_totp_secret text, totp_step bigint,
    recovery_code_sha256s bytea[], new_token_sha256 bytea, lifetime interval,
    from_address_hash text
)
returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    session record;
begin
    -- The person before the session, as the triggers lock them.
    perform 1
    from app.users as users
    inner join app.sessions as sessions on users.id = sessions.user_id
    where sessions.token_sha256 = session_token_sha256
    for update of users;
    if app.offer_totp(session_token_sha256, idle_limit, null) is distinct from checked_totp_secret
    then
        return false;
    end if;
    select sessions.user_id, sessions.viewed_tenant_id, sessions.device, users.tenant_id
    into session
    from app.sessions as sessions
    inner join app.users as users on sessions.user_id = users.id
    where sessions.token_sha256 = session_token_sha256;
    if not found then
        return false;
    end if;
    update app.users as users
    set totp_secret = checked_totp_secret, totp_last_step = totp_step, last_log_in_at = now()
    where users.id = session.user_id;
    delete from app.recovery_codes as codes where codes.user_id = session.user_id;
    insert into app.recovery_codes (user_id, code_sha256)
    select session.user_id, unnest(recovery_code_sha256s);
    insert into app.sessions (token_sha256, user_id, viewed_tenant_id, expires_at, device)
    values (
        new_token_sha256, session.user_id, session.viewed_tenant_id,
        now() + least(lifetime, interval '30 days'), session.device
    );
    perform app.record_audit(
        'user.enable_second_factor', 'user', session.user_id::text, session.tenant_id,
        'user:' || session.user_id, null, null, from_address_hash
    );
    return true;
end
$$;
"""

ACCOUNT = """
create function app.own_account(session_token_sha256 bytea, idle_limit interval)
returns table (
    user_id integer, email text, role text, tenant_name text, totp_secret text,
    recovery_codes_left integer
)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select
        users.id, users.email, users.role, viewer.tenant_name, users.totp_secret,
        (
            select count(*)::integer from app.recovery_codes as codes
            where codes.user_id = users.id
        )
    from app.current_session(session_token_sha256, idle_limit) as viewer
    inner join app.users as users on viewer.user_id = users.id;
end;

create function app.own_sessions(session_token_sha256 bytea, idle_limit interval)
returns table (
    session_id bigint, device text, created_at timestamptz, last_seen_at timestamptz,
    is_current boolean
)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select
        sessions.id, sessions.device, sessions.created_at, sessions.last_seen_at,
        sessions.token_sha256 = session_token_sha256
    from app.current_session(session_token_sha256, idle_limit) as viewer
    inner join app.sessions as sessions on viewer.user_id = sessions.user_id
    where sessions.stage = 'full'
        and sessions.expires_at > now()
        and sessions.last_seen_at > now() - idle_limit
    order by sessions.token_sha256 = session_token_sha256 desc, sessions.last_seen_at desc;
end;

-- Ends one session of the caller's own, or with NULL all but this one; the hashes of those ended,
-- so that their open tabs can be told.
create function app.end_own_sessions(
    session_token_sha256 bytea, idle_limit interval, ended_session_id bigint
)
returns setof bytea
language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    delete from app.sessions as sessions
    using app.current_session(session_token_sha256, idle_limit) as viewer
    where sessions.user_id = viewer.user_id
        and case
            when ended_session_id is null then sessions.token_sha256 <> session_token_sha256
            else sessions.id = ended_session_id
        end
    returning sessions.token_sha256;
end;

create function app.set_own_password(
    session_token_sha256 bytea, idle_limit interval, old_hash text, new_hash text,
    new_token_sha256 bytea, lifetime interval
)
returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    session record;
begin
    -- First the lock, then the look: who is disabled meanwhile has no session any more.
    perform 1
    from app.sessions as sessions
    inner join app.users as users on sessions.user_id = users.id
    where sessions.token_sha256 = session_token_sha256
    for update of users;
    select sessions.user_id, sessions.viewed_tenant_id, sessions.device, users.tenant_id
    into session
    from app.current_session(session_token_sha256, idle_limit) as viewer
    inner join app.users as users on viewer.user_id = users.id
    inner join app.sessions as sessions on sessions.token_sha256 = session_token_sha256
    where users.password_hash = old_hash;
    if not found then
        return false;
    end if;
    update app.users as users
    set password_hash = new_hash, password_changed_at = clock_timestamp(), updated_at = now()
    where users.id = session.user_id;
    insert into app.sessions (token_sha256, user_id, viewed_tenant_id, expires_at, device)
    values (
        new_token_sha256, session.user_id, session.viewed_tenant_id,
        now() + least(lifetime, interval '30 days'), session.device
    );
    perform app.record_audit(
        'user.set_password', 'user', session.user_id::text, session.tenant_id,
        'user:' || session.user_id, null, null, null
    );
    return true;
end
$$;

-- With a code: new recovery codes, or (with none given, and never a super_admin) the second factor
-- taken off, which ends every session.
create function app.renew_second_factor(
    session_token_sha256 bytea, idle_limit interval, totp_step bigint,
    recovery_code_sha256s bytea[]
)
returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    viewer record;
    takes_off boolean := coalesce(cardinality(recovery_code_sha256s), 0) = 0;
begin
    select * into viewer from app.current_session(session_token_sha256, idle_limit);
    if not found or (takes_off and viewer.role = 'super_admin')
        or totp_step is null or not app.take_code(viewer.user_id, totp_step, null)
    then
        return false;
    end if;
    delete from app.recovery_codes as codes where codes.user_id = viewer.user_id;
    if takes_off then
        update app.users as users set totp_secret = null where users.id = viewer.user_id;
    else
        insert into app.recovery_codes (user_id, code_sha256)
        select viewer.user_id, unnest(recovery_code_sha256s);
    end if;
    perform app.record_audit(
        case when takes_off then 'user.disable_second_factor' else 'user.renew_recovery_codes' end,
        'user', viewer.user_id::text, viewer.tenant_id, 'user:' || viewer.user_id,
        null, null, null
    );
    return true;
end
$$;
"""

LINKS = """
create function app.link_user(link_token_sha256 bytea)
returns table (email text, tenant_name text, is_invite boolean)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select users.email, tenants.name, users.last_log_in_at is null
    from app.user_links as links
    inner join app.users as users on links.user_id = users.id
    left join app.tenants as tenants on users.tenant_id = tenants.id
    where links.token_sha256 = link_token_sha256
        and links.expires_at > now()
        and users.is_active
        and (users.role = 'super_admin' or tenants.status = 'active');
end;

create function app.use_link(link_token_sha256 bytea, new_hash text, from_address_hash text)
returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    person record;
begin
    delete from app.user_links as links
    where links.token_sha256 = link_token_sha256
        and exists (select 1 from app.link_user(link_token_sha256))
    returning links.user_id into person;
    if not found then
        return false;
    end if;
    update app.users as users
    set password_hash = new_hash, password_changed_at = clock_timestamp(), updated_at = now()
    where users.id = person.user_id
    returning users.id, users.tenant_id into person;
    perform app.record_audit(
        'user.set_password', 'user', person.id::text, person.tenant_id, 'user:' || person.id,
        null, jsonb_build_object('by', 'link'), from_address_hash
    );
    return true;
end
$$;
"""

ADMINS = """
-- Internal: whose users a session may manage: an admin's own tenant, or the one an agency's
-- super_admin looks at. No row to anybody else.
create function app.managing(session_token_sha256 bytea, idle_limit interval)
returns table (user_id integer, tenant_id integer)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select viewer.user_id, viewer.tenant_id
    from app.current_session(session_token_sha256, idle_limit) as viewer
    where viewer.role in ('admin', 'super_admin') and viewer.tenant_id is not null;
end;

create function app.managed_users(session_token_sha256 bytea, idle_limit interval)
returns table (
    user_id integer, email text, role text, is_active boolean, has_password boolean,
    has_second_factor boolean, link_expires_at timestamptz, last_log_in_at timestamptz,
    is_self boolean
)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select
        users.id, users.email, users.role, users.is_active, users.password_hash is not null,
        users.totp_secret is not null, links.expires_at, users.last_log_in_at,
        users.id = managing.user_id
    from app.managing(session_token_sha256, idle_limit) as managing
    inner join app.users as users on managing.tenant_id = users.tenant_id
    left join app.user_links as links on users.id = links.user_id and links.expires_at > now()
    order by users.email;
end;

-- into_tenant_id is the client the page was of: an agency may have switched in another tab since.
create function app.invite_user(
    session_token_sha256 bytea, idle_limit interval, into_tenant_id integer, new_email text,
    new_role text, link_token_sha256 bytea, link_lifetime interval
)
returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    manager record;
    new_id integer;
begin
    select * into manager from app.managing(session_token_sha256, idle_limit);
    if not found or new_role not in ('client', 'admin') then
        return 'denied';
    end if;
    if manager.tenant_id is distinct from into_tenant_id then
        return 'switched';
    end if;
    -- E-mails are unique in all tenants, so a refusal tells that one is in use: not many an hour.
    if app.take_turn(
        array[sha256(convert_to('invite:' || manager.user_id, 'utf8'))], array[20], array[60.0]
    ) > 0 then
        return 'too_many';
    end if;
    begin
        insert into app.users (email, role, tenant_id)
        values (lower(btrim(new_email)), new_role, manager.tenant_id)
        returning users.id into new_id;
    exception
        when unique_violation then return 'taken';
        when check_violation then return 'invalid';
        when raise_exception then return 'full';  -- a limit of the tenant's plan
    end;
    insert into app.user_links (token_sha256, user_id, expires_at)
    values (link_token_sha256, new_id, now() + least(link_lifetime, interval '30 days'));
    perform app.record_audit(
        'user.invite', 'user', manager.user_id::text, manager.tenant_id, 'user:' || new_id,
        null, jsonb_build_object('role', new_role), null
    );
    return 'ok';
end
$$;

-- The old password counts no more, every session ends, and the link is the way back in.
create function app.start_reset(
    session_token_sha256 bytea, idle_limit interval, target_user_id integer,
    link_token_sha256 bytea, link_lifetime interval
)
returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    manager record;
begin
    select managing.user_id, managing.tenant_id into manager
    from app.managing(session_token_sha256, idle_limit) as managing
    inner join app.users as users
        on managing.tenant_id = users.tenant_id and managing.user_id <> users.id
    where users.id = target_user_id and users.is_active
    for update of users;
    if not found then
        return false;
    end if;
    update app.users as users
    set password_hash = null, password_changed_at = clock_timestamp(), updated_at = now()
    where users.id = target_user_id;
    delete from app.user_links as links where links.user_id = target_user_id;
    insert into app.user_links (token_sha256, user_id, expires_at)
    values (link_token_sha256, target_user_id, now() + least(link_lifetime, interval '30 days'));
    perform app.record_audit(
        'user.reset', 'user', manager.user_id::text, manager.tenant_id,
        'user:' || target_user_id, null, null, null
    );
    return true;
end
$$;

-- Changes what is not NULL of another user of the managed tenant; true when there was one.
create function app.manage_user(
    session_token_sha256 bytea, idle_limit interval, target_user_id integer,
    new_role text, new_is_active boolean, drop_second_factor boolean
)
returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    manager record;
begin
    if new_role not in ('client', 'admin') then
        return false;
    end if;
    select
        managing.user_id, managing.tenant_id, users.role, users.is_active,
        users.totp_secret is not null as has_second_factor
    into manager
    from app.managing(session_token_sha256, idle_limit) as managing
    inner join app.users as users
        on managing.tenant_id = users.tenant_id and managing.user_id <> users.id
    where users.id = target_user_id
    for update of users;
    if not found then
        return false;
    end if;
    update app.users as users
    set
        role = coalesce(new_role, users.role),
        is_active = coalesce(new_is_active, users.is_active),
        totp_secret = case when not coalesce(drop_second_factor, false) then users.totp_secret end,
        updated_at = now()
    where users.id = target_user_id;
    if drop_second_factor then
        delete from app.recovery_codes as codes where codes.user_id = target_user_id;
    end if;
    perform app.record_audit(
        'user.manage', 'user', manager.user_id::text, manager.tenant_id,
        'user:' || target_user_id,
        jsonb_build_object(
            'role', manager.role, 'is_active', manager.is_active,
            'has_second_factor', manager.has_second_factor
        ),
        (
            select jsonb_build_object(
                'role', users.role, 'is_active', users.is_active,
                'has_second_factor', users.totp_secret is not null
            )
            from app.users as users where users.id = target_user_id
        ),
        null
    );
    return true;
end
$$;
"""

INTERNAL = (
    "app.end_sessions()",
    "app.take_turn(bytea[], integer[], double precision[])",
    "app.take_code(integer, bigint, bytea)",
    "app.managing(bytea, interval)",
)
APP_FUNCTIONS = (
    "app.admit_log_in(text, bytea, bytea, bytea, bytea)",
    "app.forgive_log_in(bytea, bytea, bytea, bytea, boolean)",
    "app.open_session(integer, text, bytea, interval, text, text)",
    "app.rehash_password(integer, text, text)",
    "app.remember_device(bytea, interval, bytea)",
    "app.pending_session(bytea)",
    "app.admit_code(bytea, bytea)",
    "app.pass_second_factor(bytea, bigint, bytea, bytea, interval, text)",
    "app.offer_totp(bytea, interval, text)",
    "app.confirm_totp(bytea, interval, text, bigint, bytea[], bytea, interval, text)",
    "app.own_account(bytea, interval)",
    "app.own_sessions(bytea, interval)",
    "app.end_own_sessions(bytea, interval, bigint)",
    "app.set_own_password(bytea, interval, text, text, bytea, interval)",
    "app.renew_second_factor(bytea, interval, bigint, bytea[])",
    "app.link_user(bytea)",
    "app.use_link(bytea, text, text)",
    "app.managed_users(bytea, interval)",
    "app.invite_user(bytea, interval, integer, text, text, bytea, interval)",
    "app.start_reset(bytea, interval, integer, bytea, interval)",
    "app.manage_user(bytea, interval, integer, text, boolean, boolean)",
)


def upgrade() -> None:
    """Extend users and sessions; every function is mirante_auth's, some the app role may call."""
    for step in (TABLES, GRANTS, TRIGGERS, LOG_IN, SECOND_FACTOR, ACCOUNT, LINKS, ADMINS):
        execute(step)
    execute("grant create on schema app to mirante_auth")
    for function in (*INTERNAL, *APP_FUNCTIONS):
        execute(f"alter function {function} owner to mirante_auth")
        execute(f"revoke all on function {function} from public")
    for function in APP_FUNCTIONS:
        execute(f"grant execute on function {function} to mirante_app")
    execute("revoke create on schema app from mirante_auth")
