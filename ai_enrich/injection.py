"""Messages that speak to the model instead of the business, found before a model reads them.

A text model moves with every word it is given. So the local provider does not see text that
addresses a classifier: orders to ignore or obey, names of our fields, machine markup. What a
customer writes about the business has none of it.
"""

import re
import unicodedata

LEET = str.maketrans("013457@$", "oieastas")

# One of these is enough.
PLAIN = [
    # markup of models and machines
    r"<\|", r"\[/?inst\]", r"</?\s*(system|instructions?|instrucoes|conversation|prompt|script)\b",
    r"```", r"\bdrop table\b", r"\bupdate \w+ set\b", r"\btool_call\b",
    r"[{\[]\s*[\"']?(role|sentiment|sentimento|intent|intencao|lead|score|lead_\w+|visit\w*)[\"']?\s*:",
    r"\b(lead_?class|lead_?score|visit_?scheduled|intent\s*[=:]|sentiment\s*[=:])",
    # what is asked of a model
    r"\b(ignor(e|a|ar|em)|desconsider(e|a|ar|em)|esquec(a|e|er|am)|disregard|forget|override)\b.{0,60}"
    r"\b(instruc\w*|instruction\w*|prompt|regras|rules|rubric\w*|guidelines|diretri\w*"
    r"|task|tarefa|te pediram|(all|the|previous|prior|above) (text|conversation|messages?)"
    r"|everything|foi dito|ai em cima)\b",
    r"\b(sua|nova|new|your) (tarefa|task|instruc\w*|instruction\w*)\b.{0,40}"
    r"(\bagora\b|\bmudou\b|\bnow\b|\bchanged\b|:)",
    r"\byour (summary|output|instructions?)\b|\b(seu|teu) resumo\b",
    r"\b\w+\(\w+ ?=", r"= ?(sim|true|yes|verdadeir\w*)\b", r"\bcontext window\b",
    r"\breprogram(ad[oa]|med)\b", r"\b(root.level|nivel root)\b", r"<!--",
    r"\b(human|assistant|system) ?:",
    r"\b(fim da conversa|end of (conversation|data|transcript))\b",
    r"\b(apague|erase|limpe|clear) (o |the |all )?(histor|context)",
    r"\b(nao siga|do not follow|don.?t follow|pul[ea]|skip)\b.{0,30}"
    r"\b(instruc\w*|instruction\w*|manual|regras|rules|guidelines)\b",
    r"\b(who|what)ever (model|trains|reads)\b", r"\b(algoritmo|algorithm)\b.{0,20}\bconsider",
    r"\b(system|sistema)\s*(prompt|message|note|override)\b",
    r"\b(prompt|nota|mensagem|instruc\w*) (do|de) sistema\b",
    r"^\W*(system|sistema|assistant|assistente|developer|user|prompt)\s*\W?\s*:",
    r"\b(jailbreak|red.?team|developer mode|modo desenvolvedor|language model"
    r"|modelo de linguagem|chatgpt|\bgpt\b|\bllm\b)",
    r"\b(admin\w*|developer|system)\W+override\b",
    r"\b(hidden|oculta?s?|internas?)\W+(instruct\w*|instruc\w*)"
    r"|\b(instruct\w*|instruc\w*)\W+(ocult\w*|intern\w*|hidden)",
    r"\b(expected|esperad[oa]) (output|answer|saida|resposta)"
    r"|\b(saida|resposta|output) esperad[oa]\b",
]  # fmt: skip

