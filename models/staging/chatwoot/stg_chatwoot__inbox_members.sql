with source as (

    select * from {{ source('chatwoot', 'inbox_members') }}

),

renamed as (

    select
        id as inbox_member_id,
        user_id,
        inbox_id,
        created_at at time zone 'utc' as created_at,
        updated_at at time zone 'utc' as updated_at

    from source
    where _deleted_at is null

)

select * from renamed
