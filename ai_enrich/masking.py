"""What may not leave: identifiers, addresses and names are replaced before a text is sent."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

import tarja

NAME = "<NOME>"
NUMBER = "<NUMERO>"

EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
HANDLE = re.compile(r"(?<![\w<])@\w[\w.]{2,}")
# What tarja leaves: a number without area code, and whatever else is as long as an identifier.
PHONE = re.compile(r"(?<![\w.,])9?\d{4}[ .-]\d{4}(?![\w]|[.,]\d)")
YEARS = re.compile(r"(?:19|20)\d\d.(?:19|20)\d\d")
LONG_NUMBER = re.compile(r"\d(?:[ ./-]?\d){7,}")
DATE = re.compile(r"\d{1,2}[/.-]\d{1,2}[/.-](?:\d{4}|\d\d)(?: \d\d?)?")
# Between digits: what nobody sees, and what people and phones write in place of a hyphen or space.
UNSEEN = re.compile(r"(?<=\d)[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]+(?=\d)")
HYPHENS = re.compile(r"(?<=[\d)])[\u2010-\u2015\u2212_*~]+(?=\d)")
SPACES = re.compile(r"(?<=[\d)])\s+(?=\d)")
WORD = re.compile(r"[^\W\d_]+")
# "meu nome é Ana Lima": what people call themselves, known to Chatwoot or not.
SAID_NAME = re.compile(
    r"\b(?i:me chamo|meu nome [eé]|minha graça [eé]|aqui [eé] (?:o|a)|quem fala [eé](?: o| a)?"
    r"|falo com(?: o| a)?|nome completo[:é]?|nome:)\s+"
    r"((?:[A-ZÀ-Ý][^\W\d_]+)(?:\s+(?:d[aeo]s?\s+)?[A-ZÀ-Ý][^\W\d_]+){0,5})"
)
PARTICLES = frozenset(("da", "das", "de", "del", "di", "do", "dos", "du", "e", "la", "van", "von"))
# Names that are words too: masked where they are written with a capital.
_WORDS = """
alegria amor anjo aurora barros batista bela belo bento branca branco brasil brava bravo campos
cardoso carneiro castro clara claro coelho conceicao costa cruz deus domingos esperanca estrela
faria ferro flor flores franca franco gloria graca gracas jardim julho junho lago leal leite lima
linda lindo lobo lua luz machado maio mar marco margarida matos mel minha monte morais moreira nova
novo oliveira paz pedra penha perola pinheiro pinto ponte porto prado primavera ramos reis ribeiro
rios rocha rosa salvador santa santo santos serra sol sorte tigre treino unica valente vale veloso
ventura verde vida vitoria viva
"""
COMMON_WORDS = frozenset(_WORDS.split())
# What a contact without a name is called is no name.
NO_NAMES = frozenset(("cliente", "contato", "lead", "loja", "teste", "unknown", "whatsapp"))
BR = re.compile(r"<BR_([A-Z_]+)>")


def mask(texts: Sequence[str], names: Iterable[str]) -> list[str]:
    """The texts without identifiers, e-mails, and the given names and those that people say.

    One text in, one text out, in order. Names are known by whole words, whatever their case and
    accents; a name that is an everyday word too ("Rosa") only where it has a capital.
    """
    joined = [_identifiers(unicodedata.normalize("NFC", text)) for text in texts]
    parts = _parts(unicodedata.normalize("NFC", name) for name in names)
    for text in joined:
        for said in SAID_NAME.findall(text):
            parts |= _parts([said])
    if not parts:
        return joined
    return [_names(text, parts) for text in joined]


def _identifiers(text: str) -> str:
    if "@" in text:
        text = HANDLE.sub("<USUARIO>", EMAIL.sub("<EMAIL>", text))
    # Every identifier has digits, and looking for all of them takes 4 ms a 1,000 characters.
    if sum(map(str.isdigit, text)) < 4:
        return text
    text = SPACES.sub(" ", HYPHENS.sub("-", UNSEEN.sub("", text)))
    text = BR.sub(r"<\1>", tarja.mask(text))
    text = PHONE.sub(lambda found: found[0] if YEARS.fullmatch(found[0]) else "<TELEFONE>", text)
    return LONG_NUMBER.sub(_number, text)


def _number(found: re.Match[str]) -> str:
    """A number of eight digits or more that is neither a date nor years stands for somebody."""
    is_plain = DATE.fullmatch(found[0]) or YEARS.fullmatch(found[0])
    return found[0] if is_plain else NUMBER


def _fold(word: str) -> str:
    if word.isascii():
        return word.lower()
    decomposed = unicodedata.normalize("NFKD", word.casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def _parts(names: Iterable[str]) -> set[str]:
    folded = {_fold(word) for name in names for word in WORD.findall(name)}
    return {word for word in folded - PARTICLES - NO_NAMES if len(word) > 1}


def _names(text: str, parts: set[str]) -> str:
    def replace(found: re.Match[str]) -> str:
        word = found[0]
        folded = _fold(word)
        if folded not in parts:
            return word
        # Two letters ("Jô") and everyday words say a name only with a capital.
        if (len(folded) < 3 or folded in COMMON_WORDS) and not word[0].isupper():
            return word
        start = found.start()
        return word if start and text[start - 1] == "<" else NAME  # a placeholder's own word

    return WORD.sub(replace, text)