# Each alone may be said by a customer: NEEDED says which together are not.
HINTS = {
    "order": r"\b(classif\w*|rotul\w*|pontu(e|ar|acao|a)|rate|rated|label\w*|marque|mark|set"
    r"|defina|retorne|return\w*|output|imprima|responda (so|apenas|somente)|answer|considere|assuma"
    r"|finja|pretend|act as|atue como|obey|obedeca|siga minhas|follow my|escreva|write|diga que"
    r"|say (that|i)|dar? nota|de nota|give|confirme|confirm|troque|change|poe|coloque|aumente"
    r"|lower|raise|reveal\w*|revel\w*|analis\w*|analyz\w*|avaliar|evaluate|command you|ordeno)\b",
    "model": r"\b(ia|ai|a\.i|inteligencia artificial|artificial intelligence|modelo|model|robo|bot"
    r"|classificador|classifier|avaliador|evaluator|assistente|assistant|algoritmo"
    r"|algorithm|scoring tool|prompt|transcript|contexto|context)\b",
    "field": r"\b(sentiment\w*|intent\w*|lead\w*|score\w*|pontuacao|classificacao|classification"
    r"|rotulo|label\w*|conversao|conversion|json|prioridade|priority)\b",
    "label": r"\b(sentiment\w*|intent|intencao|lead|rotulo\w*|labels?)\b",
    "name": r"\b(sentiment\w*|intent|intencao|leads?|score|pontuacao|classificacao|classification"
    r"|rotulo|label\w*|json)\b",
    "skip": r"\b(ignor\w*|desconsider\w*|esquec\w*|disregard|forget|nao analis\w*)\b",
    "value": r"\b(positiv\w*|negativ\w*|neutr\w*|high|low|medium|purchase|complaint|support|alto"
    r"|baixo|quente|100|100%|one hundred|nota maxima|top marks|perfect score|maxim\w*|zer[oa]r?"
    r"|hot)\b",
    "rule": r"\b(instruc\w*|instruction\w*|regra\w*|rule\w*|politica|policy|filtro\w*|tarefa|task"
    r"|rubric\w*|guidelines|orders|ordens|modo|mode|autoriz\w*|authorized|admin\w*|system"
    r"|sistema|developer|desenvolvedor\w*)\b",
    "truth": r"\b(true|false|como verdadeir\w*)\b",
    "third": r"\b(est[ea] (cliente|contato|lead|conversa)|ess[ea] (cliente|contato|lead)"
    r"|desta conversa|toda conversa|(este|esse) texto"
    r"|outras mensagens|this (text|line|thread)|other messages|each contact|todo contato"
    r"|deste (lead|contato)|desta pessoa"
    r"|this (customer|lead|contact|chat|person\w*"
    r"|conversation)|the (customer|contact|agent)"
    r"|(que|descreva) o (cliente|contato) (e\b|esta|quer|ador\w*|compr\w*|confirm\w*|agend\w*"
    r"|gost\w*|ja|como))\b",
    "english": r"\b(the|you|your|this|must|should|always|every|only)\b",
}  # fmt: skip
NEEDED = {
    frozenset(pair)
    for pair in (
        ("order", "field", "value"), ("model", "field", "value"), ("rule", "field", "value"),
        ("order", "model", "field"), ("order", "model", "value"), ("order", "rule", "field"),
        ("order", "rule", "model"), ("order", "rule", "value"), ("model", "rule", "value"),
        ("english", "order", "field"), ("english", "rule", "field"), ("english", "model", "order"),
        ("english", "order", "value"), ("model", "rule", "field"),
        ("label", "value"), ("label", "order", "model"), ("name", "model"), ("name", "rule"),
        ("third", "order"), ("third", "value"), ("third", "model"), ("third", "rule"),
        ("third", "truth"),
        ("order", "truth"), ("field", "truth"), ("skip", "value", "order"), ("skip", "name"),
    )
}  # fmt: skip

_PLAIN = re.compile("|".join(PLAIN))
_HINTS = {name: re.compile(pattern) for name, pattern in HINTS.items()}
_SPACED = re.compile(r"\b(?:\w ){3,}\w\b")
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")


def is_instruction(text: str) -> bool:
    """Whether `text` tells a model what to answer."""
    plain = _fold(text)
    for seen in {plain, plain.translate(LEET)}:
        if _PLAIN.search(seen):
            return True
        hints = {name for name, pattern in _HINTS.items() if pattern.search(seen)}
        if any(needed <= hints for needed in NEEDED):
            return True
    return False


def without_instructions(text: str) -> str:
    """What remains of `text` before a sentence that instructs a model; all of it without one.

    In such a message a sentence with any of the HINTS goes too, and a rest of a word or two.
    """
    if not is_instruction(text):
        return text
    kept: list[str] = []
    for sentence in _SENTENCE.split(text):
        plain = _fold(sentence)
        if is_instruction(sentence) or any(hint.search(plain) for hint in _HINTS.values()):
            break
        kept.append(sentence)
    else:
        return ""  # only as a whole does it instruct
    rest = " ".join(kept)
    return rest if len(rest.split()) > 2 else ""


def _fold(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return _SPACED.sub(lambda spaced: spaced.group().replace(" ", ""), plain)
