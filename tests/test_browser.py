"""The pages in a real headless Chromium, on the whole pipeline's numbers."""

import io
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pyotp
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from dashboard import formats
from tests.browsing import (
    DESKTOP,
    END,
    PERIOD,
    PHONE,
    START,
    card,
    chart,
    plain,
    settled,
    visitor,
)
from tests.conftest import Pipeline
from tests.serving import (
    HOSTILE_NAME,
    PASSWORD,
    Bare,
    Served,
    bare_warehouse,
    serving,
)
from warehouse import demo, users
from warehouse.audit import SYSTEM
from warehouse.branding import clean_logo, set_branding
from warehouse.db import Warehouse

pytestmark = pytest.mark.browser

CARDS = (
    "kpi-conversations",
    "kpi-unique-contacts",
    "kpi-resolved",
    "kpi-lead-rate",
    "kpi-qualified-leads",
    "kpi-crm-rate",
    "kpi-first-reply-time",
    "kpi-unanswered",
    "kpi-lead-score",
)
TRUTH = """
select
    count(*), count(*) filter (where is_lead), count(*) filter (where is_converted),
    percentile_cont(0.5) within group (order by first_reply_seconds),
    percentile_cont(0.9) within group (order by first_reply_seconds),
    count(distinct contact_id), count(*) filter (where is_qualified),
    count(*) filter (where status = 'resolved')
from marts.fct_conversations
where tenant_id = %s and created_date between %s and %s
"""


@pytest.fixture(scope="module")
def bare(browser: Browser, warehouse: Warehouse) -> Iterator[Bare]:
    with bare_warehouse(warehouse, "dashboard_browser") as bare:
        yield bare


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_client_sees_its_own_numbers(
    browser: Browser, served: Served, pipeline: Pipeline, tmp_path: Path, size: tuple[int, int]
) -> None:
    slug, (email, password) = next(iter(pipeline.users.items()))
    others = {
        name
        for (name, tenant_id) in pipeline.query("select name, tenant_id from marts.dim_tenants")
        if tenant_id != pipeline.tenants[slug]
    }
    truths = {
        tenant_id: pipeline.query(TRUTH, tenant_id, START, END)[0]
        for tenant_id in pipeline.tenants.values()
    }
    total, leads, won, median, p90, *rest = truths.pop(pipeline.tenants[slug])
    contacts, qualified, resolved = rest
    with visitor(browser, served, size) as someone:
        page = someone.page
        someone.log_in(email, password)
        expect(page.locator(".m-title h1")).to_be_visible()
        someone.open()
        chart(page)
        ((name,),) = pipeline.query("select name from app.tenants where slug = %s", slug)
        expect(page.locator(".m-title h1")).to_have_text(name)

        shown = {key: card(page, key) for key in CARDS}
        assert formats.number(total) in shown["kpi-conversations"].splitlines()
        assert plain(formats.percent(leads / total)) in shown["kpi-lead-rate"].splitlines()
        assert formats.number(contacts) in shown["kpi-unique-contacts"].splitlines()
        assert formats.number(qualified) in shown["kpi-qualified-leads"].splitlines()
        assert plain(formats.percent(resolved / total)) in shown["kpi-resolved"].splitlines()
        crm = formats.percent(won / leads if leads else None)
        assert plain(crm) in shown["kpi-crm-rate"].splitlines()
        assert plain(formats.duration(median)) in shown["kpi-first-reply-time"].splitlines()
        assert f"p90 {plain(formats.duration(p90))}" in shown["kpi-first-reply-time"]
        for key in CARDS:
            assert re.search(r"^antes: \S", shown[key], flags=re.MULTILINE)
        for other, *_ in truths.values():
            assert formats.number(other) not in shown["kpi-conversations"].splitlines()
        assert "Dados carregados há" in plain(page.locator(".m-loaded").inner_text()) or (
            "agora" in page.locator(".m-loaded").inner_text()
        )

        page.get_by_text("Ver como tabela").first.click()
        expect(page.locator(".m-details table").first).to_be_visible()
        # Not on the page, and not anywhere in what the server sent either.
        everything = page.content() + "".join(someone.received)
        assert name in everything
        assert [other for other in others if other in everything] == []

        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        boxes = [page.locator(f".st-key-{key}").bounding_box() for key in CARDS]
        rows = sorted({round(box["y"]) for box in boxes if box})
        assert len(rows) == (3 if size == DESKTOP else 5), "two by two on a phone"
        page.screenshot(path=tmp_path / f"overview-{size[0]}.png", full_page=True)
        print(tmp_path / f"overview-{size[0]}.png")


