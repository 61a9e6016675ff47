"""Routes of a tenant's settings: funnel, AI, looks, limits; the database decides who may what."""

import csv
import re
import unicodedata
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache, partial
from typing import LiteralString

import psycopg
from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from dashboard import forms, settings_forms
from dashboard.auth import ManagedSettings, Viewer
from dashboard.guard import SETTINGS_PATH, TENANT_PATH
from dashboard.settings_forms import DEFAULT_COLOR, KINDS, STAGES, PackRule, Usage
from dashboard.state import Dashboard
from dashboard.web import BadFormError, guard_of, is_id, read_own_form, read_own_upload, route
from warehouse import branding
from warehouse.db import tenant_connection
from warehouse.errors import UsageError
from warehouse.settings import PROJECT_ROOT

PACKS = PROJECT_ROOT / "seeds" / "funnel_segment_rules.csv"
MAXIMUM_LENGTH = 100
# The logo, and room for the fields around it.
UPLOAD_BYTES = branding.MAXIMUM_BYTES + 16_384
# As of the last build, and so that the agency's limit counts the same (warehouse/limits.py).
USAGE: LiteralString = """
select
    (
        select count(*) from (
            select unnest(%(inbox_ids)s::bigint[])
            union
            select inbox_id from marts.dim_inboxes where tenant_id = %(tenant_id)s
        ) as inboxes
    ),
    (
        select count(*) from marts.fct_conversations
        where tenant_id = %(tenant_id)s
            and created_date >= date_trunc('month', now() at time zone %(timezone)s)::date
    )
"""
CHANGED = "Os números mudam na próxima atualização dos dados."
REFUSALS = {
    "taken": "Esta regra já existe.",
    "full": "Já são 200 regras: exclua alguma antes de criar outra.",
    "missing": "Esta regra já não existe.",
    "invalid": "Este valor não é aceito.",
    "too_many": "Muitas mudanças em pouco tempo: nada mudou. Tente de novo em 5 segundos.",
}


@dataclass(frozen=True)
class Outcome:
    """What became of a form: a problem, or what was done; `typed` is shown again. `status` is of
    the answer that tells a problem.
    """

    problem: str | None = None
    done: str | None = None
    typed: dict[str, str] = field(default_factory=dict)
    is_denied: bool = False
    status: int = 400


