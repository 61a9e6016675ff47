with source as (

    select * from {{ source('chatwoot', 'contact_inboxes') }}

),

renamed as (

    select
        id as contact_inbox_id,
        contact_id,
        inbox_id,
        created_at at time zone 'utc' as created_at,
        updated_at at time zone 'utc' as updated_at

    from source
    where _deleted_at is null

)

select * from renamed
