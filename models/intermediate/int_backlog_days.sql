{# Apart from agg_backlog, which adds up all days at each build: here a build reads the changes of
   the days that it touched, and not those of all conversations that ever were. #}
{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    pre_hook="{{ take_touched('days') }}",
    indexes=[{'columns': ['tenant_id', 'date', 'inbox_id'], 'unique': true}],
    post_hook=[{'sql': '{{ analyze_once() }}', 'transaction': false}],
) }}

with changes as (

    select * from {{ ref('int_backlog_changes') }}
    {{ only_touched_days('where') }}

),

final as (

    select
        tenant_id,
        date,
        inbox_id,
        sum(delta)::integer as delta,
        min(observed_at) as observed_at
    from changes
    group by tenant_id, date, inbox_id

)

select * from final
