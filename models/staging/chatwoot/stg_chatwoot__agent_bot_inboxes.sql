with source as (

    select * from {{ source('chatwoot', 'agent_bot_inboxes') }}

),

renamed as (

    select
        id as agent_bot_inbox_id,
        account_id,
        inbox_id,
        agent_bot_id as bot_id,
        coalesce(status, 0) = 0 as is_active,
        created_at at time zone 'utc' as created_at,
        updated_at at time zone 'utc' as updated_at

    from source
    where _deleted_at is null

)

select * from renamed
