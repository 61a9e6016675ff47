{# A table, so that the agents of a tenant are a walk over an index and not over its messages. #}
{{ config(
    materialized='incremental',
    incremental_strategy='touched_conversations',
    indexes=[
        {'columns': ['tenant_id', 'agent_id', 'conversation_id'], 'unique': true},
        {'columns': ['conversation_id']},
    ],
    post_hook=[{'sql': '{{ analyze_once() }}', 'transaction': false}],
) }}

with conversations as (

    select * from {{ ref('int_conversations_scoped_to_tenants') }}
    {{ only_touched('where') }}

),

participants as (

    select * from {{ ref('stg_chatwoot__conversation_participants') }}
    {{ only_touched('where') }}

),

messages as (

    select * from {{ ref('int_messages_scoped_to_tenants') }}
    {{ only_touched('where') }}

),

seen as (

    select
        tenant_id,
        conversation_id,
        agent_id
    from conversations

    union

    select
        conversations.tenant_id,
        conversations.conversation_id,
        participants.user_id::bigint as agent_id
    from participants
    inner join conversations on participants.conversation_id = conversations.conversation_id

    union

    select
        tenant_id,
        conversation_id,
        agent_id
    from messages

),

final as (

    select
        tenant_id,
        conversation_id,
        agent_id
    from seen
    where agent_id is not null

)

select * from final
