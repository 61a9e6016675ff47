with source as (

    select * from {{ source('app', 'tenant_accounts') }}

),

renamed as (

    select
        tenant_id,
        account_id,
        created_at

    from source

)

select * from renamed
