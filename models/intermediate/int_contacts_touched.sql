{# Written to by the models whose rows change (macros/incremental_strategies.sql), read by the
   aggregates over them, emptied when a build has taken it all in. #}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false,
    indexes=[{'columns': ['tenant_id', 'contact_id'], 'unique': true}],
) }}

with final as (

    select
        null::integer as tenant_id,
        null::bigint as contact_id
    where false

)

select * from final
