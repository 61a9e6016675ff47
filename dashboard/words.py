"""Values of the marts in the customer's words."""

STATUSES = {
    "open": "Aberta", "pending": "Pendente", "snoozed": "Adiada", "resolved": "Resolvida"
}  # fmt: skip
LEAD_CLASSES = {"high": "Alto", "medium": "Médio", "low": "Baixo"}
IDLE_LEVELS = {"recente": "Recente", "medio": "Médio", "frio": "Frio"}
SENTIMENTS = {"positive": "Positivo", "neutral": "Neutro", "negative": "Negativo"}
INTENTS = {
    "information": "Informação", "purchase": "Compra", "support": "Suporte",
    "complaint": "Reclamação",
}  # fmt: skip
STAGES = {"lead": "Lead", "visit_scheduled": "Visita", "converted": "Cliente"}
# What became of a conversation's analysis (queries.ai_coverage).
AI_STATES = {
    "ok": "Analisada",
    "stale": "Analisada, com mensagens novas desde então",
    "corrected": "Corrigida por uma pessoa",
    "refused": "A IA recusou o conteúdo",
    "failed": "A análise falhou; será tentada de novo",
    "skipped_budget": "Fora do orçamento de IA do mês",
    "none": "Ainda não analisada",
}
# Of a scored one; none: a person judged what no provider had.
PROVIDERS = {"openai": "IA externa (OpenAI)", "local": "modelo local", "none": "só uma pessoa"}
# Who wrote: sign and name.
SIDES = {"contact": ("👤", "Contato"), "bot": ("🤖", "Robô"), "agent": ("👨‍💼", "Equipe")}
CHANNELS = {
    "whatsapp": "WhatsApp", "instagram": "Instagram", "facebook": "Facebook",
    "telegram": "Telegram", "email": "E-mail", "web": "Site", "api": "API", "sms": "SMS",
    "line": "LINE", "tiktok": "TikTok", "other": "Outro",
}  # fmt: skip


def channel(value: str) -> str:
    """A channel's name; one that is not known as it is."""
    return CHANNELS.get(value, value)
