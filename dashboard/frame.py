"""What surrounds every page: styles, whose data it is, how old it is, the way out; panels."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import streamlit as st

from dashboard import formats, queries
from dashboard.auth import Visit
from dashboard.charts import Chart
from dashboard.forms import csrf_field

STYLES = Path(__file__).parent / "templates" / "pages.css"
AMBER_AFTER, RED_AFTER = timedelta(minutes=60), timedelta(hours=3)


def header(visit: Visit, brand_name: str) -> None:
    """Brand, log-out, whose data is on the page and when it was loaded."""
    viewer = visit.viewer
    is_agency = viewer.role == "super_admin"
    links = [("/cliente", "Trocar cliente")] if is_agency else []
    managed = [("/usuarios", "Usuários"), ("/configuracoes", "Configurações")]
    links += managed if viewer.role in {"admin", "super_admin"} else []
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


def loaded(visit: Visit) -> pd.Series | None:
    """The row of queries.coverage; None where there is nothing yet, and the page says why."""
    if visit.load_state.last_loaded_at is None or visit.load_state.last_built_at is None:
        empty(
            "A primeira carga ainda não terminou",
            "Os números aparecem aqui assim que as conversas forem carregadas e processadas.",
        )
        return None
    coverage = queries.coverage(visit).iloc[0]
    if not coverage["is_built"]:
        empty(
            "Sua conta ainda não foi processada",
            "Ela foi criada depois da última carga. Os números aparecem após a próxima.",
        )
        return None
    if not coverage["has_inboxes"]:
        empty(
            "Nenhuma caixa de entrada ligada a esta conta",
            "Peça a quem administra o sistema para ligar as suas caixas de entrada do Chatwoot.",
        )
        return None
    return coverage


# Of a frame, by name of the column.
Row = Mapping[Hashable, Any]


@dataclass(frozen=True)
class Column:
    """A column of a table: `name` in the frame, its heading, how a value is written, and where the
    written value links to (an address made from the row; None: no link).
    """

    name: str
    title: str
    write: Callable[[Any], str] = str
    is_number: bool = False
    link: Callable[[Row], str | None] | None = None


def table(rows: pd.DataFrame, columns: Sequence[Column], caption: str) -> str:
    """HTML of `rows`, everything escaped; the first column heads its row. `caption`: for readers
    of the screen, not shown.
    """
    head = "".join(
        f'<th scope="col"{_number_class(column)}>{escape(column.title)}</th>' for column in columns
    )
    body = "".join(
        "<tr>" + "".join(_cell(row, column, is_head=not i) for i, column in enumerate(columns))
        + "</tr>"
        for row in rows.to_dict("records")
    )  # fmt: skip
    return (
        f'<div class="m-scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="m-table"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _number_class(column: Column) -> str:
    return ' class="m-number"' if column.is_number else ""


def _cell(row: Row, column: Column, *, is_head: bool) -> str:
    value = row[column.name]
    is_null = not isinstance(value, list | tuple) and pd.isna(value)
    text = formats.MISSING if is_null else escape(column.write(value))
    target = column.link(row) if column.link else None
    if target and text != formats.MISSING:
        text = f'<a href="{escape(target)}" target="_self">{text}</a>'
    tag = 'th scope="row"' if is_head else "td"
    return f"<{tag}{_number_class(column)}>{text}</{tag.split()[0]}>"


def panel(
    key: str,
    title: str,
    sentence: str,
    chart: Chart | None = None,
    *,
    kind: str = "Gráfico",
    rows: pd.DataFrame | None = None,
    columns: Sequence[Column] = (),
    is_open: bool = False,
    help_text: str | None = None,
) -> None:
    """A white box: what it is about, what it says, the chart, and the chart's numbers as a table.

    `key` names the box (`panel-…` in CSS and tests); `kind` of chart is for readers of the screen;
    `is_open`: the table is the panel, not behind a click.
    """
    with box(key, title, help_text):
        contents(
            key, title, sentence, chart, kind=kind, rows=rows, columns=columns, is_open=is_open
        )


@contextmanager
def box(key: str, title: str, help_text: str | None = None) -> Iterator[None]:
    """A panel without its contents, for one that has controls of its own above them."""
    with st.container(border=True, key=f"panel-{key}"):
        st.header(title, anchor=False, help=help_text)
        yield


def contents(
    key: str,
    title: str,
    sentence: str,
    chart: Chart | None = None,
    *,
    kind: str = "Gráfico",
    rows: pd.DataFrame | None = None,
    columns: Sequence[Column] = (),
    is_open: bool = False,
) -> None:
    """What a panel says, its chart and its table, inside its box."""
    st.caption(sentence)
    if chart is not None:
        st.echarts_chart(
            chart.option,
            height=chart.height,
            key=f"chart-{key}",
            # Not Markdown: without the signs that formats.markdown put there.
            alt=f"{kind}: {title}. {sentence}".replace("\\", ""),
        )
    if rows is not None:
        html = table(rows, columns, title)
        if not is_open:
            summary = "<summary>Ver como tabela</summary>"
            html = f'<details class="m-details">{summary}{html}</details>'
        st.html(html)


@contextmanager
def loading() -> Iterator[None]:
    """Says that numbers are being read while the block runs, in a corner that moves nothing."""
    # Entered in the corner, left after the page: the page itself is drawn where it belongs.
    with ExitStack() as stack:
        with st.container(key="loading"):
            stack.enter_context(st.spinner("Lendo os números…"))
        yield


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
