with source as (

    select * from {{ source('chatwoot', 'team_members') }}

),

renamed as (

    select
        id as team_member_id,
        team_id,
        user_id,
        created_at at time zone 'utc' as created_at,
        updated_at at time zone 'utc' as updated_at

    from source
    where _deleted_at is null

)

select * from renamed
