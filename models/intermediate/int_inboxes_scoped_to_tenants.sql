{# A table because six models read it, and asking for the known time zones takes 14 ms. #}
{{ config(
    materialized='incremental',
    incremental_strategy='differences',
    unique_key=['tenant_id', 'inbox_id'],
    indexes=[{'columns': ['tenant_id', 'inbox_id'], 'unique': true}],
    post_hook=[{'sql': '{{ analyze_once() }}', 'transaction': false}],
) }}

-- The one place where a row of Chatwoot becomes a tenant's: everything else joins through here.
with inboxes as (

    select * from {{ ref('stg_chatwoot__inboxes') }}

),

twilio_channels as (

    select * from {{ ref('stg_chatwoot__channel_twilio_sms') }}

),

tenants as (

    select * from {{ ref('stg_app__tenants') }}

),

-- A zone that PostgreSQL does not know would break every model that counts in it.
timezones as (

    select name from pg_timezone_names

),

tenant_inboxes as (

    select * from {{ ref('stg_app__tenant_inboxes') }}

),

tenant_accounts as (

    select * from {{ ref('stg_app__tenant_accounts') }}

),

owned as (

    select
        inboxes.*,
        tenant_accounts.tenant_id as account_tenant_id,
        coalesce(tenant_inboxes.tenant_id, tenant_accounts.tenant_id) as tenant_id
    from inboxes
    left join tenant_inboxes on inboxes.inbox_id = tenant_inboxes.inbox_id
    left join tenant_accounts on inboxes.account_id = tenant_accounts.account_id

),

final as (

    select
        tenants.tenant_id,
        owned.inbox_id,
        owned.account_id,
        owned.inbox_name,
        case
            when owned.channel_type = 'Channel::Whatsapp' then 'whatsapp'
            when owned.channel_type = 'Channel::TwilioSms' and twilio_channels.medium = 'whatsapp'
                then 'whatsapp'
            when owned.channel_type = 'Channel::TwilioSms' then 'sms'
            when owned.channel_type = 'Channel::Sms' then 'sms'
            when owned.channel_type = 'Channel::Instagram' then 'instagram'
            when owned.channel_type = 'Channel::FacebookPage' then 'facebook'
            when owned.channel_type = 'Channel::Telegram' then 'telegram'
            when owned.channel_type = 'Channel::Email' then 'email'
            when owned.channel_type = 'Channel::WebWidget' then 'web'
            when owned.channel_type = 'Channel::Api' then 'api'
            when owned.channel_type = 'Channel::Line' then 'line'
            when owned.channel_type = 'Channel::Tiktok' then 'tiktok'
            else 'other'
        end as channel,
        coalesce(timezones.name, 'UTC') as inbox_timezone,
        tenants.timezone as tenant_timezone,
        coalesce(owned.working_hours_enabled, false) as working_hours_enabled,
        coalesce(owned.lock_to_single_conversation, false) as lock_to_single_conversation,
        coalesce(owned.account_tenant_id = owned.tenant_id, false) as tenant_owns_account,
        owned.created_at
    from owned
    inner join tenants on owned.tenant_id = tenants.tenant_id
    left join twilio_channels on owned.channel_id = twilio_channels.channel_id
    left join timezones on owned.inbox_timezone = timezones.name

)

select * from final
