with source as (

    select * from {{ source('chatwoot', 'conversation_participants') }}

),

renamed as (

    select
        id as conversation_participant_id,
        account_id,
        user_id,
        conversation_id,
        created_at at time zone 'utc' as created_at,
        updated_at at time zone 'utc' as updated_at

    from source
    where _deleted_at is null

)

select * from renamed
