"""Saved filters: each person's own, of the tenant on the pages, and nothing else's."""

import ast
import importlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser, expect

from dashboard import saved
from dashboard.auth import SavedView, Sessions, Viewer, token_hash
from tests.browsing import DESKTOP, PHONE, serious_findings, visitor
from tests.conftest import Pipeline
from tests.serving import PASSWORD, Bare, Served, bare_warehouse
from warehouse import tenants, users
from warehouse.db import Warehouse, open_pool
from warehouse.settings import PROJECT_ROOT

HOSTILE_NAME = "**Leads** <img src=x onerror=alert(1)> [a](//e) :red[x] $1$"


@pytest.fixture(scope="module")
def bare(warehouse: Warehouse) -> Iterator[Bare]:
    with bare_warehouse(warehouse, "saved_views_bare") as bare:
        yield bare


@pytest.fixture
def people(bare: Bare) -> Iterator[tuple[Sessions, dict[str, Viewer]]]:
    """Viewers by name: um, um2 (of the same tenant), dois; nothing saved."""
    bare.execute("delete from app.saved_views")
    owner = bare.warehouse.dsn("owner")
    if not bare.execute("select 1 from app.users where email = 'um2@bare.example'"):
        users.add_user(
            owner, email="um2@bare.example", password=PASSWORD, role="client", tenant_slug="um"
        )
    with open_pool(bare.dsn(), max_size=4) as pool:
        sessions = Sessions(pool)
        viewers = {}
        for name in ("um", "um2", "dois"):
            token = sessions.log_in(bare.email(name), PASSWORD)
            found = sessions.find(token_hash(token) or b"")
            assert found
            viewers[name] = found
        yield sessions, viewers


def view(name: str = "Junho", **changes: object) -> SavedView:
    values = {"page": "leads", "parameters": {"periodo": ["30 dias"], "lista": ["leads"]}}
    return SavedView(name, **{**values, **changes})  # type: ignore[arg-type]


def test_each_person_sees_its_own_alone(people: tuple[Sessions, dict[str, Viewer]]) -> None:
    sessions, viewers = people
    assert sessions.save_view(viewers["um"], view()) == "ok"
    assert sessions.save_view(viewers["um"], view(" antes ", page="overview")) == "ok"
    assert [one.name for one in sessions.saved_views(viewers["um"].token_sha256)] == [
        "antes", "Junho",
    ]  # fmt: skip
    for name in ("um2", "dois"):
        assert sessions.saved_views(viewers[name].token_sha256) == []
        assert not sessions.delete_view(viewers[name], "Junho")
        assert sessions.save_view(viewers[name], view(page="overview")) == "ok"
    assert sessions.saved_views(viewers["um"].token_sha256)[1] == view()
    # Saved again under its name it is another; and gone once deleted.
    assert sessions.save_view(viewers["um"], view(page="channels", parameters={})) == "ok"
    assert sessions.saved_views(viewers["um"].token_sha256)[1] == view(
        page="channels", parameters={}
    )
    assert sessions.delete_view(viewers["um"], "Junho")
    assert not sessions.delete_view(viewers["um"], "Junho")
    assert [one.name for one in sessions.saved_views(viewers["um2"].token_sha256)] == ["Junho"]


@pytest.mark.parametrize(
    "garbage",
    [
        view(""), view("   "), view("x" * 61), view("a\nb"), view("a\tb"), view(page=""),
        view(page="../x"), view(page="x" * 21), view(parameters=["a"]), view(parameters="x"),
        view(parameters={"busca": ["x" * 2050]}), view(parameters={"busca": ["ã" * 1024]}),
    ],
)  # fmt: skip
def test_garbage_is_refused(people: tuple[Sessions, dict[str, Viewer]], garbage: SavedView) -> None:
    sessions, viewers = people
    assert sessions.save_view(viewers["um"], garbage) == "invalid"
    assert sessions.saved_views(viewers["um"].token_sha256) == []


