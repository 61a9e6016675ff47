"""What the AI says of a conversation, marked by who said it, its evidence, and its correction."""

from html import escape
from typing import Any

import streamlit as st

from dashboard import formats, state, words
from dashboard.auth import SessionEndedError, Visit

Row = dict[str, Any]
CORRECTORS = frozenset({"admin", "super_admin"})
KEEP = "Como está"
VISITS = {True: "Combinada", False: "Não combinada"}
ANSWERS = {
    "denied": "Só quem administra a conta pode corrigir.",
    "missing": "Esta conversa não tem texto para corrigir, ou não existe mais.",
    "invalid": "Escolha ao menos um rótulo para corrigir.",
    "too_many": "Muitas mudanças em pouco tempo. Tente de novo em 5 segundos.",
}


def source(row: Row) -> str:
    """Who made the score, in words: a person, the local model or the provider outside."""
    if row["ai_provider"] is None:
        return "Corrigido por uma pessoa"
    name = "IA local" if row["ai_provider"] == "local" else "IA"
    return name + {"stale": ", de um texto anterior", "corrected": ", corrigido"}.get(
        row["ai_status"], ""
    )


def badge(row: Row) -> str:
    """HTML: class and score, marked by their source; a correction that waits for a build."""
    if row["lead_score"] is None and not row["lead_class"]:
        html = '<span class="m-soft">Não analisada</span>'
    else:
        lead_class = row["lead_class"] or ""
        score = formats.number(row["lead_score"])
        html = (
            f'<span class="m-score m-{escape(lead_class)}"><b>{score}</b> '
            f"{words.LEAD_CLASSES.get(lead_class, formats.MISSING)}</span>"
            f'<span class="m-soft">{source(row)}</span>'
        )
    if row["is_correction_pending"]:
        html += f'<span class="m-badge m-pending">Correção pendente: {escape(pending(row))}</span>'
    return html


def pending(row: Row) -> str:
    """What a person said that no build has taken in yet."""
    said = (
        (words.LEAD_CLASSES.get(row["corrected_lead_class"] or ""), "classe"),
        (words.SENTIMENTS.get(row["corrected_sentiment"] or ""), "sentimento"),
        (words.INTENTS.get(row["corrected_intent"] or ""), "intenção"),
        (None if row["corrected_visit_scheduled"] is None
         else VISITS[bool(row["corrected_visit_scheduled"])].lower(), "visita"),
        (None if row["corrected_lead_score"] is None
         else formats.number(row["corrected_lead_score"]), "score"),
    )  # fmt: skip
    return ", ".join(f"{label} {word}" for word, label in said if word)


def facts(row: Row) -> str:
    """HTML: labels, summary, next step and the messages they rest on."""
    sentiment = words.SENTIMENTS.get(row["sentiment"] or "", formats.MISSING)
    intent = words.INTENTS.get(row["intent"] or "", formats.MISSING)
    parts = [f"<p>Sentimento <b>{sentiment}</b> · Intenção <b>{intent}</b></p>"]
    for title, text in (("Resumo", row["ai_summary"]), ("Próximo passo", row["ai_next_step"])):
        if text:
            parts.append(f"<p><b>{title}</b> <bdi>{escape(text)}</bdi></p>")
    evidence = [_quote(line) for line in row["evidence"]]
    if evidence:
        parts.append(f"<p><b>Mensagens que sustentam a análise</b></p>{''.join(evidence)}")
    return "".join(parts)


def details(row: Row, correct: str | None) -> str:
    """HTML: the evidence behind a click; `correct`: address of the form, for who may use it."""
    if not row["ai_status"]:
        return ""
    link = f'<p><a href="{escape(correct)}" target="_self">Corrigir</a></p>' if correct else ""
    return (
        '<details class="m-details"><summary>Por que esta análise?</summary>'
        f'<div class="m-facts">{facts(row)}{link}</div></details>'
    )


def heading(row: Row) -> str:
    """HTML: whose score, and the score."""
    name = escape((row["contact_name"] or "").strip() or "Sem nome")
    return (
        f'<div class="m-facts"><p><b><bdi>{name}</bdi></b> · nº{formats.NBSP}'
        f"{row['display_id']}</p>"
        f'<p class="m-line">{badge(row)}</p></div>'
    )


def form(visit: Visit, row: Row) -> None:
    """Labels a person may put in place of the AI's; kept at once, in the numbers with a build."""
    conversation_id = int(row["conversation_id"])
    done_key = f"corrected {conversation_id}"
    with st.form(f"correct-{conversation_id}", border=False):
        with st.container(horizontal=True):
            given = {
                "lead_class": _choose("Classe", words.LEAD_CLASSES, row, "lead_class"),
                "sentiment": _choose("Sentimento", words.SENTIMENTS, row, "sentiment"),
                "intent": _choose("Intenção", words.INTENTS, row, "intent"),
                "visit_scheduled": _choose("Visita", VISITS, row, "visit_scheduled"),
            }
        st.caption(
            "A correção fica guardada com o seu nome. Os números e as listas mudam na próxima "
            "atualização dos dados; até lá ela aparece como pendente."
        )
        is_sent = st.form_submit_button("Guardar correção", type="primary")
    if is_sent:
        answer = state.current().sessions.correct(visit, conversation_id, **given)
        if answer == "switched":
            raise SessionEndedError("the session stands for another tenant by now")
        st.session_state[done_key] = answer
        if answer == "ok":
            st.rerun()
    answer = st.session_state.pop(done_key, None)
    if answer == "ok":
        st.success("Correção guardada. Ela entra nos números na próxima atualização.")
    elif answer:
        st.warning(ANSWERS[answer])


def _choose(label: str, options: dict[Any, str], row: Row, name: str) -> Any:
    return st.selectbox(
        label, [None, *options], format_func=lambda value: options.get(value, KEEP),
        key=f"correct-{name}-{row['conversation_id']}", width=190,
    )  # fmt: skip


def _quote(line: str) -> str:
    kind, _, text = line.partition(": ")
    icon, who = words.SIDES[kind]
    return f'<blockquote><span title="{who}">{icon}</span> <bdi>{escape(text)}</bdi></blockquote>'
