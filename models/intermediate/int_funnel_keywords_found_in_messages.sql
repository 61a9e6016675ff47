{# A table because the evidence is read three times: 1.8 s for 200,000 messages of contacts. #}
{{ config(
    materialized='incremental',
    incremental_strategy='touched_conversations',
    indexes=[{'columns': ['conversation_id', 'stage'], 'unique': true}],
    post_hook=[{'sql': '{{ analyze_once() }}', 'transaction': false}],
) }}

with rules as (

    select
        tenant_id,
        stage,
        {{ folded_words('rule_value') }} as phrase,
        -- its first word begins with a space, see negated; the others as they may
        '%' || replace({{ folded_words('rule_value') }}, '  ', ' _') || '%' as pattern,
        -- before a text is folded, some character stands for each letter that can have an accent
        regexp_replace(
            regexp_replace({{ folded_words('rule_value') }}, '[aceinou]', '_', 'g'),
            ' +', '%', 'g'
        ) as unfolded_pattern
    from {{ ref('int_funnel_rules_of_tenants') }}
    where
        rule_kind = 'keyword'
        and btrim({{ folded_words('rule_value') }}) <> ''

),

messages as (

    select * from {{ ref('int_messages_scoped_to_tenants') }}
    where
        sender_kind = 'contact'
        and content is not null
        {{ only_touched('and') }}

),

lowered as (

    select
        tenant_id,
        conversation_id,
        message_id,
        content,
        lower(content) as lower_content,
        -- what folding may turn into other letters, or more of them
        content ~ {{ unusual_characters() }} as is_unusual,
        created_at
    from messages
    -- folded into what follows, it would be lowered once a rule
    offset 0  -- noqa: AM09

),

-- Folding costs more than all rules together, so only what may have a phrase is folded, once.
folded as materialized (

    select
        tenant_id,
        conversation_id,
        message_id,
        {{ folded_words('content') }} as words,
        created_at
    from lowered
    where exists (
        select from rules
        where
            lowered.tenant_id = rules.tenant_id
            and (lowered.is_unusual or lowered.lower_content like rules.unfolded_pattern)
    )

),

found as materialized (

    select
        folded.*,
        rules.stage,
        rules.pattern
    from folded
    inner join rules on folded.tenant_id = rules.tenant_id
    where strpos(folded.words, rules.phrase) > 0

),

-- Once a message, however many phrases it has: a word with a negation among the three before it
-- becomes '-word '. A word is ' word ', so two neighbours have two spaces between them. One
-- expression for all: one a rule would be compiled for each message, past the 32 that are kept.
negated as materialized (

    select distinct on (tenant_id, message_id)
        tenant_id,
        message_id,
        case
            when words ~ ' (nao|nunca|nem|sem) | ja  (sou|tenho) '
                then regexp_replace(
                    words,
                    '(?<=( nao | nunca | nem | sem )( [a-z0-9]+ ){0,2}'
                    || '|( ja  sou | ja  tenho )( [a-z0-9]+ ){0,1}) (?=[a-z0-9])',
                    '-',
                    'g'
                )
            else words
        end as words
    from found

),

final as (

    select distinct on (found.conversation_id, found.stage)
        found.tenant_id,
        found.conversation_id,
        found.message_id,
        found.stage,
        found.created_at
    from found
    inner join negated
        on
            found.tenant_id = negated.tenant_id
            and found.message_id = negated.message_id
    where negated.words like found.pattern
    order by
        found.conversation_id,
        found.stage,
        found.created_at,
        found.message_id

)

select * from final
