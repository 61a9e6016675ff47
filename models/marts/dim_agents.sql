{{ config(incremental_strategy='differences', unique_key=['tenant_id', 'agent_id']) }}

-- Accounts are shared by tenants: an agent is a tenant's by working in its inboxes or by having
-- touched its conversations, not by being in the account.
with recursive users as (

    select * from {{ ref('stg_chatwoot__users') }}

),

inboxes as (

    select * from {{ ref('int_inboxes_scoped_to_tenants') }}

),

inbox_members as (

    select * from {{ ref('stg_chatwoot__inbox_members') }}

),

-- One step along the index an agent, however many conversations each has.
seen_in_conversations as (

    (
        select
            tenant_id,
            agent_id
        from {{ ref('int_agents_seen_in_conversations') }}
        order by tenant_id, agent_id
        limit 1
    )

    union all

    select
        next_agents.tenant_id,
        next_agents.agent_id
    from seen_in_conversations
    cross join lateral (
        select
            agents.tenant_id,
            agents.agent_id
        from {{ ref('int_agents_seen_in_conversations') }} as agents
        where
            (agents.tenant_id, agents.agent_id)
            > (seen_in_conversations.tenant_id, seen_in_conversations.agent_id)
        order by agents.tenant_id, agents.agent_id
        limit 1
    ) as next_agents

),

seen as (

    select
        inboxes.tenant_id,
        inbox_members.user_id as agent_id
    from inbox_members
    inner join inboxes on inbox_members.inbox_id = inboxes.inbox_id

    union

    select
        tenant_id,
        agent_id
    from seen_in_conversations

),

final as (

    select
        seen.tenant_id,
        seen.agent_id::bigint as agent_id,
        coalesce(nullif(users.display_name, ''), users.user_name)::text as name
    from seen
    left join users on seen.agent_id = users.user_id
    where seen.agent_id is not null

)

select * from final
