{{ config(incremental_strategy='differences', unique_key=['tenant_id', 'inbox_id']) }}

with inboxes as (

    select * from {{ ref('int_inboxes_scoped_to_tenants') }}

),

final as (

    select
        tenant_id,
        inbox_id::bigint as inbox_id,
        account_id::bigint as account_id,
        inbox_name::text as name,
        channel,
        inbox_timezone::text as timezone,
        working_hours_enabled,
        lock_to_single_conversation,
        created_at
    from inboxes

)

select * from final
