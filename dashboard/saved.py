"""Saved filters: a person's own addresses by name, in a menu on every page."""

from html import escape

import streamlit as st

from dashboard import filters, lists, navigation, state
from dashboard.auth import SavedView, Viewer, Visit
from dashboard.filters import Parameters

NAME_LENGTH = 60
# What an address may say that is worth keeping; never whose data it is.
PARAMETERS = frozenset(
    {
        *filters.SHARED,
        lists.PARAMETER,
        *lists.ADDRESSES.values(),
        lists.CLASS,
        lists.SCORE,
        lists.TEXT,
        # of single pages
        "comparar",
        "medida",
        "espera",
        "caixas",
        "ordem",
        "conversa",
    }
)
PROBLEMS = {
    "full": "Já há 50 filtros salvos: apague um antes.",
    "invalid": "Não deu para salvar: dê um nome, ou encurte o texto da busca.",
    "switched": "Você está vendo outro cliente agora. Recarregue a página.",
    "denied": "Sua sessão terminou. Entre de novo.",
}


def menu(visit: Visit, page: navigation.MenuPage) -> None:
    """The person's saved filters, and a form that saves the ones of this page."""
    sessions, viewer = state.current().sessions, visit.viewer
    with st.popover("Filtros salvos", icon=":material/bookmark:", width="content"):
        with st.form("save-view", border=False, clear_on_submit=True):
            name = st.text_input("Nome", max_chars=NAME_LENGTH, placeholder="Leads de junho")
            if st.form_submit_button("Salvar os filtros desta página"):
                view = SavedView(name.strip(), page.name, present())
                outcome = sessions.save_view(viewer, view)
                if outcome == "ok":
                    st.success("Salvo.", icon=":material/check:")
                else:
                    st.error(PROBLEMS[outcome])
        views = sessions.saved_views(viewer.token_sha256)
        if not views:
            st.caption("Página, período, caixas e demais filtros ficam guardados com um nome.")
        for position, view in enumerate(views):
            target = navigation.named(view.page)
            if target is None:
                continue
            with st.container(
                horizontal=True, vertical_alignment="center", key=f"saved-{position}"
            ):
                st.html(_link(view, target))
                st.button(
                    "Apagar",
                    key=f"delete-view-{position}",
                    icon=":material/delete:",
                    help="Apagar estes filtros salvos",
                    type="tertiary",
                    on_click=_delete,
                    args=(viewer, view.name),
                )


def present() -> dict[str, list[str]]:
    """What this page's address says, as far as it is known."""
    return {
        name: list(st.query_params.get_all(name))
        for name in sorted(st.query_params)
        if name in PARAMETERS
    }


def known(parameters: dict[str, list[str]]) -> Parameters:
    """Of what was saved, what pages still know."""
    return {name: list(values) for name, values in parameters.items() if name in PARAMETERS}


def _link(view: SavedView, target: navigation.MenuPage) -> str:
    """Loads the page anew: widgets that are there already keep what they say, whatever a link
    within the page says.
    """
    href = escape(filters.href(target.path, known(view.parameters)))
    label = f"{escape(view.name)} · {target.title}"
    return f'<a class="m-saved" href="{href}" target="_self">{label}</a>'


def _delete(viewer: Viewer, name: str) -> None:
    state.current().sessions.delete_view(viewer, name)