def test_period_lives_in_the_address(browser: Browser, served: Served, pipeline: Pipeline) -> None:
    """Survives a reload; the tenant is not in it."""
    slug, (email, password) = list(pipeline.users.items())[1]
    tenant_id = pipeline.tenants[slug]
    with visitor(browser, served, scheme="dark") as someone:
        page = someone.page
        someone.log_in(email, password)
        page.get_by_role("radio", name="7 dias").click()
        expect(page).to_have_url(re.compile(r"\?periodo=7(\+|%20)dias$"))
        page.reload()
        expect(page.get_by_role("radio", name="7 dias")).to_be_checked()
        someone.open(PERIOD + f"&tenant_id={tenant_id + 1}&tenant={slug}x")
        chart(page)
        total, *_ = pipeline.query(TRUTH, tenant_id, START, END)[0]
        assert formats.number(total) in card(page, "kpi-conversations").splitlines()
        someone.open("/?periodo=lixo&datas=ontem&datas=%27%3Bdrop")
        expect(page.get_by_role("radio", name="30 dias")).to_be_checked()


def test_one_step_back_is_one_page(browser: Browser, served: Served, pipeline: Pipeline) -> None:
    """Whatever was filtered before a link was followed: the history has each page once."""
    with visitor(browser, served) as someone:
        page = someone.page
        someone.let_in(*next(iter(pipeline.users.values())))
        someone.open()
        chart(page)

        def arrived(title: str, address: str) -> None:
            expect(page).to_have_url(re.compile(f"{address}$"))
            expect(page.locator(".st-key-here")).to_have_text(title)
            settled(page)

        page.get_by_role("radio", name="90 dias").click()
        visited = [("Visão geral", r"/\?periodo=90(\+|%20)dias")]
        arrived(*visited[0])
        for title, path in (
            ("Canais", "canais"), ("Leads", "leads"), ("Conversas", "conversas"),
            ("Exportar", "exportar"), ("Atendimento", "atendimento"),
        ):  # fmt: skip
            page.get_by_role("link", name=title, exact=True).click()
            visited.append((title, rf"/{path}\?periodo=90(\+|%20)dias"))
            arrived(*visited[-1])
        page.locator(".st-key-kpi-waiting-now [data-testid=stPageLink-NavLink]").click()
        arrived("Leads", r"/leads\?(?=.*periodo=90)(?=.*lista=aguardando).*")
        page.wait_for_timeout(1000)  # a second entry would come late
        for title, address in reversed(visited):
            page.go_back()
            arrived(title, address)
        expect(page.get_by_role("radio", name="90 dias")).to_be_checked()


def test_log_out_in_one_tab_ends_the_other(
    browser: Browser, served: Served, pipeline: Pipeline
) -> None:
    email, password = next(iter(pipeline.users.values()))
    with visitor(browser, served) as someone:
        someone.log_in(email, password)
        expect(someone.page.locator(".m-title h1")).to_be_visible()
        other = someone.page.context.new_page()
        someone.watch(other)
        other.goto(served.address + PERIOD)
        chart(other)
        someone.page.get_by_role("button", name="Sair").click()
        expect(someone.page).to_have_url(f"{served.address}/entrar")
        expect(other).to_have_url(f"{served.address}/entrar", timeout=3000)
        for page in (someone.page, other):
            page.go_back()
            expect(page).to_have_url(f"{served.address}/entrar")
            expect(page.locator(".m-title")).to_have_count(0)


def test_two_clients_at_once(browser: Browser, served: Served, pipeline: Pipeline) -> None:
    (slug_a, login_a), (slug_b, login_b), *_ = pipeline.users.items()
    with visitor(browser, served) as a, visitor(browser, served) as b:
        a.let_in(*login_a)
        b.let_in(*login_b)
        for someone, slug in ((a, slug_a), (b, slug_b)):
            someone.open()
            chart(someone.page)
            total, *_ = pipeline.query(TRUTH, pipeline.tenants[slug], START, END)[0]
            shown = card(someone.page, "kpi-conversations").splitlines()
            assert formats.number(total) in shown


