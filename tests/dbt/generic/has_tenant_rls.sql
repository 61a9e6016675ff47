{# Asks the catalog, not the rows: row security on, exactly the wanted policies, tenant_id first in
   the table and in every unique index, nothing granted beyond select for the readers, and no view
   of anybody over it: a view shows every tenant's rows. #}
{% test has_tenant_rls(model, readers=["mirante_app", "mirante_analyst", "mirante_super"]) %}

    with differences as (

        {{ tenant_access_differences(model, readers) }}

    )

    select kind || ' ' || name || ' is not as wanted' as problem
    from differences

    union all

    select 'row security is forced or impossible' as problem
    from pg_class
    where
        oid = '{{ model }}'::regclass
        and (relforcerowsecurity or relkind not in ('r', 'p'))

    union all

    select 'tenant_id is not the first column' as problem
    from pg_attribute
    where
        attrelid = '{{ model }}'::regclass
        and attnum = 1
        and not (attname = 'tenant_id' and atttypid = 'integer'::regtype and attnotnull)

    union all

    select 'unique index ' || indexrelid::regclass || ' does not begin with tenant_id' as problem
    from pg_index
    where
        indrelid = '{{ model }}'::regclass
        and indisunique
        and indkey[0] <> 1

    union all

    select distinct 'readable through ' || rules.ev_class::regclass as problem
    from pg_depend as dependencies
    inner join pg_rewrite as rules on dependencies.objid = rules.oid
    where
        dependencies.classid = 'pg_rewrite'::regclass
        and dependencies.refobjid = '{{ model }}'::regclass
        and rules.ev_class <> '{{ model }}'::regclass

{% endtest %}
