"""The page Configurações: every form right and wrong, as admin, agency, client, attacker."""

import itertools
import random
import re
import secrets
import time
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

from dashboard import settings_page
from dashboard.auth import COOKIE_NAME, Sessions, csrf_token, token_hash
from tests.browsing import DESKTOP, PHONE, serious_findings, visitor
from tests.conftest import Pipeline
from tests.serving import HOSTILE_NAME, PASSWORD, Bare, Served, bare_warehouse, serving
from tests.test_tenants import image
from warehouse import limits, users
from warehouse.audit import PERSONAL, SYSTEM, list_lines
from warehouse.branding import MAXIMUM_BYTES
from warehouse.build import build
from warehouse.db import Warehouse, fetch_all, open_pool
from warehouse.tenants import DEFAULT_RULES, edit_tenant

PATH = "/configuracoes"
ADMIN, FOREIGN_ADMIN = "chefe@settings.example", "chefe-dois@settings.example"
HOSTILE_ADMIN = "chefe-hostil@settings.example"
GYM, SHOP = "academia-movimento", "loja-dona-flor"


@pytest.fixture(scope="module")
def bare(warehouse: Warehouse) -> Iterator[Bare]:
    with bare_warehouse(warehouse, "settings_bare") as bare:
        owner = bare.warehouse.dsn("owner")
        for email, slug in ((ADMIN, "um"), (FOREIGN_ADMIN, "dois"), (HOSTILE_ADMIN, "hostile")):
            users.add_user(owner, email=email, password=PASSWORD, role="admin", tenant_slug=slug)
        yield bare


@pytest.fixture(scope="module")
def served(bare: Bare) -> Iterator[Served]:
    with serving(bare.dsn(), hash_key="a key of the tests") as served:
        yield served


@pytest.fixture(autouse=True)
def _fresh(bare: Bare) -> Iterator[None]:
    """Every tenant as it was made."""
    yield
    bare.execute("delete from app.throttles")
    bare.execute("delete from app.sessions")
    bare.execute("update app.users set totp_secret = null, totp_last_step = null")
    bare.execute("delete from app.funnel_rules")
    for rule in DEFAULT_RULES:
        bare.execute(
            "insert into app.funnel_rules (tenant_id, stage, kind, value)"
            " select id, %s, %s, %s from app.tenants",
            *rule,
        )
    bare.execute("delete from app.tenant_branding")
    bare.execute("delete from ai.ledger")
    bare.execute(
        "update app.tenants set ai_budget_usd = null, ai_outside_allowed = true,"
        " max_users = null, plan = 'standard', status = 'active'"
    )
    bare.execute("update app.plans set max_ai_budget_usd = null")


def send(
    served: Served, client: httpx.Client, tenant_id: int, act: str, **fields: str
) -> httpx.Response:
    """A form of the page as it was shown for `tenant_id`."""
    return served.post(client, PATH, act=act, tenant_id=str(tenant_id), **fields)


def upload(
    served: Served, client: httpx.Client, tenant_id: int, logo: bytes = b"", **fields: str
) -> httpx.Response:
    """The form of the looks, which is the only one with a file."""
    digest = token_hash(client.cookies.get(COOKIE_NAME))
    hidden = {"csrf": csrf_token(digest or b""), "tenant_id": str(tenant_id), "act": "looks"}
    return client.post(
        PATH, data={**hidden, **fields}, headers={"Origin": served.address},
        files={"logo": ("logo" if logo else "", logo, "application/octet-stream")},
    )  # fmt: skip


def message(answer: httpx.Response) -> str:
    """What the page says of the last form."""
    found = re.search(r'role="(?:alert|status)">(.*?)</p>', answer.text, re.DOTALL)
    return found[1] if found else ""


def rules_of(bare: Bare, slug: str) -> set[tuple[str, str, str]]:
    return {
        (row[0], row[1], row[2])
        for row in bare.execute(
            "select stage, kind, value from app.funnel_rules where tenant_id = %s",
            bare.tenants[slug],
        )
    }


def lines_of(bare: Bare, action: str) -> list[tuple]:
    return bare.execute(
        "select tenant_id, actor_kind, target, before, after from app.audit_log"
        " where action = %s and actor_kind = 'user' order by id desc",
        action,
    )


# ---- funnel -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "kind", "typed", "kept"),
    [
        ("lead", "label", "  Lead  Frio ", ("lead", "label", "lead frio")),
        (
            "converted",
            "custom_attribute",
            "plano = Anual = 12",
            ("converted", "custom_attribute", "plano=Anual = 12"),
        ),
        (
            "visit_scheduled",
            "keyword",
            "Posso   IR amanhã?",
            ("visit_scheduled", "keyword", "Posso IR amanhã?"),
        ),
        ("lead", "ai lead_class=low", "", ("lead", "ai", "lead_class=low")),
        ("converted", "ai visit_scheduled=true", "x", ("converted", "ai", "visit_scheduled=true")),
        ("lead", "keyword", "x" * 100, ("lead", "keyword", "x" * 100)),
    ],
)
def test_a_rule_is_created_and_removed(
    served: Served, bare: Bare, stage: str, kind: str, typed: str, kept: tuple[str, str, str]
) -> None:
    admin, mine = served.log_in(ADMIN, PASSWORD), bare.tenants["um"]
    before, others = rules_of(bare, "um"), rules_of(bare, "dois")
    answer = send(served, admin, mine, "add_rule", stage=stage, kind=kind, value=typed)
    assert (answer.status_code, "Regra criada. Os números mudam" in message(answer)) == (200, True)
    assert rules_of(bare, "um") == before | {kept}
    ((rule_id,),) = bare.execute(
        "select id from app.funnel_rules where tenant_id = %s and (stage, kind, value) ="
        " (%s, %s, %s)",
        mine, *kept,
    )  # fmt: skip
    assert f'name="rule_id" value="{rule_id}"' in admin.get(PATH).text
    after = dict(zip(("stage", "kind", "value"), kept, strict=True))
    assert lines_of(bare, "rule.add")[0] == (mine, "user", f"rule:{rule_id}", None, after)
    again = send(served, admin, mine, "add_rule", stage=stage, kind=kind, value=typed)
    assert (again.status_code, message(again)) == (400, "Esta regra já existe.")
    answer = send(served, admin, mine, "remove_rule", rule_id=str(rule_id))
    assert (answer.status_code, "Regra excluída." in message(answer)) == (200, True)
    assert rules_of(bare, "um") == before
    assert lines_of(bare, "rule.remove")[0] == (mine, "user", f"rule:{rule_id}", after, None)
    answer = send(served, admin, mine, "remove_rule", rule_id=str(rule_id))
    assert (answer.status_code, message(answer)) == (400, "Esta regra já não existe.")
    assert rules_of(bare, "dois") == others


