{# dbt's own asks the catalog for the columns of a model two to four times, and plans its query once
   more to compare it with its contract. Where a table is only added to, the columns are asked for
   once, against the table, which was made by the contract; so are the grants, with the policies
   (enable_tenant_rls). A table that is made anew is left to dbt. What it saves: docs/decisions.md. #}
{% materialization incremental, adapter='postgres' %}
    {%- set existing_relation = load_cached_relation(this) -%}
    {%- if existing_relation is none or existing_relation.is_view or should_full_refresh() -%}
        {{ return(dbt.materialization_incremental_default()) }}
    {%- endif -%}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set temp_relation = make_temp_relation(target_relation) -%}
    {%- set strategy = adapter.get_incremental_strategy_macro(
        context, config.require('incremental_strategy')
    ) -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% call statement('new_rows') %}
        create temporary table {{ temp_relation }} as (
            {{ sql }}
        )
    {% endcall %}
    {%- set found = _columns_of_both(target_relation, temp_relation) %}
    {%- set new_rows = {
        'target_relation': target_relation,
        'temp_relation': temp_relation,
        'unique_key': config.get('unique_key'),
        'dest_columns': found['columns'],
        'incremental_predicates': none,
    } %}
    {% call statement('main') %}
        {{ strategy(new_rows) }}
    {% endcall %}
    {%- if not found['has_statistics'] %}{# it was empty when it was made #}
        {% call statement() %}
            analyze {{ target_relation }}
        {% endcall %}
    {%- endif %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}


{# The table's columns, in its order, and whether the planner knows its rows. Raises where the new
   rows have other columns, or of other types: what on_schema_change says of every model here. #}
{% macro _columns_of_both(target, new_rows) %}
    {%- set columns, others, known = [], [], [] %}
    {%- for row in run_query(
        "select coalesce(old_column.attname, new_column.attname) as name,"
        ~ " format_type(old_column.atttypid, null) as old_type,"
        ~ " format_type(new_column.atttypid, null) as new_type,"
        ~ " (select reltuples > 0 from pg_class where oid = '" ~ target ~ "'::regclass)"
        ~ " as has_statistics"
        ~ " from (select * from pg_attribute where attrelid = '" ~ target ~ "'::regclass"
        ~ " and attnum > 0 and not attisdropped) as old_column"
        ~ " full join (select * from pg_attribute where attrelid = '" ~ new_rows ~ "'::regclass"
        ~ " and attnum > 0) as new_column on old_column.attname = new_column.attname"
        ~ " order by old_column.attnum"
    ) %}
        {%- do known.append(row["has_statistics"]) %}
        {%- if row["old_type"] == row["new_type"] %}
            {%- do columns.append(api.Column(row["name"], row["old_type"])) %}
        {%- else %}
            {%- do others.append(
                row["name"] ~ " (table: " ~ (row["old_type"] or "none") ~ ", model: "
                ~ (row["new_type"] or "none") ~ ")"
            ) %}
        {%- endif %}
    {%- endfor %}
    {%- if others %}
        {{ exceptions.raise_compiler_error(
            "the model's columns are not its table's: " ~ others | join(", ")
            ~ ". Build it with --full-refresh"
        ) }}
    {%- endif %}
    {{ return({"columns": columns, "has_statistics": known[0]}) }}
{% endmacro %}
