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

{%- if not execute %}{# what the strategy writes to #}
    {%- do [ref('int_conversations_touched')] %}
{%- endif %}

with final as (

    select
        tenant_id,
        crm_row_id,
        conversation_id,
        reached_at
    from {{ ref('int_crm_rows_matched_to_conversations') }}
    where match_status = 'matched'

)

select * from final
