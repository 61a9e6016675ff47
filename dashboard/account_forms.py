"""The pages of people: second factor, one-time link, one's own account, a tenant's users."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from html import escape

import segno

from dashboard import formats
from dashboard.auth import LinkUser, ManagedUser, OwnAccount, OwnSession, Pending, Viewer
from dashboard.forms import alert, csrf_field, page, way_out
from warehouse.users import MINIMUM_PASSWORD_LENGTH, totp_uri

ROLES = {"client": "Leitura", "admin": "Administração", "super_admin": "Agência"}
PASSWORD_HINT = (
    f"Pelo menos {MINIMUM_PASSWORD_LENGTH} caracteres. Quatro palavras sem relação entre si são "
    "fáceis de lembrar e difíceis de adivinhar."
)
PASSWORD_PROBLEMS = {
    "short": f"A senha precisa de pelo menos {MINIMUM_PASSWORD_LENGTH} caracteres.",
    "common": "Esta senha é fácil de adivinhar ou já vazou na internet. Escolha outra.",
}
CODE_INPUT = """
          <label for="code">Código</label>
          <input id="code" name="code" autocomplete="one-time-code" inputmode="{mode}"
            autocapitalize="none" spellcheck="false" required maxlength="40"{focus}>
"""


def code_page(
    brand_name: str, token_sha256: bytes, pending: Pending, problem: str | None = None
) -> str:
    """The second step of a log-in."""
    return page(
        brand_name,
        "Código de verificação",
        f"""
        <h1>Código de verificação</h1>
        <p class="lead">Abra o seu aplicativo autenticador e digite o código de 6 números.</p>
        {alert(problem)}
        <form method="post" action="/entrar/codigo">
          {csrf_field(token_sha256)}
          {CODE_INPUT.format(mode="text", focus=" autofocus")}
          <button type="submit">Continuar</button>
        </form>
        <p class="hint">Sem o celular? Digite um dos seus códigos de recuperação.</p>
        {way_out(token_sha256, pending.email, label="Voltar")}
        """,
    )


def enrol_page(
    brand_name: str, token_sha256: bytes, email: str, secret: str, problem: str | None = None
) -> str:
    """The set-up that a super_admin must do before anything else."""
    return page(
        brand_name,
        "Ativar a verificação em duas etapas",
        f"""
        <h1>Ative a verificação em duas etapas</h1>
        <p class="lead">A sua conta vê os dados de todos os clientes: além da senha, ela pede um
        código do seu celular.</p>
        {alert(problem)}
        {_set_up(brand_name, token_sha256, email, secret, "/entrar/ativar", is_first=True)}
        {way_out(token_sha256, email, label="Voltar")}
        """,
    )


def _set_up(
    brand_name: str, token_sha256: bytes, email: str, secret: str, action: str, *, is_first: bool
) -> str:
    code = segno.make(totp_uri(secret, email, brand_name), error="m")
    groups = " ".join(secret[i : i + 4] for i in range(0, len(secret), 4))
    return f"""
        <p>1. Em um aplicativo autenticador (Google Authenticator, Microsoft Authenticator, 2FAS,
        Aegis…), leia este código:</p>
        <div class="qr" role="img" aria-label="QR para o aplicativo">{
        code.svg_inline(border=1, omitsize=True, svgclass=None, lineclass=None)
    }</div>
        <p class="hint">Ou digite a chave: <span class="secret">{groups}</span></p>
        <p>2. Digite o código de 6 números que ele mostra:</p>
        <form method="post" action="{action}">
          {csrf_field(token_sha256)}<input type="hidden" name="act" value="confirm">
          {CODE_INPUT.format(mode="numeric", focus=" autofocus" if is_first else "")}
          <button type="submit">Ativar</button>
        </form>
        """


def recovery_codes_page(brand_name: str, codes: Sequence[str]) -> str:
    """The codes, once: only hashes of them are kept."""
    listed = "".join(f"<li>{escape(code)}</li>" for code in codes)
    return page(
        brand_name,
        "Códigos de recuperação",
        f"""
        <h1>Guarde estes códigos</h1>
        <p class="lead">Cada um vale uma vez no lugar do código do celular. Eles não aparecem de
        novo: guarde-os longe do celular.</p>
        <ul class="codes">{listed}</ul>
        <p><a class="button" href="/">Já guardei, continuar</a></p>
        """,
    )


def link_page(brand_name: str, path: str, user: LinkUser, problem: str | None = None) -> str:
    """Where a person sets its password. The page alone uses nothing up: mail scanners open it."""
    title = "Criar a sua senha" if user.is_invite else "Escolher uma nova senha"
    whose = f" para ver os números de {user.tenant_name}" if user.tenant_name else ""
    return page(
        brand_name,
        title,
        f"""
        <h1>{title}</h1>
        <p class="lead">{escape(f"Você entra com este e-mail{whose}.")}</p>
        {alert(problem)}
        <form method="post" action="{escape(path)}">
          <label for="email">E-mail</label>
          <input id="email" type="email" autocomplete="username" value="{escape(user.email)}"
            readonly>
          <label for="password">Senha nova</label>
          <input id="password" name="password" type="password" autocomplete="new-password" required
            minlength="{MINIMUM_PASSWORD_LENGTH}" maxlength="1024" autofocus>
          <label for="again">A mesma senha outra vez</label>
          <input id="again" name="again" type="password" autocomplete="new-password" required
            minlength="{MINIMUM_PASSWORD_LENGTH}" maxlength="1024">
          <button type="submit">Salvar senha</button>
        </form>
        <p class="hint">{PASSWORD_HINT}</p>
        """,
    )


def account_page(
    brand_name: str,
    viewer: Viewer,
    account: OwnAccount,
    sessions: Sequence[OwnSession],
    *,
    offered_secret: str | None = None,
    problem: str | None = None,
    done: str | None = None,
) -> str:
    """One's own account: password, second factor, where one is logged in."""
    csrf = csrf_field(viewer.token_sha256)
    zone = viewer.timezone or "America/Sao_Paulo"
    where = "".join(
        f"""
        <li><span class="name">{escape(one.device or "Navegador desconhecido")}</span>
          <span class="detail">{"Esta sessão · " if one.is_current else ""}entrou em
          {formats.moment(one.created_at, zone)} · usada {_age(one.last_seen_at)}</span>
          {"" if one.is_current else _act(csrf, "/conta", "end", one.session_id, "Encerrar")}
        </li>
        """
        for one in sessions
    )
    end_others = (
        f'<div class="acts"><form method="post" action="/conta">{csrf}'
        '<button name="act" value="end_others">Encerrar todas as outras</button></form></div>'
        if len(sessions) > 1
        else ""
    )
    return page(
        brand_name,
        "Minha conta",
        f"""
        <p class="top"><a href="/">← Voltar ao painel</a></p>
        <h1>Minha conta</h1>
        <p class="lead">{escape(account.email)} · {ROLES[account.role]}{
            " · " + escape(account.tenant_name) if account.tenant_name else ""
        }</p>
        {alert(problem)}
        {f'<p class="good" role="status">{escape(done)}</p>' if done else ""}
        <h2>Verificação em duas etapas</h2>
        {_second_factor(brand_name, viewer, account, offered_secret)}
        <h2>Onde você está conectado</h2>
        <ul class="people">{where}</ul>
        {end_others}
        <h2>Trocar a senha</h2>
        <form method="post" action="/conta">
          {csrf}<input type="hidden" name="act" value="password">
          <input type="hidden" autocomplete="username" value="{escape(account.email)}">
          <label for="current">Senha atual</label>
          <input id="current" name="current" type="password" autocomplete="current-password"
            required maxlength="1024">
          <label for="password">Senha nova</label>
          <input id="password" name="password" type="password" autocomplete="new-password" required
            minlength="{MINIMUM_PASSWORD_LENGTH}" maxlength="1024">
          <label for="again">A mesma senha outra vez</label>
          <input id="again" name="again" type="password" autocomplete="new-password" required
            minlength="{MINIMUM_PASSWORD_LENGTH}" maxlength="1024">
          <button type="submit">Trocar senha</button>
        </form>
        <p class="hint">{PASSWORD_HINT} As suas outras sessões terminam.</p>
        {way_out(viewer.token_sha256, account.email)}
        """,
        is_wide=True,
    )