def test_nul_and_the_longest_name(people: tuple[Sessions, dict[str, Viewer]]) -> None:
    sessions, viewers = people
    assert sessions.save_view(viewers["um"], view("a\0b")) == "ok"
    assert sessions.save_view(viewers["um"], view("ã" * 60)) == "ok"
    assert sessions.delete_view(viewers["um"], "a\0b")


def test_fifty_at_most_also_at_once(people: tuple[Sessions, dict[str, Viewer]]) -> None:
    sessions, viewers = people
    with ThreadPoolExecutor(4) as threads:
        outcomes = list(
            threads.map(
                lambda number: sessions.save_view(viewers["um"], view(f"n{number}")), range(56)
            )
        )
    assert outcomes.count("ok") == 50
    assert outcomes.count("full") == 6
    kept = sessions.saved_views(viewers["um"].token_sha256)[0]
    assert sessions.save_view(viewers["um"], view(kept.name, page="overview")) == "ok"
    assert sessions.save_view(viewers["um2"], view()) == "ok"


def test_no_session_no_views(people: tuple[Sessions, dict[str, Viewer]]) -> None:
    sessions, viewers = people
    sessions.save_view(viewers["um"], view())
    sessions.close(viewers["um"].token_sha256)
    assert sessions.saved_views(viewers["um"].token_sha256) == []
    assert sessions.save_view(viewers["um"], view("x")) == "denied"
    assert not sessions.delete_view(viewers["um"], "Junho")


def test_the_agencys_are_of_the_tenant_it_looks_at(bare: Bare, sessions_of: Sessions) -> None:
    bare.execute("delete from app.saved_views")
    ((agency_id,),) = bare.execute("select id from app.users where email = %s", bare.agency)
    token_sha256 = b"s" * 32
    bare.execute(
        "insert into app.sessions (token_sha256, user_id, viewed_tenant_id, expires_at)"
        " values (%s, %s, %s, now() + interval '1 hour')",
        token_sha256, agency_id, bare.tenants["um"],
    )  # fmt: skip
    try:
        at_um = sessions_of.find(token_sha256)
        assert at_um
        assert sessions_of.save_view(at_um, view()) == "ok"
        assert sessions_of.view_tenant(token_sha256, bare.tenants["dois"])
        assert sessions_of.saved_views(token_sha256) == []
        # A tab from before the switch.
        assert sessions_of.save_view(at_um, view("x")) == "switched"
        assert not sessions_of.delete_view(at_um, "Junho")
        assert sessions_of.view_tenant(token_sha256, bare.tenants["um"])
        assert sessions_of.saved_views(token_sha256) == [view()]
    finally:
        bare.execute("delete from app.sessions where token_sha256 = %s", token_sha256)


@pytest.mark.parametrize("meanwhile", ["session", "user", "tenant"])
def test_who_was_thrown_out_while_it_waited_saves_nothing(
    bare: Bare, people: tuple[Sessions, dict[str, Viewer]], meanwhile: str
) -> None:
    sessions, viewers = people
    ending = {
        "session": "delete from app.sessions",
        "user": "update app.users set is_active = false where email = 'um@bare.example'",
        "tenant": "update app.tenants set status = 'suspended' where slug = 'um'",
    }[meanwhile]
    try:
        with (
            psycopg.connect(bare.warehouse.dsn("owner")) as owner,
            ThreadPoolExecutor(1) as threads,
        ):
            owner.execute("select 1 from app.users where email = 'um@bare.example' for update")
            saving = threads.submit(sessions.save_view, viewers["um"], view())
            bare.wait_until_somebody_waits()
            owner.execute(ending)  # type: ignore[arg-type]
            owner.commit()
            assert saving.result(timeout=30) == "denied"
    finally:
        bare.execute("update app.users set is_active = true")
        bare.execute("update app.tenants set status = 'active'")
    assert bare.execute("select * from app.saved_views") == []


@pytest.fixture
def sessions_of(bare: Bare) -> Iterator[Sessions]:
    with open_pool(bare.dsn(), max_size=2) as pool:
        yield Sessions(pool)


