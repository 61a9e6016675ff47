"""docs/analysts.md: every question asked by an analyst's log-in, and the documentation site."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Pipeline
from tests.test_isolation import MARTS
from tests.test_project_rules import dbt_process_environment
from warehouse.db import open_pool, tenant_connection
from warehouse.settings import PROJECT_ROOT

PAGE = (PROJECT_ROOT / "docs" / "analysts.md").read_text()
QUESTIONS = {
    title: re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    for title, text in re.findall(
        r"^## \d+\. (.*?)$(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE
    )
}


def test_there_are_ten_questions() -> None:
    assert len(QUESTIONS) == 10
    assert all(QUESTIONS.values())


@pytest.mark.parametrize("title", QUESTIONS)
def test_an_analyst_gets_an_answer(
    pipeline: Pipeline, analyst: tuple[str, int, int], title: str
) -> None:
    """The same as the application gives for that tenant, and not that of every tenant."""
    dsn, tenant_id, _ = analyst
    for query in QUESTIONS[title]:
        with psycopg.connect(dsn, autocommit=True) as connection:
            cursor = connection.execute(query)
            columns = [column.name for column in cursor.description or ()]
            rows = cursor.fetchall()
        assert rows
        assert "tenant_id" not in columns
        with (
            open_pool(pipeline.warehouse.dsn("app"), max_size=1) as pool,
            tenant_connection(pool, tenant_id) as connection,
        ):
            same = connection.execute(query).fetchall()
        moving = columns.index("waiting_for") if "waiting_for" in columns else None
        assert without(rows, moving) == without(same, moving)
        everybody = pipeline.query(query, role="super")
        assert without(rows, moving) != without(everybody, moving)


def without(rows: list[tuple], column: int | None) -> list[tuple]:
    """The rows less an age that grows while we look."""
    return [tuple(v for n, v in enumerate(row) if n != column) for row in rows]


def test_the_documentation_is_made_without_a_network(pipeline: Pipeline, tmp_path: Path) -> None:
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    run = subprocess.run(
        [Path(sys.executable).with_name("dbt"), "docs", "generate", "--quiet", "--static"],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
        env=dbt_process_environment(pipeline, tmp_path)
        | nowhere | {name.upper(): address for name, address in nowhere.items()},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    catalog = json.loads((tmp_path / "target" / "catalog.json").read_text())
    tables = {node["metadata"]["name"]: node for node in catalog["nodes"].values()}
    assert set(MARTS) <= set(tables)
    for name in MARTS:
        assert tables[name]["metadata"]["comment"], name
        assert all(column["comment"] for column in tables[name]["columns"].values()), name
    page = (tmp_path / "target" / "static_index.html").read_text()
    assert os.path.getsize(tmp_path / "target" / "static_index.html") > 500_000
    assert "rpt_chatwoot_parity_reasons" in page
