-- A view, so that an import can ask it at once what its rows will count for; each row is looked up
-- by index. The phone says who it is, and the e-mail only where no contact has the phone.
with crm_rows as (

    select
        *,
        {{ phone_key('crm_phone') }} as phone_key
    from {{ ref('stg_app__crm_rows') }}

),

conversations as (

    select * from {{ ref('int_conversations_scoped_to_tenants') }}

),

reachable as not materialized (

    select
        tenant_id,
        conversation_id,
        contact_phone_key as phone_key,
        contact_email_key as email_key,
        tenant_timezone,
        created_date,
        created_at
    from conversations

),

candidates as (

    select
        crm_rows.tenant_id,
        crm_rows.crm_row_id,
        reachable.conversation_id,
        'phone' as matched_by,
        1 as preference,
        reachable.created_date <= crm_rows.converted_date as is_in_time,
        greatest(
            crm_rows.converted_date::timestamp at time zone reachable.tenant_timezone,
            reachable.created_at
        ) as reached_at,
        reachable.created_at
    from crm_rows
    inner join reachable
        on
            crm_rows.tenant_id = reachable.tenant_id
            and crm_rows.phone_key = reachable.phone_key

    union all

    select
        crm_rows.tenant_id,
        crm_rows.crm_row_id,
        reachable.conversation_id,
        'email' as matched_by,
        2 as preference,
        reachable.created_date <= crm_rows.converted_date as is_in_time,
        greatest(
            crm_rows.converted_date::timestamp at time zone reachable.tenant_timezone,
            reachable.created_at
        ) as reached_at,
        reachable.created_at
    from crm_rows
    inner join reachable
        on
            crm_rows.tenant_id = reachable.tenant_id
            and crm_rows.crm_email = reachable.email_key

),

chosen as (

    select distinct on (tenant_id, crm_row_id) *
    from candidates
    order by
        tenant_id asc,
        crm_row_id asc,
        preference asc,
        is_in_time desc,
        created_at desc,
        conversation_id desc

),

final as (

    select
        crm_rows.tenant_id,
        crm_rows.crm_row_id,
        case when chosen.is_in_time then chosen.conversation_id end as conversation_id,
        case
            when chosen.is_in_time then 'matched'
            when chosen.crm_row_id is not null then 'wrote_later'
            when crm_rows.phone_key is null and crm_rows.crm_email is null then 'nameless'
            else 'unknown'
        end as match_status,
        chosen.matched_by,
        crm_rows.converted_date,
        case when chosen.is_in_time then chosen.reached_at end as reached_at
    from crm_rows
    left join chosen
        on
            crm_rows.tenant_id = chosen.tenant_id
            and crm_rows.crm_row_id = chosen.crm_row_id

)

select * from final
