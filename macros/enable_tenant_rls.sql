{# Who may read which rows of a mart, for those of the three that may read it at all. `printed` is
   the condition as PostgreSQL prints it back, by which we see whether a policy is already as
   wanted. #}
{% macro tenant_policies(readers) %}
    {#- An analyst reads plans: with the tenant in a subquery beside the column, EXPLAIN ANALYZE says
        "never executed" where no row of any tenant matches. So the subquery stands alone, asked
        once before any row, and the tenant comes from the log-in's name. #}
    {%- set policies = [
        {
            "name": "tenant_isolation",
            "role": "mirante_app",
            "condition": "tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::int)",
            "printed": "(tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::integer AS \"nullif\"))",
        },
        {
            "name": "analyst_isolation",
            "role": "mirante_analyst",
            "condition": "(select app.login_is_active()) and tenant_id = substring(session_user::text from '_t([0-9]+)$')::int",
            "printed": "(( SELECT app.login_is_active() AS login_is_active) AND (tenant_id = (\"substring\"((SESSION_USER)::text, '_t([0-9]+)$'::text))::integer))",
        },
        {
            "name": "super_read",
            "role": "mirante_super",
            "condition": "true",
            "printed": "true",
        },
    ] %}
    {{ return(policies | selectattr("role", "in", readers) | list) }}
{% endmacro %}


{# One row for each policy that is missing, altered or not ours. #}
{% macro tenant_policy_differences(relation, readers) %}
    with wanted (policy_name, reader, condition) as (

        values
        {%- for policy in tenant_policies(readers) %}
        ('{{ policy.name }}', '{{ policy.role }}', $printed${{ policy.printed }}$printed$)
        {{- "," if not loop.last }}
        {%- endfor %}

    ),

    present as (

        select
            policies.polname::text as policy_name,
            policies.polroles::regrole[]::text as readers,
            policies.polcmd = 'r' and policies.polpermissive as is_permissive_select,
            pg_get_expr(policies.polqual, policies.polrelid) as condition
        from pg_policy as policies
        where policies.polrelid = '{{ relation }}'::regclass

    )

    select
        coalesce(wanted.policy_name, present.policy_name) as policy_name,
        wanted.policy_name is not null as is_wanted,
        present.policy_name is not null as is_present
    from wanted
    full join present on wanted.policy_name = present.policy_name
    where (
        present.is_permissive_select
        and present.readers = '{' || wanted.reader || '}'
        and present.condition = wanted.condition
    ) is not true
{% endmacro %}


{# Post-hook of everything in marts/. Issues nothing where all is as wanted: dropping and creating
   a policy would wait behind the slowest reader. ENABLE, not FORCE: under FORCE the owner's own
   tests would see no rows and pass. Policies go with the mart's grants. #}
{% macro enable_tenant_rls() %}
    {%- if execute %}
    {%- set readers = config.get("grants")["select"] %}
    {%- set differences = {} %}
    {%- for row in run_query(tenant_policy_differences(this, readers)) %}
        {%- do differences.update({row["policy_name"]: row["is_present"]}) %}
    {%- endfor %}
    {%- set is_off = run_query(
        "select 1 from pg_class where oid = '" ~ this ~ "'::regclass and not relrowsecurity"
    ) | length > 0 %}
    {%- if differences or is_off %}
    set local lock_timeout = '10s';
    alter table {{ this }} enable row level security;
    {%- for name, is_present in differences.items() if is_present %}
    drop policy {{ adapter.quote(name) }} on {{ this }};
    {%- endfor %}
    {%- for policy in tenant_policies(readers) if policy.name in differences %}
    create policy {{ policy.name }} on {{ this }} for select to {{ policy.role }}
        using ({{ policy.condition }});
    {%- endfor %}
    {%- endif %}
    {%- endif %}
{% endmacro %}
