with scores as (

    select * from {{ ref('stg_ai__conversation_scores') }}
    where score_status = 'ok'  -- so a newer failure hides no older score

),

transcripts as (

    select * from {{ ref('int_conversation_transcripts') }}

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

final as (

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

)

select * from final
