-- Accounts are shared by tenants: an agent is a tenant's by working in its inboxes or by having
-- touched its conversations, not by being in the account.
with users as (

    select * from {{ ref('stg_chatwoot__users') }}

),

inboxes as (

    select * from {{ ref('int_inboxes_scoped_to_tenants') }}

),

inbox_members as (

    select * from {{ ref('stg_chatwoot__inbox_members') }}

),

participants as (

    select * from {{ ref('stg_chatwoot__conversation_participants') }}

),

conversations as (

    select * from {{ ref('int_conversations_scoped_to_tenants') }}

),

messages as (

    select * from {{ ref('fct_messages') }}

),

seen as (

    select
        inboxes.tenant_id,
        inbox_members.user_id as agent_id
    from inbox_members
    inner join inboxes on inbox_members.inbox_id = inboxes.inbox_id

    union

    select
        conversations.tenant_id,
        participants.user_id as agent_id
    from participants
    inner join conversations on participants.conversation_id = conversations.conversation_id

    union

    select
        conversations.tenant_id,
        conversations.agent_id
    from conversations

    union

    select
        messages.tenant_id,
        messages.agent_id
    from messages

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
