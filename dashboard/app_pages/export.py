"""Exportar: two files of what the filters choose, for admins; what is in them, and who had one."""

from html import escape
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from dashboard import (
    export_files,
    exports,
    filters,
    formats,
    frame,
    lists,
    navigation,
    queries,
    state,
)
from dashboard.auth import PastExport, Visit
from dashboard.export_files import FileColumn, Kind
from dashboard.filters import Filters
from dashboard.forms import csrf_field
from dashboard.frame import Column
from dashboard.guard import EXPORT_PATH
from dashboard.lists import Selection

ENDINGS = {
    "complete": "baixado",
    "broken_off": "interrompido",
    "session_ended": "interrompido: a sessão terminou",
    "failed": "falhou",
    None: "em preparo",
}
FORMATS = {"csv": "CSV para Excel (ZIP)", "xlsx": "Excel (.xlsx)"}


def show(visit: Visit) -> None:
    """Draw the page."""
    coverage = frame.loaded(visit)
    if coverage is None:
        return
    if visit.viewer.role not in exports.EXPORTERS:
        frame.empty(
            "Exportar é para administradores",
            "Estes arquivos levam nomes e telefones para fora do painel. Peça o arquivo a quem "
            "administra a sua conta, ou à agência.",
        )
        return
    chosen = filters.choose(visit, coverage["first_date"])
    if chosen is None:
        return
    selection = lists.read(st.query_params.to_dict())
    show_selection(visit, chosen, selection)
    counts = queries.export_counts(visit, chosen, selection).iloc[0]
    show_file(visit, "remarketing", chosen, selection, counts)
    show_file(visit, "conversas", chosen, selection, counts)
    show_past(visit)


def show_selection(visit: Visit, chosen: Filters, selection: Selection) -> None:
    """The list, to be changed here, and the filters that came along from Leads."""
    names = list(lists.LISTS)
    # Of its own for each list, so that the address alone says which is chosen.
    key = f"export-list-{selection.name}"

    def turn() -> None:
        for parameter in lists.ADDRESSES.values():
            st.query_params.pop(parameter, None)
        st.query_params[lists.PARAMETER] = st.session_state[key]

    with st.container(horizontal=True, vertical_alignment="bottom", key="export-selection"):
        st.selectbox(
            "Lista",
            names,
            index=names.index(selection.name),
            format_func=lambda name: lists.LISTS[name].title,
            key=key,
            on_change=turn,
            width=280,
        )
        navigation.link("leads", "Ver e filtrar em Leads", selection.parameters())
    dated = lists.LISTS[selection.name].has_period
    words = [chosen.text if dated else "neste momento, sem período"]
    if not dated and chosen.inbox_names:
        words.append(", ".join(chosen.inbox_names))
    agents: dict[int, str | None] = dict(queries.agents(visit).itertuples(index=False))
    words += [f"{name}: {value}" for name, value in exports.described(selection, agents)]
    st.text(" · ".join(words))


def show_file(
    visit: Visit, kind: Kind, chosen: Filters, selection: Selection, counts: pd.Series
) -> None:
    """One file: rows and columns, its buttons, and its beginning."""
    most = state.current().export_max_rows
    rows = int(counts["people" if kind == "remarketing" else "conversations"])
    columns = export_files.COLUMNS[kind]
    with st.container(border=True, key=f"panel-export-{kind}"):
        st.header(export_files.TITLES[kind], anchor=False)
        st.caption(
            "Uma linha por pessoa, pela conversa mais recente dela. Quem pediu para não receber "
            "mensagens (opt-out) nunca entra."
            if kind == "remarketing"
            else "Uma linha por conversa, com tempos, marcos, satisfação e análise da IA."
        )
        st.html(f'<ul class="m-facts">{facts(kind, counts, len(columns))}</ul>')
        if rows > most:
            st.warning(
                f"São {formats.number(rows)} linhas, e um arquivo leva no máximo "
                f"{formats.number(most)}. Escolha um período menor, menos caixas de entrada ou "
                "outra lista, e exporte em partes.",
                icon="🟠",
            )
        elif not rows:
            st.caption("Nada a exportar com estes filtros.")
        else:
            st.html(form(visit, kind, chosen, selection))
            preview = queries.export_preview(visit, kind, chosen, selection)
            shown = min(rows, queries.PREVIEW_ROWS)
            summary = f"<summary>Ver as primeiras {shown} linhas</summary>"
            html = frame.table(
                written(preview, kind, visit.timezone),
                [Column(column.title, column.title) for column in shown_first(columns)],
                f"Começo do arquivo {export_files.TITLES[kind]}",
            )
            st.html(f'<details class="m-details m-wide">{summary}{html}</details>')


