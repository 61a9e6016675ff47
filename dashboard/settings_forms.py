"""The page of a tenant's settings: rules of the funnel, AI, looks, limits."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from html import escape

from dashboard import formats
from dashboard.auth import ManagedRule, ManagedSettings, Viewer
from dashboard.forms import SEGMENTS, alert, csrf_field, page, way_out

STAGES = {"lead": "Lead", "visit_scheduled": "Visita agendada", "converted": "Convertido"}
LOST = "Perdido"
KIND_NAMES = {
    "label": "Etiqueta",
    "custom_attribute": "Atributo",
    "keyword": "Frase",
    "ai": "IA",
    "crm": "CRM",
}
# What the form offers; a kind with a value in it needs none from the person.
KINDS = {
    "label": "Etiqueta do Chatwoot",
    "custom_attribute": "Atributo (chave=valor)",
    "keyword": "Frase na mensagem do cliente",
    "ai lead_class=high": "IA: lead Alto",
    "ai lead_class=medium": "IA: lead Médio",
    "ai lead_class=low": "IA: lead Baixo",
    "ai visit_scheduled=true": "IA: visita combinada",
    "crm": "Planilha do CRM importada",
}
DEFAULT_COLOR = "#0f766e"
WARNING_PERCENT = 80


@dataclass(frozen=True)
class PackRule:
    """A rule of the segment's pack; beside the stages of the funnel there is `lost`."""

    stage: str
    kind: str
    value: str


@dataclass(frozen=True)
class Usage:
    """What the tenant uses; conversations are those of its calendar month."""

    users: int
    inboxes: int
    conversations: int


def settings_page(
    brand_name: str,
    viewer: Viewer,
    managed: ManagedSettings,
    rules: Sequence[ManagedRule],
    pack: Sequence[PackRule],
    usage: Usage,
    *,
    problem: str | None = None,
    done: str | None = None,
    typed: Mapping[str, str] | None = None,
) -> str:
    """All settings of the tenant, for its admins. `typed`: what a refused form had in it."""
    hidden = (
        csrf_field(viewer.token_sha256)
        + f'<input type="hidden" name="tenant_id" value="{managed.tenant_id}">'
    )
    typed = typed or {}
    return page(
        brand_name,
        "Configurações",
        f"""
        <p class="top"><a href="/">← Voltar ao painel</a></p>
        <h1>Configurações</h1>
        <p class="lead">Como os números de {escape(viewer.tenant_name or "")} são feitos e
        mostrados.</p>
        {alert(problem)}
        {f'<p class="good" role="status">{escape(done)}</p>' if done else ""}
        <nav class="parts" aria-label="Nesta página"><a href="#funil">Funil</a>
          <a href="#ia">Inteligência artificial</a> <a href="#aparencia">Aparência</a>
          <a href="#limites">Limites</a></nav>
        {_funnel(hidden, managed, rules, pack, typed)}
        {_ai(hidden, viewer, managed, typed)}
        {_looks(brand_name, hidden, managed, typed)}
        {_limits(managed, usage)}
        {way_out(viewer.token_sha256, viewer.email)}
        """,
        is_wide=True,
    )


# ---- funnel -----------------------------------------------------------------------------------


def _funnel(
    hidden: str,
    managed: ManagedSettings,
    rules: Sequence[ManagedRule],
    pack: Sequence[PackRule],
    typed: Mapping[str, str],
) -> str:
    segment = SEGMENTS.get(managed.segment, managed.segment)
    stages = "".join(
        f"""
        <h3>{name}</h3>
        {_own_rules(hidden, name, [rule for rule in rules if rule.stage == stage])}
        {_pack_rules(segment, [rule for rule in pack if rule.stage == stage])}
        """
        for stage, name in STAGES.items()
    )
    lost = [rule for rule in pack if rule.stage == "lost"]
    if lost:
        stages += f"""
        <h3>{LOST}</h3>
        <p class="hint">Não é uma etapa: tira o contato da fila de reativação.</p>
        {_pack_rules(segment, lost)}
        """
    return f"""
        <h2 id="funil">Funil</h2>
        <p>Uma conversa chega a uma etapa quando qualquer regra dela vale; uma etapa posterior
        inclui as anteriores. Criar ou excluir uma regra muda todos os números, também os antigos,
        na próxima atualização dos dados.</p>
        <p class="hint">O pacote {escape(segment)} vem pronto para o segmento e vale junto com as
        suas regras; o segmento é escolhido pela agência.</p>
        {stages}
        <h3>Nova regra</h3>
        <form method="post" action="/configuracoes">
          {hidden}<input type="hidden" name="act" value="add_rule">
          <div class="even">
            <div><label for="stage">Etapa</label>
            <select id="stage" name="stage">{_options(STAGES, typed.get("stage"))}</select></div>
            <div><label for="kind">Vale quando houver</label>
            <select id="kind" name="kind">{_options(KINDS, typed.get("kind"))}</select></div>
          </div>
          <label for="value">Etiqueta, chave=valor ou frase</label>
          <input id="value" name="value" maxlength="100" autocomplete="off" autocapitalize="none"
            spellcheck="false" aria-describedby="value-hint"
            value="{escape(typed.get("value", ""))}">
          <p class="hint under" id="value-hint">Etiqueta: o nome dela no Chatwoot. Frase: palavras
          inteiras em uma mensagem do cliente, com ou sem acento; depois de “não”, “nunca”, “nem” ou
          “sem” ela não conta. IA e CRM dispensam este campo.</p>
          <button type="submit">Criar regra</button>
        </form>
        """


