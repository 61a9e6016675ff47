with source as (

    select * from {{ source('chatwoot', 'channel_facebook_pages') }}

),

renamed as (

    select
        id as channel_id,
        account_id,
        instagram_id,
        created_at at time zone 'utc' as created_at,
        updated_at at time zone 'utc' as updated_at

    from source
    where _deleted_at is null

)

select * from renamed