def _second_factor(
    brand_name: str, viewer: Viewer, account: OwnAccount, offered_secret: str | None
) -> str:
    csrf = csrf_field(viewer.token_sha256)
    if offered_secret:
        return _set_up(
            brand_name, viewer.token_sha256, account.email, offered_secret, "/conta",
            is_first=False,
        )  # fmt: skip
    if account.totp_secret is None:
        return f"""
        <p>Desligada. Com ela, quem descobrir a sua senha ainda não entra.</p>
        <form method="post" action="/conta">{csrf}
          <button class="small" name="act" value="offer">Ativar</button></form>
        """
    left = account.recovery_codes_left
    take_off = (
        '<button class="small" name="act" value="take_off">Desligar</button>'
        if account.role != "super_admin"
        else ""
    )
    return f"""
        <p>Ligada. {formats.count(left, "código de recuperação", "códigos de recuperação")}
        {"ainda não usado" if left == 1 else "ainda não usados"}.</p>
        <form method="post" action="/conta">{csrf}
          {CODE_INPUT.format(mode="numeric", focus="")}
          <button class="small" name="act" value="renew">Gerar novos códigos de recuperação</button>
          {take_off}
        </form>
        """


def users_page(
    brand_name: str,
    viewer: Viewer,
    users: Sequence[ManagedUser],
    *,
    link: tuple[str, str] | None = None,
    problem: str | None = None,
    done: str | None = None,
    email: str = "",
) -> str:
    """A tenant's users, for its admins. `link`: whose one-time link, and the link, shown once."""
    csrf = csrf_field(viewer.token_sha256)
    shown = (
        f"""
        <div class="good" role="status"><strong>Envie este link a {escape(link[0])}.</strong>
          Ele vale uma vez e não aparece de novo.
          <input readonly aria-label="Link de acesso" value="{escape(link[1])}"></div>
        """
        if link
        else ""
    )
    people = "".join(_person(csrf, user, viewer.timezone or "America/Sao_Paulo") for user in users)
    return page(
        brand_name,
        "Usuários",
        f"""
        <p class="top"><a href="/">← Voltar ao painel</a></p>
        <h1>Usuários</h1>
        <p class="lead">Quem entra no painel de {escape(viewer.tenant_name or "")}.</p>
        {alert(problem)}
        {f'<p class="good" role="status">{escape(done)}</p>' if done else ""}
        {shown}
        <ul class="people">{people or "<li>Ninguém ainda.</li>"}</ul>
        <h2>Convidar</h2>
        <form method="post" action="/usuarios">
          {csrf}<input type="hidden" name="act" value="invite">
          <input type="hidden" name="tenant_id" value="{viewer.tenant_id}">
          <div class="pair">
            <div><label for="email">E-mail</label>
            <input id="email" name="email" type="email" autocomplete="off" inputmode="email"
              autocapitalize="none" spellcheck="false" required maxlength="254"
              value="{escape(email)}"></div>
            <div><label for="role">Acesso</label>
            <select id="role" name="role">
              <option value="client">Leitura</option>
              <option value="admin">Administração</option>
            </select></div>
          </div>
          <button type="submit">Criar convite</button>
        </form>
        <p class="hint">O convite é um link que vale 7 dias. Leitura vê os números; Administração
        também convida e desliga pessoas.</p>
        {way_out(viewer.token_sha256, viewer.email)}
        """,
        is_wide=True,
    )