def _options(options: Mapping[str, str], chosen: str | None) -> str:
    return "".join(
        f'<option value="{value}"{" selected" if value == chosen else ""}>{label}</option>'
        for value, label in options.items()
    )


def _own_rules(hidden: str, stage_name: str, rules: Sequence[ManagedRule]) -> str:
    if not rules:
        return '<p class="hint">Nenhuma regra própria.</p>'
    items = "".join(
        f"""
        <li><span class="kind">{escape(KIND_NAMES[rule.kind])}</span>
          <span class="name">{escape(_value(rule))}</span>
          <button name="rule_id" value="{rule.rule_id}" aria-label="{
            escape(f"Excluir de {stage_name}: {KIND_NAMES[rule.kind]} {_value(rule)}")
        }">Excluir</button></li>
        """
        for rule in rules
    )
    return f"""
        <form method="post" action="/configuracoes">{hidden}
          <input type="hidden" name="act" value="remove_rule">
          <ul class="rules" aria-label="Regras próprias de {stage_name}">{items}</ul>
        </form>
        """


def _value(rule: ManagedRule) -> str:
    if rule.kind == "crm":
        return "planilha importada"
    if rule.kind == "ai":
        label = KINDS.get(f"ai {rule.value}")
        return label.removeprefix("IA: ") if label else rule.value
    return f"“{rule.value}”" if rule.kind == "keyword" else rule.value


def _pack_rules(segment: str, rules: Sequence[PackRule]) -> str:
    if not rules:
        return ""
    labels = ", ".join(rule.value for rule in rules if rule.kind == "label")
    phrases = ", ".join(f"“{rule.value}”" for rule in rules if rule.kind == "keyword")
    parts = "".join(
        f"<p><strong>{title}:</strong> {escape(values)}</p>"
        for title, values in (("Etiquetas", labels), ("Frases", phrases))
        if values
    )
    number = formats.count(len(rules), "regra", "regras")
    return (
        f'<details class="pack"><summary>{number} do pacote {escape(segment)}</summary>{parts}'
        "</details>"
    )


# ---- AI ---------------------------------------------------------------------------------------


