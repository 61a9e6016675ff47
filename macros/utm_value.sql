{# %XX and + of a query string, in UTF-8. A per cent sign that encodes nothing stays; of bytes that
   are no text the whole value stays as it came: only an exception block tells. #}
{% macro create_decode_percent() %}
    create or replace function {{ target.schema }}.decode_percent(encoded text) returns text
    language plpgsql immutable strict
    as $$
    begin
        return (
            select convert_from(string_agg(
                case
                    when part[1] ~ '^%[0-9a-fA-F]{2}$' then decode(substr(part[1], 2), 'hex')
                    else convert_to(part[1], 'UTF8')
                end,
                ''::bytea order by place
            ), 'UTF8')
            from regexp_matches(replace(encoded, '+', ' '), '%[0-9a-fA-F]{2}|[^%]+|%', 'g')
                with ordinality as parts (part, place)
        );
    exception when data_exception then
        return encoded;
    end
    $$;
    revoke all on function {{ target.schema }}.decode_percent(text) from public
{% endmacro %}


{# Value of one parameter of an address's query (not of its fragment), whatever the case of the name;
   null when it is missing or empty. Most addresses have nothing to decode. #}
{% macro utm_value(url, name) -%}
    {%- set encoded -%}
        substring(
            substring({{ url }} from '^[^#?]*[?]([^#]*)') from '(?i)(?:^|&){{ name }}=([^&]*)'
        )
    {%- endset -%}
    nullif(btrim(
        case
            when strpos({{ url }}, '%') > 0 or strpos({{ url }}, '+') > 0
                then {{ target.schema }}.decode_percent({{ encoded }})
            else {{ encoded }}
        end
    ), '')
{%- endmacro %}
