{# What the last build left of a model that comes after this one, or nothing: no ref, because it is
   the old version that is wanted. #}
{% macro built_relation(name) -%}
    {%- if execute -%}
        {{ return(adapter.get_relation(
            database=this.database, schema=this.schema, identifier=name
        )) }}
    {%- endif -%}
{%- endmacro %}
