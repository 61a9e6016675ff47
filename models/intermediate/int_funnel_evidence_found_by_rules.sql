with rules as (

    select
        *,
        split_part(rule_value, '=', 1) as rule_key,
        substr(rule_value, strpos(rule_value, '=') + 1) as rule_wanted
    from {{ ref('int_funnel_rules_of_tenants') }}

),

attributes as (

    select * from {{ ref('int_attribute_rules_matched') }}

),

observed as (

    select * from {{ ref('int_attributes_observed') }}

),

labels as (

    select * from {{ ref('int_labels_scoped_to_tenants') }}

),

scores as (

    select * from {{ ref('int_scores_chosen_for_conversations') }}

),

messages as (

    select * from {{ ref('int_messages_scoped_to_tenants') }}

),

conversation_messages as (

    select * from {{ ref('int_messages_aggregated_to_conversations') }}

),

keywords as (

    select * from {{ ref('int_funnel_keywords_found_in_messages') }}

),

crm_rows as (

    select * from {{ ref('int_crm_rows_credited') }}

),

by_label as (

    select
        labels.tenant_id,
        labels.conversation_id,
        rules.stage,
        'label' as evidence_kind,
        labels.label as evidence_ref,
        labels.labelled_at as reached_at
    from labels
    inner join rules
        on
            labels.tenant_id = rules.tenant_id
            and labels.label = rules.rule_value
    where rules.rule_kind = 'label'

),

by_attribute as (

    select
        attributes.tenant_id,
        attributes.conversation_id,
        attributes.stage,
        'custom_attribute' as evidence_kind,
        attributes.rule_value as evidence_ref,
        coalesce(observed.observed_at, attributes.loaded_at) as reached_at
    from attributes
    left join observed
        on
            attributes.conversation_id = observed.conversation_id
            and attributes.rule_value = observed.rule_value

),

scored as (

    select
        scores.tenant_id,
        scores.conversation_id,
        rules.stage,
        rules.rule_value,
        scores.evidence_message_ids
    from scores
    inner join rules on scores.tenant_id = rules.tenant_id
    where
        rules.rule_kind = 'ai'
        and rules.rule_wanted = case rules.rule_key
            when 'lead_class' then scores.lead_class
            when 'intent' then scores.intent
            when 'sentiment' then scores.sentiment
            when 'visit_scheduled' then scores.has_visit_scheduled::text
        end

),

by_ai as (

    select
        scored.tenant_id,
        scored.conversation_id,
        scored.stage,
        'ai' as evidence_kind,
        scored.rule_value as evidence_ref,
        coalesce(max(messages.created_at), conversation_messages.last_message_at) as reached_at
    from scored
    inner join conversation_messages
        on
            scored.tenant_id = conversation_messages.tenant_id
            and scored.conversation_id = conversation_messages.conversation_id
    left join messages
        on
            scored.tenant_id = messages.tenant_id
            and scored.conversation_id = messages.conversation_id
            and messages.message_id = any(scored.evidence_message_ids)
    group by
        scored.tenant_id,
        scored.conversation_id,
        scored.stage,
        scored.rule_value,
        conversation_messages.last_message_at

),

by_crm as (

    select
        crm_rows.tenant_id,
        crm_rows.conversation_id,
        rules.stage,
        'crm' as evidence_kind,
        crm_rows.crm_row_id::text as evidence_ref,
        crm_rows.reached_at
    from crm_rows
    inner join rules on crm_rows.tenant_id = rules.tenant_id
    where rules.rule_kind = 'crm'

),

by_keyword as (

    select
        tenant_id,
        conversation_id,
        stage,
        'keyword' as evidence_kind,
        message_id::text as evidence_ref,
        created_at as reached_at
    from keywords

),

final as (

    select * from by_label
    union all
    select * from by_attribute
    union all
    select * from by_ai
    union all
    select * from by_crm
    union all
    select * from by_keyword

)

select * from final