def test_the_crm_rule_comes_back(served: Served, bare: Bare) -> None:
    """Who removed it is not without CRM for ever."""
    admin, mine = served.log_in(ADMIN, PASSWORD), bare.tenants["um"]
    ((rule_id,),) = bare.execute(
        "select id from app.funnel_rules where tenant_id = %s and kind = 'crm'", mine
    )
    send(served, admin, mine, "remove_rule", rule_id=str(rule_id))
    assert ("converted", "crm", "") not in rules_of(bare, "um")
    send(served, admin, mine, "add_rule", stage="converted", kind="crm", value="ignored")
    assert ("converted", "crm", "") in rules_of(bare, "um")


@pytest.mark.parametrize(
    ("stage", "kind", "value", "sentence"),
    [
        ("lost", "label", "x", "Escolha uma etapa da lista."),
        ("", "label", "x", "Escolha uma etapa da lista."),
        ("lead", "ai", "lead_class=high", "Escolha um tipo de regra da lista."),
        ("lead", "ai lead_class=none", "", "Escolha um tipo de regra da lista."),
        ("lead", "sql", "x", "Escolha um tipo de regra da lista."),
        ("lead", "label", "  ", "Escreva a etiqueta."),
        ("lead", "label", "a, b", "Uma etiqueta por regra, sem vírgula."),
        ("lead", "label", "a\u202eb", "O valor tem um símbolo que não pode ser usado."),
        ("lead", "label", "a\0b", "O valor tem um símbolo que não pode ser usado."),
        ("lead", "keyword", "", "Escreva a frase."),
        ("lead", "keyword", "?!… 🙂", "A frase precisa de letras ou números."),
        ("lead", "keyword", "x" * 101, "O valor tem no máximo 100 letras."),
        ("lead", "custom_attribute", "plano", "Escreva o atributo como chave=valor"),
        ("lead", "custom_attribute", "=x", "Escreva o atributo como chave=valor"),
        ("lead", "custom_attribute", "plano= ", "Escreva o atributo como chave=valor"),
        ("lead", "crm", "", "A planilha do CRM vale só para a etapa Convertido."),
        ("lead", "label", "interessado", "Esta regra já vale pelo pacote do segmento."),
    ],
)
def test_a_bad_rule_is_refused_with_its_reason(
    served: Served, bare: Bare, stage: str, kind: str, value: str, sentence: str
) -> None:
    admin, before = served.log_in(ADMIN, PASSWORD), rules_of(bare, "um")
    answer = send(
        served, admin, bare.tenants["um"], "add_rule", stage=stage, kind=kind, value=value
    )
    assert (answer.status_code, message(answer).startswith(sentence)) == (400, True), answer.text
    assert rules_of(bare, "um") == before


def test_what_was_typed_is_shown_again(served: Served, bare: Bare) -> None:
    admin = served.log_in(ADMIN, PASSWORD)
    answer = send(
        served, admin, bare.tenants["um"], "add_rule",
        stage="converted", kind="custom_attribute", value='"plano"',
    )  # fmt: skip
    assert 'value="&quot;plano&quot;"' in answer.text
    assert '<option value="converted" selected>' in answer.text
    assert '<option value="custom_attribute" selected>' in answer.text


def test_there_is_a_most_of_rules(served: Served, bare: Bare) -> None:
    mine = bare.tenants["um"]
    admin = served.log_in(ADMIN, PASSWORD)
    bare.execute(
        "insert into app.funnel_rules (tenant_id, stage, kind, value)"
        " select %s, 'lead', 'label', 'n' || n from generate_series(1, 195) as n",
        mine,
    )
    for value, status in (("a", 200), ("b", 400)):
        answer = send(served, admin, mine, "add_rule", stage="lead", kind="label", value=value)
        assert answer.status_code == status
    assert message(answer).startswith("Já são 200 regras")
    assert len(rules_of(bare, "um")) == 200


def test_the_segments_pack_is_shown_and_is_not_to_be_removed(served: Served, bare: Bare) -> None:
    page = served.log_in(ADMIN, PASSWORD).get(PATH).text
    packed = settings_page.pack("general")
    assert {rule.stage for rule in packed} == {"lead", "visit_scheduled", "converted", "lost"}
    for rule in packed:
        assert rule.value in page
    assert "do pacote Geral" in page
    assert "Não é uma etapa" in page
    assert page.count('name="rule_id"') == len(DEFAULT_RULES)


# ---- AI ---------------------------------------------------------------------------------------


def budget_of(bare: Bare, slug: str = "um") -> float | None:
    ((usd,),) = bare.execute("select ai_budget_usd from app.tenants where slug = %s", slug)
    return None if usd is None else float(usd)


@pytest.mark.parametrize(
    ("typed", "usd"),
    [
        ("25", 25), ("12,5", 12.5), ("12.50", 12.5), (" US$ 1.250,05 ", 1250.05),
        ("1.250", 1250), ("0", 0), ("9999999", 9_999_999),
    ],
)  # fmt: skip
def test_a_budget_is_set(served: Served, bare: Bare, typed: str, usd: float) -> None:
    admin, mine = served.log_in(ADMIN, PASSWORD), bare.tenants["um"]
    answer = send(served, admin, mine, "ai_budget", budget=typed)
    assert (answer.status_code, message(answer)[:16]) == (200, "Orçamento salvo.")
    assert budget_of(bare) == usd
    assert budget_of(bare, "dois") is None
    assert lines_of(bare, "tenant.edit")[0] == (
        mine, "user", f"tenant:{mine}", {"ai_budget_usd": None}, {"ai_budget_usd": usd},
    )  # fmt: skip
    count = len(lines_of(bare, "tenant.edit"))
    assert message(send(served, admin, mine, "ai_budget", budget=typed)) == "Já estava assim."
    assert len(lines_of(bare, "tenant.edit")) == count


@pytest.mark.parametrize(
    "typed",
    ["-1", "abc", "1e9", "NaN", "Infinity", "12,345", "1,2,3", "١٢", "10000000", "99999999999", "",
     "' or 1=1"],
)  # fmt: skip
def test_a_bad_budget_is_refused(served: Served, bare: Bare, typed: str) -> None:
    admin = served.log_in(ADMIN, PASSWORD)
    answer = send(served, admin, bare.tenants["um"], "ai_budget", budget=typed)
    assert (answer.status_code, "orçamento" in message(answer)) == (400, True)
    assert budget_of(bare) is None


