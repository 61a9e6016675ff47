"""Keyword rules: the baseline that the trained model is measured against."""

import re
import unicodedata

from ai_enrich.schema import Conversation, Intent, LeadClass, Score, Sender, Sentiment

NEGATIONS = frozenset({"nao", "nunca", "nem", "sem"})
WINDOW = 3

BUY = ("quero", "gostaria", "vou", "bora", "pode", "matricula", "matricular", "fechar", "fechado",
       "comprar", "agendar", "marcar", "reservar", "contratar", "pix")  # fmt: skip
ASK = ("preco", "valor", "valores", "quanto", "custa", "plano", "planos", "horario", "horarios",
       "disponivel", "tem", "convenio", "frete", "mensalidade", "desconto", "prazo")  # fmt: skip
DECLINE = ("nao quero", "nao tenho interesse", "sem interesse", "numero errado", "foi engano",
           "desisti", "vou pensar", "muito caro", "nao obrigado")  # fmt: skip
CUSTOMER = ("ja sou", "ja tenho", "sou aluno", "sou cliente", "segunda via", "boleto", "2a via",
            "cancelar meu", "minha matricula", "meu pedido", "meu plano")  # fmt: skip
COMPLAIN = ("reclamar", "reclamacao", "absurdo", "pessimo", "horrivel", "procon", "descaso",
            "decepcionado", "decepcionada", "estorno", "vergonha")  # fmt: skip
THANK = ("obrigado", "obrigada", "otimo", "perfeito", "maravilha", "adorei", "excelente",
         "combinado")  # fmt: skip
VISIT = ("agendado", "agendada", "marcado", "marcada", "confirmado", "confirmada", "te esperamos",
         "esperamos voce")  # fmt: skip
CANCEL = ("desmarcar", "desmarcado", "desmarcada", "cancelar a visita", "nao vou poder")


def score(conversation: Conversation) -> Score:
    """Score by words and phrases; a negation among the three words before one undoes a wish."""
    contact = _said_by("contact", conversation)
    agent = _said_by("agent", conversation)
    declined = _has(contact, DECLINE)
    complains = _has(contact, COMPLAIN)
    is_customer = _has(contact, CUSTOMER)
    wants = not declined and not complains and not is_customer and _wants(contact)
    asks = not declined and _has(contact, ASK)
    visit = wants and _has(agent, VISIT) and not _has(contact + agent, CANCEL)

    lead_class: LeadClass = "high" if wants else "medium" if asks and not is_customer else "low"
    if complains:
        lead_class = "low"
    intent: Intent = (
        "complaint" if complains else "support" if is_customer
        else "purchase" if wants else "information"
    )  # fmt: skip
    sentiment: Sentiment = (
        "negative" if complains else "positive" if _has(contact, THANK) else "neutral"
    )
    return Score(
        sentiment=sentiment, intent=intent, lead_class=lead_class, visit_scheduled=visit,
        lead_score={"high": 80, "medium": 45, "low": 10}[lead_class],
    )  # fmt: skip


def _said_by(side: Sender, conversation: Conversation) -> str:
    texts = [message.text for message in conversation.messages if message.sender == side]
    return " . ".join(_fold(text) for text in texts)


def _fold(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return " ".join(re.findall(r"[a-z0-9]+|[.!?]", plain))


def _has(text: str, phrases: tuple[str, ...]) -> bool:
    return any(re.search(rf"\b{re.escape(phrase)}\b", text) for phrase in phrases)


def _wants(text: str) -> bool:
    """Whether a wish to buy stands without a negation among the three words before it."""
    words = text.split()
    return any(
        word in BUY and NEGATIONS.isdisjoint(words[max(0, position - WINDOW) : position])
        for position, word in enumerate(words)
    )