class SettingsPage:
    """The handlers; the guard has checked Origin and session."""

    def __init__(self, dashboard: Dashboard) -> None:
        self._dashboard = dashboard
        self._sessions = dashboard.sessions
        # Decoding an image takes a core: one at a time.
        self._images = CapacityLimiter(1)

    def routes(self) -> list[Route]:
        """Every route of this module."""
        return [
            route(self._dashboard, SETTINGS_PATH, self._show_page, "GET"),
            route(self._dashboard, SETTINGS_PATH, self._change, "POST"),
        ]

    async def _show_page(self, request: Request) -> Response:
        return await self._show(request, Outcome())

    async def _show(self, request: Request, outcome: Outcome) -> Response:
        viewer: Viewer = request.scope["mirante.viewer"]
        guard = guard_of(request)
        managed = await guard.in_thread(self._sessions.managed_settings, viewer.token_sha256)
        if managed is None or outcome.is_denied:
            return self._not_yours()
        if managed.tenant_id != viewer.tenant_id:  # switched since the guard looked
            return RedirectResponse(TENANT_PATH, status_code=303)
        page = settings_forms.settings_page(
            self._dashboard.brand_name,
            viewer,
            managed,
            await guard.in_thread(self._sessions.managed_rules, viewer.token_sha256),
            pack(managed.segment),
            await guard.in_thread(self._usage, managed, viewer.timezone),
            problem=outcome.problem,
            done=outcome.done,
            typed=outcome.typed,
        )
        return HTMLResponse(page, status_code=outcome.status if outcome.problem else 200)

    def _usage(self, managed: ManagedSettings, timezone: str) -> Usage:
        """Inboxes and conversations are counted as the app role, behind row security."""
        try:
            with tenant_connection(self._dashboard.reads, managed.tenant_id) as connection:
                inboxes, conversations = connection.execute(
                    USAGE,
                    {
                        "tenant_id": managed.tenant_id, "timezone": timezone,
                        "inbox_ids": managed.inbox_ids,
                    },
                ).fetchone() or (0, 0)  # fmt: skip
        except psycopg.errors.UndefinedTable:  # nothing was built yet
            inboxes, conversations = len(managed.inbox_ids), 0
        return Usage(managed.users, inboxes, conversations)

    async def _change(self, request: Request) -> Response:
        """What the database refuses is refused: the session's role and tenant are its word."""
        viewer: Viewer = request.scope["mirante.viewer"]
        logo: bytes | None = None
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            form, files = await read_own_upload(request, viewer.token_sha256, UPLOAD_BYTES)
            logo = files.get("logo")
        else:
            form = await read_own_form(request, viewer.token_sha256)
        if viewer.role not in {"admin", "super_admin"}:
            return self._not_yours()
        if not is_id(form.get("tenant_id", "")):
            raise BadFormError
        acts: dict[str, Callable[[Request, dict[str, str]], Awaitable[Outcome]]] = {
            "add_rule": self._add_rule,
            "remove_rule": self._remove_rule,
            "ai_budget": self._set_ai_budget,
            "ai_outside": self._set_ai_outside,
            "looks": partial(self._set_looks, logo=logo),
            "reset_looks": self._reset_looks,
        }
        act = acts.get(form.get("act", ""))
        if act is None:
            raise BadFormError
        return await self._show(request, await act(request, form))

    async def _run(
        self,
        request: Request,
        form: dict[str, str],
        function: Callable[..., str],
        *arguments: object,
        done: str,
        refusals: dict[str, str] | None = None,
    ) -> Outcome:
        viewer: Viewer = request.scope["mirante.viewer"]
        result = await guard_of(request).in_thread(
            function, viewer.token_sha256, int(form["tenant_id"]), *arguments
        )
        if result == "ok":
            return Outcome(done=done)
        if result == "same":
            return Outcome(done="Já estava assim.")
        if result == "switched":
            return Outcome(problem=f"Nada mudou: agora o cliente é {viewer.tenant_name}.")
        if result == "denied":
            return Outcome(is_denied=True)
        return Outcome(
            problem=(REFUSALS | (refusals or {}))[result], typed=form,
            status=429 if result == "too_many" else 400,
        )  # fmt: skip

    async def _add_rule(self, request: Request, form: dict[str, str]) -> Outcome:
        viewer: Viewer = request.scope["mirante.viewer"]
        stage, chosen = form.get("stage", ""), form.get("kind", "")
        kind, _, value = chosen.partition(" ")
        if stage not in STAGES or chosen not in KINDS:
            what = "um tipo de regra" if stage in STAGES else "uma etapa"
            return Outcome(problem=f"Escolha {what} da lista.", typed=form)
        if kind in {"label", "custom_attribute", "keyword"}:
            value = plain_value(kind, form.get("value", ""))
            problem = value_problem(kind, value)
            if problem is None and PackRule(stage, kind, value) in pack(viewer.segment or ""):
                problem = "Esta regra já vale pelo pacote do segmento."
        else:
            problem = (
                "A planilha do CRM vale só para a etapa Convertido."
                if kind == "crm" and stage != "converted" else None
            )  # fmt: skip
        if problem:
            return Outcome(problem=problem, typed=form)
        return await self._run(
            request, form, self._sessions.add_rule, stage, kind, value,
            done=f"Regra criada. {CHANGED}",
        )  # fmt: skip

    async def _remove_rule(self, request: Request, form: dict[str, str]) -> Outcome:
        if not is_id(form.get("rule_id", "")):
            raise BadFormError
        return await self._run(
            request, form, self._sessions.remove_rule, int(form["rule_id"]),
            done=f"Regra excluída. {CHANGED}",
        )  # fmt: skip

    async def _set_ai_budget(self, request: Request, form: dict[str, str]) -> Outcome:
        text = form.get("budget", "").strip()
        usd = dollars(text)
        if text and usd is None:
            problem = "Escreva o orçamento em dólares, por exemplo 25 ou 12,50."
            return Outcome(problem=problem, typed=form)
        return await self._run(
            request, form, self._sessions.set_ai_budget, usd,
            done="Orçamento salvo. Ele vale já na próxima avaliação.",
            refusals={
                "above": "O orçamento passa do máximo que a agência permite: fale com ela.",
                "invalid": "Escreva o orçamento do mês em dólares; 0 é não gastar nada.",
            },
        )  # fmt: skip

    async def _set_ai_outside(self, request: Request, form: dict[str, str]) -> Outcome:
        if form.get("outside") not in {"allow", "refuse"}:
            raise BadFormError
        is_allowed = form["outside"] == "allow"
        return await self._run(
            request, form, partial(self._sessions.set_ai_outside, is_allowed=is_allowed),
            done="Salvo: os textos podem ir para o modelo externo, mascarados." if is_allowed
            else "Salvo: a partir de agora, nada sai deste servidor.",
        )  # fmt: skip

    async def _set_looks(
        self, request: Request, form: dict[str, str], *, logo: bytes | None
    ) -> Outcome:
        name = " ".join(form.get("display_name", "").split())
        if len(name) > 80 or not name.isprintable():
            return Outcome(problem="O nome tem no máximo 80 letras, sem símbolos.", typed=form)
        colors = {}
        for option in ("primary_color", "accent_color"):
            colors[option] = form.get(option, "").strip().lower() or DEFAULT_COLOR
            problem = color_problem(colors[option])
            if problem:
                return Outcome(problem=problem, typed=form)
        primary = None if colors["primary_color"] == DEFAULT_COLOR else colors["primary_color"]
        accent: str | None = colors["accent_color"]
        if primary is None and accent == DEFAULT_COLOR:
            accent = None
        image = None
        if logo is not None:
            try:
                image = await to_thread.run_sync(
                    branding.clean_logo, logo, "logo", limiter=self._images
                )
            except UsageError:
                problem = (
                    "O logotipo não foi aceito: use uma imagem PNG, JPEG ou WebP de até "
                    f"{branding.MAXIMUM_BYTES // 1024} KB e {branding.MAXIMUM_PIXELS} pixels de "
                    "lado."
                )
                return Outcome(problem=problem, typed=form)
        return await self._run(
            request, form,
            partial(
                self._sessions.set_looks, display_name=name or None, primary_color=primary,
                accent_color=accent, logo=image, keeps_logo="drop_logo" not in form,
            ),
            done="Aparência salva.",
        )  # fmt: skip

    async def _reset_looks(self, request: Request, form: dict[str, str]) -> Outcome:
        return await self._run(
            request, form, self._sessions.set_looks, done="A aparência voltou ao padrão."
        )

    def _not_yours(self) -> Response:
        text = "Só quem administra a conta muda as configurações."
        page = forms.message_page(self._dashboard.brand_name, "Sem permissão", text)
        return HTMLResponse(page, status_code=403)