def test_a_plan_bounds_what_an_admin_may_set_and_not_the_agency(served: Served, bare: Bare) -> None:
    owner, mine = bare.warehouse.dsn("owner"), bare.tenants["um"]
    limits.set_plan(owner, limits.Plan("standard", None, None, None, 20), SYSTEM)  # type: ignore[arg-type]
    admin = served.log_in(ADMIN, PASSWORD)
    assert "O plano permite até US$\u00a020,00" in admin.get(PATH).text
    answer = send(served, admin, mine, "ai_budget", budget="20,01")
    assert (answer.status_code, "passa do máximo que a agência permite" in message(answer)) == (
        400,
        True,
    )
    assert 'value="20,01"' in answer.text
    assert send(served, admin, mine, "ai_budget", budget="20").status_code == 200
    assert budget_of(bare) == 20
    # None of its own: the plan's.
    assert send(served, admin, mine, "ai_budget", budget="").status_code == 200
    assert budget_of(bare) is None
    assert "US$\u00a00,00 de US$\u00a020,00" in admin.get(PATH).text
    agency = served.log_in(bare.agency, PASSWORD)
    served.post(agency, "/cliente", tenant_id=str(mine))
    assert send(served, agency, mine, "ai_budget", budget="500").status_code == 200
    assert budget_of(bare) == 500
    limits.set_plan(owner, limits.Plan("standard", None, None, None), SYSTEM)
    # Without a plan's maximum an admin lowers what the agency set, and never raises it.
    assert send(served, agency, mine, "ai_budget", budget="5").status_code == 200
    assert send(served, admin, mine, "ai_budget", budget="5,01").status_code == 400
    assert send(served, admin, mine, "ai_budget", budget="4").status_code == 200
    assert budget_of(bare) == 4
    assert send(served, agency, mine, "ai_budget", budget="").status_code == 200
    assert budget_of(bare) is None


@pytest.mark.parametrize(
    ("spent", "sentences"),
    [
        (7.99, ["US$\u00a07,99 de US$\u00a010,00 (79\u00a0%)"]),
        (8, ["(80\u00a0%)", "Mais de 80 % já foi usado."]),
        (9.999, ["(99\u00a0%)", "Mais de 80 % já foi usado."]),
        (12, ["(120\u00a0%)", "O orçamento do mês acabou"]),
    ],
)
def test_the_page_and_the_command_tell_how_much_of_the_budget_is_used(
    served: Served, bare: Bare, spent: float, sentences: list[str]
) -> None:
    owner, mine = bare.warehouse.dsn("owner"), bare.tenants["um"]
    edit_tenant(owner, "um", {"ai_budget_usd": 10.0}, SYSTEM)
    bare.execute(  # of last month: not counted
        "insert into ai.ledger (tenant_id, day, provider, model, cost_usd)"
        " values (%s, date_trunc('month', now() at time zone 'utc')::date - 1, 'openai', 'm', 99)",
        mine,
    )
    bare.execute(
        "insert into ai.ledger (tenant_id, day, provider, model, cost_usd, uncertain_usd)"
        " values (%s, (now() at time zone 'utc')::date, 'openai', 'm', %s - 1, 1)",
        mine, spent,
    )  # fmt: skip
    page = served.log_in(ADMIN, PASSWORD).get(PATH).text
    for sentence in sentences:
        assert sentence in page
    assert ("Mais de 80" in page, "acabou" in page) == (80 <= spent * 10 < 100, spent > 10)
    told = limits.warnings(owner)
    assert (told != []) == (spent >= 8)
    ((month,),) = bare.execute("select to_char(now() at time zone 'utc', 'YYYY-MM')")
    if spent == 8:
        assert told == [f"tenant um: US$ 8.00 of US$ 10.00 for AI in {month} (80 %)"]
    if spent == 12:
        assert told == [
            f"tenant um: US$ 12.00 of US$ 10.00 for AI in {month} (120 %);"
            " the local model scores until the month ends"
        ]
        assert limits.record_reached(owner, SYSTEM) == told
        line = list_lines(owner, action="limit.reach", limit=1)[0]
        assert line.after == {"percent": 100, "used": 12.0, "limit": 10.0}
    edit_tenant(owner, "um", {"ai_budget_usd": 0.0}, SYSTEM)
    assert limits.warnings(owner) == []  # a switch, not a limit
    assert "Orçamento zero" in served.log_in(ADMIN, PASSWORD).get(PATH).text
    foreign = served.log_in(FOREIGN_ADMIN, PASSWORD).get(PATH).text
    assert "Gasto neste mês: <strong>US$\u00a00,00</strong>" in foreign


def test_nothing_goes_outside_once_it_is_switched_off(served: Served, bare: Bare) -> None:
    admin, mine = served.log_in(ADMIN, PASSWORD), bare.tenants["um"]
    state = "select slug, ai_outside_allowed from app.tenants order by id"
    answer = send(served, admin, mine, "ai_outside", outside="refuse")
    assert (answer.status_code, "nada sai" in message(answer)) == (200, True)
    assert re.search(r'value="refuse" checked', answer.text)
    assert bare.execute(state) == [("um", False), ("dois", True), ("hostile", True)]
    assert lines_of(bare, "tenant.edit")[0][3:] == (
        {"ai_outside_allowed": True}, {"ai_outside_allowed": False},
    )  # fmt: skip
    assert message(send(served, admin, mine, "ai_outside", outside="refuse")) == "Já estava assim."
    send(served, admin, mine, "ai_outside", outside="allow")
    assert bare.execute(state)[0] == ("um", True)
    for bad in ("", "true", "0"):
        assert send(served, admin, mine, "ai_outside", outside=bad).status_code == 400
    assert bare.execute(state)[0] == ("um", True)


# ---- looks ------------------------------------------------------------------------------------


def looks_of(bare: Bare, slug: str = "um") -> list[tuple]:
    return bare.execute(
        "select display_name, primary_color, accent_color, octet_length(logo) > 0, logo_type"
        " from app.tenant_branding where tenant_id = %s",
        bare.tenants[slug],
    )


