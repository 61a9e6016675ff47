{# Seconds an inbox was open before a moment, given the moment's row of int_inbox_days_scheduled. #}
{% macro open_seconds_until(moment, day) -%}
    ({{ day }}.open_seconds_before + extract(
        epoch from
        greatest(least({{ moment }}, {{ day }}.closes_at), {{ day }}.opens_at) - {{ day }}.opens_at
    ))
{%- endmacro %}
