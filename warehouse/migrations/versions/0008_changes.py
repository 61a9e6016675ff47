"""Which conversations changed since the last build, noted by the database itself."""

from warehouse.migrations import execute

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = """
create table app.changed_conversations (
    id bigint generated always as identity primary key,
    conversation_id bigint not null,
    source_table text not null,
    is_claimed boolean not null default false,
    changed_at timestamptz not null default now()
);
comment on table app.changed_conversations is
    'What a build has to compute again: ids of conversations, noted by triggers in the transaction '
    'that changed a row of theirs. A build claims them; they go when one that read them succeeds. '
    'conversation_id 0: a row that belongs to no conversation.';

create table app.built_inboxes (
    inbox_id bigint primary key,
    settings_md5 text not null
);
-- Scores are looked up for the conversations that changed, whoever's they are.
create index conversation_scores_conversation_id on ai.conversation_scores (conversation_id);
comment on table app.built_inboxes is
    'What each inbox''s rows were last built by: owner, zones, hours, rules. Where that differs, all '
    'conversations of the inbox are computed again.';
"""

# The argument is a query of conversation ids over `%s`, which stands for the rows that changed, as
# they are and as they were.
FUNCTION = """
create function app.note_changed_conversations() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $function$
declare
    changed constant text := case tg_op
        when 'INSERT' then 'select * from new_rows'
        when 'DELETE' then 'select * from old_rows'
        else 'select * from new_rows union all select * from old_rows'
    end;
begin
    execute format(
        'insert into app.changed_conversations (conversation_id, source_table)'
        ' select distinct coalesce(found.id, 0), %L from (' || tg_argv[0] || ') as found (id)',
        tg_table_schema || '.' || tg_table_name,
        changed
    );
    return null;
end
$function$;
revoke all on function app.note_changed_conversations() from public;

create function app.note_truncated_table() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $function$
begin
    -- whatever was built of its rows
    if to_regclass('intermediate.int_conversations_scoped_to_tenants') is not null then
        insert into app.changed_conversations (conversation_id, source_table)
        select conversation_id, tg_table_schema || '.' || tg_table_name
        from intermediate.int_conversations_scoped_to_tenants;
    end if;
    return null;
end
$function$;
revoke all on function app.note_truncated_table() from public;

create function app.watch_conversations_of(watched regclass, ids text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $function$
declare
    rows_of text;
    is_new boolean := false;
begin
    if not exists (
        select from pg_trigger where tgrelid = watched and tgname = 'note_truncated'
    ) then
        execute format(
            'create trigger note_truncated after truncate on %s'
            ' for each statement execute function app.note_truncated_table()',
            watched
        );
    end if;
    for operation in 1..3 loop
        if exists (
            select from pg_trigger
            where tgrelid = watched
                and tgname = 'note_changed_' || (array['insert', 'update', 'delete'])[operation]
        ) then
            continue;
        end if;
        rows_of := (array[
            'new table as new_rows', 'old table as old_rows new table as new_rows',
            'old table as old_rows'
        ])[operation];
        execute format(
            'create trigger %I after %s on %s referencing %s for each statement'
            ' execute function app.note_changed_conversations(%L)',
            'note_changed_' || (array['insert', 'update', 'delete'])[operation],
            (array['insert', 'update', 'delete'])[operation], watched, rows_of, ids
        );
        is_new := true;
    end loop;
    return is_new;
end
$function$;
revoke all on function app.watch_conversations_of(regclass, text) from public;
comment on function app.watch_conversations_of(regclass, text) is
    'Makes the triggers of a table; true when one was missing, so that changes may have gone unseen.';

create function app.settle_changes() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $function$
begin
    delete from app.changed_conversations where is_claimed;
    delete from app.built_inboxes;
    insert into app.built_inboxes (inbox_id, settings_md5)
    select inbox_id, settings_md5 from intermediate.int_inbox_settings;
    delete from intermediate.int_conversations_touched;
    delete from intermediate.int_days_touched;
    delete from intermediate.int_contacts_touched;
end
$function$;
revoke all on function app.settle_changes() from public;
comment on function app.settle_changes() is
    'After a build that took in all that was claimed; a later change is noted and not claimed yet.';
"""


def upgrade() -> None:
    """Create the notes, and what writes them; the tables of Chatwoot are watched from a build on."""
    execute(TABLES)
    execute(FUNCTION)
