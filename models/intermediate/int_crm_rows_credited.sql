{# Computed whole, at the cost of the imported rows alone; what differs from the last build has its
   conversations counted again. #}
{{ config(
    materialized='incremental',
    incremental_strategy='differences',
    unique_key=['tenant_id', 'crm_row_id'],
    meta={'touches_conversations': true},
    indexes=[
        {'columns': ['tenant_id', 'crm_row_id'], 'unique': true},
        {'columns': ['conversation_id']},
    ],
    post_hook=[{'sql': '{{ analyze_once() }}', 'transaction': false}],
) }}

with crm_rows as (

    select * from {{ ref('int_crm_rows_matched_to_conversations') }}
    where match_status = 'matched'

),

-- only for its order: what it takes from a build must be noted before funnels are counted
touched as (

    select * from {{ ref('int_conversations_touched') }}
    where false

),

final as (

    select
        crm_rows.tenant_id,
        crm_rows.crm_row_id,
        crm_rows.conversation_id,
        crm_rows.reached_at
    from crm_rows
    left join touched on crm_rows.conversation_id = touched.conversation_id

)

select * from final