def test_looks_are_set_kept_and_reset(served: Served, bare: Bare) -> None:
    admin, mine = served.log_in(ADMIN, PASSWORD), bare.tenants["um"]
    version = "select data_version from app.load_state(%s)"
    versions = {slug: fetch_all(bare.dsn(), version, [id_]) for slug, id_ in bare.tenants.items()}
    green = {"primary_color": "#0f766e", "accent_color": "#0f766e"}
    answer = upload(served, admin, mine, display_name="  Corpo & Cia  ", **green)
    assert (answer.status_code, message(answer)) == (200, "Aparência salva."), answer.text
    assert looks_of(bare) == [("Corpo & Cia", None, None, None, None)]
    for slug, tenant_id in bare.tenants.items():  # nobody else's pages ask again
        ((before,),) = versions[slug]
        assert fetch_all(bare.dsn(), version, [tenant_id]) == [(before + (slug == "um"),)]
    assert "Corpo &amp; Cia" in answer.text

    blue = {"primary_color": "#0B5CAD", "accent_color": "#0f766e"}
    answer = upload(served, admin, mine, image("png"), display_name="Corpo", **blue)
    assert looks_of(bare) == [("Corpo", "#0b5cad", "#0f766e", True, "image/png")]
    assert 'src="data:image/png;base64,' in answer.text
    line = lines_of(bare, "tenant.brand")[0]
    assert line[3] == {"display_name": "Corpo & Cia"}
    assert line[4].pop("logo").endswith(" bytes")
    assert line[4] == {
        "display_name": "Corpo", "primary_color": "#0b5cad", "accent_color": "#0f766e"
    }  # fmt: skip

    count = len(lines_of(bare, "tenant.brand"))
    assert message(upload(served, admin, mine, display_name="Corpo", **blue)) == "Já estava assim."
    assert len(lines_of(bare, "tenant.brand")) == count
    upload(served, admin, mine, display_name="", **blue)
    assert looks_of(bare) == [(None, "#0b5cad", "#0f766e", True, "image/png")]
    upload(served, admin, mine, display_name="", drop_logo="1", **blue)
    assert looks_of(bare) == [(None, "#0b5cad", "#0f766e", None, None)]
    answer = send(served, admin, mine, "reset_looks")
    assert (answer.status_code, message(answer)) == (200, "A aparência voltou ao padrão.")
    assert looks_of(bare) == []
    assert looks_of(bare, "dois") == []


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"primary_color": "#ffff00"}, "é clara demais para ler sobre branco (contraste 1,1"),
        ({"accent_color": "#2dd4bf"}, "é clara demais"),
        ({"primary_color": "red"}, "Escolha as cores na paleta."),
        ({"accent_color": "#0b5cad;} body{"}, "Escolha as cores na paleta."),
        ({"display_name": "x" * 81}, "no máximo 80"),
        ({"display_name": "a\0b"}, "no máximo 80"),
        ({"logo": b"<svg onload=alert(1)>"}, "O logotipo não foi aceito"),
        ({"logo": b"\x89PNG\r\n\x1a\n" + b"\0" * 50}, "O logotipo não foi aceito"),
        ({"logo": secrets.token_bytes(MAXIMUM_BYTES)}, "O logotipo não foi aceito"),
    ],
)
def test_bad_looks_are_refused(
    served: Served, bare: Bare, fields: dict[str, str | bytes], sentence: str
) -> None:
    admin = served.log_in(ADMIN, PASSWORD)
    answer = upload(served, admin, bare.tenants["um"], **fields)  # type: ignore[arg-type]
    assert (answer.status_code, sentence in message(answer)) == (400, True), message(answer)
    assert looks_of(bare) == []


def test_hostile_uploads(served: Served, bare: Bare) -> None:
    """Too large, broken, two files, no boundary: an answer, nothing kept, nothing internal told."""
    admin = served.log_in(ADMIN, PASSWORD)
    csrf = csrf_token(token_hash(admin.cookies.get(COOKIE_NAME)) or b"")
    own = {"Origin": served.address}
    fields = {"csrf": csrf, "tenant_id": str(bare.tenants["um"]), "act": "looks"}
    png = image("png")
    for files in (
        {"logo": ("x", b"x" * (settings_page.UPLOAD_BYTES + 1), "image/png")},
        [("logo", ("a", png, "image/png")), ("logo", ("b", png, "image/png"))],
    ):
        answer = admin.post(PATH, data=fields, files=files, headers=own)  # type: ignore[arg-type]
        assert answer.status_code == 400
        assert "Pedido inválido" in answer.text
    many = {f"f{number}": "x" for number in range(20)}
    answer = admin.post(PATH, data=fields | many, files={"logo": ("a", png)}, headers=own)
    assert answer.status_code == 400
    for kind, body in (
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"--\r\n"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n"),
        ("multipart/form-data; boundary=b; charset=utf-7", b"\xff" * 500),
        ("multipart/form-data; boundary=" + "b" * 5000, b"--b--"),
        ("application/json", b"{}"),
        ("text/plain", f"csrf={csrf}&act=reset_looks".encode()),
    ):
        answer = admin.post(PATH, content=body, headers={**own, "Content-Type": kind})
        assert answer.status_code in {400, 403}, kind
        assert "Traceback" not in answer.text
    assert looks_of(bare) == []


# ---- who may, and for whom --------------------------------------------------------------------

FORMS: tuple[dict[str, str], ...] = (
    {"act": "add_rule", "stage": "lead", "kind": "label", "value": "intruso"},
    {"act": "remove_rule"},
    {"act": "ai_budget", "budget": "77"},
    {"act": "ai_outside", "outside": "refuse"},
    {"act": "looks", "display_name": "Intruso", "primary_color": "#0b5cad"},
    {"act": "reset_looks"},
)


def everything(bare: Bare) -> list[list[tuple]]:
    """All that the page can change, of every tenant."""
    return [
        bare.execute(f"select * from app.{table} order by 1, 2")
        for table in ("funnel_rules", "tenant_branding", "tenants")
    ]


def with_rule(bare: Bare, form: dict[str, str], slug: str) -> dict[str, str]:
    """The form, with a rule of that tenant where it wants one."""
    ((rule_id,),) = bare.execute(
        "select min(id) from app.funnel_rules where tenant_id = %s", bare.tenants[slug]
    )
    return form | {"rule_id": str(rule_id)}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form["act"])