@cache
def pack(segment: str) -> tuple[PackRule, ...]:
    """The rules that every tenant of a segment has beside its own."""
    with PACKS.open(encoding="utf-8", newline="") as lines:
        return tuple(
            PackRule(row["stage"], row["rule_kind"], row["rule_value"])
            for row in csv.DictReader(lines)
            if row["segment"] == segment
        )


def plain_value(kind: str, text: str) -> str:
    """A rule's value as it is kept: single spaces; labels in lower case, as Chatwoot has them."""
    value = " ".join(text.split())
    if kind == "custom_attribute" and "=" in value:
        key, _, wanted = value.partition("=")
        return f"{key.strip()}={wanted.strip()}"
    return value.lower() if kind == "label" else value


def value_problem(kind: str, value: str) -> str | None:
    """Why a value makes no rule of its kind, if so."""
    if kind == "custom_attribute" and not re.fullmatch(r"[^=]+=.+", value):
        return "Escreva o atributo como chave=valor, por exemplo plano=anual."
    if not value:
        return "Escreva a etiqueta." if kind == "label" else "Escreva a frase."
    if len(value) > MAXIMUM_LENGTH:
        return f"O valor tem no máximo {MAXIMUM_LENGTH} letras."
    if not value.isprintable():
        return "O valor tem um símbolo que não pode ser usado."
    if kind == "label" and "," in value:
        return "Uma etiqueta por regra, sem vírgula."
    # Of a phrase, letters and digits alone are compared.
    folded = unicodedata.normalize("NFKD", value.lower())
    if kind == "keyword" and not re.search("[a-z0-9]", folded):
        return "A frase precisa de letras ou números."
    return None


def dollars(text: str) -> Decimal | None:
    """`12,50`, `12.50`, `1.250`, `1.250,5` as Brazil writes them; None for anything else."""
    text = text.removeprefix("US$").strip()
    if re.fullmatch(r"\d{1,3}(\.\d{3})+(,\d{1,2})?", text, flags=re.ASCII):
        text = text.replace(".", "")
    elif not re.fullmatch(r"\d{1,9}([.,]\d{1,2})?", text, flags=re.ASCII):
        return None
    return Decimal(text.replace(",", "."))


def color_problem(color: str) -> str | None:
    """Why a colour is refused, if it is."""
    if not re.fullmatch(r"#[0-9a-f]{6}", color):
        return "Escolha as cores na paleta."
    contrast = branding.contrast(color, "#ffffff")
    if contrast < branding.MINIMUM_CONTRAST:
        found, least = (
            f"{value:.1f}".replace(".", ",") for value in (contrast, branding.MINIMUM_CONTRAST)
        )
        return (
            f"A cor {color} é clara demais para ler sobre branco (contraste {found}; precisa de "
            f"{least}): escolha um tom mais escuro."
        )
    return None
