{{ config(incremental_strategy='differences', unique_key=['tenant_id']) }}

with tenants as (

    select * from {{ ref('stg_app__tenants') }}

),

final as (

    select
        tenant_id,
        slug,
        tenant_name as name,
        segment,
        timezone,
        currency,
        tenant_status as status,
        plan,
        created_at
    from tenants

)

select * from final
