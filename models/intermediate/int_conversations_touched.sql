{# Grows until a build has taken in all of it (macro settle_changes): a build that fails half way
   leaves nothing out of the next one. #}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false,
    indexes=[{'columns': ['tenant_id', 'conversation_id', 'is_funnel_only'], 'unique': true}],
    pre_hook=["{{ claim_changes() }}"],
    post_hook=[{'sql': 'analyze {{ this }}', 'transaction': false}],
) }}

{%- set built_conversations = built_relation('int_conversations_scoped_to_tenants') %}

with changes as (

    select * from {{ ref('stg_app__changed_conversations') }}
    where is_claimed

),

settings as (

    select * from {{ ref('int_inbox_settings') }}

),

built_settings as (

    select * from {{ ref('stg_app__built_inboxes') }}

),

conversations as (

    select * from {{ ref('stg_chatwoot__conversations') }}

),

messages as (

    select * from {{ ref('stg_chatwoot__messages') }}

),

events as (

    select * from {{ ref('stg_chatwoot__reporting_events') }}

),

campaigns as (

    select * from {{ ref('stg_chatwoot__campaigns') }}

),

inboxes as (

    select coalesce(settings.inbox_id, built_settings.inbox_id) as inbox_id
    from settings
    full join built_settings on settings.inbox_id = built_settings.inbox_id
    where settings.settings_md5 is distinct from built_settings.settings_md5

),

{%- if is_incremental() and built_conversations %}

-- Rows are an inbox's by their conversation, in parity also by themselves, and a campaign's title
-- is for whoever has the campaign's inbox.
found as (

    select conversation_id from changes

    union

    select conversations.conversation_id
    from inboxes
    inner join conversations on inboxes.inbox_id = conversations.inbox_id

    union

    select messages.conversation_id
    from inboxes
    inner join messages on inboxes.inbox_id = messages.inbox_id

    union

    select events.conversation_id
    from inboxes
    inner join events on inboxes.inbox_id = events.inbox_id
    where events.conversation_id is not null

    union

    select conversations.conversation_id
    from inboxes
    inner join campaigns on inboxes.inbox_id = campaigns.inbox_id
    inner join conversations on campaigns.campaign_id = conversations.campaign_id

    union

    select 0 as conversation_id

),

-- tenant_id: whose it was when it was last built, 0 for nobody's; whose it is now its rows say.
-- Looked up one by one: nobody knows how many a union has, and a join reads all that is built.
final as (

    select
        coalesce(
            (
                select built.tenant_id
                from {{ built_conversations }} as built
                where built.conversation_id = found.conversation_id
            ),
            0
        ) as tenant_id,
        found.conversation_id::bigint as conversation_id,
        false as is_funnel_only
    from found

    except

    select
        tenant_id,
        conversation_id,
        is_funnel_only
    from {{ this }}

)

{%- else %}

final as (

    select
        0 as tenant_id,
        conversations.conversation_id::bigint as conversation_id,
        false as is_funnel_only
    from conversations
    where false

)

{%- endif %}

select * from final
