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


{# One row for each policy that is missing, altered or not ours, one where row security is off, and
   one a role with another privilege than to select, or without it. #}
{% macro tenant_access_differences(relation, readers) %}
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

    ),

    granted as (

        select
            case
                when grants.grantee = 0 then 'public'
                else pg_get_userbyid(grants.grantee)::text
            end as reader,
            array_agg(
                grants.privilege_type::text
                || case when grants.is_grantable then ' with grant option' else '' end
            ) as privileges
        from pg_class as marts
        cross join aclexplode(marts.relacl) as grants
        where marts.oid = '{{ relation }}'::regclass and grants.grantee <> marts.relowner
        group by grants.grantee

    )

    select
        coalesce(wanted.policy_name, present.policy_name) as name,
        'policy' as kind,
        present.policy_name is not null as is_present
    from wanted
    full join present on wanted.policy_name = present.policy_name
    where (
        present.is_permissive_select
        and present.readers = '{' || wanted.reader || '}'
        and present.condition = wanted.condition
    ) is not true
    union all
    select
        coalesce(wanted.reader, granted.reader) as name,
        'grant' as kind,
        granted.reader is not null as is_present
    from wanted
    full join granted on wanted.reader = granted.reader
    where (wanted.reader is not null and granted.privileges = array['SELECT']) is not true
    union all
    select
        relname::text as name,
        'row security' as kind,
        relrowsecurity as is_present
    from pg_class
    where oid = '{{ relation }}'::regclass and not relrowsecurity
{% endmacro %}


{# Post-hook of everything in marts/. Issues nothing where all is as wanted: dropping and creating
   a policy would wait behind the slowest reader. ENABLE, not FORCE: under FORCE the owner's own
   tests would see no rows and pass. Policies go with the mart's grants. #}
{% macro enable_tenant_rls() %}
    {%- if execute %}
    {%- set readers = config.get("grants")["select"] %}
    {%- set differences = {"policy": {}, "grant": {}, "row security": {}} %}
    {%- for row in run_query(tenant_access_differences(this, readers)) %}
        {%- do differences[row["kind"]].update({row["name"]: row["is_present"]}) %}
    {%- endfor %}
    {%- if differences.values() | select | list %}
    set local lock_timeout = '10s';
    alter table {{ this }} enable row level security;
    {%- for name, is_present in differences["policy"].items() if is_present %}
    drop policy {{ adapter.quote(name) }} on {{ this }};
    {%- endfor %}
    {%- for policy in tenant_policies(readers) if policy.name in differences["policy"] %}
    create policy {{ policy.name }} on {{ this }} for select to {{ policy.role }}
        using ({{ policy.condition }});
    {%- endfor %}
    {%- for name, is_present in differences["grant"].items() if is_present %}
    revoke all on {{ this }} from {{ name if name == "public" else adapter.quote(name) }};
    {%- endfor %}
    {%- for name in readers if name in differences["grant"] %}
    grant select on {{ this }} to {{ name }};
    {%- endfor %}
    {%- endif %}
    {%- endif %}
{% endmacro %}
