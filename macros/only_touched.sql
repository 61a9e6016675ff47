{# What an incremental model reads of its inputs: `where conversation_id = any (…)`, the
   conversations of int_conversations_touched, and nothing at all where the model is made whole.
   Ids are written out, so that the planner knows how many there are and the condition gets through
   grouped views to their indexes; of very many a join is made. `word` is where or and.

   With `for_funnel` also those of which only a CRM file says something new. #}
{% macro only_touched(word, column='conversation_id', for_funnel=false) -%}
    {%- if not execute or is_incremental() %}
        {%- set touched = ref('int_conversations_touched') %}
    {%- endif %}
    {%- if not execute %}{# what the strategy writes to #}
        {%- do [ref('int_days_touched'), ref('int_contacts_touched')] %}
    {%- endif %}
    {%- if execute and is_incremental() %}
        {%- set condition = "" if for_funnel else "where not is_funnel_only" %}
        {%- set ids = run_query(
            "select string_agg(distinct conversation_id::text, ','), count(distinct conversation_id)"
            ~ " from " ~ touched ~ " " ~ condition
        )[0] %}
        {{- word }} {{ column }} {{ "" -}}
        {%- if ids[1] <= var('touched_ids_written_out') -%}
            = any('{{ "{" ~ (ids[0] or "") ~ "}" }}'::bigint[])
        {%- else -%}
            in (select touched.conversation_id from {{ touched }} as touched {{ condition }})
        {%- endif %}
    {%- endif %}
{%- endmacro %}


{# The same for aggregates: the days, contacts or months of which a conversation changed. What is
   noted can grow while a model is made, by others that run beside it; so its pre-hook takes what it
   goes by, for what it reads and for what it deletes (incremental_strategies.sql), and gathers
   statistics, without which the planner reads whole facts for a few days. #}
{% macro take_touched(what) -%}
    {%- if not execute %}
        {%- do [ref('int_days_touched'), ref('int_contacts_touched')] %}
    {%- elif is_incremental() %}
    create temporary table touched_now on commit drop as
    {% if what == 'months' %}{{ touched_months() }}
    {%- else %}select * from {{ ref('int_' ~ what ~ '_touched') }}{% endif %};
    analyze touched_now
    {%- endif %}
{%- endmacro %}


{# `columns` are compared with as many of the note's. #}
{% macro only_touched_days(word, columns='tenant_id, date, inbox_id') -%}
    {{ _only_touched_keys(word, columns, ['tenant_id', 'date', 'inbox_id']) }}
{%- endmacro %}


{% macro only_touched_contacts(word, columns='tenant_id, contact_id') -%}
    {{ _only_touched_keys(word, columns, ['tenant_id', 'contact_id']) }}
{%- endmacro %}


{% macro _only_touched_keys(word, columns, key) -%}
    {%- if execute and is_incremental() %}
        {{- word }} ({{ columns }}) in (
            select distinct {{ key[:columns.split(',') | length] | join(", ") }} from touched_now
        )
    {%- endif %}
{%- endmacro %}


{# Months that a touched day is part of or whose backlog changed, which one old conversation does for
   all days since, and all of a tenant whose name or segment changed. #}
{% macro touched_months() %}
    select distinct
        tenant_id,
        date_trunc('month', date)::date as month
    from {{ ref('int_days_touched') }}
    union
    select
        coalesce(months.tenant_id, backlog.tenant_id) as tenant_id,
        coalesce(months.month, backlog.month) as month
    from {{ this }} as months
    full join ({{ backlog_at_ends_of_months() }}) as backlog
        on months.tenant_id = backlog.tenant_id and months.month = backlog.month
    where (months.backlog_at_end, months.is_backlog_estimated)
        is distinct from (backlog.backlog_at_end, backlog.is_backlog_estimated)
    union
    select
        months.tenant_id,
        months.month
    from {{ this }} as months
    left join {{ ref('dim_tenants') }} as tenants on months.tenant_id = tenants.tenant_id
    where (months.slug, months.name, months.segment)
        is distinct from (tenants.slug, tenants.name, tenants.segment)
{% endmacro %}


{# Of each month's last day that is known. #}
{% macro backlog_at_ends_of_months() %}
    select distinct on (tenant_id, date_trunc('month', date))
        tenant_id,
        date_trunc('month', date)::date as month,
        sum(open_conversations)::bigint as backlog_at_end,
        bool_or(is_estimated) as is_backlog_estimated
    from {{ ref('agg_backlog') }}
    group by tenant_id, date
    order by tenant_id asc, date_trunc('month', date) asc, date desc
{% endmacro %}


{# `alias` is a table with a tenant_id; `date` one of its columns, by which an index leads to the
   month's rows. #}
{% macro only_touched_months(alias, date) -%}
    {%- if execute and is_incremental() %}
        inner join touched_now
            on
                {{ alias }}.tenant_id = touched_now.tenant_id
                and {{ alias }}.{{ date }} >= touched_now.month
                and {{ alias }}.{{ date }} < touched_now.month + interval '1 month'
    {%- endif %}
{%- endmacro %}
