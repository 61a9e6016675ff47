{# A table because ai_enrich and the choice of scores both read it: 1.9 s for 250,000 messages. #}
{{ config(
    materialized='incremental',
    incremental_strategy='touched_conversations',
    indexes=[{'columns': ['conversation_id'], 'unique': true}],
    post_hook=[{'sql': '{{ analyze_once() }}', 'transaction': false}],
) }}

{# Portuguese talk has 3.45 characters a token (o200k), 2.9 in the worst of twenty blocks. #}
{%- set characters_per_token = 3 %}
{%- set characters_per_transcript = 4000 * characters_per_token %}
{%- set characters_per_message = 4000 %}

with messages as (

    select * from {{ ref('int_messages_scoped_to_tenants') }}
    where
        not is_deleted
        {{ only_touched('and') }}

),

texts as (

    select
        tenant_id,
        conversation_id,
        message_id,
        sender_kind,
        -- one line whatever the message holds, so that nobody can write a line of another's
        {{ message_text() }} as message_text,
        created_at
    from messages
    -- folded into what follows, the text would be made three times
    offset 0  -- noqa: AM09

),

lines as (

    select
        tenant_id,
        conversation_id,
        message_id,
        sender_kind || ': ' || case
            -- counting characters costs as much as all the rest
            when octet_length(message_text) <= {{ characters_per_message }} then message_text
            else left(message_text, {{ characters_per_message }})
        end as message_line,
        created_at
    from texts
    where message_text <> ''

),

measured as (

    select
        *,
        sum(length(message_line) + 1) over (
            partition by conversation_id order by created_at, message_id
            rows between current row and unbounded following
        ) as characters_to_end
    from lines

),

assembled as (

    select
        min(tenant_id) as tenant_id,
        conversation_id,
        string_agg(message_line, e'\n' order by created_at, message_id) as transcript,
        array_agg(message_id order by created_at, message_id) as message_ids,
        max(created_at) as last_message_at
    from measured
    where characters_to_end <= {{ characters_per_transcript }}
    group by conversation_id

),

final as (

    select
        tenant_id,
        conversation_id,
        transcript,
        encode(sha256(convert_to(transcript, 'UTF8')), 'hex') as transcript_sha256,
        message_ids,
        last_message_at
    from assembled

)

select * from final
