with taggings as (

    select * from {{ ref('stg_chatwoot__taggings') }}
    where
        taggable_type = 'Conversation'
        and context = 'labels'

),

tags as (

    select * from {{ ref('stg_chatwoot__tags') }}

),

conversations as (

    select * from {{ ref('int_conversations_scoped_to_tenants') }}

),

final as (

    select
        conversations.tenant_id,
        conversations.conversation_id,
        tags.tag_name as label,
        coalesce(min(taggings.created_at), conversations.created_at) as labelled_at
    from taggings
    inner join tags on taggings.tag_id = tags.tag_id
    inner join conversations on taggings.taggable_id = conversations.conversation_id
    group by
        conversations.tenant_id,
        conversations.conversation_id,
        tags.tag_name,
        conversations.created_at

)

select * from final
