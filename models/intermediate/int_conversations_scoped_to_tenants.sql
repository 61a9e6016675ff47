{# A table because everything joins to it, and because its row counts keep the plans of the rest
   sane: left to guess, one made a nested loop of 12 million rows out of 4,000 conversations. #}
{{ config(
    materialized='incremental',
    incremental_strategy='touched_conversations',
    indexes=[
        {'columns': ['conversation_id'], 'unique': true},
        {'columns': ['tenant_id', 'conversation_id'], 'unique': true},
        {'columns': ['tenant_id', 'contact_phone_key']},
        {'columns': ['tenant_id', 'contact_email_key']},
        {'columns': ['loaded_at']},
    ],
    post_hook=[{'sql': '{{ analyze_once() }}', 'transaction': false}],
) }}

with conversations as (

    select * from {{ ref('stg_chatwoot__conversations') }}
    where
        created_at is not null  -- without a moment it belongs to no day: it is in no mart
        {{ only_touched('and') }}

),

inboxes as (

    select * from {{ ref('int_inboxes_scoped_to_tenants') }}

),

contacts as (

    select * from {{ ref('stg_chatwoot__contacts') }}

),

final as (

    select
        inboxes.tenant_id,
        conversations.conversation_id::bigint as conversation_id,
        conversations.display_id::bigint as display_id,
        conversations.account_id::bigint as account_id,
        conversations.inbox_id::bigint as inbox_id,
        conversations.contact_id::bigint as contact_id,
        conversations.agent_id::bigint as agent_id,
        conversations.team_id::bigint as team_id,
        conversations.campaign_id::bigint as campaign_id,
        case
            when
                inboxes.channel = 'facebook'
                and conversations.source_type = 'instagram_direct_message'
                then 'instagram'
            else inboxes.channel
        end as channel,
        conversations.conversation_status,
        conversations.priority,
        conversations.referrer_url,
        conversations.utm_source,
        conversations.utm_medium,
        conversations.utm_campaign,
        inboxes.tenant_timezone,
        conversations.custom_attributes,
        contacts.contact_name::text as contact_name,
        contacts.contact_phone::text as contact_phone,
        contacts.contact_email::text as contact_email,
        {{ phone_key('contacts.contact_phone') }} as contact_phone_key,
        lower(contacts.contact_email)::text as contact_email_key,
        inboxes.tenant_owns_account,
        (conversations.created_at at time zone inboxes.tenant_timezone)::date as created_date,
        conversations.created_at,
        conversations.loaded_at
    from conversations
    inner join inboxes on conversations.inbox_id = inboxes.inbox_id
    left join contacts
        on
            conversations.account_id = contacts.account_id
            and conversations.contact_id = contacts.contact_id

)

select * from final