def test_agency_sees_whose_data_it_looks_at(
    browser: Browser, served: Served, pipeline: Pipeline
) -> None:
    names = dict(pipeline.query("select name, id from app.tenants order by slug"))
    _, codes = demo.add_agency_second_factor(pipeline.settings, pipeline.warehouse)
    with visitor(browser, served) as someone:
        someone.log_in(*pipeline.super_admin)
        expect(someone.page).to_have_url(f"{served.address}/entrar/codigo")
        someone.open("/cliente")  # nothing else is reached before
        expect(someone.page).to_have_url(f"{served.address}/entrar/codigo")
        someone.page.get_by_label("Código").fill(codes[0].upper())
        someone.page.get_by_role("button", name="Continuar").click()
        expect(someone.page.get_by_role("heading", name="Escolher cliente")).to_be_visible()
        for name in list(names)[:2]:
            someone.page.get_by_role("button", name=name).click()
            expect(someone.page.locator(".m-title h1")).to_contain_text(name)
            expect(someone.page.get_by_text("Você está vendo os dados de")).to_be_visible()
            someone.open()
            chart(someone.page)
            total, *_ = pipeline.query(TRUTH, names[name], START, END)[0]
            assert formats.number(total) in card(someone.page, "kpi-conversations").splitlines()
            someone.page.get_by_role("link", name="Trocar cliente").click()


def test_hostile_name_and_first_load(browser: Browser, bare: Bare) -> None:
    """Its name is text, on both of our kinds of page, and an empty page says why it is empty."""
    with serving(bare.dsn(), brand_name='<b>Marca</b> & "Cia"') as served:
        with visitor(browser, served) as someone:
            someone.log_in(bare.email("hostile"), PASSWORD)
            page = someone.page
            expect(page.locator(".m-title h1")).to_have_text(HOSTILE_NAME)
            expect(page.locator(".m-title h1 *")).to_have_count(0)
            expect(page.locator(".m-brand")).to_have_text('<b>Marca</b> & "Cia"')
            expect(page.get_by_text("A primeira carga ainda não terminou")).to_be_visible()
            assert page.title() == 'Visão geral · <b>Marca</b> & "Cia"'
        with visitor(browser, served) as someone:
            someone.log_in(bare.agency, PASSWORD)
            page = someone.page
            expect(page.get_by_role("heading", name="Ative a verificação")).to_be_visible()
            expect(page.locator(".qr svg")).to_be_visible()
            key = page.locator(".secret").inner_text().replace(" ", "")
            page.get_by_label("Código").fill(pyotp.TOTP(key).now())
            page.get_by_role("button", name="Ativar").click()
            expect(page.locator(".codes li")).to_have_count(10)
            page.get_by_role("link", name="Já guardei").click()
            expect(someone.page.locator(".choices .name").filter(has_text="onerror")).to_have_text(
                HOSTILE_NAME
            )
            expect(someone.page.locator("main img, main script, main a")).to_have_count(0)


def test_a_tenants_own_look_is_its_alone(browser: Browser, bare: Bare) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (64, 32), (11, 92, 173)).save(picture, "PNG")
    set_branding(
        bare.warehouse.dsn("owner"), "um", SYSTEM, display_name='Um & "Cia" <b>x</b>',
        primary_color="#0b5cad", logo=clean_logo(picture.getvalue(), "logo"),
    )  # fmt: skip
    try:
        with serving(bare.dsn()) as served:
            with visitor(browser, served) as someone:
                someone.log_in(bare.email("um"), PASSWORD)
                brand = someone.page.locator(".m-brand")
                expect(brand).to_have_text('Um & "Cia" <b>x</b>')
                expect(brand.locator("b")).to_have_count(0)
                logo = brand.locator("img")
                assert logo.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
                expect(someone.page.locator(".m-bar")).to_have_css(
                    "border-bottom-color", "rgb(11, 92, 173)"
                )
            with visitor(browser, served) as someone:
                someone.log_in(bare.email("dois"), PASSWORD)
                expect(someone.page.locator(".m-brand")).to_have_text("GeniAI Analytics")
                expect(someone.page.locator(".m-brand img")).to_have_count(0)
    finally:
        set_branding(bare.warehouse.dsn("owner"), "um", SYSTEM, clear=True)


def test_wrong_password_says_so(browser: Browser, bare: Bare) -> None:
    with serving(bare.dsn()) as served, visitor(browser, served, PHONE) as someone:
        someone.log_in(bare.email("um"), "não é essa")
        expect(someone.page.get_by_role("alert")).to_have_text("E-mail ou senha não conferem.")
        expect(someone.page.get_by_label("E-mail")).to_have_value(bare.email("um"))
        expect(someone.page.get_by_label("Senha")).to_be_focused()
        someone.complaints.clear()  # the browser logs the 401 of the form
        someone.page.get_by_label("Senha").fill(PASSWORD)
        someone.page.get_by_label("Senha").press("Enter")
        expect(someone.page.locator(".m-title h1")).to_have_text("Academia Um")


