{# A time of Chatwoot's, which stores UTC without a zone. An infinite one has no day, no hour and no
   distance from anything: it is unknown. #}
{% macro utc_time(column) -%}
    case when isfinite({{ column }}) then {{ column }} at time zone 'utc' end
{%- endmacro %}
