with source as (

    select * from {{ source('chatwoot', 'captain_assistants') }}

),

renamed as (

    select
        id as assistant_id,
        account_id,
        name as assistant_name,
        created_at at time zone 'utc' as created_at,
        updated_at at time zone 'utc' as updated_at

    from source
    where _deleted_at is null

)

select * from renamed
