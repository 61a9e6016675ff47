{# Written to by the models whose rows change (macros/incremental_strategies.sql), read by the
   aggregates over them, emptied when a build has taken it all in. #}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false,
    indexes=[{'columns': ['tenant_id', 'date', 'inbox_id'], 'unique': true}],
) }}

with final as (

    select
        null::integer as tenant_id,
        null::date as date,
        null::bigint as inbox_id
    where false

)

select * from final
