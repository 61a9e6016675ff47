{# Only ever appended to, a full refresh included: every message rewrites its conversation's row, so
   what is not recorded here would be as new as the last one. #}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false,
    on_schema_change='fail',
    indexes=[{'columns': ['conversation_id', 'rule_value'], 'unique': true}],
) }}

with matched as (

    select * from {{ ref('int_attribute_rules_matched') }}
    {# A full refresh does not make it anew, but looks at every conversation. #}
    {{ '' if flags.FULL_REFRESH else only_touched('where') }}

),

final as (

    select
        matched.conversation_id::bigint as conversation_id,
        matched.rule_value,
        min(matched.loaded_at) as observed_at
    from matched
    {%- if is_incremental() %}
    where
        not exists (
            select from {{ this }} as recorded
            where
                matched.conversation_id = recorded.conversation_id
                and matched.rule_value = recorded.rule_value
        )
    {%- endif %}
    group by matched.conversation_id, matched.rule_value

)

select * from final
