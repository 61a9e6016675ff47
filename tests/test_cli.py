"""The command line: exit status, one clear line, nothing half done."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psycopg
import pytest
from rich.console import Console

from extract.pipeline import LOCK_KEY
from tests.conftest import Pipeline
from warehouse.db import Warehouse, fetch_all
from warehouse.progress import ProgressDisplay
from warehouse.sample import SAMPLE_TENANTS
from warehouse.settings import PROJECT_ROOT, Settings
from warehouse.users import token_digest

MIRANTE = Path(sys.executable).parent / "mirante"
COMMANDS = (
    "migrate",
    "demo",
    "extract",
    "reconcile",
    "build",
    "enrich",
    "eval",
    "run",
    "status",
    "serve",
    "env",
    "crm",
    "score",
    "tenant",
    "user",
    "analyst",
    "audit",
)


def mirante(
    home: Path, *arguments: str, timeout: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the installed command without a terminal, in a bare environment."""
    return subprocess.run(
        [str(MIRANTE), *arguments],
        capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(home.parent), "MIRANTE_HOME": str(home),
             # the one that scored the pipeline's sample: the other would score it all again
             "MIRANTE_LOCAL_MODEL": "words-1", "COLUMNS": "200", **environment},
    )  # fmt: skip


def assert_one_line(done: subprocess.CompletedProcess[str], status: int, *parts: str) -> None:
    assert done.returncode == status, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("mirante: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in lines[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(tmp_path: Path, command: str) -> None:
    done = mirante(tmp_path / ".mirante", command, "--help")
    assert done.returncode == 0
    assert "Usage: mirante" in done.stdout
    assert not (tmp_path / ".mirante").exists()  # asking for help starts nothing


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["voa"], "No such command 'voa'"),
        (["tenant", "add", "--slug", "x"], "Missing option '--name'"),
        (["build", "--tudo"], "No such option"),
        (["demo", "--conversations", "3"], "300"),
        (["serve", "--port", "http"], "--port"),
    ],
)
def test_bad_usage_is_status_2(tmp_path: Path, arguments: list[str], part: str) -> None:
    assert_one_line(mirante(tmp_path / ".mirante", *arguments), 2, part)


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        (
            "MIRANTE_WAREHOUSE_DSN",
            "mysql://a:segredo@b/c",
            ["MIRANTE_WAREHOUSE_DSN", "postgresql://"],
        ),
        ("MIRANTE_WAREHOUSE_DSN", "postgresql://a:segredo@127.0.0.1:1/c", ["127.0.0.1:1"]),
        ("MIRANTE_PORT", "99999", ["MIRANTE_PORT"]),
        ("MIRANTE_DBT_THREADS", "muitas", ["MIRANTE_DBT_THREADS"]),
    ],
)
def test_bad_setting_is_named_and_its_secret_is_not(
    tmp_path: Path, name: str, value: str, parts: list[str]
) -> None:
    done = mirante(tmp_path / ".mirante", "tenant", "list", **{name: value})
    assert_one_line(done, 2, *parts)
    assert "segredo" not in done.stdout + done.stderr


def test_demo_refuses_real_systems(tmp_path: Path) -> None:
    done = mirante(tmp_path / ".mirante", "demo", MIRANTE_CHATWOOT_DSN="postgresql://a:segredo@b/c")
    assert_one_line(done, 2, "MIRANTE_CHATWOOT_DSN is set")
    assert "segredo" not in done.stderr


def test_progress_is_a_bar_in_a_terminal_and_lines_elsewhere() -> None:
    shown = {}
    for is_terminal in (True, False):
        written = io.StringIO()
        console = Console(file=written, force_terminal=is_terminal, width=100)
        with ProgressDisplay(console) as progress:
            progress("tick", "labels", 12, None)
            for done in (100_000, 200_000):
                progress("load", "messages", done, 200_000)
        shown[is_terminal] = written.getvalue()
    assert "load messages" in shown[True]
    assert "200,000 rows" in shown[True]
    assert "\x1b[" in shown[True]
    assert shown[False] == "load messages: 200,000 of 200,000 rows\n"


