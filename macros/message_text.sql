{# A message of int_messages_scoped_to_tenants as one line: its text, then what stands for its
   attachments. Empty when it has neither. #}
{% macro message_text() -%}
    btrim(
        regexp_replace(coalesce(content, ''), '\s+', ' ', 'g')
        || ' '
        || coalesce(placeholders, '')
    )
{%- endmacro %}
