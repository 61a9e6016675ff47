with source as (

    select * from {{ source('app', 'changed_conversations') }}

),

renamed as (

    select
        id as change_id,
        conversation_id,
        source_table,
        is_claimed,
        changed_at

    from source

)

select * from renamed
