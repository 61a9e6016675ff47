{# Whole seconds, rounded down. #}
{% macro seconds_between(start_at, end_at) -%}
    floor(extract(epoch from {{ end_at }} - {{ start_at }}))::bigint
{%- endmacro %}
