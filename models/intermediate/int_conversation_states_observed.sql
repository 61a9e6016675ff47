{# Only ever appended to, a full refresh included: the source keeps no history, so what is not
   recorded here is lost. Of all conversations, mapped or not: an inbox that a tenant gets later
   brings its history along. #}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false,
    on_schema_change='fail',
    indexes=[{'columns': ['conversation_id', 'observed_at'], 'unique': true}],
) }}

{# A full refresh does not make it anew, but looks at every conversation. #}
{%- set only_touched_states = '' if flags.FULL_REFRESH else only_touched('where') %}

{%- set no_states -%}
    (
        select
            null::bigint as conversation_id,
            null::text as conversation_status,
            null::bigint as agent_id,
            null::bigint as team_id,
            null::text as priority,
            null::timestamptz as observed_at
        where false
    ) as no_states
{%- endset %}

with conversations as (

    select * from {{ ref('stg_chatwoot__conversations') }}
    {{ only_touched_states }}

),

-- The table itself; on the first run, when there is none, nothing.
recorded as (

    select distinct on (conversation_id)
        conversation_id,
        conversation_status,
        agent_id,
        team_id,
        priority,
        observed_at
    from {{ this if is_incremental() else no_states }}
    {{ only_touched_states }}
    order by conversation_id asc, observed_at desc

),

final as (

    select
        conversations.conversation_id::bigint as conversation_id,
        conversations.conversation_status,
        conversations.agent_id::bigint as agent_id,
        conversations.team_id::bigint as team_id,
        conversations.priority,
        -- when the source was read; later than what is recorded, whatever the clocks say
        greatest(
            coalesce(conversations.loaded_at, now()),
            recorded.observed_at + interval '1 microsecond'
        ) as observed_at
    from conversations
    left join recorded on conversations.conversation_id = recorded.conversation_id
    where
        recorded.conversation_id is null
        or conversations.conversation_status is distinct from recorded.conversation_status
        or conversations.agent_id is distinct from recorded.agent_id
        or conversations.team_id is distinct from recorded.team_id
        or conversations.priority is distinct from recorded.priority

)

select * from final
