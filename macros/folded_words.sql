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


{# A character that is neither ASCII, nor a letter of Portuguese with an accent, nor one that can be
   no part of a word once it is folded (dashes, quotes, emoji): as folding has one of aceinou for each
   of the second and a space for the third, a text without any has its letters one by one. #}
{% macro unusual_characters() -%}
    ('[^\x01-\x7fàáâãäèéêëìíîïòóôõöùúûüçñÀÁÂÃÄÈÉÊËÌÍÎÏÒÓÔÕÖÙÚÛÜÇÑ'
    || '\u2010-\u2027\u2600-\u27bf\ufe0f\U0001f300-\U0001faff]')
{%- endmacro %}
