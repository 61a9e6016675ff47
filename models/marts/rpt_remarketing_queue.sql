{{ config(
    incremental_strategy='touched_contacts',
    pre_hook="{{ take_touched('contacts') }}",
) }}

-- Whom to write to again. How long a lead lies idle is no column: it changes by the clock alone and
-- is computed on reading.
with conversations as (

    select * from {{ ref('fct_conversations') }}

),

tenants as (

    select * from {{ ref('dim_tenants') }}

),

inboxes as (

    select * from {{ ref('int_inboxes_scoped_to_tenants') }}

),

contacts as (

    select * from {{ ref('stg_chatwoot__contacts') }}

),

opt_outs as (

    select * from {{ ref('stg_app__opt_outs') }}

),

opt_out_keys as (

    select * from {{ ref('stg_app__opt_out_keys') }}

),

lost_labels as (

    select
        tenants.tenant_id,
        array_agg(segment_rules.rule_value) as labels
    from {{ ref('funnel_segment_rules') }} as segment_rules
    inner join tenants on segment_rules.segment = tenants.segment
    where
        segment_rules.stage = 'lost'
        and segment_rules.rule_kind = 'label'
    group by tenants.tenant_id

),

latest_leads as (

    select distinct on (tenant_id, contact_id) *
    from conversations
    where
        is_lead
        and contact_id is not null
        {{ only_touched_contacts('and') }}
    order by tenant_id asc, contact_id asc, created_at desc, conversation_id desc

),

final as (

    select
        latest_leads.tenant_id,
        latest_leads.contact_id,
        latest_leads.conversation_id,
        latest_leads.display_id,
        latest_leads.inbox_id,
        latest_leads.agent_id,
        latest_leads.channel,
        latest_leads.status,
        latest_leads.contact_name,
        latest_leads.contact_phone,
        latest_leads.last_side,
        latest_leads.lead_class,
        latest_leads.lead_score,
        latest_leads.ai_next_step,
        latest_leads.last_message_at,
        case
            when latest_leads.channel in ('whatsapp', 'facebook', 'instagram')
                then latest_leads.last_contact_message_at + interval '24 hours'
        end as free_window_ends_at
    from latest_leads
    inner join inboxes
        on
            latest_leads.tenant_id = inboxes.tenant_id
            and latest_leads.inbox_id = inboxes.inbox_id
    left join contacts
        on
            latest_leads.account_id = contacts.account_id
            and latest_leads.contact_id = contacts.contact_id
    left join lost_labels on latest_leads.tenant_id = lost_labels.tenant_id
    left join opt_outs
        on
            latest_leads.tenant_id = opt_outs.tenant_id
            and latest_leads.contact_id = opt_outs.contact_id
    where
        not latest_leads.is_converted
        -- resolved as lost: so labelled, or judged to have gone cold or declined
        and not coalesce(
            latest_leads.status = 'resolved'
            and (
                latest_leads.labels && lost_labels.labels
                or latest_leads.lead_class = 'low'
            ),
            false
        )
        and not (inboxes.tenant_owns_account and coalesce(contacts.is_blocked, false))
        and opt_outs.contact_id is null
        -- nor the same person as another contact
        and not exists (
            select from opt_out_keys
            where
                latest_leads.tenant_id = opt_out_keys.tenant_id
                and opt_out_keys.key_sha256 = {{ person_key(
                    'latest_leads.tenant_id', 'phone', phone_key('latest_leads.contact_phone')
                ) }}
        )
        and not exists (
            select from opt_out_keys
            where
                latest_leads.tenant_id = opt_out_keys.tenant_id
                and opt_out_keys.key_sha256 = {{ person_key(
                    'latest_leads.tenant_id', 'email', 'lower(btrim(latest_leads.contact_email))'
                ) }}
        )

)

select * from final
