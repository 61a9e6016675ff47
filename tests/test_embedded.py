"""The embedded server: starts anywhere, survives kills, leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from warehouse.db import describe_dsn, fetch_all
from warehouse.embedded import EmbeddedServer


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mirante casa ") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / ".mirante"


def postmaster_pid(home: Path) -> int:
    return int((home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])


def is_up(home: Path) -> bool:
    return (home / "postgres" / "data" / "postmaster.pid").exists()


def test_second_user_keeps_the_server_and_the_last_one_stops_it(home: Path) -> None:
    with EmbeddedServer(home).running() as first:
        pid = postmaster_pid(home)
        with EmbeddedServer(home).running() as second:
            assert second == first
        assert fetch_all(first, "select 1") == [(1,)]
        assert postmaster_pid(home) == pid
    assert not is_up(home)


def test_password_is_needed_and_files_are_private(home: Path) -> None:
    with EmbeddedServer(home).running() as dsn:
        password = (home / "postgres" / "password").read_text()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(dsn.replace(password, "errada")).close()
        assert (home / "postgres" / "password").stat().st_mode & 0o077 == 0
        assert (home / "postgres" / "data").stat().st_mode & 0o077 == 0
        assert password not in describe_dsn(dsn)


def test_survives_a_killed_machine_and_a_port_taken_meanwhile(home: Path) -> None:
    """All of it at once: postmaster killed with -9, its pid file stays, its port is taken."""
    server = EmbeddedServer(home)
    with server.running() as dsn:
        with psycopg.connect(dsn) as connection:
            connection.execute("create table kept as select 42 as answer")
        port = int((home / "postgres" / "port").read_text())
        os.kill(postmaster_pid(home), signal.SIGKILL)
        wait_until_free(port)
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        with server.running() as dsn:
            assert fetch_all(dsn, "select answer from kept") == [(42,)]
            assert int((home / "postgres" / "port").read_text()) != port


def wait_until_free(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.05)


def test_pid_file_of_another_program_is_no_obstacle(home: Path) -> None:
    """After a reboot the old pid may belong to anything; here it is this test's own."""
    server = EmbeddedServer(home)
    with server.running():
        pid_file = home / "postgres" / "data" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    with server.running() as dsn:
        assert fetch_all(dsn, "select 1") == [(1,)]


def test_process_killed_while_it_uses_the_server_leaves_one_that_is_adopted(home: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from warehouse.embedded import EmbeddedServer\n"
        "with EmbeddedServer(Path(sys.argv[1])).running(): print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(home)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.kill()
    pid = postmaster_pid(home)
    assert is_up(home)
    with EmbeddedServer(home).running() as dsn:
        assert fetch_all(dsn, "select 1") == [(1,)]
        assert postmaster_pid(home) == pid
    assert not is_up(home)


def test_half_made_cluster_is_made_again(home: Path) -> None:
    server = EmbeddedServer(home)
    with server.running():
        pass
    data = home / "postgres" / "data"
    data.rename(home / "postgres" / "data.new")  # as if initdb had been killed
    with server.running() as dsn:
        assert fetch_all(dsn, "select 1") == [(1,)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has folders that others cannot enter")
def test_home_that_the_service_account_cannot_enter() -> None:
    """A checkout below /root: the cluster goes to /var/lib, behind a link."""
    with tempfile.TemporaryDirectory(prefix="mirante root ") as folder:
        assert Path(folder).stat().st_mode & 0o077 == 0
        home = Path(folder) / ".mirante"
        with EmbeddedServer(home).running() as dsn:
            assert fetch_all(dsn, "select 1") == [(1,)]
        elsewhere = (home / "postgres").resolve()
        assert not elsewhere.is_relative_to(folder)
        subprocess.run(["rm", "-rf", str(elsewhere)], check=True)
