{# A phone as two writings of it are compared: Brazilian mobile numbers (6 to 9 after the area code)
   without the ninth digit that was put before them, all others as they are. #}
{% macro phone_key(phone) -%}
    regexp_replace({{ phone }}, '^([+]55[1-9][0-9])9([6-9][0-9]{7})$', '\1\2')
{%- endmacro %}
