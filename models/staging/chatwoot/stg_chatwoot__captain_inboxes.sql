with source as (

    select * from {{ source('chatwoot', 'captain_inboxes') }}

),

renamed as (

    select
        id as captain_inbox_id,
        captain_assistant_id as assistant_id,
        inbox_id,
        created_at at time zone 'utc' as created_at,
        updated_at at time zone 'utc' as updated_at

    from source
    where _deleted_at is null

)

select * from renamed
