{# dlt names a load by the second it began. #}
{% macro loaded_at() -%}
    case
        when _dlt_load_id ~ '^[0-9]+([.][0-9]+)?$'
            then to_timestamp(_dlt_load_id::double precision)
    end
{%- endmacro %}
