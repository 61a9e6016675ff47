{# How incremental models take in what they computed again. Each deletes what it had of the touched
   conversations, days or contacts, also where nothing of them is left, and inserts the new rows: in
   one transaction, by plain deletes and inserts. #}


{# Models with a row, or some, of a conversation. A mart also notes which days and contacts its old
   and its new rows belong to (config meta: touched_dates, touches_contacts): aggregates over them
   follow. The notes stay until a build succeeds. #}
{% macro get_incremental_touched_conversations_sql(arguments) %}
    {%- set target, new_rows = arguments["target_relation"], arguments["temp_relation"] %}
    {%- set meta = config.get("meta", {}) %}
    {%- set of_tenants = "marts" in target.schema %}
    {%- set key = "tenant_id, conversation_id" if of_tenants else "conversation_id" %}
    {%- set dates = meta.get("touched_dates", []) %}
    {%- set touches_contacts = meta.get("touches_contacts", false) %}
    {#- a table with statistics: of a union the planner expects so many that it reads all of the
        target, 1,110 ms in place of 5 for 500 conversations among 4.5 million messages #}
    create temporary table touched_keys on commit drop as
    select {{ key }} from {{ ref('int_conversations_touched') }}
    {{- "" if meta.get("for_funnel") else " where not is_funnel_only" }}
    union
    select {{ key }} from {{ new_rows }};
    analyze touched_keys;
    {%- set touched = "(select " ~ key ~ " from touched_keys)" %}
    {%- for note, key_of_note, values in [
        ("int_days_touched", "tenant_id, date, inbox_id", dates),
        ("int_contacts_touched", "tenant_id, contact_id", ["contact_id"] if touches_contacts else []),
    ] if values %}
    insert into {{ ref(note) }} ({{ key_of_note }})
    {%- for value in values %}
    {{ "union" if not loop.first }}
    select
        tenant_id, {{ value }} {{- ", inbox_id" if "date" in key_of_note }}
    from {{ target }}
    where ({{ key }}) in {{ touched }} and {{ value }} is not null
    union
    select
        tenant_id, {{ value }} {{- ", inbox_id" if "date" in key_of_note }}
    from {{ new_rows }}
    where {{ value }} is not null
    {%- endfor %}
    order by {{ range(1, key_of_note.split(",") | length + 1) | join(", ") }}
    on conflict do nothing;
    {%- endfor %}
    delete from {{ target }} where ({{ key }}) in {{ touched }};
    {{ _insert_all(target, new_rows, arguments["dest_columns"]) }}
{% endmacro %}


{# Aggregates by tenant, date and inbox, or by the first two where there is no inbox. #}
{% macro get_incremental_touched_days_sql(arguments) %}
    {%- set target, new_rows = arguments["target_relation"], arguments["temp_relation"] %}
    {%- set has_inbox = "inbox_id" in arguments["dest_columns"] | map(attribute="name") %}
    {%- set key = "tenant_id, date, inbox_id" if has_inbox else "tenant_id, date" %}
    delete from {{ target }}
    where ({{ key }}) in (select distinct {{ key }} from touched_now);
    {{ _insert_all(target, new_rows, arguments["dest_columns"]) }}
{% endmacro %}


{% macro get_incremental_touched_contacts_sql(arguments) %}
    {%- set target, new_rows = arguments["target_relation"], arguments["temp_relation"] %}
    delete from {{ target }}
    where (tenant_id, contact_id) in (select tenant_id, contact_id from touched_now);
    {{ _insert_all(target, new_rows, arguments["dest_columns"]) }}
{% endmacro %}


{# The report by month: what any touched day is part of. #}
{% macro get_incremental_touched_months_sql(arguments) %}
    {%- set target, new_rows = arguments["target_relation"], arguments["temp_relation"] %}
    delete from {{ target }}
    where (tenant_id, month) in (select tenant_id, month from touched_now);
    {{ _insert_all(target, new_rows, arguments["dest_columns"]) }}
{% endmacro %}


{# Small tables, computed whole: only rows that differ are written, so readers and the write-ahead
   log see a change and nothing else. unique_key is required. With meta touches_conversations the
   funnel of the conversations in either version of such a row is computed again. #}
{% macro get_incremental_differences_sql(arguments) %}
    {%- set target, new_rows = arguments["target_relation"], arguments["temp_relation"] %}
    {%- set columns = arguments["dest_columns"] %}
    {%- set names = columns | map(attribute="quoted") | join(", ") %}
    {%- if config.get("meta", {}).get("touches_conversations") %}
    insert into {{ ref('int_conversations_touched') }} (tenant_id, conversation_id, is_funnel_only)
    select distinct tenant_id, conversation_id, true
    from (
        (table {{ target }} except table {{ new_rows }})
        union all
        (table {{ new_rows }} except table {{ target }})
    ) as differences
    where conversation_id is not null
    order by tenant_id, conversation_id
    on conflict do nothing;
    {%- endif %}
    delete from {{ target }} as old_rows
    where not exists (
        select from {{ new_rows }} as new_rows
        where
            {%- for column in arguments["unique_key"] %}
            new_rows.{{ column }} = old_rows.{{ column }} and
            {%- endfor %}
            ({{ _columns_of("new_rows", columns) }})
            is not distinct from ({{ _columns_of("old_rows", columns) }})
    );
    insert into {{ target }} ({{ names }})
    select {{ names }} from {{ new_rows }}
    except
    select {{ names }} from {{ target }};
{% endmacro %}


{% macro _columns_of(alias, columns) -%}
    {%- for column in columns -%}
        {{ alias }}.{{ column.quoted }}{{ ", " if not loop.last }}
    {%- endfor -%}
{%- endmacro %}


{% macro _insert_all(target, new_rows, columns) %}
    {%- set names = columns | map(attribute="quoted") | join(", ") %}
    insert into {{ target }} ({{ names }}) select {{ names }} from {{ new_rows }};
{% endmacro %}


{# Post-hook outside the transaction: a table that is new has no statistics yet, and one that grows by
   little keeps those it has until the server gathers them again (one that was empty:
   materialize_incremental.sql). #}
{% macro analyze_once() %}
    {%- if not is_incremental() %}
    analyze {{ this }}
    {%- endif %}
{% endmacro %}


{# on-run-end: what was claimed is settled once everything that follows from it was built. #}
{% macro settle_changes(results) %}
    {%- if execute and flags.WHICH in ("build", "run") %}
    {%- set built = results | selectattr("status", "equalto", "success")
        | map(attribute="node.unique_id") | list %}
    {%- set open = [] %}
    {%- for node in graph.nodes.values()
        if node.config.incremental_strategy in (
            "touched_conversations", "touched_days", "touched_contacts", "touched_months"
        ) and node.unique_id not in built %}
        {%- do open.append(node.unique_id) %}
    {%- endfor %}
    {%- if not open %}
        select app.settle_changes()
    {%- endif %}
    {%- endif %}
{% endmacro %}
