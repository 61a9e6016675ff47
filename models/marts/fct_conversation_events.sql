{{ config(meta={'touched_dates': ['event_date']}) }}

with events as (

    select * from {{ ref('int_events_deduplicated') }}
    {{ only_touched('where') }}

),

kinds (event_name, event_kind) as (

    values
    ('conversation_opened', 'opened'),
    ('conversation_resolved', 'resolved'),
    ('conversation_bot_resolved', 'bot_resolved'),
    ('conversation_bot_handoff', 'bot_handoff'),
    ('conversation_captain_inference_handoff', 'bot_handoff')

),

final as (

    -- Captain's handoff and the handoff itself may bear the same moment
    select distinct
        events.tenant_id,
        events.conversation_id,
        events.inbox_id,
        kinds.event_kind,
        (events.event_at at time zone events.tenant_timezone)::date as event_date,
        events.event_at
    from events
    inner join kinds on events.event_name = kinds.event_name

)

select * from final
