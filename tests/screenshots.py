"""The README's picture, from a demo that has run: `python -m tests.screenshots`."""

import json
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.serving import CHROMIUM_ARGUMENTS, chromium, serving
from warehouse.db import open_warehouse
from warehouse.errors import MiranteError
from warehouse.settings import PROJECT_ROOT, load_settings

FOLDER = PROJECT_ROOT / "docs" / "img"
LARGEST_BYTES = 300_000


def take(folder: Path) -> Path:
    """Log in as the demo's first tenant and picture the overview; return the file."""
    settings = load_settings()
    logins = settings.home / "demo-logins.json"
    if not logins.exists():
        raise MiranteError(f"{logins} is not there: run `mirante demo --no-serve` first")
    email, password = next(iter(json.loads(logins.read_text()).values()))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "overview.png"
    with (
        open_warehouse(settings) as warehouse,
        serving(warehouse.dsn("app"), brand_name=settings.brand_name) as served,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 880}, locale="pt-BR")
        page.goto(f"{served.address}/entrar")
        page.get_by_label("E-mail").fill(email)
        page.get_by_label("Senha").fill(password)
        page.get_by_role("button", name="Entrar").click()
        page.locator("[data-testid=stPlotlyChart] .main-svg").first.wait_for(timeout=60_000)
        page.wait_for_timeout(1500)  # fonts, and Streamlit's fade
        page.screenshot(path=path)
        browser.close()
    if path.stat().st_size > LARGEST_BYTES:
        raise MiranteError(f"{path} is larger than {LARGEST_BYTES} bytes")
    return path


if __name__ == "__main__":
    try:
        print(take(FOLDER))
    except MiranteError as error:
        sys.exit(str(error))
