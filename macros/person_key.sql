{# How app.opt_out_keys knows a person of a tenant: by a phone (macro phone_key) or an e-mail in lower
   case. `kind` is phone or email. #}
{% macro person_key(tenant_id, kind, value) -%}
    sha256(convert_to({{ tenant_id }} || ':{{ kind }}:' || {{ value }}, 'utf8'))
{%- endmacro %}
