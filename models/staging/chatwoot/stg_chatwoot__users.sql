with source as (

    select * from {{ source('chatwoot', 'users') }}

),

renamed as (

    select
        id as user_id,
        name as user_name,
        display_name,
        type as user_type,
        {{ utc_time('created_at') }} as created_at,
        {{ utc_time('updated_at') }} as updated_at

    from source
    where _deleted_at is null

)

select * from renamed
