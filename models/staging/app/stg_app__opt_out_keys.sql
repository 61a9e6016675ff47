with source as (

    select * from {{ source('app', 'opt_out_keys') }}

),

renamed as (

    select
        tenant_id,
        contact_id,
        key_sha256

    from source

)

select * from renamed