def test_nobody_else_changes_anything(served: Served, bare: Bare, form: dict[str, str]) -> None:
    """A client of the tenant, another tenant's admin, nobody; the tenant named, its rule's id."""
    mine = bare.tenants["um"]
    bare.execute("insert into app.tenant_branding (tenant_id, display_name) values (%s, 'x')", mine)
    fields, before = with_rule(bare, form, "um"), everything(bare)
    client = served.log_in(bare.email("um"), PASSWORD)
    page = client.get(PATH)
    assert (page.status_code, "Sem permissão" in page.text) == (403, True)
    assert send(served, client, mine, **fields).status_code == 403
    foreign = served.log_in(FOREIGN_ADMIN, PASSWORD)
    answer = send(served, foreign, mine, **fields)
    assert answer.status_code == 400
    assert message(answer) == "Nada mudou: agora o cliente é Clínica Dois."
    # Its own page, with another tenant's rule.
    if form["act"] == "remove_rule":
        answer = send(served, foreign, bare.tenants["dois"], **fields)
        assert message(answer) == "Esta regra já não existe."
    nobody = served.client()
    assert nobody.get(PATH).headers["location"] == "/entrar"
    assert send(served, nobody, mine, **fields).status_code == 401
    assert everything(bare) == before


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form["act"])
@pytest.mark.parametrize("as_upload", [False, True])
def test_forged_forms_change_nothing(
    served: Served, bare: Bare, form: dict[str, str], as_upload: bool
) -> None:
    """Another Origin, or a form that our page did not make for this session; either encoding."""
    mine = bare.tenants["um"]
    bare.execute("insert into app.tenant_branding (tenant_id, display_name) values (%s, 'x')", mine)
    fields = with_rule(bare, form, "um") | {"tenant_id": str(mine)}
    admin, before = served.log_in(ADMIN, PASSWORD), everything(bare)
    digest = token_hash(admin.cookies.get(COOKIE_NAME))
    other = token_hash(served.log_in(ADMIN, PASSWORD).cookies.get(COOKIE_NAME))
    assert digest
    assert other
    own, files = csrf_token(digest), {"logo": ("x", image("png"))} if as_upload else None
    for origin in ("http://evil.example", "null", ""):
        answer = admin.post(
            PATH, data=fields | {"csrf": own}, files=files, headers={"Origin": origin}
        )
        assert answer.status_code == 403
    for given in ({}, {"csrf": ""}, {"csrf": "é"}, {"csrf": csrf_token(other)}):
        answer = admin.post(
            PATH, data=fields | given, files=files, headers={"Origin": served.address}
        )
        assert (answer.status_code, "Formulário vencido" in answer.text) == (403, True)
    assert everything(bare) == before


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form["act"])
def test_a_form_is_for_the_client_of_its_page(
    served: Served, bare: Bare, form: dict[str, str]
) -> None:
    """The agency switched in another tab: nothing changes, and it is said; then it does."""
    um, dois = bare.tenants["um"], bare.tenants["dois"]
    bare.execute("insert into app.tenant_branding (tenant_id, display_name) values (%s, 'x')", um)
    agency = served.log_in(bare.agency, PASSWORD)
    assert agency.get(PATH).headers["location"] == "/cliente"  # none chosen yet
    served.post(agency, "/cliente", tenant_id=str(um))
    assert f'name="tenant_id" value="{um}"' in agency.get(PATH).text
    fields = with_rule(bare, form, "um")
    served.post(agency, "/cliente", tenant_id=str(dois))
    before = everything(bare)
    answer = send(served, agency, um, **fields)
    assert answer.status_code == 400
    assert message(answer) == "Nada mudou: agora o cliente é Clínica Dois."
    for tenant_id in ("", "x", "-1", "1 or 1=1"):
        answer = served.post(agency, PATH, **(fields | {"tenant_id": tenant_id}))
        assert answer.status_code == 400
    assert everything(bare) == before
    served.post(agency, "/cliente", tenant_id=str(um))
    assert send(served, agency, um, **fields).status_code == 200
    assert everything(bare) != before
    actor = bare.execute("select id::text from app.users where email = %s", bare.agency)[0][0]
    assert bare.execute(
        "select actor_id, tenant_id from app.audit_log order by id desc limit 1"
    ) == [(actor, um)]


def test_database_checks_the_session_itself(bare: Bare) -> None:
    """As the app role, with every kind of session that is not the tenant's admin's."""
    app, hour, mine = bare.dsn(), "interval '1 hour'", bare.tenants["um"]
    users.set_second_factor(bare.warehouse.dsn("owner"), bare.agency)
    with open_pool(app, max_size=2) as pool:
        sessions = Sessions(pool)
        tokens = {
            "client": token_hash(sessions.log_in(bare.email("um"), PASSWORD)),
            "foreign admin": token_hash(sessions.log_in(FOREIGN_ADMIN, PASSWORD)),
            "pending super_admin": token_hash(sessions.log_in(bare.agency, PASSWORD)),
            "none": b"\0" * 32,
        }
    before = everything(bare)
    version = (
        "select last_value, array(select t from app.tenant_versions as t) from app.data_version"
    )
    last = bare.execute(version)
    query = "select id from app.funnel_rules where tenant_id = %s"
    own_rules = {row[0] for row in bare.execute(query, mine)}
    for who, token in tokens.items():
        for column, function, theirs in (
            ("tenant_id", "managed_settings", {mine}),
            ("rule_id", "managed_rules", own_rules),
        ):
            query = f"select {column} from app.{function}(%s, {hour})"
            seen = {row[0] for row in fetch_all(app, query, [token])}  # type: ignore[arg-type]
            assert not seen & theirs, who
            assert bool(seen) == (who == "foreign admin"), who
        refusal = "switched" if who == "foreign admin" else "denied"
        for call in (
            "add_rule(%s, {hour}, %s, 'lead', 'label', 'x')",
            "remove_rule(%s, {hour}, %s, 1)",
            "set_ai_budget(%s, {hour}, %s, 1)",
            "set_ai_outside(%s, {hour}, %s, false)",
            "set_looks(%s, {hour}, %s, 'x', null, null, null, null, false)",
        ):
            query = f"select app.{call.replace('{hour}', hour)}"
            assert fetch_all(app, query, [token, mine]) == [(refusal,)], (who, call)  # type: ignore[arg-type]
    assert everything(bare) == before
    assert bare.execute(version) == last


def test_database_checks_the_values_itself(bare: Bare) -> None:
    """A fault of the page makes no rule that a build would trip over."""
    app, hour, mine = bare.dsn(), "interval '1 hour'", bare.tenants["um"]
    with open_pool(app, max_size=1) as pool:
        token = token_hash(Sessions(pool).log_in(ADMIN, PASSWORD))
    before = everything(bare)
    for rule in (
        ("lost", "label", "x"), (None, "label", "x"), ("lead", None, "x"), ("lead", "label", None),
        ("lead", "label", ""), ("lead", "label", " x"), ("lead", "label", "x" * 201),
        ("lead", "custom_attribute", "x"), ("lead", "custom_attribute", "=x"),
        ("lead", "ai", "lead_class=best"), ("lead", "crm", ""), ("converted", "crm", "x"),
        ("lead", "sql", "x"),
    ):  # fmt: skip
        query = f"select app.add_rule(%s, {hour}, %s, %s, %s, %s)"
        assert fetch_all(app, query, [token, mine, *rule]) == [("invalid",)], rule  # type: ignore[arg-type]
    for usd in ("NaN", "-0.01", "10000000", "Infinity", None):
        query = f"select app.set_ai_budget(%s, {hour}, %s, %s::numeric)"
        assert fetch_all(app, query, [token, mine, usd]) == [("invalid",)], usd  # type: ignore[arg-type]
    for looks in (
        ("x" * 81, None, None, None, None), (" ", None, None, None, None),
        (None, "red", None, None, None), (None, None, "#FFFFFF", None, None),
        (None, None, None, b"x", None), (None, None, None, b"x", "image/svg+xml"),
        (None, None, None, b"x" * (MAXIMUM_BYTES + 1), "image/png"),
    ):  # fmt: skip
        query = f"select app.set_looks(%s, {hour}, %s, %s, %s, %s, %s, %s, false)"
        with pytest.raises(psycopg.errors.CheckViolation):
            fetch_all(app, query, [token, mine, *looks])  # type: ignore[arg-type]
    for internal in (
        "app.managing_page(null, null, 1)", "app.without_personal('x')",
        "app.raise_tenant_version(1)", "nextval('app.data_version')",
    ):  # fmt: skip
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            fetch_all(app, f"select {internal}")  # type: ignore[arg-type]
    assert everything(bare) == before


