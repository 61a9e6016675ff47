"""Corrections from a page: by a function that knows the session, so its role and tenant decide."""

from warehouse.migrations import execute

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Row security lets a tenant's pages see their corrections; who may write is a matter of the role of
# the person, which only the session knows.
REVOKE = "revoke insert, update, delete on ai.corrections from mirante_app"

# The transcripts are dbt's, and made anew by a full build: a grant on them would be lost, so this
# is the owner's, and plpgsql looks the table up by name whenever it was replaced.
STORE = """
create function app.store_correction(
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
    if not found then
        return false;
    end if;
    perform nextval('app.data_version');
    return true;
end
$$;
revoke all on function app.store_correction(
    integer, bigint, text, text, text, boolean, text
) from public;
grant execute on function app.store_correction(
    integer, bigint, text, text, text, boolean, text
) to mirante_auth;
"""

# of_tenant_id is the client the page was of: an agency may have switched in another tab since. How
# it went: ok, denied, switched, invalid, or missing where the tenant has no such conversation with
# a text.
CORRECT = """
create function app.correct_conversation(
    session_token_sha256 bytea, idle_limit interval, of_tenant_id integer,
    of_conversation_id bigint, new_sentiment text, new_intent text, new_lead_class text,
    new_visit_scheduled boolean
)
returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    person record;
begin
    select viewer.user_id, viewer.email, viewer.tenant_id into person
    from app.current_session(session_token_sha256, idle_limit) as viewer
    where viewer.role in ('admin', 'super_admin') and viewer.tenant_id is not null;
    if not found then
        return 'denied';
    end if;
    if person.tenant_id is distinct from of_tenant_id then
        return 'switched';
    end if;
    begin
        if not app.store_correction(
            person.tenant_id, of_conversation_id, new_sentiment, new_intent, new_lead_class,
            new_visit_scheduled, person.email
        ) then
            return 'missing';
        end if;
    exception
        when check_violation then return 'invalid';
    end;
    perform app.record_audit(
        'correction.set', 'user', person.user_id::text, person.tenant_id,
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
"""
SIGNATURE = "app.correct_conversation(bytea, interval, integer, bigint, text, text, text, boolean)"


def upgrade() -> None:
    """Take direct writes from the app role; what it may call is mirante_auth's."""
    for step in (REVOKE, STORE, CORRECT):
        execute(step)
    execute("grant create on schema app to mirante_auth")
    execute(f"alter function {SIGNATURE} owner to mirante_auth")
    execute(f"revoke all on function {SIGNATURE} from public")
    execute(f"grant execute on function {SIGNATURE} to mirante_app")
    execute("revoke create on schema app from mirante_auth")
