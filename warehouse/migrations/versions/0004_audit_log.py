"""The audit log: every service writes lines through one function, none changes or removes one."""

from warehouse.migrations import execute

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLE = r"""
create table app.audit_log (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    action text not null check (action ~ '^[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*$'),
    actor_kind text not null check (
        actor_kind in ('anonymous', 'user', 'operator', 'analyst', 'system')
    ),
    actor_id text check (length(actor_id) <= 200),
    database_role text not null,
    tenant_id integer check (tenant_id > 0),
    target text check (length(target) <= 200),
    before jsonb,
    after jsonb,
    address_hash text check (address_hash ~ '^[0-9a-f]{64}$')
);
create index audit_log_tenant_id_at on app.audit_log (tenant_id, at);
create index audit_log_at on app.audit_log (at);
comment on table app.audit_log is
    'What was done, by whom, to what. Insert only, through app.record_audit(). Ids and keyed hashes '
    'stand for people. No foreign keys: a line outlives what it speaks of.';
comment on column app.audit_log.at is 'The clock when the line was written, not the transaction''s.';
comment on column app.audit_log.action is 'noun.verb, such as tenant.suspend or session.open.';
comment on column app.audit_log.actor_kind is
    'user: of app.users, by id. operator: of the command line, by keyed hash of the account''s name. '
    'analyst: a SQL log-in, by role name. anonymous: before log-in. system: a scheduled run.';
comment on column app.audit_log.database_role is 'Who was connected; set by the server.';
comment on column app.audit_log.target is 'kind:id of what was acted upon, such as inbox:12.';
comment on column app.audit_log.before is 'What changed, as it was; no personal data, no secret.';
comment on column app.audit_log.address_hash is 'HMAC-SHA-256 of the network address.';
"""

# The role of the log-in and the time are the server's word, not the caller's.
FUNCTION = """
create function app.record_audit(
    new_action text, new_actor_kind text, new_actor_id text, new_tenant_id integer,
    new_target text, new_before jsonb, new_after jsonb, new_address_hash text
)
returns bigint
language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    insert into app.audit_log (
        action, actor_kind, actor_id, database_role, tenant_id, target, before, after, address_hash
    )
    values (
        new_action, new_actor_kind, new_actor_id, session_user, new_tenant_id,
        new_target, new_before, new_after, new_address_hash
    )
    returning id;
end;
"""
SIGNATURE = "app.record_audit(text, text, text, integer, text, jsonb, jsonb, text)"


def upgrade() -> None:
    """Create the log and hand it to mirante_audit, as which nobody logs in.

    The schema goes with it, for a schema's owner may drop what is in it. `migrate` makes
    mirante_owner a member of mirante_audit while steps run, and of nothing of the kind afterwards.
    """
    execute(TABLE)
    execute(FUNCTION)
    execute("alter schema app owner to mirante_audit")
    execute("alter table app.audit_log owner to mirante_audit")
    execute(f"alter function {SIGNATURE} owner to mirante_audit")
    execute("grant usage, create on schema app to mirante_owner with grant option")
    execute("grant select on app.audit_log to mirante_owner")
    execute(f"revoke all on function {SIGNATURE} from public")
    execute(f"grant execute on function {SIGNATURE} to mirante_owner, mirante_app")
