with source as (

    select * from {{ source('chatwoot', 'inbox_members') }}

),

renamed as (

    select
        id as inbox_member_id,
        user_id,
        inbox_id,
        {{ utc_time('created_at') }} as created_at,
        {{ utc_time('updated_at') }} as updated_at

    from source
    where _deleted_at is null

)

select * from renamed