def test_commands_before_migrate_say_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    done = mirante(tmp_path / ".mirante", "tenant", "list")
    assert_one_line(done, 1, "run `mirante migrate` first")


class TestOnAWarehouse:
    """Commands against the run's own warehouse."""

    def test_tenant_add_then_list(self, settings: Settings, warehouse: Warehouse) -> None:
        add = ["tenant", "add", "--slug", "cli-padaria", "--name", "Padaria Açaí & Cia",
               "--segment", "general", "--inbox", "7001", "--inbox", "7002"]  # fmt: skip
        try:
            assert mirante(settings.home, *add).returncode == 0
            listed = mirante(settings.home, "tenant", "list")
            assert "Padaria Açaí & Cia" in listed.stdout
            assert "7001 7002" in listed.stdout
            assert_one_line(mirante(settings.home, *add), 1, "--slug 'cli-padaria' is taken")
            add[3] = "cli-outra"
            assert_one_line(mirante(settings.home, *add), 1, "--inbox 7001", "'cli-padaria'")
            add[3:] = ["cli-outra", "--name", "x", "--segment", "gym", "--timezone", "Marte/Base"]
            assert_one_line(mirante(settings.home, *add), 2, "--timezone 'Marte/Base'")
        finally:
            with psycopg.connect(warehouse.dsn("owner")) as connection:
                connection.execute("delete from app.tenants where slug like 'cli-%'")

    def test_the_life_of_a_tenant(self, settings: Settings, warehouse: Warehouse) -> None:
        def run(*arguments: str, **environment: str) -> str:
            done = mirante(settings.home, *arguments, **environment)
            assert done.returncode == 0, done.stderr
            return done.stdout + done.stderr

        try:
            for slug in ("cli-um", "cli-dois"):
                run("tenant", "add", "--slug", slug, "--name", slug, "--segment", "gym")
            assert "cli-um has it" in run(
                "tenant", "assign-inbox", "--slug", "cli-um", "--inbox", "7001"
            )
            taking = ["tenant", "assign-inbox", "--slug", "cli-dois", "--inbox", "7001"]
            assert_one_line(mirante(settings.home, *taking), 1, "'cli-um'", "--from cli-um")
            assert "taken from cli-um: inboxes 7001" in run(*taking, "--from", "cli-um")
            run("tenant", "release-inbox", "--slug", "cli-dois", "--inbox", "7001")
            assert_one_line(
                mirante(settings.home, "tenant", "assign-inbox", "--slug", "cli-um"), 2, "--inbox"
            )
            run("tenant", "plan", "--name", "cli-plano", "--max-users", "1",
                "--max-ai-budget-usd", "7.5")  # fmt: skip
            assert "plan" in run("tenant", "edit", "--slug", "cli-um", "--plan", "cli-plano")
            assert "no limit" in run("tenant", "plans")
            assert_one_line(
                mirante(settings.home, "tenant", "edit", "--slug", "cli-um"), 2, "--help"
            )
            user = ["user", "add", "--role", "client", "--tenant", "cli-um", "--email"]
            told = run(*user, "um@cli.example", MIRANTE_PASSWORD="senha bem comprida")
            assert "limit: tenant cli-um: 1 of 1 users (100 %); no other can be added" in told
            assert_one_line(
                mirante(settings.home, *user, "dois@cli.example",
                        MIRANTE_PASSWORD="senha bem comprida"),
                1, "tenant cli-um has 1 of its 1 users", "--max-users",
            )  # fmt: skip
            assert "limit: tenant cli-um" in run("status")
            with psycopg.connect(warehouse.dsn("owner")) as connection:
                connection.execute(
                    "insert into ai.ledger (tenant_id, day, provider, model, cost_usd)"
                    " select id, (now() at time zone 'utc')::date, 'openai', 'm', 6.5"
                    " from app.tenants where slug = 'cli-um'"
                )
            for command in ("status", "tenant list"):
                assert "limit: tenant cli-um: US$ 6.50 of US$ 7.50 for AI" in run(*command.split())
            assert "7.50" in run("tenant", "plans")
            (edited,) = [
                tenant
                for tenant in json.loads(run("status", "--json"))["tenants"]
                if tenant["slug"] == "cli-um"
            ]
            assert {"name": "ai_usd", "used": 6.5, "limit": 7.5, "percent": 86}.items() <= (
                edited["limits"][-1].items()
            )
            edit = ["user", "edit", "--email", "um@cli.example", "--role"]
            assert "is admin now, its sessions ended" in run(*edit, "admin")
            assert "was so already" in run(*edit, "admin")
            assert_one_line(mirante(settings.home, *edit, "dono"), 2, "role 'dono'")
            assert_one_line(
                mirante(settings.home, *edit, "client", "--tenant", "cli-dois"), 2, "--tenant"
            )
            uri = run("analyst", "add", "--tenant", "cli-um").splitlines()[0]
            with psycopg.connect(uri) as analyst:
                assert "active" in run("analyst", "list", "--tenant", "cli-um")
                run("tenant", "suspend", "--slug", "cli-um")
                with pytest.raises(psycopg.OperationalError):
                    analyst.execute("select 1")
            run("tenant", "restore", "--slug", "cli-um")
            run("analyst", "remove", "--tenant", "cli-um")
            gone = ["tenant", "delete", "--slug", "cli-um"]
            assert_one_line(mirante(settings.home, *gone, "--now"), 1, "is not deleted")
            assert "tenant restore --slug cli-um" in run(*gone)
            assert "deleted, gone after" in run("tenant", "list")
            assert "no deleted tenant" in run("tenant", "purge")
            assert "is gone" in run(*gone, "--now")
            log = run("audit", "list", "--action", "tenant", "--limit", "20")
            for action in ("tenant.purge", "tenant.lose_inboxes", "tenant.assign_inbox"):
                assert action in log
            assert "password" not in log
            assert "cli-um" not in run("tenant", "list")
        finally:
            with psycopg.connect(warehouse.dsn("owner")) as connection:
                connection.execute("delete from app.users where email like '%@cli.example'")
                connection.execute("delete from app.tenants where slug like 'cli-%'")
                connection.execute("delete from app.plans where name like 'cli-%'")

    def test_user_add_needs_a_password_and_never_asks_without_a_terminal(
        self, settings: Settings, warehouse: Warehouse
    ) -> None:
        add = ["user", "add", "--email", "chefe@cli.example", "--role", "super_admin"]
        try:
            assert_one_line(mirante(settings.home, *add), 2, "MIRANTE_PASSWORD")
            done = mirante(settings.home, *add, MIRANTE_PASSWORD="senha bem comprida")
            assert done.returncode == 0
            assert "senha" not in done.stdout + done.stderr
            again = mirante(settings.home, *add, MIRANTE_PASSWORD="senha bem comprida")
            assert_one_line(again, 1, "chefe@cli.example exists")
            leaked = mirante(settings.home, *add, MIRANTE_PASSWORD="flamengo123")
            assert_one_line(leaked, 2, "commonly leaked")
            assert "flamengo" not in leaked.stdout + leaked.stderr
            short = mirante(settings.home, "user", "reset", "--email", "chefe@cli.example",
                            MIRANTE_PASSWORD="curta")  # fmt: skip
            assert_one_line(short, 2, "at least 10")
        finally:
            with psycopg.connect(warehouse.dsn("owner")) as connection:
                connection.execute("delete from app.users where email = 'chefe@cli.example'")

    def test_invite_reset_and_second_factor_of_a_user(
        self, settings: Settings, warehouse: Warehouse
    ) -> None:
        """The link is the one line of stdout; the address is the setting's; nothing asks."""
        home, email = settings.home, "socia@cli.example"
        invite = ["user", "invite", "--email", email, "--role", "super_admin"]
        account = ["--email", email]
        sha = "select token_sha256 from app.user_links"
        try:
            printed = []
            for command in (invite, ["user", "reset", *account], ["user", "reset", *account]):
                done = mirante(home, *command, MIRANTE_PUBLIC_URL="https://painel.example/")
                assert done.returncode == 0, done.stderr
                (link,) = done.stdout.splitlines()
                token = link.removeprefix("https://painel.example/acesso/")
                assert fetch_all(warehouse.dsn("owner"), sha) == [(token_digest(token),)]
                printed.append(token)
            assert len(set(printed)) == 3
            assert re.search(rf"{email} +super_admin +\(all\) +invited",
                             mirante(home, "user", "list").stdout)  # fmt: skip
            assert_one_line(mirante(home, *invite), 1, f"{email} exists")
            assert mirante(home, "user", "reset-totp", *account).returncode == 0
            assert mirante(home, "user", "disable", *account).returncode == 0
            assert fetch_all(warehouse.dsn("owner"), sha) == []
            assert_one_line(mirante(home, "user", "reset", *account), 2, "user enable")
            assert mirante(home, "user", "enable", *account).returncode == 0
            for command in ("reset", "reset-totp", "disable", "enable"):
                done = mirante(home, "user", command, "--email", "ninguem@cli.example")
                assert_one_line(done, 2, "'ninguem@cli.example' does not exist")
            for name, value in (
                ("MIRANTE_PUBLIC_URL", "https://painel.example/x"),
                ("MIRANTE_TRUSTED_PROXIES", "proxy"),
                ("MIRANTE_SESSION_DAYS", "400"),
            ):
                assert_one_line(mirante(home, "user", "list", **{name: value}), 2, name)
        finally:
            with psycopg.connect(warehouse.dsn("owner")) as connection:
                connection.execute("delete from app.users where email = %s", [email])

    @pytest.mark.parametrize(
        ("damage", "status", "part"),
        [
            (lambda dsn: re.sub(r"@[^/]+/", "@127.0.0.1:1/", dsn), 1, "127.0.0.1:1"),
            (lambda dsn: re.sub(r":[^:@]+@", ":errada@", dsn), 1, "password"),
            (lambda dsn: re.sub(r"/[^/]+$", "/nenhum", dsn), 1, "nenhum"),
        ],
    )
    def test_unreachable_source(
        self, settings: Settings, sample_dsn: str, damage, status: int, part: str
    ) -> None:
        done = mirante(settings.home, "extract", MIRANTE_CHATWOOT_DSN=damage(sample_dsn))
        assert_one_line(done, status, part)
        password = re.search(r":([^:@]+)@", sample_dsn)
        assert password
        assert password[1] not in done.stderr

    def test_source_that_is_no_chatwoot(
        self, settings: Settings, warehouse: Warehouse, pipeline: Pipeline
    ) -> None:
        before = pipeline.query("select count(*) from raw_chatwoot.messages")
        done = mirante(
            settings.home, "extract",
            MIRANTE_CHATWOOT_DSN=warehouse.dsn("admin", "postgres"),
        )  # fmt: skip
        assert_one_line(done, 1, "postgres", "Chatwoot")
        assert pipeline.query("select count(*) from raw_chatwoot.messages") == before

    def test_second_extraction_at_once_names_the_first(self, pipeline: Pipeline) -> None:
        with psycopg.connect(pipeline.warehouse.dsn("owner")) as holder:
            holder.execute("select pg_advisory_lock(%s)", [LOCK_KEY])
            for command in ("extract", "reconcile", "run"):
                done = mirante(pipeline.settings.home, command)
                assert_one_line(done, 1, f"another extraction is running (database session pid "
                                         f"{holder.info.backend_pid} since 20")  # fmt: skip

    def test_reconcile_compares_every_row(self, pipeline: Pipeline) -> None:
        done = mirante(pipeline.settings.home, "reconcile")
        assert done.returncode == 0, done.stderr
        (rows,) = pipeline.query("select count(*) from raw_chatwoot.messages")[0]
        compared = re.search(r"messages +([\d,]+) +[\d,]+ +(\d+) +(\d+) +(\d+)", done.stdout)
        assert compared, done.stdout
        assert int(compared[1].replace(",", "")) == rows
        assert compared.groups()[1:] == ("0", "0", "0")

    def test_status_says_how_old_each_tenants_numbers_are(self, pipeline: Pipeline) -> None:
        home = pipeline.settings.home
        failed = mirante(home, "extract", MIRANTE_CHATWOOT_DSN="postgresql://u:p@127.0.0.1:1/x")
        assert mirante(home, "extract").returncode == 0
        found = json.loads(mirante(home, "status", "--json").stdout)
        assert [run["status"] for run in found["runs"][:2]] == ["succeeded", "failed"]
        assert found["runs"][0]["pass"] == "tick"
        assert failed.stderr.strip() == f"mirante: {found['runs'][1]['error']}"
        (messages,) = [t for t in found["tables"] if t["source_table"] == "messages"]
        assert messages["rows_read"] > 0
        assert messages["watermark"][:10] == found["runs"][0]["started_at"][:10]
        counts = pipeline.query(
            "select tenants.slug, count(*) from marts.fct_conversations as facts "
            "inner join app.tenants as tenants on facts.tenant_id = tenants.id group by 1"
        )
        by_slug = {tenant["slug"]: tenant for tenant in found["tenants"]}
        for slug, rows in counts:
            assert by_slug[slug]["conversations"] == rows
            assert by_slug[slug]["messages"] > rows
            assert 0 <= by_slug[slug]["lag_seconds"] < 60
            assert by_slug[slug]["last_error"] == found["runs"][1]["error"]
            assert by_slug[slug]["last_success_at"] == found["runs"][0]["finished_at"]
        shown = mirante(home, "status").stdout
        assert "table (shared by all tenants)" in shown
        assert re.search(rf"{counts[0][0]} +active +20\d\d-", shown)

    def test_run_with_nothing_new_builds_nothing(self, pipeline: Pipeline) -> None:
        count = "select (select count(*) from app.builds), last_value from app.data_version"
        mirante(pipeline.settings.home, "run", timeout=300)  # other tests may have changed tenants
        before = pipeline.query(count)
        done = mirante(pipeline.settings.home, "run", timeout=300)
        assert done.returncode == 0, done.stderr
        assert "nothing new in Chatwoot" in done.stdout
        assert "nothing to build" in done.stdout
        assert pipeline.query(count) == before

    def test_failed_model_names_itself_and_keeps_the_previous_numbers(
        self, pipeline: Pipeline
    ) -> None:
        before = pipeline.query("select count(*) from marts.fct_replies")
        with psycopg.connect(pipeline.warehouse.dsn("admin"), autocommit=True) as connection:
            connection.execute("create schema alheio")
            connection.execute(
                "create function alheio.fail() returns event_trigger language plpgsql as"
                " $$ begin raise 'disco cheio'; end $$"
            )
            connection.execute(
                "create event trigger alheio_fail on ddl_command_start"
                " when tag in ('CREATE TABLE AS', 'CREATE TABLE') execute function alheio.fail()"
            )
        try:
            done = mirante(pipeline.settings.home, "build", timeout=300)
            assert_one_line(done, 1, "dbt build", "disco cheio", "previous numbers")
            assert pipeline.query("select count(*) from marts.fct_replies") == before
        finally:
            with psycopg.connect(pipeline.warehouse.dsn("admin"), autocommit=True) as connection:
                connection.execute("drop event trigger alheio_fail")
                connection.execute("drop schema alheio cascade")
                # And what a build leaves that is killed with -9.
                connection.execute("insert into app.builds default values")
        assert mirante(pipeline.settings.home, "run", timeout=300).returncode == 0  # heals both
        assert pipeline.query("select count(*) from app.builds where status = 'running'") == [(0,)]
        assert pipeline.query("select status from app.builds order by id desc limit 1") == [
            ("succeeded",)
        ]

    def test_env_is_all_that_plain_dbt_needs(self, pipeline: Pipeline, tmp_path: Path) -> None:
        """What an engineer does who copied profiles.yml.example; the whole build is tested with
        the project's rules. The password stays out of dbt's files."""
        printed = mirante(pipeline.settings.home, "env").stdout
        exported = dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", printed, re.M))
        assert len(exported) == 6
        (tmp_path / "profiles.yml").write_text((PROJECT_ROOT / "profiles.yml.example").read_text())
        done = subprocess.run(
            [str(MIRANTE.with_name("dbt")), "build", "--select", "dim_tenants",
             "--profiles-dir", str(tmp_path), "--target-path", str(tmp_path / "target"),
             "--log-path", str(tmp_path / "logs")],
            cwd=PROJECT_ROOT, env=os.environ | exported, capture_output=True, text=True,
            timeout=400, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:]
        secret = exported["DBT_ENV_SECRET_MIRANTE_PASSWORD"]
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert len(files) > 5
        assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_demo_twice_with_its_port_taken() -> None:
    """The README's first command: everything once, then reused, served, and stopped by Ctrl-C."""
    with tempfile.TemporaryDirectory(prefix="mirante demo ") as folder, socket.socket() as squatter:
        Path(folder).chmod(0o755)
        home = Path(folder) / ".mirante"
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        taken = squatter.getsockname()[1]
        first = mirante(home, "demo", "--no-serve", "--conversations", "300", timeout=300)
        assert first.returncode == 0, first.stderr
        for tenant in SAMPLE_TENANTS:
            assert re.search(rf"{tenant.name} +\d+ +\d+ +\d+\.\d %", first.stdout)
        other = mirante(home, "demo", "--no-serve", "--conversations", "301")
        assert_one_line(other, 2, "the demo here has 300")
        with subprocess.Popen(
            [str(MIRANTE), "demo"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={"PATH": os.environ["PATH"], "HOME": folder, "MIRANTE_HOME": str(home),
                 "MIRANTE_PORT": str(taken)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:  # fmt: skip
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if "Dashboard" in line:
                    break
            address = re.findall(r"http://[\w.:]+", "".join(lines))[-1]
            assert address != f"http://127.0.0.1:{taken}"
            login = re.search(r"(agencia@\S+) +(\S+)", "".join(lines))
            code = re.search(r"^  ((?:[a-z2-7]{4}-){3}[a-z2-7]{4})  ", "".join(lines), re.M)
            assert login
            assert code
            with httpx.Client(base_url=address, headers={"Origin": address}) as client:
                assert client.get("/healthz").json() == {"status": "ok"}
                form = {"email": login[1], "password": login[2]}
                assert client.post("/entrar", data=form).headers["location"] == "/entrar/codigo"
                assert client.get("/cliente").headers["location"] == "/entrar"
                page = client.get("/entrar/codigo").text
                csrf = re.findall(r'name="csrf" value="(\w+)"', page)[0]
                form = {"csrf": csrf, "code": code[1]}
                assert client.post("/entrar/codigo", data=form).headers["location"] == "/"
                assert SAMPLE_TENANTS[0].name in client.get("/cliente").text
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        assert not (home / "postgres" / "data" / "postmaster.pid").exists()


def test_interrupt_stops_the_server() -> None:
    """Ctrl-C in the middle of a command leaves no server behind."""
    with tempfile.TemporaryDirectory(prefix="mirante ctrl ") as folder:
        Path(folder).chmod(0o755)
        home = Path(folder) / ".mirante"
        with subprocess.Popen(
            [str(MIRANTE), "demo", "--no-serve", "--conversations", "300"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={"PATH": os.environ["PATH"], "HOME": folder, "MIRANTE_HOME": str(home)},
            # A background shell starts its children with Ctrl-C ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:  # fmt: skip
            pid_file = home / "postgres" / "data" / "postmaster.pid"
            deadline = time.monotonic() + 60
            while not pid_file.exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(2)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
            assert process.stderr is not None
            assert "interrupted" in process.stderr.read()
        assert not pid_file.exists()
