"""The filters that every page shares: period and inboxes, kept in the address, never the tenant."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from dashboard import formats, queries
from dashboard.auth import Visit

PERIOD, DATES, INBOX = "periodo", "datas", "caixa"
SHARED = (PERIOD, DATES, INBOX)
MONTH, CUSTOM = "mes", "personalizado"
PRESETS = {
    "7": "7 dias",
    "30": "30 dias",
    "90": "90 dias",
    MONTH: "Mês atual",
    CUSTOM: "Personalizado",
}
DEFAULT_PRESET = "30"
# Values of an address by name; several of one name are a list.
Parameters = dict[str, str | list[str]]


@dataclass(frozen=True)
class Filters:
    """Days of the tenant's zone, both included; ids of the tenant's inboxes, empty for all."""

    start: date
    end: date
    inbox_ids: tuple[int, ...] = ()
    inbox_names: tuple[str, ...] = ()

    @property
    def days(self) -> int:
        """How many days the period has."""
        return (self.end - self.start).days + 1

    @property
    def text(self) -> str:
        """In words: the period, and the inboxes where they are not all."""
        period = f"{formats.day(self.start)} a {formats.day(self.end)}"
        return " · ".join((period, *(self.inbox_names and [", ".join(self.inbox_names)])))


def choose(visit: Visit, first_date: date | None) -> Filters | None:
    """The bar of filters; None while no day is chosen. `first_date`: of a conversation.

    Beside the page's own controls when called in a container of theirs.
    """
    today = datetime.now(ZoneInfo(visit.timezone)).date()
    with st.container(horizontal=True, vertical_alignment="center", key="filters"):
        period = _choose_period(today, first_date)
        inbox_ids, inbox_names = _choose_inboxes(visit)
    _keep_in_links()
    return Filters(*period, inbox_ids, inbox_names) if period else None


def _keep_in_links() -> None:
    """Let a link within the site carry the filters to another page.

    Streamlit takes what is bound to the widgets of one page out of the address of the next. The
    browser keeps address and widgets together without this note of the server's.
    """
    context = get_script_run_ctx()
    if context is None:
        return
    with context.session_state.query_params() as bound:
        for name in SHARED:
            if binding := bound.get_binding_for_param(name):
                bound.unbind_widget(binding.widget_id)


def shared_parameters() -> Parameters:
    """What of this page's address goes along to another page."""
    given = {name: st.query_params.get_all(name) for name in SHARED}
    # The browser's address may say what is bound, and what a link said, twice.
    return {name: list(dict.fromkeys(values)) for name, values in given.items() if values}


def href(path: str, parameters: Parameters) -> str:
    """An address on this site, for a link written as HTML (escape it there)."""
    return f"{path}?{urlencode(parameters, doseq=True)}" if parameters else path


def of_days(start: date, end: date) -> Parameters:
    """The period as an address says it."""
    return {PERIOD: PRESETS[CUSTOM], DATES: [start.isoformat(), end.isoformat()]}


def _choose_period(today: date, first_date: date | None) -> tuple[date, date] | None:
    preset = st.segmented_control(
        "Período",
        list(PRESETS),
        default=DEFAULT_PRESET,
        required=True,
        format_func=PRESETS.__getitem__,
        key=PERIOD,
        bind="query-params",
        label_visibility="collapsed",
    )
    if preset == CUSTOM:
        chosen = st.date_input(
            "De … até …",
            value=(today - timedelta(days=29), today),
            min_value=min(first_date or today, today - timedelta(days=89)),
            max_value=today,
            format="DD/MM/YYYY",
            key=DATES,
            bind="query-params",
            width=260,
            label_visibility="collapsed",
        )
        if not isinstance(chosen, tuple) or not chosen:
            st.caption("Escolha a data inicial e a final.")
            return None
        # One day alone: the other is still to be chosen, or the address says the same twice.
        return min(chosen), max(chosen)
    # What is bound to a widget that is gone, Streamlit would take out itself: see _keep_in_links.
    st.query_params.pop(DATES, None)
    if preset == MONTH:
        return today.replace(day=1), today
    return today - timedelta(days=int(preset or DEFAULT_PRESET) - 1), today


def _choose_inboxes(visit: Visit) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Ids and names; nothing to choose where there is one inbox alone."""
    names = inbox_names(queries.inboxes(visit))
    if len(names) < 2:
        return (), ()
    unknown = [name for name in st.query_params.get_all(INBOX) if name not in names.values()]
    if unknown:
        st.warning(
            "O endereço pede uma caixa de entrada que não existe mais, ou mudou de nome: "
            f"{formats.plain_markdown(', '.join(unknown)[:200])}. Confira as caixas escolhidas.",
            icon="⚠️",
        )
    chosen = st.multiselect(
        "Caixas de entrada",
        list(names.values()),
        key=INBOX,
        bind="query-params",
        placeholder="Todas as caixas",
        label_visibility="collapsed",
        width=320,
    )
    ids = {name: inbox_id for inbox_id, name in names.items()}
    return tuple(ids[name] for name in chosen), tuple(chosen)


def inbox_names(inboxes: pd.DataFrame) -> dict[int, str]:
    """A name for each id of queries.inboxes, no two alike: an address tells them apart by it."""
    return inbox_names_of(zip(inboxes["inbox_id"], inboxes["name"], strict=True))


def inbox_names_of(inboxes: Iterable[tuple[int, str]]) -> dict[int, str]:
    """The same, of pairs of id and name."""
    given = list(inboxes)
    counts = Counter(name for _, name in given)
    names: dict[int, str] = {}
    for inbox_id, name in given:
        own = name if counts[name] == 1 else f"{name} ({inbox_id})"
        while own in names.values():  # another one is called just so
            own += f" ({inbox_id})"
        names[int(inbox_id)] = own
    return names
