with source as (

    select * from {{ source('chatwoot', 'tags') }}

),

renamed as (

    select
        id as tag_id,
        name as tag_name

    from source
    where _deleted_at is null

)

select * from renamed
