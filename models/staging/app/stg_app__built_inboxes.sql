with source as (

    select * from {{ source('app', 'built_inboxes') }}

),

renamed as (

    select
        inbox_id,
        settings_md5

    from source

)

select * from renamed
