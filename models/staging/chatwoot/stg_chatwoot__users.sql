with source as (

    select * from {{ source('chatwoot', 'users') }}

),

renamed as (

    select
        id as user_id,
        name as user_name,
        display_name,
        type as user_type,
        created_at at time zone 'utc' as created_at,
        updated_at at time zone 'utc' as updated_at

    from source
    where _deleted_at is null

)

select * from renamed
