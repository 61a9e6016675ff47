with source as (

    select * from {{ source('chatwoot', 'inboxes') }}

),

renamed as (

    select
        id as inbox_id,
        account_id,
        channel_id,
        name as inbox_name,
        channel_type,
        timezone as inbox_timezone,
        working_hours_enabled,
        csat_survey_enabled,
        lock_to_single_conversation,
        created_at at time zone 'utc' as created_at,
        updated_at at time zone 'utc' as updated_at

    from source
    where _deleted_at is null

)

select * from renamed
