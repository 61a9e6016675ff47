{# The words of a text, without case, accents and punctuation, each with its own space on both
   sides (' nao  quero '), so that ' word ' finds whole words only, neighbours too.
   NFKD splits ã into a and a tilde: no unaccent extension is needed; ASCII has nothing to split. #}
{% macro folded_words(column) -%}
    ' ' || replace(
        btrim(
            regexp_replace(
                lower(case
                    when octet_length({{ column }}) = length({{ column }}) then {{ column }}
                    else regexp_replace(normalize({{ column }}, nfkd), '[\u0300-\u036f]+', '', 'g')
                end),
                '[^a-z0-9]+', ' ', 'g'
            )
        ),
        ' ', '  '
    ) || ' '
{%- endmacro %}