def test_eight_browsers_of_four_tenants(
    browser: Browser, served: Served, pipeline: Pipeline
) -> None:
    """Two sessions a tenant, all loading at once: cold, warm, and with the cache thrown away while
    they load. Every page shows its own tenant's name and numbers, and no other's."""
    slugs = list(pipeline.users)[:4]
    names = dict(pipeline.query("select slug, name from app.tenants"))
    totals = {
        slug: formats.number(pipeline.query(TRUTH, pipeline.tenants[slug], START, END)[0][0])
        for slug in slugs
    }
    assert len(set(totals.values())) == 4
    checked = 0
    with ExitStack() as stack:
        visitors = [
            (slug, stack.enter_context(visitor(browser, served))) for slug in slugs for _ in "12"
        ]
        for slug, someone in visitors:
            someone.let_in(*pipeline.users[slug])
        for is_cold in (True, False, True, False):
            if is_cold:  # another version is another key
                pipeline.query("select nextval('app.data_version')")
            for _, someone in visitors:  # none is waited for before all are on their way
                someone.page.goto(served.address + PERIOD, wait_until="commit")
            if is_cold:
                pipeline.query("select nextval('app.data_version')")
            for slug, someone in visitors:
                chart(someone.page)
                expect(someone.page.locator(".m-title h1")).to_have_text(names[slug])
                shown = card(someone.page, "kpi-conversations").splitlines()
                assert totals[slug] in shown
                assert not {totals[other] for other in slugs if other != slug} & set(shown)
                checked += 1
        for slug, someone in visitors:
            heard = "".join(someone.received)
            assert names[slug] in heard
            assert not [other for other in slugs if other != slug and names[other] in heard]
    assert checked == 32


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_pages_of_people(
    browser: Browser, bare: Bare, tmp_path: Path, size: tuple[int, int]
) -> None:
    """An admin invites; the invited sets a password, a second factor, and logs in with both."""
    owner, admin, guest = bare.warehouse.dsn("owner"), "chefe@bare.example", "nova@bare.example"
    bare.execute("delete from app.users where email = any (%s)", [admin, guest])
    users.add_user(owner, email=admin, password=PASSWORD, role="admin", tenant_slug="um")
    with serving(bare.dsn()) as served:
        with visitor(browser, served, size) as someone:
            page = someone.page
            someone.log_in(admin, PASSWORD)
            page.get_by_role("link", name="Usuários").click()
            page.get_by_label("E-mail").fill(guest)
            page.get_by_label("Acesso").select_option(label="Leitura")
            page.get_by_role("button", name="Criar convite").click()
            link = page.get_by_label("Link de acesso").input_value()
            page.screenshot(path=tmp_path / "users.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        with visitor(browser, served, size) as someone:
            page = someone.page
            page.goto(link)
            page.screenshot(path=tmp_path / "link.png", full_page=True)
            page.get_by_label("Senha nova").fill(PASSWORD)
            page.get_by_label("A mesma senha outra vez").fill(PASSWORD)
            page.get_by_role("button", name="Salvar senha").click()
            expect(page.get_by_role("heading", name="Senha criada")).to_be_visible()
            someone.log_in(guest, PASSWORD)
            expect(page.locator(".m-title h1")).to_have_text("Academia Um")
            expect(page.get_by_role("link", name="Usuários")).to_have_count(0)
            page.get_by_role("link", name="Minha conta").click()
            page.get_by_role("button", name="Ativar").click()
            key = page.locator(".secret").inner_text().replace(" ", "")
            page.screenshot(path=tmp_path / "account.png", full_page=True)
            page.get_by_label("Código", exact=True).fill(pyotp.TOTP(key).now())
            page.get_by_role("button", name="Ativar").click()
            code = page.locator(".codes li").first.inner_text()
            page.screenshot(path=tmp_path / "codes.png", full_page=True)
            page.get_by_role("link", name="Já guardei").click()
            page.get_by_role("button", name="Sair").click()
            someone.log_in(guest, PASSWORD)
            page.screenshot(path=tmp_path / "code.png", full_page=True)
            page.get_by_label("Código").fill(code)
            page.get_by_role("button", name="Continuar").click()
            expect(page.locator(".m-title h1")).to_have_text("Academia Um")
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    print(tmp_path)
