with source as (

    select * from {{ source('chatwoot', 'channel_facebook_pages') }}

),

renamed as (

    select
        id as channel_id,
        account_id,
        instagram_id,
        {{ utc_time('created_at') }} as created_at,
        {{ utc_time('updated_at') }} as updated_at

    from source
    where _deleted_at is null

)

select * from renamed