def test_they_go_with_the_user_and_with_the_tenant(
    bare: Bare, people: tuple[Sessions, dict[str, Viewer]]
) -> None:
    sessions, viewers = people
    owner = bare.warehouse.dsn("owner")
    tenant_id = tenants.add_tenant(owner, slug="tres", name="Três", segment="general")
    users.add_user(
        owner, email="tres@bare.example", password=PASSWORD, role="client", tenant_slug="tres"
    )
    token = sessions.log_in("tres@bare.example", PASSWORD)
    third = sessions.find(token_hash(token) or b"")
    assert third
    for viewer in (viewers["um2"], third):
        assert sessions.save_view(viewer, view()) == "ok"
    bare.execute("delete from app.users where id = %s", viewers["um2"].user_id)
    assert bare.execute("select tenant_id from app.saved_views") == [(tenant_id,)]
    bare.execute("delete from app.tenants where id = %s", tenant_id)
    assert bare.execute("select * from app.saved_views") == []


@pytest.mark.parametrize("role", ["app", "super"])
def test_no_reader_has_a_right_to_the_table(bare: Bare, role: str) -> None:
    with (
        psycopg.connect(bare.warehouse.dsn(role)) as connection,  # type: ignore[arg-type]
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("select * from app.saved_views")


def test_every_bound_widget_can_be_saved() -> None:
    """A parameter that a page binds to its address is one of saved.PARAMETERS."""
    bound = set()
    for path in (PROJECT_ROOT / "dashboard").rglob("*.py"):
        module_name = ".".join(path.relative_to(PROJECT_ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            if "bind" not in given:
                continue
            key = given["key"]
            module = importlib.import_module(module_name)
            with suppress(NameError):  # given by a caller
                bound.add(eval(ast.unparse(key), vars(module)))
    assert {"periodo", "datas", "caixa"} <= bound
    assert bound <= saved.PARAMETERS
    assert not [name for name in saved.PARAMETERS if re.search("tenant|cliente", name)]


def test_unknown_parameters_of_a_saved_view_are_left_out() -> None:
    given = {"periodo": ["7 dias"], "tenant_id": ["2"], "x": ["y"]}
    assert saved.known(given) == {"periodo": ["7 dias"]}


@pytest.mark.browser
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_saved_opened_renamed_deleted(
    browser: Browser, served: Served, pipeline: Pipeline, size: tuple[int, int], tmp_path: Path
) -> None:
    email, password = list(pipeline.users.values())[2]
    with visitor(browser, served, size) as someone:
        page = someone.page
        someone.let_in(email, password)
        someone.open(
            "/canais?periodo=Personalizado&datas=2026-06-01&datas=2026-06-28&tenant_id=1&x=y"
        )
        menu = page.get_by_role("button", name=re.compile("Filtros salvos"))
        menu.click()
        page.get_by_label("Nome", exact=True).fill(HOSTILE_NAME)
        page.get_by_role("button", name="Salvar os filtros desta página").click()
        expect(page.get_by_text("Salvo.")).to_be_visible()
        rows = pipeline.query(
            "select page, parameters from app.saved_views where name = %s", HOSTILE_NAME
        )
        assert rows == [
            (
                "channels",
                {"periodo": ["Personalizado"], "datas": ["2026-06-01", "2026-06-28"]},
            )
        ]
        link = page.get_by_role("link", name=f"{HOSTILE_NAME} · Canais")
        expect(link).to_be_visible()
        assert serious_findings(page) == []
        page.screenshot(path=tmp_path / f"saved-{size[0]}.png")

        # From another page.
        someone.open("/qualidade")
        menu.click()
        link.click()
        expect(page).to_have_url(re.compile(r"/canais\?.*datas=2026-06-01.*datas=2026-06-28"))
        expect(page.get_by_role("radio", name="Personalizado")).to_be_checked()
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]

        # And on the same page, over other filters.
        page.get_by_role("radio", name="7 dias").click()
        expect(page).to_have_url(re.compile(r"periodo=7"))
        menu.click()
        link.click()
        expect(page.get_by_role("radio", name="Personalizado")).to_be_checked()

        menu.click()
        page.get_by_role("button", name="Apagar").click()
        expect(link).to_have_count(0)
        assert pipeline.query("select count(*) from app.saved_views") == [(0,)]
