{# dbt's own view materialization drops the old view, and with it every view that reads it: after
   `dbt run -s stg_x` alone the rest is gone. Replacing keeps them, in one statement; only a change
   of columns still drops (error invalid_table_definition). #}
{% materialization view, adapter='postgres' %}
    {%- set existing_relation = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type='view') -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% if existing_relation is not none and not existing_relation.is_view %}
        {{ drop_relation_if_exists(existing_relation) }}
    {% endif %}

    {% call statement('main') %}
        do $materialize$
        declare
            definition text := $definition$ view {{ target_relation }} as (
                {{ sql }}
            ) $definition$;
        begin
            execute 'create or replace' || definition;
        exception when invalid_table_definition then
            execute $drop$ drop view {{ target_relation }} cascade $drop$;
            execute 'create' || definition;
        end
        $materialize$
    {% endcall %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do persist_docs(target_relation, model) %}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}