def _person(csrf: str, user: ManagedUser, zone: str) -> str:
    facts = [ROLES[user.role]]
    if not user.is_active:
        facts.append("desligado")
    elif not user.has_password:
        facts.append("link enviado" if user.link_expires_at else "link vencido")
    facts.append(
        f"entrou em {formats.moment(user.last_log_in_at, zone)}"
        if user.last_log_in_at
        else "nunca entrou"
    )
    if user.has_second_factor:
        facts.append("duas etapas")
    other = "admin" if user.role == "client" else "client"
    acts = ""
    if not user.is_self and user.is_active:
        acts = (
            '<button name="act" value="reset">'
            + ("Nova senha" if user.has_password else "Novo link")
            + f'</button><button name="act" value="{other}">Passar a '
            + f"{ROLES[other].lower()}</button>"
            + (
                '<button name="act" value="drop_second_factor">Refazer duas etapas</button>'
                if user.has_second_factor
                else ""
            )
            + '<button name="act" value="disable">Desligar</button>'
        )
    elif not user.is_self:
        acts = '<button name="act" value="enable">Religar</button>'
    buttons = (
        f'<form method="post" action="/usuarios" class="acts">{csrf}'
        f'<input type="hidden" name="user_id" value="{user.user_id}">{acts}</form>'
        if acts
        else ""
    )
    return f"""
        <li><span class="name">{escape(user.email)}</span>{" (você)" if user.is_self else ""}
          <span class="detail">{escape(" · ".join(facts))}</span>{buttons}</li>
        """


def _act(csrf: str, action: str, act: str, target: int, label: str) -> str:
    return (
        f'<form method="post" action="{action}" class="acts">{csrf}'
        f'<input type="hidden" name="target" value="{target}">'
        f'<button name="act" value="{act}">{label}</button></form>'
    )


def _age(moment: datetime) -> str:
    return formats.age(max(datetime.now(UTC) - moment, timedelta()))
