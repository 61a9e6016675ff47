{# Comments are written when a table is made. Tables that are only added to keep theirs: a changed
   description is a changed project, which makes everything anew. #}
{% macro postgres__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- if not is_incremental() -%}
        {{ default__persist_docs(relation, model, for_relation, for_columns) }}
    {%- endif -%}
{%- endmacro %}
