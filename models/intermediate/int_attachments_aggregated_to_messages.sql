with attachments as (

    select * from {{ ref('stg_chatwoot__attachments') }}

),

final as (

    select
        message_id,
        count(*) as attachment_count,
        -- what a reader of the conversation sees in place of the file, in the readers' language
        string_agg(
            case file_type
                when 'image' then '[imagem]'
                when 'audio' then '[áudio]'
                when 'video' then '[vídeo]'
                when 'file' then '[arquivo]'
                when 'location' then '[localização]'
                when 'contact' then '[contato]'
                when 'story_mention' then '[menção em story]'
                when 'ig_story' then '[story]'
                when 'ig_reel' then '[reel]'
                when 'ig_post' then '[post]'
                else '[anexo]'
            end,
            ' ' order by attachment_id
        ) as placeholders
    from attachments
    group by message_id

)

select * from final
