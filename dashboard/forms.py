"""The plain pages around Streamlit: log-in, and the agency's choice of a client."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

from dashboard.auth import SelectableTenant, Viewer, csrf_token

_PAGE = Template((Path(__file__).parent / "templates" / "page.html").read_text())
# Until tenants bring their own.
MARK = (
    '<svg viewBox="0 0 32 32" aria-hidden="true">'
    '<rect width="32" height="32" rx="8" fill="#0f766e"></rect>'
    '<path d="M7 22l6-7 5 4 7-9" fill="none" stroke="#fff" stroke-width="3" '
    'stroke-linecap="round" stroke-linejoin="round"></path></svg>'
)
ICON = "data:image/svg+xml," + quote(
    MARK.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ')
)
SEGMENTS = {
    "gym": "Academia",
    "clinic": "Clínica",
    "shop": "Loja",
    "school": "Escola",
    "general": "Geral",
}
STATUSES = {"active": "Ativo", "suspended": "Suspenso", "cancelled": "Cancelado"}


def alert(problem: str | None) -> str:
    """What went wrong the last time, if it did."""
    return f'<p class="problem" role="alert">{escape(problem)}</p>' if problem else ""


def csrf_field(token_sha256: bytes) -> str:
    """The hidden field that tells our own forms of this session from other sites'."""
    return f'<input type="hidden" name="csrf" value="{csrf_token(token_sha256)}">'


def log_in_page(brand_name: str, *, email: str = "", problem: str | None = None) -> str:
    """The log-in form, with what went wrong the last time."""
    # The eye goes where something is to be typed.
    focus_email, focus_password = ("", " autofocus") if email else (" autofocus", "")
    return page(
        brand_name,
        "Entrar",
        f"""
        <h1>Entrar</h1>
        <p class="lead">Os números do seu atendimento, em um só lugar.</p>
        {alert(problem)}
        <form method="post" action="/entrar">
          <label for="email">E-mail</label>
          <input id="email" name="email" type="email" autocomplete="username" inputmode="email"
            autocapitalize="none" spellcheck="false" required maxlength="254"
            value="{escape(email)}"{focus_email}>
          <label for="password">Senha</label>
          <input id="password" name="password" type="password" autocomplete="current-password"
            required maxlength="1024"{focus_password}>
          <button type="submit">Entrar</button>
        </form>
        <p class="hint">Esqueceu a senha? Peça uma nova a quem administra a sua conta.</p>
        """,
    )


def tenant_page(brand_name: str, viewer: Viewer, tenants: Sequence[SelectableTenant]) -> str:
    """The agency's list of clients; each one a button."""
    choices = "".join(
        f"""
        <li><button type="submit" name="tenant_id" value="{tenant.tenant_id}"
          {'aria-current="true"' if tenant.tenant_id == viewer.tenant_id else ""}>
          <span class="name">{escape(tenant.tenant_name)}</span>
          <span class="detail">{escape(SEGMENTS.get(tenant.segment, tenant.segment))}
          · {escape(STATUSES.get(tenant.status, tenant.status))}</span>
        </button></li>
        """
        for tenant in tenants
    )
    listing = (
        f'<form method="post" action="/cliente">{csrf_field(viewer.token_sha256)}'
        f'<ul class="choices">{choices}</ul></form>'
        if tenants
        else '<p class="lead">Ainda não há clientes. Crie o primeiro com '
        "<code>mirante tenant add</code>.</p>"
    )
    return page(
        brand_name,
        "Escolher cliente",
        f"""
        <h1>Escolher cliente</h1>
        <p class="lead">Você verá o painel com os dados de um cliente por vez.</p>
        {listing}
        {way_out(viewer.token_sha256, viewer.email)}
        """,
    )


def way_out(token_sha256: bytes, email: str, label: str = "Sair") -> str:
    """The foot of a page: who is logged in, and the button that ends it."""
    return f"""
        <form method="post" action="/sair" class="quiet">
          <span>{escape(email)}</span> {csrf_field(token_sha256)}
          <button type="submit">{escape(label)}</button>
        </form>
        """


def message_page(brand_name: str, title: str, text: str) -> str:
    """One sentence, and the way on."""
    return page(
        brand_name,
        title,
        f'<h1>{escape(title)}</h1><p class="lead">{escape(text)}</p>'
        '<p><a class="button" href="/">Continuar</a></p>',
    )


def page(brand_name: str, title: str, body: str, *, is_wide: bool = False) -> str:
    """A whole page around `body`, which is HTML: everything in it is escaped already."""
    return _PAGE.substitute(
        brand=escape(brand_name), title=escape(title), icon=ICON, mark=MARK, body=body,
        width="wide" if is_wide else "narrow",
    )  # fmt: skip
