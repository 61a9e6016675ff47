{# A JSON string may hold anything, and PostgreSQL 15 has no test for valid JSON: only an exception
   block keeps one bad message from breaking the build. #}
{% macro create_decode_json() %}
    create or replace function {{ target.schema }}.decode_json(encoded text) returns jsonb
    language plpgsql immutable strict
    as $$
    declare
        decoded jsonb;
    begin
        decoded := encoded::jsonb;
        if jsonb_typeof(decoded) = 'string' then
            decoded := (decoded #>> '{}')::jsonb;
        end if;
        return case when jsonb_typeof(decoded) = 'object' then decoded end;
    exception when data_exception or program_limit_exceeded then
        return null;
    end
    $$;
    revoke all on function {{ target.schema }}.decode_json(text) from public
{% endmacro %}


{# Text of one key, from an object or from a string that holds one (Chatwoot writes both); null when
   there is none or the content is no JSON. The search for the key comes first because most rows
   have none of ours, and decoding costs far more. #}
{% macro json_value(column, key) -%}
    case
        when strpos({{ column }}::text, '{{ key }}') > 0
            then {{ target.schema }}.decode_json({{ column }}::text) ->> '{{ key }}'
    end
{%- endmacro %}