# Every change of a tenant that mirante_auth makes for a page, as (name, arguments).
CHANGES = (
    ("add_rule", "'lead', 'label', 'tarde'"),
    ("remove_rule", "(select 2)"),
    ("set_ai_budget", "7"),
    ("set_ai_outside", "false"),
    ("set_looks", "'Tarde', null, null, null, null, false"),
    ("correct_conversation", "1, null, null, 'high', null"),
)


def test_every_change_of_a_page_begins_with_the_same_look(bare: Bare) -> None:
    """One that did without it would know no turn and no lock."""
    found = bare.execute(
        "select proname::text from pg_proc where pronamespace = 'app'::regnamespace"
        " and prosrc ~ 'app.managing_page' order by 1"
    )
    assert [name for (name,) in found] == sorted(name for name, _ in CHANGES)
    # Those of an admin that do not: its people (0005, throttled or one row each), and files.
    others = bare.execute(
        "select proname::text from pg_proc where pronamespace = 'app'::regnamespace"
        " and prolang = (select oid from pg_language where lanname = 'plpgsql')"
        " and prosrc ~ 'app.managing\\y' and proname <> 'managing_page' order by 1"
    )
    assert [name for (name,) in others] == [
        "admit_export", "begin_export", "invite_user", "manage_user", "start_reset",
    ]  # fmt: skip


@pytest.mark.parametrize("meanwhile", ["session", "user", "role", "tenant", "client"])
@pytest.mark.parametrize(("function", "arguments"), CHANGES)
def test_who_was_thrown_out_while_a_change_waited_changes_nothing(
    bare: Bare, function: str, arguments: str, meanwhile: str
) -> None:
    """The change waits for the tenant's row, as during a long edit; meanwhile its session ends."""
    mine, who = bare.tenants["um"], bare.agency if meanwhile == "client" else ADMIN
    with open_pool(bare.dsn(), max_size=1) as pool:
        token = token_hash(Sessions(pool).log_in(who, PASSWORD))
    if meanwhile == "client":
        bare.execute(
            "update app.sessions"
            " set stage = 'full', viewed_tenant_id = %s, expires_at = 'infinity'",
            mine,
        )
    ending = {
        "session": "delete from app.sessions",
        "user": f"update app.users set is_active = false where email = '{ADMIN}'",
        "role": f"update app.users set role = 'client' where email = '{ADMIN}'",
        "tenant": "update app.tenants set status = 'suspended' where slug = 'um'",
        "client": f"update app.sessions set viewed_tenant_id = {bare.tenants['dois']}",
    }[meanwhile]
    query = f"select app.{function}(%s, interval '1 hour', %s, {arguments})"
    untouched = everything(bare)[:2]
    owner = psycopg.connect(bare.warehouse.dsn("owner"))
    try:
        owner.execute("select 1 from app.tenants where slug = 'um' for no key update")
        with ThreadPoolExecutor(1) as threads:
            answer = threads.submit(fetch_all, bare.dsn(), query, [token, mine])  # type: ignore[arg-type]
            bare.wait_until_somebody_waits()
            owner.execute(ending)  # type: ignore[arg-type]
            owner.commit()
            assert answer.result(timeout=30) == [
                ("switched" if meanwhile == "client" else "denied",)
            ]
    finally:
        owner.close()
        bare.execute(
            "update app.users set is_active = true, role = 'admin' where email = %s", ADMIN
        )
    assert everything(bare)[:2] == untouched
    assert bare.execute("select distinct ai_budget_usd, ai_outside_allowed from app.tenants") == [
        (None, True)
    ]


def test_a_session_ends_after_the_change_that_is_under_way(bare: Bare) -> None:
    """So no order of the two lets somebody write who was out before."""
    mine = bare.tenants["um"]
    with open_pool(bare.dsn(), max_size=1) as pool:
        token = token_hash(Sessions(pool).log_in(ADMIN, PASSWORD))
    with psycopg.connect(bare.dsn()) as page, ThreadPoolExecutor(1) as threads:
        page.execute("select app.set_ai_budget(%s, interval '1 hour', %s, 7)", [token, mine])
        ending = threads.submit(bare.execute, "delete from app.sessions")
        bare.wait_until_somebody_waits()
        assert not ending.done()
        page.commit()
        ending.result(timeout=30)
    assert budget_of(bare) == 7


def test_changes_have_their_pace(served: Served, bare: Bare) -> None:
    """Sixty a person, refused with the time to come back, and nobody else's turn is taken."""
    mine, other = bare.tenants["um"], bare.tenants["dois"]
    admin, foreign = served.log_in(ADMIN, PASSWORD), served.log_in(FOREIGN_ADMIN, PASSWORD)
    digest = token_hash(admin.cookies.get(COOKIE_NAME))
    call = "select app.set_ai_outside(%s, interval '1 hour', %s, n %% 2 = 0) from"
    began = time.monotonic()
    outcomes = [
        outcome
        for (outcome,) in fetch_all(
            bare.dsn(), f"{call} generate_series(1, 70) as n", [digest, mine]
        )
    ]
    assert outcomes[:60] == ["ok"] * 60
    assert outcomes.count("too_many") >= 9  # one more turn comes free in five seconds
    before, lines = everything(bare), len(lines_of(bare, "tenant.edit"))
    # Whatever the form: one count.
    for form in FORMS:
        answer = send(served, admin, mine, **with_rule(bare, form, "um"))
        if time.monotonic() - began < 4:
            assert (answer.status_code, message(answer)) == (
                429,
                "Muitas mudanças em pouco tempo: nada mudou. Tente de novo em 5 segundos.",
            )
    if time.monotonic() - began < 4:
        assert everything(bare) == before
        assert len(lines_of(bare, "tenant.edit")) == lines
    # A page of another client neither takes a turn of the tenant nor hears of it.
    answer = send(served, foreign, mine, "ai_budget", budget="1")
    assert message(answer) == "Nada mudou: agora o cliente é Clínica Dois."
    assert send(served, foreign, other, "ai_budget", budget="1").status_code == 200
    bare.execute(
        "update app.throttles set free_at = free_at - interval '5 seconds'"
        " where key = (select sha256(convert_to('change:user:' || id, 'utf8'))"
        " from app.users where email = %s)",
        ADMIN,
    )
    assert send(served, admin, mine, "ai_budget", budget="3").status_code == 200


def test_all_admins_of_a_tenant_together_have_a_pace_too(bare: Bare) -> None:
    mine = bare.tenants["um"]
    with open_pool(bare.dsn(), max_size=1) as pool:
        token = token_hash(Sessions(pool).log_in(ADMIN, PASSWORD))
    key = f"sha256(convert_to('change:tenant:{mine}', 'utf8'))"
    bare.execute(f"insert into app.throttles values ({key}, clock_timestamp() + interval '10 min')")
    query = "select app.set_ai_budget(%s, interval '1 hour', %s, 7)"
    assert fetch_all(bare.dsn(), query, [token, mine]) == [("too_many",)]
    assert budget_of(bare) is None


