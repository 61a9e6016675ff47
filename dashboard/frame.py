"""What surrounds every page: styles, whose data it is, how old it is, the way out."""

from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path

import psycopg
import streamlit as st

from dashboard import formats, queries
from dashboard.auth import Visit
from dashboard.forms import csrf_field

STYLES = Path(__file__).parent / "templates" / "pages.css"
AMBER_AFTER, RED_AFTER = timedelta(minutes=60), timedelta(hours=3)


def header(visit: Visit, brand_name: str) -> None:
    """Brand, log-out, whose data is on the page and when it was loaded."""
    viewer = visit.viewer
    is_agency = viewer.role == "super_admin"
    links = [("/cliente", "Trocar cliente")] if is_agency else []
    links += [("/usuarios", "Usuários")] if viewer.role in {"admin", "super_admin"} else []
    links += [("/conta", "Minha conta")]
    ways = "".join(f'<a href="{path}" target="_self">{label}</a>' for path, label in links)
    whose = '<span class="m-agency">Você está vendo os dados de</span>' if is_agency else ""
    level, age, moment = _freshness(visit)
    loaded = f'<p class="m-loaded m-{level}">Dados carregados {age} · {moment}</p>' if level else ""
    st.html(STYLES)
    st.html(
        f"""
        {_brand(visit, brand_name)}
          <span class="m-user">{escape(viewer.email)}</span>
          {ways}
          <form method="post" action="/sair">{csrf_field(viewer.token_sha256)}<button
            type="submit">Sair</button></form>
        </div>
        <div class="m-title">
          <h1>{whose}{escape(viewer.tenant_name or "")}</h1>
          {loaded}
        </div>
        """
    )
    if level == "red":
        st.error(
            f"Os dados estão parados desde {moment}. O que aconteceu depois ainda não aparece "
            "aqui; a equipe técnica precisa verificar a carga.",
            icon="🔴",
        )
    elif level == "amber":
        st.warning(
            f"A última carga foi {age}. As conversas mais recentes ainda não aparecem nos números.",
            icon="🟠",
        )


def _brand(visit: Visit, brand_name: str) -> str:
    """The bar's beginning: the tenant's own name, logo and colours, else ours.

    All were checked when they were set (warehouse/branding.py), and are escaped all the same.
    """
    look = queries.branding(visit)
    if look.empty:
        return f'<div class="m-bar"><span class="m-brand">{escape(brand_name)}</span>'
    own = {name: escape(str(value)) for name, value in look.iloc[0].items() if value}
    line = f"border-bottom: 3px solid {own['primary_color']};" if "primary_color" in own else ""
    accent = own.get("accent_color") or own.get("primary_color")
    style = line + (f"--m-accent: {accent};" if accent else "")
    name = own.get("display_name") or escape(brand_name)
    if "logo" not in own:
        return f'<div class="m-bar" style="{style}"><span class="m-brand">{name}</span>'
    image = f'<img alt="" src="data:{own["logo_type"]};base64,{own["logo"]}">'
    return f'<div class="m-bar" style="{style}"><span class="m-brand m-own">{image}{name}</span>'


def _freshness(visit: Visit) -> tuple[str | None, str, str]:
    """Level (green, amber, red; None before the first load), age and moment of the last load."""
    loaded_at = visit.load_state.last_loaded_at
    if loaded_at is None:
        return None, "", ""
    span = max(datetime.now(UTC) - loaded_at, timedelta())
    level = "red" if span > RED_AFTER else "amber" if span > AMBER_AFTER else "green"
    return level, formats.age(span), formats.moment(loaded_at, visit.timezone)


def empty(title: str, reason: str) -> None:
    """Nothing to show, and why."""
    _message(title, escape(reason))


def session_ended() -> None:
    """The session ended while the page was open; the guard sends the tab away by itself."""
    _message(
        "Sua sessão terminou",
        'Entre de novo para continuar.</p><p><a href="/entrar" target="_self">Entrar</a>',
    )


def failed(error: Exception) -> bool:
    """Streamlit's handler of what a page raised: it logs the error, the viewer gets a sentence."""
    if isinstance(error, psycopg.Error):
        _message(
            "Não foi possível ler os dados agora",
            "O banco de dados não respondeu como esperado. Recarregue a página em instantes.",
        )
    else:
        _message("Algo deu errado nesta página", "A equipe técnica pode ver o que houve no log.")
    return True


def _message(title: str, text: str) -> None:
    st.html(STYLES)
    st.html(f'<div class="m-empty" role="status"><h2>{escape(title)}</h2><p>{text}</p></div>')
