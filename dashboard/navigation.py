"""The pages of the menu: address, title and module of each, and links between them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.navigation.page import StreamlitPage

from dashboard.auth import Visit
from dashboard.exports import EXPORTERS
from dashboard.filters import SHARED, Parameters, shared_parameters

PageName = Literal["overview", "channels", "leads", "conversations", "service", "quality", "export"]


@dataclass(frozen=True)
class MenuPage:
    """One page: dashboard/app_pages/`name`.py has its `show(visit)`. `filters_for`: the roles that
    it shows the shared filters to; None: all.
    """

    name: PageName
    path: str
    title: str
    filters_for: frozenset[str] | None = None


PAGES = (
    MenuPage("overview", "/", "Visão geral"),
    MenuPage("channels", "/canais", "Canais"),
    MenuPage("leads", "/leads", "Leads"),
    MenuPage("conversations", "/conversas", "Conversas", filters_for=frozenset()),
    MenuPage("service", "/atendimento", "Atendimento"),
    MenuPage("quality", "/qualidade", "Qualidade dos dados"),
    MenuPage("export", "/exportar", "Exportar", filters_for=EXPORTERS),
)
PATHS = tuple(page.path for page in PAGES)


@cache
def _show(name: PageName) -> Callable[[Visit], None]:
    show: Callable[[Visit], None] = import_module(f"dashboard.app_pages.{name}").show
    return show


def load_pages() -> None:
    """Import every page, so that no visitor waits for it."""
    for page in PAGES:
        _show(page.name)


def pages(visit: Visit) -> list[StreamlitPage]:
    """What `st.navigation` is given at each run."""
    return [_page(page, visit) for page in PAGES]


def _page(page: MenuPage, visit: Visit | None = None) -> StreamlitPage:
    def run() -> None:
        if visit is not None:
            _show(page.name)(visit)

    return st.Page(
        run, title=page.title, url_path=page.path.removeprefix("/"), default=page.path == "/"
    )


def menu(visit: Visit, here: MenuPage) -> DeltaGenerator:
    """The bar of pages, with room for more; the filters go along in the address."""
    bar = st.container(horizontal=True, key="menu")
    for page in PAGES:
        # Streamlit marks the present page by nothing that a style or a reader of the screen finds.
        place = bar.container(key="here", width="content") if page == here else bar
        # It takes what widgets say along to another page by itself: said twice, the browser's
        # history would have two entries for one step.
        is_said = here.filters_for is None or visit.viewer.role in here.filters_for
        place.page_link(
            _page(page),
            label=page.title,
            query_params=None if is_said and page != here else shared_parameters(),
        )
    return bar


def named(name: str) -> MenuPage | None:
    """The page of a name; None where there is none."""
    return next((page for page in PAGES if page.name == name), None)


def at(url_path: str) -> MenuPage:
    """The page that Streamlit runs, by its address without the slash."""
    (page,) = (page for page in PAGES if page.path == f"/{url_path}")
    return page


def link(name: PageName, label: str, parameters: Parameters | None = None) -> None:
    """A link from a page with filters to another, with what its address says beside them: they go
    along by themselves (`menu`). One to another period or inbox is written as HTML: a page that is
    there already keeps its own.
    """
    (page,) = (page for page in PAGES if page.name == name)
    own = {key: value for key, value in (parameters or {}).items() if key not in SHARED}
    st.page_link(_page(page), label=label, query_params=own or None)