# ---- hostile text, and the record -------------------------------------------------------------

NASTY = "</form><script>alert(1)</script>'\"; drop table app.users; --{{7*7}}"


def test_hostile_text_is_text(served: Served, bare: Bare) -> None:
    """In every field that is kept or shown again, of a tenant whose own name is an attack."""
    admin, mine = served.log_in(HOSTILE_ADMIN, PASSWORD), bare.tenants["hostile"]
    for kind in ("label", "keyword", "custom_attribute"):
        value = f"chave={NASTY}" if kind == "custom_attribute" else NASTY
        assert send(
            served, admin, mine, "add_rule", stage="lead", kind=kind, value=value
        ).status_code == 200  # fmt: skip
    assert upload(served, admin, mine, display_name=NASTY).status_code == 200
    answers = [
        admin.get(PATH),
        send(served, admin, mine, "add_rule", stage=NASTY, kind=NASTY, value=NASTY),
        send(served, admin, mine, "ai_budget", budget=NASTY),
        upload(served, admin, mine, primary_color='"><script>', display_name=NASTY),
    ]
    for answer in answers:
        assert "<script>" not in answer.text
        assert "<img src=x" not in answer.text
        assert "</form><" not in answer.text
    assert rules_of(bare, "hostile") >= {("lead", "keyword", NASTY), ("lead", "label", NASTY)}
    assert looks_of(bare, "hostile")[0][0] == NASTY
    bare.execute(  # what only SQL can put there
        "insert into app.funnel_rules (tenant_id, stage, kind, value)"
        " values (%s, 'lead', 'ai', %s)",
        mine, HOSTILE_NAME,
    )  # fmt: skip
    assert "<img src=x" not in admin.get(PATH).text


def test_the_audit_log_holds_no_address(served: Served, bare: Bare) -> None:
    admin, mine = served.log_in(ADMIN, PASSWORD), bare.tenants["um"]
    for value in ("fale com ana@corpo.example", "+55 11 91234-5678", "ip 10.0.0.7", "11912345678"):
        for act in ("add_rule", "remove_rule"):
            found = bare.execute("select id from app.funnel_rules where value = %s", value)
            send(
                served, admin, mine, act, stage="lead", kind="keyword", value=value,
                **({"rule_id": str(found[0][0])} if found else {}),
            )  # fmt: skip
        assert upload(served, admin, mine, display_name=value).status_code == 200
    lines = bare.execute("select before::text, after::text from app.audit_log")
    text = "\n".join(str(part) for line in lines for part in line)
    assert "looks like somebody's address" in text
    assert not PERSONAL.search(text.replace("#", " "))
    for secret in ("ana@", "1234-5678", "10.0.0.7", "11912345678"):
        assert secret not in text


# ---- on a whole pipeline's numbers ------------------------------------------------------------

CHIEF = "chefe@copied.example"


@pytest.fixture(scope="module")
def copied_served(copied: Pipeline) -> Iterator[Served]:
    users.add_user(
        copied.warehouse.dsn("owner"), email=CHIEF, password=PASSWORD, role="admin",
        tenant_slug=GYM,
    )  # fmt: skip
    with serving(copied.warehouse.dsn("app")) as served:
        yield served


def test_a_rule_of_the_page_changes_the_marts_with_the_next_build(
    copied: Pipeline, copied_served: Served
) -> None:
    mine = copied.tenants[GYM]
    label, bearers = copied.query(
        "select label, count(*) from marts.fct_conversations, unnest(labels) as label"
        " where tenant_id = %s and not is_converted group by 1 order by 2 desc limit 1",
        mine,
    )[0]
    converted = (
        "select count(*) filter (where is_converted),"
        " count(*) filter (where %s = any (labels) and not is_converted)"
        " from marts.fct_conversations where tenant_id "
    )
    ((before, _),) = copied.query(f"{converted} = %s", label, mine)
    others = copied.query(f"{converted} <> %s", label, mine)
    admin = copied_served.log_in(CHIEF, PASSWORD)
    answer = send(
        copied_served, admin, mine, "add_rule", stage="converted", kind="label", value=label
    )
    assert answer.status_code == 200
    build(copied.settings, copied.warehouse, only_if_changed=True)
    assert copied.query(f"{converted} = %s", label, mine) == [(before + bearers, 0)]
    assert copied.query(f"{converted} <> %s", label, mine) == others
    assert copied.query(
        "select count(*) from marts.fct_funnel_events where tenant_id = %s"
        " and stage = 'converted' and evidence_kind = 'label' and evidence_ref = %s",
        mine, label,
    )[0][0] >= bearers  # fmt: skip
    rule = "select id from app.funnel_rules where tenant_id = %s and value = %s"
    ((rule_id,),) = copied.query(rule, mine, label)
    send(copied_served, admin, mine, "remove_rule", rule_id=str(rule_id))
    build(copied.settings, copied.warehouse, only_if_changed=True)
    assert copied.query(f"{converted} = %s", label, mine) == [(before, bearers)]


def folded(text: str) -> list[str]:
    """Its words, without case and accents."""
    plain = re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFKD", text))
    return re.findall("[a-z0-9]+", plain.lower())


def holds(phrase: list[str], words: list[str]) -> bool:
    """KPI of a keyword: whole words, no negation among the three before the first of them."""
    for start in range(len(words) - len(phrase) + 1):
        before = words[max(0, start - 3) : start]
        pairs = itertools.pairwise(before)
        if (
            words[start : start + len(phrase)] == phrase
            and not {"nao", "nunca", "nem", "sem"} & set(before)
            and not {("ja", "sou"), ("ja", "tenho")} & set(pairs)
        ):
            return True
    return False


