with source as (

    select * from {{ source('chatwoot', 'labels') }}

),

renamed as (

    select
        id as label_id,
        account_id,
        title as label,
        {{ utc_time('created_at') }} as created_at,
        {{ utc_time('updated_at') }} as updated_at

    from source
    where _deleted_at is null

)

select * from renamed
