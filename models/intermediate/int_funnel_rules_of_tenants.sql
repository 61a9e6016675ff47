with own_rules as (

    select * from {{ ref('stg_app__funnel_rules') }}

),

segment_rules as (

    select * from {{ ref('funnel_segment_rules') }}
    where stage <> 'lost'

),

tenants as (

    select * from {{ ref('stg_app__tenants') }}

),

final as (

    select
        tenant_id,
        stage,
        rule_kind,
        rule_value
    from own_rules

    union

    select
        tenants.tenant_id,
        segment_rules.stage,
        segment_rules.rule_kind,
        segment_rules.rule_value
    from segment_rules
    inner join tenants on segment_rules.segment = tenants.segment

)

select * from final
