{# A message of int_messages_scoped_to_tenants as one line: its text, then what stands for its
   attachments. Empty when it has neither, or was deleted. #}
{% macro message_text() -%}
    btrim(
        regexp_replace(coalesce(content, ''), '\s+', ' ', 'g')
        || ' '
        || case when is_deleted then '' else coalesce(placeholders, '') end
    )
{%- endmacro %}
