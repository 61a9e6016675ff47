with source as (

    select * from {{ source('chatwoot', 'accounts') }}

),

renamed as (

    select
        id as account_id,
        name as account_name,
        locale as locale_code,
        case status
            when 0 then 'active'
            when 1 then 'suspended'
        end as account_status,
        created_at at time zone 'utc' as created_at,
        updated_at at time zone 'utc' as updated_at

    from source
    where _deleted_at is null

)

select * from renamed
