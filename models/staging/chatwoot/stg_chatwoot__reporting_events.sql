with source as (

    select * from {{ source('chatwoot', 'reporting_events') }}

),

renamed as (

    select
        id as event_id,
        account_id,
        inbox_id,
        conversation_id,
        user_id,
        name as event_name,
        value as value_seconds,
        value_in_business_hours as value_business_seconds,
        _deleted_at is not null as is_deleted_at_source,
        event_start_time at time zone 'utc' as event_started_at,
        event_end_time at time zone 'utc' as event_at,
        created_at at time zone 'utc' as created_at,
        updated_at at time zone 'utc' as updated_at

    from source

)

select * from renamed
