"""Somebody at a real headless Chromium, and what it must never see."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import axe_playwright_python
from playwright.sync_api import Browser, Page, expect

from dashboard.auth import COOKIE_NAME
from dashboard.charts import Chart
from tests.serving import Served

# The sample ends long before today, so the tests ask for its last four weeks by address.
START, END = date(2026, 6, 1), date(2026, 6, 28)
PERIOD = f"/?periodo=Personalizado&datas={START}&datas={END}"
DESKTOP, PHONE = (1280, 900), (390, 844)
# A page may take its time on a busy machine; what never comes still fails.
expect.set_options(timeout=60_000)
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()


@dataclass
class Visitor:
    """A page in a browser profile of its own, and all that it heard and complained of."""

    page: Page
    served: Served
    received: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def log_in(self, email: str, password: str) -> None:
        self.page.goto(f"{self.served.address}/")
        expect(self.page).to_have_url(f"{self.served.address}/entrar")
        self.page.get_by_label("E-mail").fill(email)
        self.page.get_by_label("Senha").fill(password)
        self.page.get_by_role("button", name="Entrar").click()

    def let_in(self, email: str, password: str) -> None:
        """Log in without a page, where that is not the subject."""
        token = self.served.log_in(email, password).cookies[COOKIE_NAME]
        self.page.context.add_cookies(
            [{"name": COOKIE_NAME, "value": token, "url": self.served.address}]
        )

    def open(self, path: str = PERIOD) -> None:
        self.page.goto(f"{self.served.address}{path}")

    def watch(self, page: Page) -> None:
        """Note every request to elsewhere, every console error, every script of a stranger."""

        def heard(frame: str | bytes) -> None:
            text = frame if isinstance(frame, str) else frame.decode("utf-8", "ignore")
            self.received.append(text)

        def asked(url: str) -> None:
            if not url.startswith(
                (f"{self.served.address}/", f"ws://{self.served.host}/", "data:")
            ):
                self.complaints.append(f"request to {url}")

        page.on("websocket", lambda socket: asked(socket.url))
        page.on("websocket", lambda socket: socket.on("framereceived", heard))
        page.on("request", lambda request: asked(request.url))
        page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.on(
            "console",
            lambda message: (
                self.complaints.append(f"console: {message.text}")
                if message.type == "error"
                else None
            ),
        )


@contextmanager
def visitor(
    browser: Browser, served: Served, size: tuple[int, int] = DESKTOP, scheme: str = "light"
) -> Iterator[Visitor]:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,  # type: ignore[arg-type]
        locale="pt-BR",
    )
    context.set_default_timeout(60_000)
    someone = Visitor(context.new_page(), served)
    someone.watch(someone.page)
    yield someone
    context.close()
    assert someone.complaints == []


def chart(page: Page) -> None:
    expect(page.locator("[data-testid=stEChartsChart] canvas").first).to_be_visible(timeout=120_000)
    settled(page)


def drawn(chart: Chart, number: int = 0) -> list[Any]:
    """Values of one of a chart's series."""
    return [point[1] for point in chart.option["series"][number]["data"]]


def settled(page: Page) -> None:
    """Until nothing of the page is being drawn: what is pressed before may not be heard."""
    expect(page.locator("[data-test-script-state=notRunning]")).to_be_attached()


def choose(page: Page, label: str, option: str) -> None:
    """An option of a select box, by keys: its list, while it opens, may not hear a press."""
    settled(page)
    box = page.get_by_role("combobox", name=re.compile(label))
    box.click()
    box.fill(option)
    expect(page.get_by_role("option")).to_have_count(1)
    box.press("Enter")
    expect(page.get_by_role("listbox")).to_have_count(0)


def card(page: Page, key: str) -> str:
    """A card's text with plain spaces, once its number is there (that part loads late)."""
    settled(page)
    shown = page.locator(f".st-key-{key}")
    expect(shown.locator("[data-testid=stMetricValue]")).to_be_visible()
    return plain(shown.inner_text())


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def serious_findings(page: Page) -> list[str]:
    """What axe-core finds serious or critical on our own parts: rule and the first element.

    Streamlit's own widgets are left out; everything of ours is in st.html, pages.css or charts.
    """
    page.evaluate(AXE)
    found = page.evaluate(
        """async () => (await axe.run(
            {exclude: [['[data-testid=stMultiSelect]'], ['[data-testid=stSelectbox]'],
                ['[data-testid=stDateInput]'], ['[data-testid=stDataFrame]'],
                ['[data-testid=stEChartsChart]'], ['[data-testid=stTooltipIcon]']]},
            {resultTypes: ['violations']}
        )).violations"""
    )
    return [
        f"{rule['id']}: {rule['help']}: {rule['nodes'][0]['html'][:200]}"
        for rule in found
        if rule["impact"] in {"serious", "critical"}
    ]
