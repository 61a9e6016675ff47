{# A table, made anew by each build: a change while it runs shows in the next one. #}
{{ config(materialized='table', indexes=[{'columns': ['inbox_id'], 'unique': true}]) }}

-- All that decides what the rows of an inbox count for and can change while they stay as they are.
with inboxes as (

    select * from {{ ref('int_inboxes_scoped_to_tenants') }}

),

tenants as (

    select * from {{ ref('stg_app__tenants') }}

),

working_hours as (

    select
        inbox_id,
        string_agg(
            concat_ws(
                ',', working_hour_id, day_of_week, open_hour, open_minutes, close_hour,
                close_minutes, is_closed_all_day, is_open_all_day
            ),
            ';' order by working_hour_id
        ) as hours
    from {{ ref('stg_chatwoot__working_hours') }}
    group by inbox_id

),

rules as (

    select
        tenant_id,
        string_agg(
            concat_ws('=', stage, rule_kind, rule_value), ';' order by stage, rule_kind, rule_value
        ) as funnel_rules
    from {{ ref('int_funnel_rules_of_tenants') }}
    group by tenant_id

),

source_events as (

    select exists(
        select 1 from {{ ref('stg_chatwoot__reporting_events') }}
        where event_name = 'conversation_opened'
    ) as has_opened

),

final as (

    select
        inboxes.tenant_id,
        inboxes.inbox_id::bigint as inbox_id,
        md5(concat_ws(
            '|',
            inboxes.tenant_id,
            inboxes.account_id,
            inboxes.channel,
            inboxes.inbox_timezone,
            inboxes.tenant_timezone,
            inboxes.working_hours_enabled,
            inboxes.tenant_owns_account,
            tenants.segment,
            coalesce(working_hours.hours, ''),
            coalesce(rules.funnel_rules, ''),
            source_events.has_opened
        )) as settings_md5
    from inboxes
    inner join tenants on inboxes.tenant_id = tenants.tenant_id
    left join working_hours on inboxes.inbox_id = working_hours.inbox_id
    left join rules on inboxes.tenant_id = rules.tenant_id
    cross join source_events

)

select * from final
