{# A key that a unique index holds, of columns that take no null, needs no row to be read: the
   database refused the second one. Of other tables, and of views, the rows are asked. #}
{% test unique_key(model, columns) %}

    with key_columns as (

        select
            attrelid,
            attnum,
            attnotnull
        from pg_attribute
        where
            attrelid = to_regclass('{{ model }}')
            and attname in ('{{ columns | join("', '") }}')

    ),

    -- One row: null where no unique index is over the key or a part of it.
    held as (

        select bool_and(key_columns.attnotnull) as is_never_null
        from key_columns
        where exists (
            select from pg_index
            where
                indrelid = key_columns.attrelid
                and indisunique
                and indisvalid
                and indpred is null
                and indexprs is null
                and indkey::smallint[] <@ (select array_agg(attnum) from key_columns)
        )

    )

    select
        {{ columns | join(", ") }},
        count(*) as row_count
    from {{ model }}
    where
        (select is_never_null from held) is not true
        and (
            (select is_never_null from held) is null
            {%- for column in columns %}
            or {{ column }} is null
            {%- endfor %}
        )
    group by {{ columns | join(", ") }}
    having
        count(*) > 1
        {%- for column in columns %}
        or {{ column }} is null
        {%- endfor %}

{% endtest %}
