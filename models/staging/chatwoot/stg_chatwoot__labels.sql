with source as (

    select * from {{ source('chatwoot', 'labels') }}

),

renamed as (

    select
        id as label_id,
        account_id,
        title as label,
        created_at at time zone 'utc' as created_at,
        updated_at at time zone 'utc' as updated_at

    from source
    where _deleted_at is null

)

select * from renamed
