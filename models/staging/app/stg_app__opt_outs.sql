with source as (

    select * from {{ source('app', 'opt_outs') }}

),

renamed as (

    select
        tenant_id,
        contact_id,
        reason as opt_out_reason,
        created_at

    from source

)

select * from renamed
