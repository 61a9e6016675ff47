with source as (

    select * from {{ source('ai', 'conversation_scores') }}

),

renamed as (

    select
        tenant_id,
        conversation_id,
        transcript_sha256,
        prompt_version,
        provider,
        model,
        status as score_status,
        sentiment,
        intent,
        lead_class,
        summary,
        next_step,
        objections,
        evidence_message_ids,
        error,
        lead_score,
        prompt_tokens,
        cached_tokens,
        completion_tokens,
        cost_usd,
        visit_scheduled as has_visit_scheduled,
        scored_at

    from source

)

select * from renamed
