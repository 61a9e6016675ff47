{{ config(meta={'for_funnel': true}) }}

with evidence as (

    select * from {{ ref('int_funnel_evidence_found_by_rules') }}
    {{ only_touched('where', for_funnel=true) }}

),

conversations as (

    select * from {{ ref('int_conversations_scoped_to_tenants') }}
    {{ only_touched('where', for_funnel=true) }}

),

stages (stage, stage_number) as (

    values ('lead', 1), ('visit_scheduled', 2), ('converted', 3)

),

earliest as (

    select distinct on (evidence.tenant_id, evidence.conversation_id, stages.stage)
        evidence.tenant_id,
        evidence.conversation_id,
        stages.stage_number,
        evidence.evidence_kind,
        evidence.evidence_ref,
        evidence.reached_at
    from evidence
    inner join stages on evidence.stage = stages.stage
    order by
        evidence.tenant_id,
        evidence.conversation_id,
        stages.stage,
        evidence.reached_at,
        evidence.evidence_kind,
        evidence.evidence_ref

),

-- Each stage takes its own evidence, else that of the nearest later stage, which implies it.
implied as (

    select distinct on (earliest.tenant_id, earliest.conversation_id, stages.stage)
        earliest.tenant_id,
        earliest.conversation_id,
        stages.stage,
        earliest.reached_at,
        case
            when earliest.stage_number = stages.stage_number then earliest.evidence_kind
            else 'implied'
        end as evidence_kind,
        case
            when earliest.stage_number = stages.stage_number then earliest.evidence_ref
            else later_stages.stage
        end as evidence_ref
    from earliest
    inner join stages on earliest.stage_number >= stages.stage_number
    inner join stages as later_stages on earliest.stage_number = later_stages.stage_number
    order by
        earliest.tenant_id,
        earliest.conversation_id,
        stages.stage,
        earliest.stage_number

),

final as (

    select
        implied.tenant_id,
        implied.conversation_id,
        conversations.inbox_id,
        implied.stage,
        implied.evidence_kind,
        implied.evidence_ref,
        (implied.reached_at at time zone conversations.tenant_timezone)::date as reached_date,
        implied.reached_at
    from implied
    inner join conversations
        on
            implied.tenant_id = conversations.tenant_id
            and implied.conversation_id = conversations.conversation_id

)

select * from final
