with scores as not materialized (

    select * from {{ ref('stg_ai__conversation_scores') }}
    where score_status = 'ok'  -- so a newer failure hides no older score

),

transcripts as not materialized (

    select * from {{ ref('int_conversation_transcripts') }}

),

-- of conversations the tenant has, as the transcripts say
corrections as (

    select corrections.*
    from {{ ref('stg_ai__corrections') }} as corrections
    inner join transcripts
        on
            corrections.tenant_id = transcripts.tenant_id
            and corrections.conversation_id = transcripts.conversation_id

),

aged as (

    select
        scores.*,
        coalesce(scores.transcript_sha256 = transcripts.transcript_sha256, false) as is_present
    from scores
    left join transcripts
        on
            scores.tenant_id = transcripts.tenant_id
            and scores.conversation_id = transcripts.conversation_id

),

latest as (

    select distinct on (tenant_id, conversation_id)
        tenant_id,
        conversation_id,
        provider,
        sentiment,
        intent,
        lead_class,
        summary,
        next_step,
        evidence_message_ids,
        case when is_present then 'ok' else 'stale' end as ai_status,
        lead_score,
        has_visit_scheduled,
        scored_at
    from aged
    order by
        tenant_id asc,
        conversation_id asc,
        is_present desc,
        scored_at desc,
        prompt_version desc,
        provider desc,
        model desc

),

-- what a person says wins, label by label; what it leaves open stays as scored
final as (

    -- two parts instead of a full join: a build asks for some conversations, and these it finds
    select
        latest.tenant_id,
        latest.conversation_id,
        latest.provider,
        coalesce(corrections.sentiment, latest.sentiment) as sentiment,
        coalesce(corrections.intent, latest.intent) as intent,
        coalesce(corrections.lead_class, latest.lead_class) as lead_class,
        latest.summary,
        latest.next_step,
        latest.evidence_message_ids,
        case
            when corrections.tenant_id is not null then 'corrected'
            else latest.ai_status
        end as ai_status,
        coalesce(corrections.lead_score, latest.lead_score) as lead_score,
        coalesce(corrections.has_visit_scheduled, latest.has_visit_scheduled)
            as has_visit_scheduled,
        coalesce(corrections.corrected_at, latest.scored_at) as scored_at
    from latest
    left join corrections
        on
            latest.tenant_id = corrections.tenant_id
            and latest.conversation_id = corrections.conversation_id

    union all

    select
        corrections.tenant_id,
        corrections.conversation_id,
        scores.provider,
        corrections.sentiment,
        corrections.intent,
        corrections.lead_class,
        scores.summary,
        scores.next_step,
        scores.evidence_message_ids,
        'corrected' as ai_status,
        corrections.lead_score,
        corrections.has_visit_scheduled,
        corrections.corrected_at as scored_at
    from corrections
    left join scores
        on
            corrections.tenant_id = scores.tenant_id
            and corrections.conversation_id = scores.conversation_id
    where scores.tenant_id is null  -- so all that is of scores is null

)

select * from final
