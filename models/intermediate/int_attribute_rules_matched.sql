with rules as (

    select
        tenant_id,
        stage,
        rule_value,
        split_part(rule_value, '=', 1) as rule_key,
        substr(rule_value, strpos(rule_value, '=') + 1) as rule_wanted
    from {{ ref('int_funnel_rules_of_tenants') }}
    where
        rule_kind = 'custom_attribute'
        and strpos(rule_value, '=') > 1

),

conversations as not materialized (

    select * from {{ ref('int_conversations_scoped_to_tenants') }}

),

contacts as (

    select * from {{ ref('stg_chatwoot__contacts') }}

),

-- A row's load is that of its present version.
of_conversation as (

    select
        conversations.tenant_id,
        conversations.conversation_id,
        rules.stage,
        rules.rule_value,
        coalesce(conversations.loaded_at, conversations.created_at) as loaded_at
    from conversations
    inner join rules on conversations.tenant_id = rules.tenant_id
    where conversations.custom_attributes ->> rules.rule_key = rules.rule_wanted

),

-- Of a contact who also talks with others, only the owner of the account may use the attributes.
of_contact as (

    select
        conversations.tenant_id,
        conversations.conversation_id,
        rules.stage,
        rules.rule_value,
        greatest(
            coalesce(contacts.loaded_at, conversations.created_at), conversations.created_at
        ) as loaded_at
    from conversations
    inner join contacts
        on
            conversations.account_id = contacts.account_id
            and conversations.contact_id = contacts.contact_id
    inner join rules on conversations.tenant_id = rules.tenant_id
    where
        conversations.tenant_owns_account
        and contacts.custom_attributes ->> rules.rule_key = rules.rule_wanted

),

found as (

    select * from of_conversation
    union all
    select * from of_contact

),

final as (

    -- conversation and contact may bear the same attribute
    select
        tenant_id,
        conversation_id,
        stage,
        rule_value,
        min(loaded_at) as loaded_at
    from found
    group by tenant_id, conversation_id, stage, rule_value

)

select * from final
