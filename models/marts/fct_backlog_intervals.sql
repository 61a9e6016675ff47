with changes as (

    select * from {{ ref('int_backlog_changes') }}
    {{ only_touched('where') }}

),

-- Opened and closed by turns: a day on which both happened changes nothing at its end.
turns as (

    select
        tenant_id,
        conversation_id,
        inbox_id,
        delta,
        date as opened_date,
        lead(date) over (partition by conversation_id order by date) as closed_date
    from changes
    where delta <> 0

),

final as (

    select
        tenant_id,
        conversation_id,
        inbox_id,
        opened_date,
        closed_date
    from turns
    where delta = 1

)

select * from final