def test_two_hundred_keywords_find_what_each_alone_finds(
    copied: Pipeline, copied_served: Served
) -> None:
    """Of words and neighbours that the messages have, negations and parts of words among them."""
    mine, owner = copied.tenants[GYM], copied.warehouse.dsn("owner")
    messages = copied.query(
        "select conversation_id, message_id, content"
        " from intermediate.int_messages_scoped_to_tenants"
        " where tenant_id = %s and sender_kind = 'contact' and content is not null"
        " order by created_at, message_id",
        mine,
    )
    texts = [(conversation, message, folded(text)) for conversation, message, text in messages]
    picked = random.Random(7)
    phrases: set[str] = {"não", "ja sou", "sem", "nem"}
    while len(phrases) < 195:
        _, _, words = picked.choice(texts)
        start = picked.randrange(max(1, len(words)))
        phrases.add(" ".join(words[start : start + picked.randint(1, 3)]) or "oi")
    rules = [(("lead", "visit_scheduled", "converted")[n % 3], p) for n, p in enumerate(phrases)]
    with psycopg.connect(owner) as connection:
        connection.cursor().executemany(
            "insert into app.funnel_rules (tenant_id, stage, kind, value)"
            " values (%s, %s, 'keyword', %s)",
            [(mine, stage, phrase) for stage, phrase in rules],
        )
    others = (
        "select * from intermediate.int_funnel_keywords_found_in_messages where tenant_id <> %s"
        " order by conversation_id, stage"
    )
    before = copied.query(others, mine)
    expected: dict[tuple[int, str], int] = {}
    packed = [
        (rule.stage, folded(rule.value))
        for rule in settings_page.pack("gym") if rule.kind == "keyword"
    ]  # fmt: skip
    wanted = [(stage, folded(phrase)) for stage, phrase in rules] + packed
    for conversation, message, words in texts:
        for stage, phrase in wanted:
            if (conversation, stage) not in expected and phrase and holds(phrase, words):
                expected[conversation, stage] = message
    try:
        build(copied.settings, copied.warehouse, only_if_changed=True)
        found = copied.query(
            "select conversation_id, stage, message_id"
            " from intermediate.int_funnel_keywords_found_in_messages where tenant_id = %s",
            mine,
        )
        assert {(row[0], row[1]): row[2] for row in found} == expected
        assert copied.query(others, mine) == before
    finally:
        with psycopg.connect(owner) as connection:
            connection.execute("delete from app.funnel_rules where kind = 'keyword'")
        build(copied.settings, copied.warehouse, only_if_changed=True)


def test_limits_are_told_as_the_agency_counts_them(copied: Pipeline, copied_served: Served) -> None:
    owner, mine = copied.warehouse.dsn("owner"), copied.tenants[GYM]
    with psycopg.connect(owner) as connection:  # the sample ends earlier
        connection.execute(
            "update marts.fct_conversations set created_date = current_date"
            " where conversation_id in (select conversation_id from marts.fct_conversations"
            " where tenant_id = %s order by 1 limit 40)",
            [mine],
        )
    admin = copied_served.log_in(CHIEF, PASSWORD)
    page = admin.get(PATH).text
    assert page.count("sem limite") == 3
    for conversations, inboxes, people, sentences in (
        (50, 10, 10, ["40 de 50 (80\u00a0%)", "Mais de 80 % já foi usado."]),
        (40, 3, 2, ["Nada é cortado", "Não cabe outra caixa", "Não cabe mais ninguém"]),
    ):
        edit_tenant(
            owner, GYM,
            {"max_conversations_per_month": conversations, "max_inboxes": inboxes,
             "max_users": people},
            SYSTEM,
        )  # fmt: skip
        page = admin.get(PATH).text
        for sentence in sentences:
            assert sentence in page
        with psycopg.connect(owner) as connection:
            counted = limits.read_usage(connection, GYM)
        assert {usage.name for usage in counted} == {"users", "inboxes", "conversations"}
        for usage in counted:
            assert f"{usage.used} de {usage.limit} ({usage.percent}\u00a0%)" in page, usage
    foreign = users.add_user(
        owner, email="chefe-flor@copied.example", password=PASSWORD, role="admin",
        tenant_slug=SHOP,
    )  # fmt: skip
    assert foreign
    page = copied_served.log_in("chefe-flor@copied.example", PASSWORD).get(PATH).text
    assert page.count("sem limite") == 3
    assert "Academia" not in page


def has_no_sideways_scroll(page: Page) -> bool:
    return bool(
        page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
    )


def test_an_admin_at_work(copied: Pipeline, copied_served: Served, browser: Browser) -> None:
    mine = copied.tenants[GYM]
    edit_tenant(
        copied.warehouse.dsn("owner"), GYM,
        {"ai_budget_usd": 10.0, "max_users": 2, "max_inboxes": None}, SYSTEM,
    )  # fmt: skip
    with psycopg.connect(copied.warehouse.dsn("owner")) as connection:
        connection.execute(
            "insert into ai.ledger (tenant_id, day, provider, model, cost_usd)"
            " values (%s, (now() at time zone 'utc')::date, 'openai', 'm', 8.5)",
            [mine],
        )
    with visitor(browser, copied_served) as someone:
        page = someone.page
        someone.log_in(CHIEF, PASSWORD)
        page.get_by_role("link", name="Configurações").click()
        expect(page.get_by_role("heading", name="Configurações")).to_be_visible()
        expect(page.get_by_text("Mais de 80 % já foi usado.")).to_be_visible()
        assert serious_findings(page) == []
        page.get_by_label("Etapa").select_option(label="Visita agendada")
        page.get_by_label("Vale quando houver").select_option(label="Frase na mensagem do cliente")
        page.get_by_label("Etiqueta, chave=valor ou frase").fill("passo aí amanhã")
        page.get_by_role("button", name="Criar regra").click()
        expect(page.get_by_role("status")).to_contain_text("Regra criada.")
        page.get_by_role("button", name="Excluir de Visita agendada: Frase “passo").click()
        expect(page.get_by_role("status")).to_contain_text("Regra excluída.")
        page.get_by_label("Etiqueta, chave=valor ou frase").fill("x, y")
        page.get_by_role("button", name="Criar regra").click()
        expect(page.get_by_role("alert")).to_have_text("Uma etiqueta por regra, sem vírgula.")
        assert serious_findings(page) == []
        someone.complaints.clear()  # the browser's own line for the 400
        page.locator(".pack summary").first.click()
        expect(page.get_by_text("aula experimental", exact=False).first).to_be_visible()
        page.get_by_label("Não enviar nada para fora").check()
        page.get_by_role("button", name="Salvar escolha").click()
        expect(page.get_by_role("status")).to_contain_text("nada sai deste servidor")
        page.get_by_label("Nome", exact=True).fill("Corpo & Movimento")
        page.get_by_label("Cor principal").fill("#0b5cad")
        page.get_by_label("Cor de destaque").fill("#7a1fa2")
        page.get_by_label("Logotipo").set_input_files(
            {"name": "logo.png", "mimeType": "image/png", "buffer": image("png")}
        )
        page.get_by_role("button", name="Salvar aparência").click()
        expect(page.get_by_role("status")).to_have_text("Aparência salva.")
        expect(page.get_by_role("img", name="Logotipo")).to_be_visible()
        page.get_by_role("link", name="Voltar ao painel").click()
        # At once: no page keeps what it has cached.
        expect(page.locator(".m-brand")).to_contain_text("Corpo & Movimento")
        assert page.locator(".m-brand img").get_attribute("src", timeout=5000)
        assert "#0b5cad" in (page.locator(".m-bar").get_attribute("style") or "")
    for size, scheme in ((PHONE, "light"), (DESKTOP, "dark"), (PHONE, "dark")):
        with visitor(browser, copied_served, size, scheme) as someone:
            someone.let_in(CHIEF, PASSWORD)
            someone.open(PATH)
            expect(someone.page.get_by_role("button", name="Criar regra")).to_be_visible()
            assert serious_findings(someone.page) == []
            assert has_no_sideways_scroll(someone.page)
