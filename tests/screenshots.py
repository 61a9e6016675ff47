"""The pictures of the docs, from a demo that has run: `python -m tests.screenshots`."""

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, LiteralString

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.serving import CHROMIUM_ARGUMENTS, chromium, serving
from warehouse.db import fetch_all, open_warehouse
from warehouse.demo import ADMIN
from warehouse.errors import MiranteError
from warehouse.sample import SAMPLE_TENANTS
from warehouse.settings import PROJECT_ROOT, load_settings

FOLDER = PROJECT_ROOT / "docs" / "img"
LARGEST_BYTES = 300_000
DESKTOP, PHONE = (1280, 1000), (390, 844)


@dataclass(frozen=True)
class Shot:
    """One picture: the page's address and how it is looked at."""

    name: str
    path: str
    size: tuple[int, int] = DESKTOP
    scheme: Literal["light", "dark"] = "light"


SHOTS = (
    Shot("overview", "/", (1280, 1900)),
    Shot("overview-dark", "/?periodo=90+dias", scheme="dark"),
    Shot("overview-phone", "/", PHONE),
    Shot("channels", "/canais?periodo=90+dias"),
    Shot("leads", "/leads?lista=aguardando"),
    Shot("leads-phone", "/leads?lista=aguardando", PHONE),
    Shot("conversations", "/conversas?conversa={conversation}"),
    Shot("service", "/atendimento?periodo=90+dias"),
    Shot("quality", "/qualidade?periodo=90+dias"),
    Shot("export", "/exportar?periodo=90+dias"),
)


def take(folder: Path) -> list[Path]:
    """Log in as the demo's first administrator and picture the main pages; return the files."""
    settings = load_settings()
    logins = settings.home / "demo-logins.json"
    if not logins.exists():
        raise MiranteError(f"{logins} is not there: run `mirante demo --no-serve` first")
    email, password = json.loads(logins.read_text())[ADMIN]
    folder.mkdir(parents=True, exist_ok=True)
    with (
        open_warehouse(settings) as warehouse,
        serving(warehouse.dsn("app"), brand_name=settings.brand_name) as served,
        sync_playwright() as playwright,
    ):
        ((conversation,),) = fetch_all(warehouse.dsn("owner"), TALKATIVE, [SAMPLE_TENANTS[0].slug])
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGUMENTS)
        taken = []
        for shot in SHOTS:
            page = browser.new_page(
                viewport={"width": shot.size[0], "height": shot.size[1]},
                color_scheme=shot.scheme,
                locale="pt-BR",
            )
            page.goto(f"{served.address}/entrar")
            page.get_by_label("E-mail").fill(email)
            page.get_by_label("Senha").fill(password)
            page.get_by_role("button", name="Entrar").click()
            page.locator(".m-title h1").wait_for(timeout=60_000)
            page.goto(served.address + shot.path.format(conversation=conversation))
            page.locator("[data-test-script-state=notRunning] .m-title h1").wait_for()
            page.wait_for_timeout(3000)  # charts, fonts, and Streamlit's fade
            taken.append(_save(page.screenshot(), folder / f"{shot.name}.png"))
            page.context.close()
        browser.close()
    return taken


# A conversation worth looking at: scored, with people and the bot in it.
TALKATIVE: LiteralString = """
select conversations.conversation_id
from marts.fct_conversations as conversations
inner join marts.dim_tenants as tenants on conversations.tenant_id = tenants.tenant_id
where tenants.slug = %s
    and conversations.lead_score is not null
    and conversations.bot_message_count > 0
order by conversations.agent_message_count desc, conversations.conversation_id
limit 1
"""


def _save(picture: bytes, path: Path) -> Path:
    """In few colours: a third of the size, and nobody sees it."""
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(128).save(path, optimize=True)
    if path.stat().st_size > LARGEST_BYTES:
        raise MiranteError(f"{path} is larger than {LARGEST_BYTES} bytes")
    return path


if __name__ == "__main__":
    try:
        print(*take(FOLDER), sep="\n")
    except MiranteError as error:
        sys.exit(str(error))