def facts(kind: Kind, counts: pd.Series, columns: int) -> str:
    """How much there is, as HTML of a list."""
    if kind == "conversas":
        texts = [(counts["conversations"], "conversa", "conversas")]
    else:
        texts = [
            (counts["people"], "pessoa", "pessoas"),
            (counts["conversations"], "conversa escolhida", "conversas escolhidas"),
            (counts["opted_out"], "fora por opt-out", "fora por opt-out"),
            (counts["without_phone"], "sem telefone", "sem telefone"),
        ]
    texts.append((columns, "coluna", "colunas"))
    return "".join(
        f"<li><strong>{formats.number(count)}</strong> {one if count == 1 else many}</li>"
        for count, one, many in texts
    )


def form(visit: Visit, kind: Kind, chosen: Filters, selection: Selection) -> str:
    """The buttons, in a form of our own: the file is the answer to a post."""
    own = {
        name: value for name, value in selection.parameters().items() if name not in filters.SHARED
    }
    fields = {
        "tenant_id": visit.tenant_id,
        "kind": kind,
        "first_day": chosen.start.isoformat(),
        "last_day": chosen.end.isoformat(),
        "inbox_ids": ",".join(map(str, chosen.inbox_ids)),
        "selection": urlencode(own, doseq=True),
    }
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escape(str(value))}">'
        for name, value in fields.items()
    )
    title = export_files.TITLES[kind]
    buttons = "".join(
        f'<button type="submit" name="file_format" value="{value}" '
        f'aria-label="Exportar {title}: {label}">{label}</button>'
        for value, label in FORMATS.items()
    )
    return (
        f'<form method="post" action="{EXPORT_PATH}" class="m-files">'
        f"{csrf_field(visit.viewer.token_sha256)}{hidden}{buttons}</form>"
    )


def shown_first(columns: tuple[FileColumn, ...]) -> tuple[FileColumn, ...]:
    """The columns of a preview: as they come, without the seconds beside a readable duration."""
    readable = {column.name for column in columns if column.written == "duration"}
    return tuple(
        column for column in columns if not (column.name in readable and column.written == "number")
    )


def written(rows: pd.DataFrame, kind: Kind, timezone: str) -> pd.DataFrame:
    """The rows as a CSV has them, before its quotes and apostrophes."""
    # NaN and NaT are a frame's NULLs, and whole numbers beside them are floats there.
    plain = rows.astype(object).where(rows.notna(), None)
    cells = export_files.row_of(kind, timezone)
    columns = export_files.COLUMNS[kind]
    lines = [
        {column.title: _text(value) for column, value in zip(columns, cells(row), strict=True)}
        for row in plain.to_dict("records")
    ]
    return pd.DataFrame(lines, columns=[column.title for column in columns])


def _text(value: export_files.Cell) -> str | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else export_files.csv_text(value)


def show_past(visit: Visit) -> None:
    """The last files of this tenant: when, by whom, what."""
    past = state.current().sessions.recent_exports(visit.viewer.token_sha256)
    with st.container(border=True, key="panel-export-past"):
        st.header("Últimas exportações", anchor=False)
        st.caption(
            "Cada arquivo fica registrado: quem, quando e quantas linhas."
            if past
            else "Ninguém exportou ainda. Cada arquivo fica registrado aqui."
        )
        if past:
            rows = pd.DataFrame([line(one, visit.timezone) for one in past])
            columns = [Column(str(name), str(name)) for name in rows.columns]
            st.html(frame.table(rows, columns, "Últimas exportações"))


def line(past: PastExport, timezone: str) -> dict[str, str]:
    """One of them, in words."""
    who = "agência" if past.is_agency else past.email or "usuário removido"
    return {
        "Quando": formats.moment(past.started_at, timezone),
        "Quem": who,
        "Arquivo": export_files.TITLES.get(past.kind, past.kind),  # type: ignore[call-overload]
        "Formato": past.file_format.upper(),
        "Linhas": formats.number(past.row_count),
        "Resultado": ENDINGS.get(past.ending, past.ending or ""),
    }
