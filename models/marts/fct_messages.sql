{{ config(meta={'touched_dates': ['created_date']}) }}

with messages as (

    select * from {{ ref('int_messages_scoped_to_tenants') }}
    {{ only_touched('where') }}

),

final as (

    select
        tenant_id,
        message_id,
        conversation_id,
        inbox_id,
        sender_kind,
        agent_id,
        content,
        content_type,
        case when not is_deleted then placeholders end as attachment_placeholders,
        delivery_status,
        attachment_count,
        is_deleted,
        (created_at at time zone tenant_timezone)::date as created_date,
        created_at
    from messages

)

select * from final
