with source as (

    select * from {{ source('app', 'tenant_inboxes') }}

),

renamed as (

    select
        tenant_id,
        inbox_id,
        created_at

    from source

)

select * from renamed
