{# All comments of a model in one statement; dbt's own asks the catalog first which columns there
   are. A column that is described and is not there fails its model. They are written when a table is
   made: tables that are only added to keep theirs, and a changed description is a changed project,
   which makes everything anew. #}
{% macro postgres__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- if not is_incremental() %}
        {%- call statement() %}
            {{ alter_relation_comment(relation, model.description) }}
            {%- for name, column in model.columns.items() %}
            comment on column {{ relation }}.{{ adapter.quote(name) if column["quote"] else name }}
            is {{ postgres_escape_comment(column["description"]) }};
            {%- endfor %}
        {%- endcall %}
    {%- endif -%}
{%- endmacro %}
