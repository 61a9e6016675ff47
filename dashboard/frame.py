"""What surrounds every page: styles, whose data it is, how old it is, the way out."""

from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path

import streamlit as st

from dashboard import formats
from dashboard.auth import Visit

STYLES = Path(__file__).parent / "templates" / "pages.css"
AMBER_AFTER, RED_AFTER = timedelta(minutes=60), timedelta(hours=3)


def header(visit: Visit, brand_name: str) -> None:
    """Brand, tenant, log-out; for the agency also the way to another client."""
    viewer = visit.viewer
    is_agency = viewer.role == "super_admin"
    agency = (
        '<a class="mirante-link" href="/cliente" target="_self">Trocar cliente</a>'
        if is_agency
        else ""
    )
    title = escape(f"Vendo: {viewer.tenant_name}" if is_agency else str(viewer.tenant_name))
    st.html(STYLES)
    st.html(
        f"""
        <div class="mirante-bar">
          <span class="mirante-brand">{escape(brand_name)}</span>
          <span class="mirante-user">{escape(viewer.email)}</span>
          {agency}
          <form method="post" action="/sair" target="_self">
            <button type="submit" class="mirante-link">Sair</button>
          </form>
        </div>
        <h1 class="mirante-tenant">{title}</h1>
        """
    )


def freshness(visit: Visit) -> None:
    """When the data was loaded, and a banner once that is too long ago."""
    loaded_at = visit.load_state.last_loaded_at
    if loaded_at is None:
        return
    span = max(datetime.now(UTC) - loaded_at, timedelta())
    level = "red" if span > RED_AFTER else "amber" if span > AMBER_AFTER else "green"
    moment = formats.moment(loaded_at, visit.timezone)
    st.html(
        f'<p class="mirante-loaded mirante-{level}">'
        f"Dados carregados {formats.age(span)} · {moment}</p>"
    )
    if level == "red":
        st.error(
            f"Os dados estão parados desde {moment}. O que aconteceu depois ainda não aparece "
            "aqui; a equipe técnica precisa verificar a carga.",
            icon="🔴",
        )
    elif level == "amber":
        st.warning(
            f"A última carga foi {formats.age(span)}. As conversas mais recentes ainda não "
            "aparecem nos números.",
            icon="🟠",
        )


def empty(title: str, reason: str) -> None:
    """Nothing to show, and why."""
    st.html(
        f'<div class="mirante-empty" role="status"><h2>{escape(title)}</h2>'
        f"<p>{escape(reason)}</p></div>"
    )


def session_ended() -> None:
    """The session ended while the page was open; the guard sends the tab away by itself."""
    st.html(STYLES)
    empty("Sua sessão terminou", "Entre de novo para continuar.")
    st.html('<p class="mirante-center"><a href="/entrar" target="_self">Entrar</a></p>')


def unavailable() -> None:
    """The database did not answer."""
    empty(
        "Não foi possível ler os dados agora",
        "O banco de dados não respondeu. Recarregue a página em alguns instantes.",
    )
