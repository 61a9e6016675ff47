-- The history is kept beside the marts and scoped here: a conversation whose inbox moves takes its
-- history along, and one deleted at the source leaves.
with states as (

    select * from {{ ref('int_conversation_states_observed') }}
    {{ only_touched('where') }}

),

conversations as (

    select * from {{ ref('int_conversations_scoped_to_tenants') }}
    {{ only_touched('where') }}

),

final as (

    select
        conversations.tenant_id,
        conversations.conversation_id,
        conversations.inbox_id,
        states.conversation_status as status,
        states.agent_id,
        states.team_id,
        states.priority,
        states.observed_at as valid_from,
        lead(states.observed_at) over (
            partition by conversations.tenant_id, conversations.conversation_id
            order by states.observed_at
        ) as valid_to
    from states
    inner join conversations on states.conversation_id = conversations.conversation_id

)

select * from final