def _ai(hidden: str, viewer: Viewer, managed: ManagedSettings, typed: Mapping[str, str]) -> str:
    own, plans, budget = (
        managed.ai_own_budget_usd, managed.ai_plan_budget_usd, managed.ai_budget_usd
    )  # fmt: skip
    spent = managed.ai_spent_usd
    value = typed.get("budget", "" if own is None else formats.number(float(own), 2))
    is_agency = viewer.role == "super_admin"
    rules = []
    if plans is not None:
        rules.append(
            f"O plano permite até {_usd(plans)} por mês"
            + (" a quem administra a conta; a agência pode pôr mais." if is_agency else ".")
        )
        rules.append("Vazio: o do plano.")
    elif is_agency:
        rules.append("Vazio: só o limite da agência para todos os clientes juntos.")
    rules.append("0: nada é gasto, o modelo local avalia.")
    if budget is None:
        state = (
            f"""<p>Gasto neste mês: <strong>{_usd(spent)}</strong>, sem orçamento próprio.</p>"""
        )
    elif budget == 0:
        state = "<p>Orçamento zero: o modelo local avalia as conversas, sem custo.</p>"
    else:
        state = _meter(
            "Gasto neste mês", f"{_usd(spent)} de {_usd(budget)}", int(spent * 100 // budget),
            "O orçamento do mês acabou: até o dia 1º, o modelo local avalia as conversas novas.",
        )  # fmt: skip
    refuse, allow = ("", " checked") if managed.ai_outside_allowed else (" checked", "")
    return f"""
        <h2 id="ia">Inteligência artificial</h2>
        <p>Um modelo lê cada conversa e diz sentimento, intenção e chance de venda.</p>
        {state}
        <form method="post" action="/configuracoes">
          {hidden}<input type="hidden" name="act" value="ai_budget">
          <label for="budget">Orçamento por mês, em dólares</label>
          <input id="budget" name="budget" inputmode="decimal" autocomplete="off" maxlength="14"
            placeholder="sem orçamento próprio" aria-describedby="budget-hint"
            value="{escape(value)}">
          <p class="hint under" id="budget-hint">{" ".join(rules)} O mês é contado em UTC.</p>
          <button type="submit">Salvar orçamento</button>
        </form>
        <form method="post" action="/configuracoes">
          {hidden}<input type="hidden" name="act" value="ai_outside">
          <fieldset><legend>Texto das conversas</legend>
            <label class="choice"><input type="radio" name="outside" value="allow"{allow}>
              Pode ir para o modelo externo, com nomes, telefones e e-mails mascarados</label>
            <label class="choice"><input type="radio" name="outside" value="refuse"{refuse}>
              Não enviar nada para fora: só o modelo local avalia</label>
          </fieldset>
          <button type="submit">Salvar escolha</button>
        </form>
        """


def _usd(value: Decimal) -> str:
    return f"US$\u00a0{formats.number(float(value), 2)}"


def _meter(title: str, amounts: str, percent: int, when_full: str) -> str:
    """One limit: how much of it is used, and what follows from four fifths on."""
    said = ""
    if percent >= 100:
        said = f'<p class="problem">{when_full}</p>'
    elif percent >= WARNING_PERCENT:
        said = f'<p class="warning">Mais de {WARNING_PERCENT} % já foi usado.</p>'
    return f"""
        <p class="meter"><span>{title}</span> <strong>{amounts} ({percent}\u00a0%)</strong>
        <progress max="100" value="{min(percent, 100)}" aria-label="{title}"></progress></p>
        {said}
        """


# ---- looks ------------------------------------------------------------------------------------


def _looks(brand_name: str, hidden: str, managed: ManagedSettings, typed: Mapping[str, str]) -> str:
    name = typed.get("display_name", managed.display_name or "")
    primary = managed.primary_color or DEFAULT_COLOR
    accent = managed.accent_color or primary
    logo = ""
    if managed.logo is not None and managed.logo_type is not None:
        content = base64.b64encode(managed.logo).decode()
        logo = f'<img alt="Logotipo" src="data:{escape(managed.logo_type)};base64,{content}">'
    drop = (
        '<label class="choice"><input type="checkbox" name="drop_logo" value="1"> '
        "Tirar o logotipo</label>"
        if logo
        else ""
    )
    has_own = logo or managed.display_name or managed.primary_color or managed.accent_color
    reset = (
        f"""
        <form method="post" action="/configuracoes" class="acts">{hidden}
          <button name="act" value="reset_looks">Voltar ao padrão</button></form>
        """
        if has_own
        else ""
    )
    shown = escape(managed.display_name or brand_name)
    return f"""
        <h2 id="aparencia">Aparência</h2>
        <p>O topo do painel, como os seus usuários o veem:</p>
        <div class="preview" style="border-color: {escape(primary)}">{logo}<span>{shown}</span>
          <span class="sample" style="color: {escape(accent)}">destaque</span></div>
        <form method="post" action="/configuracoes" enctype="multipart/form-data">
          {hidden}<input type="hidden" name="act" value="looks">
          <label for="display_name">Nome</label>
          <input id="display_name" name="display_name" maxlength="80" autocomplete="off"
            placeholder="{escape(brand_name)}" value="{escape(name)}">
          <div class="even">
            <div><label for="primary_color">Cor principal</label>
            <input id="primary_color" name="primary_color" type="color"
              value="{escape(typed.get("primary_color", primary))}"></div>
            <div><label for="accent_color">Cor de destaque</label>
            <input id="accent_color" name="accent_color" type="color"
              value="{escape(typed.get("accent_color", accent))}"></div>
          </div>
          <label for="logo">Logotipo</label>
          <input id="logo" name="logo" type="file" accept="image/png,image/jpeg,image/webp"
            aria-describedby="logo-hint">
          {drop}
          <p class="hint under" id="logo-hint">PNG, JPEG ou WebP, até 256 KB e 2000 pixels de lado.
          As cores precisam de contraste de 4,5 com o branco, para que se possa ler.</p>
          <button type="submit">Salvar aparência</button>
        </form>
        {reset}
        """


# ---- limits -----------------------------------------------------------------------------------


def _limits(managed: ManagedSettings, usage: Usage) -> str:
    meters = "".join(
        _meter(
            title, f"{formats.number(used)} de {formats.number(limit)}", used * 100 // limit, full
        )
        if limit
        else f'<p class="meter"><span>{title}</span> '
        f"<strong>{formats.number(used)}, sem limite</strong></p>"
        for title, used, limit, full in (
            (
                "Usuários ativos", usage.users, managed.max_users,
                "Não cabe mais ninguém: desligue alguém ou fale com a agência.",
            ),
            (
                "Caixas de entrada", usage.inboxes, managed.max_inboxes,
                "Não cabe outra caixa de entrada: fale com a agência.",
            ),
            (
                "Conversas neste mês", usage.conversations, managed.max_conversations_per_month,
                "O limite do mês foi alcançado. Nada é cortado nem se perde; fale com a agência "
                "sobre outro plano.",
            ),
        )
    )  # fmt: skip
    return f"""
        <h2 id="limites">Limites</h2>
        <p>O que a conta usa do plano {escape(managed.plan)}. Caixas e conversas são as da última
        atualização dos dados.</p>
        {meters}
        """
