"""What holds for every model, on the manifest of a `dbt build` as an engineer starts it."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from extract.tables import TABLES
from tests.conftest import Pipeline
from tests.test_isolation import AGENCY_MARTS
from tests.test_kpis import words_of
from warehouse.build import dbt_environment
from warehouse.settings import PROJECT_ROOT
from warehouse.tenants import SEGMENTS

PREFIXES = {
    "staging": "stg_",
    "intermediate": "int_",
    "marts": ("fct_", "dim_", "agg_", "rpt_", "snap_"),
}
READERS = ["mirante_app", "mirante_analyst", "mirante_super"]


@dataclass(frozen=True)
class Project:
    """The dbt project after a build of its own."""

    manifest: dict[str, Any]
    results: list[dict[str, Any]]
    target: Path

    def nodes(self, kind: str) -> list[dict[str, Any]]:
        return [node for node in self.manifest["nodes"].values() if node["resource_type"] == kind]

    def models(self, layer: str | None = None) -> list[dict[str, Any]]:
        return [node for node in self.nodes("model") if layer in (None, node["fqn"][1])]

    def tests_of(self, model: dict[str, Any], name: str) -> list[dict[str, Any]]:
        return [
            node
            for node in self.nodes("test")
            if node.get("attached_node") == model["unique_id"]
            and (node.get("test_metadata") or {}).get("name") == name
        ]

    def compiled(self, name: str) -> str:
        """The SQL of one data test as it ran; rows are failures."""
        paths = [*self.target.glob(f"compiled/**/{name}.sql")]
        assert len(paths) == 1, paths
        return paths[0].read_text()


def dbt_process_environment(pipeline: Pipeline, folder: Path) -> dict[str, str]:
    """As an engineer has it: profiles.yml.example copied, its variables set."""
    shutil.copy(PROJECT_ROOT / "profiles.yml.example", folder / "profiles.yml")
    return (
        os.environ
        | dbt_environment(pipeline.settings, pipeline.warehouse)
        | {
            "DBT_PROFILES_DIR": str(folder),
            "DBT_TARGET_PATH": str(folder / "target"),
            "DBT_LOG_PATH": str(folder / "logs"),
        }
    )


@pytest.fixture(scope="module")
def project(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("dbt")
    run = subprocess.run(
        [Path(sys.executable).with_name("dbt"), "build", "--quiet", "--no-use-colors"],
        cwd=PROJECT_ROOT, env=dbt_process_environment(pipeline, folder),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    target = folder / "target"
    manifest = json.loads((target / "manifest.json").read_text())
    results = json.loads((target / "run_results.json").read_text())["results"]
    return Project(manifest, results, target)


def test_build_alone_runs_models_data_tests_and_unit_tests(project: Project) -> None:
    kinds = [result["unique_id"].split(".")[0] for result in project.results]
    assert kinds.count("model") == len(project.models())
    assert kinds.count("unit_test") == len(project.manifest["unit_tests"]) > 30
    assert kinds.count("test") == len(project.nodes("test"))
    assert {result["status"] for result in project.results} <= {"success", "pass", "no-op"}


def test_a_prefix_fits_its_folder(project: Project) -> None:
    wrong = [
        model["name"]
        for model in project.models()
        if not model["name"].startswith(PREFIXES[model["fqn"][1]])
        or model["schema"] != model["fqn"][1]
    ]
    assert wrong == []


def test_only_staging_reads_sources_and_staging_never_joins(project: Project) -> None:
    wrong = []
    for model in project.models():
        parents = model["depends_on"]["nodes"]
        sources = [parent for parent in parents if parent.startswith("source.")]
        if model["fqn"][1] == "staging":
            if len(sources) != 1 or len(parents) != 1 or re.search(r"\bjoin\b", model["raw_code"]):
                wrong.append(model["name"])
        elif sources:
            wrong.append(model["name"])
    assert wrong == []


def test_staging_views_can_be_folded_into_what_reads_them(project: Project) -> None:
    """PostgreSQL folds no view with a WITH: no join would reach an index of the raw table."""
    views = project.models("staging")
    assert len(views) > 30
    assert [view["name"] for view in views if re.search(r"\bwith\b", view["raw_code"])] == []


def test_notes_go_in_by_the_order_of_their_key() -> None:
    """Models run side by side: two that insert the same keys in two orders wait for each other."""
    strategies = (PROJECT_ROOT / "macros" / "incremental_strategies.sql").read_text()
    notes = [one for one in strategies.split(";") if "on conflict do nothing" in one]
    assert len(notes) == 2
    assert all(re.search(r"order by [^\n]+\n\s+on conflict do nothing", one) for one in notes)


def test_intermediate_reads_no_mart(project: Project) -> None:
    marts = {model["unique_id"] for model in project.models("marts")}
    wrong = [
        model["name"]
        for model in project.models("intermediate")
        if marts & set(model["depends_on"]["nodes"])
    ]
    assert wrong == []


def test_every_extracted_table_has_a_source_and_a_staging_model(project: Project) -> None:
    tables = {table.name for table in TABLES}
    sources = {
        source["name"]
        for source in project.manifest["sources"].values()
        if source["source_name"] == "chatwoot"
    }
    staging = {model["name"] for model in project.models("staging")}
    assert sources == tables
    assert {f"stg_chatwoot__{table}" for table in tables} <= staging


def test_every_segment_has_its_pack() -> None:
    with (PROJECT_ROOT / "seeds" / "funnel_segment_rules.csv").open() as lines:
        rules = list(csv.DictReader(lines))
    for segment in SEGMENTS:
        stages = {rule["stage"] for rule in rules if rule["segment"] == segment}
        kinds = {rule["rule_kind"] for rule in rules if rule["segment"] == segment}
        assert stages == {"lead", "visit_scheduled", "converted", "lost"}, segment
        assert kinds == {"label", "keyword"}, segment
    assert {rule["segment"] for rule in rules} == set(SEGMENTS)
    # Case and accents are folded: "tem vaga" is "têm vaga".
    folded = [
        (rule["segment"], rule["stage"], " ".join(words_of(rule["rule_value"])))
        for rule in rules
        if rule["rule_kind"] == "keyword"
    ]
    assert len(folded) == len(set(folded))


def test_every_key_is_tested_as_an_error(project: Project) -> None:
    for model in project.models():
        tests = project.tests_of(model, "unique_key")
        assert len(tests) == 1, model["name"]
        assert tests[0]["config"]["severity"].lower() == "error", model["name"]


def test_every_model_and_column_is_described(project: Project, pipeline: Pipeline) -> None:
    actual: dict[str, set[str]] = {}
    for name, column in pipeline.query(
        "select table_name, column_name from information_schema.columns"
        " where table_schema in ('staging', 'intermediate', 'marts')"
    ):
        actual.setdefault(name, set()).add(column)
    for model in project.models():
        described = {
            name for name, column in model["columns"].items() if column["description"].strip()
        }
        assert model["description"].strip(), model["name"]
        assert described == actual[model["name"]], model["name"]


def test_every_source_has_freshness_or_says_why_not(project: Project) -> None:
    for source in project.manifest["sources"].values():
        freshness = source["freshness"] or {}
        has_freshness = source["loaded_at_query"] and (freshness.get("error_after") or {}).get(
            "count"
        )
        reason = source["config"].get("meta", {}).get("no_freshness_because")
        assert bool(has_freshness) != bool(reason), source["unique_id"]
        assert source["description"].strip(), source["unique_id"]


def test_every_mart_is_a_contracted_table_behind_row_security(project: Project) -> None:
    for mart in project.models("marts"):
        name, config = mart["name"], mart["config"]
        assert config["materialized"] in ("table", "incremental"), name
        assert config.get("incremental_strategy") != "merge", name
        assert config["contract"]["enforced"], name
        assert config["access"] == "public", name
        readers = ["mirante_super"] if name in AGENCY_MARTS else READERS
        assert config["grants"] == {"select": readers}, name
        hooks = [hook for hook in config["post-hook"] if "enable_tenant_rls" in hook["sql"]]
        assert [hook["transaction"] for hook in hooks] == [True], name
        assert next(iter(mart["columns"])) == "tenant_id", name
        (key,) = project.tests_of(mart, "unique_key")
        columns = key["test_metadata"]["kwargs"]["columns"]
        assert columns[0] == "tenant_id", name
        assert {"columns": columns, "unique": True} in config["indexes"], name
        assert all(index["columns"][0] == "tenant_id" for index in config["indexes"]), name
        (rls,) = project.tests_of(mart, "has_tenant_rls")
        tested = rls["test_metadata"]["kwargs"].get("readers", READERS)
        assert (tested, rls["config"]["severity"].lower()) == (readers, "error"), name


def test_nothing_outside_marts_is_granted(project: Project, pipeline: Pipeline) -> None:
    for model in project.models():
        if model["fqn"][1] != "marts":
            assert not model["config"]["grants"], model["name"]
    assert (
        pipeline.query(
            "select table_schema, table_name, grantee from information_schema.table_privileges"
            " where table_schema in ('raw_chatwoot', 'staging', 'intermediate')"
            " and grantee <> 'mirante_owner'"
        )
        == []
    )


def test_every_mart_has_an_exposure_and_exposures_read_marts_only(project: Project) -> None:
    marts = {model["unique_id"] for model in project.models("marts")}
    exposed: set[str] = set()
    for exposure in project.manifest["exposures"].values():
        exposed |= set(exposure["depends_on"]["nodes"])
        assert exposure["owner"]["name"], exposure["name"]
        assert exposure["description"].strip(), exposure["name"]
    assert exposed == marts


def test_the_dashboards_exposure_names_what_its_queries_read(project: Project) -> None:
    code = "".join(path.read_text() for path in (PROJECT_ROOT / "dashboard").rglob("*.py"))
    read = set(re.findall(r"\bmarts\.(\w+)", code))
    exposure = project.manifest["exposures"]["exposure.mirante.dashboard_overview"]
    named = {node.split(".")[-1] for node in exposure["depends_on"]["nodes"]}
    assert read <= named


def test_every_kpi_has_its_label_and_help_text(project: Project) -> None:
    blocks = {
        name: block["block_contents"]
        for name, block in ((doc["name"], doc) for doc in project.manifest["docs"].values())
        if name.startswith("kpi_")
    }
    assert len(blocks) > 15
    for name, text in blocks.items():
        assert len(re.findall(r"^label: \S.*$", text, re.MULTILINE)) == 1, name
        assert len(re.findall(r"^pt: \S.*\.$", text, re.MULTILINE)) == 1, name


def kpi_table(project: Project) -> str:
    """README's table: label, definition without the lines for programs, columns that quote it."""
    quoting: dict[str, list[str]] = {}
    for mart in sorted(project.models("marts"), key=lambda mart: str(mart["name"])):
        if mart["name"].startswith(("fct_", "agg_")) and mart["name"] != "agg_daily_campaign":
            for column in mart["columns"].values():
                for block in column["doc_blocks"]:
                    quoting.setdefault(block, []).append(f"`{mart['name']}.{column['name']}`")
    lines = ["| KPI (label in the pages) | definition | where |", "| --- | --- | --- |"]
    path = PROJECT_ROOT / "models" / "marts" / "_kpis.md"
    for name in re.findall(r"{% docs (kpi_\w+) %}", path.read_text()):
        block = project.manifest["docs"][f"doc.mirante.{name}"]
        definition = re.split(r"^label: ", block["block_contents"], flags=re.MULTILINE)
        label = definition[1].splitlines()[0]
        columns = ", ".join(quoting.get(f"doc.mirante.{name}", [])) or "as it says"
        lines.append(f"| {label} | {' '.join(definition[0].split())} | {columns} |")
    return "\n".join(lines)


def test_readme_quotes_the_kpi_blocks(project: Project) -> None:
    table = kpi_table(project)
    assert table.count("\n") > 15
    assert table in (PROJECT_ROOT / "README.md").read_text(), f"README's table should be:\n{table}"


# What people argue about, and the unit test that says how it is.
RULES = {
    "first reply": "a_bot_handoff_before_the_reply_restarts_the_clock",
    "bots are no agents": "sender_kind_tells_people_from_machines",
    "notes are no messages": "notes_activity_templates_and_orphans_are_no_messages",
    "a wait": "a_wait_ends_with_an_agent_and_is_dropped_by_a_resolve",
    "working hours": "business_seconds_are_those_inside_working_hours",
    "a day's hours": "a_day_opens_by_the_inboxs_wall_clock",
    "reopening": "a_reopening_is_an_opened_event_between_resolves",
    "reopening without events": "without_opened_events_each_further_resolve_is_a_reopening",
    "one touch, bot, waiting": "one_touch_bot_resolved_and_waiting_follow_from_messages",
    "the tenant's day": "created_date_is_the_day_in_the_tenants_zone",
    "a negated keyword": "a_keyword_is_whole_words_without_case_accents_or_negation",
    "the ninth digit": "a_crm_row_is_one_conversion_of_the_contacts_last_conversation",
    "implied stages": "a_later_stage_implies_the_earlier_and_the_first_evidence_wins",
    "backlog": "backlog_is_estimated_from_events_until_the_first_snapshot",
    "the queue": "the_queue_has_each_contacts_latest_lead_that_may_be_asked_again",
    "campaign tags": "utm_tags_are_read_from_the_referrers_query",
    "no time": "an_infinite_time_is_no_time",
}


def test_every_disputed_rule_has_its_unit_test(project: Project) -> None:
    names = {test["name"] for test in project.manifest["unit_tests"].values()}
    assert set(RULES.values()) <= names, set(RULES.values()) - names
    passed = {result["unique_id"].split(".")[-1] for result in project.results}
    assert set(RULES.values()) <= passed


SABOTAGE = {
    "row security off": "alter table marts.dim_agents disable row level security",
    "forced": "alter table marts.dim_agents force row level security",
    "policy gone": "drop policy analyst_isolation on marts.dim_agents",
    "policy for all": "drop policy super_read on marts.dim_agents;"
    " create policy super_read on marts.dim_agents for all to mirante_super using (true)",
    "policy open": "alter policy tenant_isolation on marts.dim_agents using (true)",
    "policy of everybody": "alter policy super_read on marts.dim_agents to public",
    "policy added": "create policy extra on marts.dim_agents to mirante_app using (true)",
    "granted to all": "grant select on marts.dim_agents to public",
    "granted too much": "grant delete on marts.dim_agents to mirante_app",
    "may be handed on": "grant select on marts.dim_agents to mirante_app with grant option",
    "not granted": "revoke select on marts.dim_agents from mirante_analyst",
    "key without tenant": "create unique index on marts.dim_agents (agent_id, tenant_id)",
    "seen through a view": "create view staging.leak as select name from marts.dim_agents",
    "tenant may be null": "alter table marts.dim_agents alter column tenant_id drop not null",
}


@pytest.mark.parametrize("what", SABOTAGE)
def test_has_tenant_rls_sees(what: str, project: Project, pipeline: Pipeline) -> None:
    test = project.compiled("has_tenant_rls_dim_agents_")
    with psycopg.connect(pipeline.warehouse.dsn("owner")) as connection:
        assert connection.execute(test).fetchall() == []
        connection.execute(SABOTAGE[what])
        assert len(connection.execute(test).fetchall()) >= 1
        connection.rollback()


@pytest.mark.parametrize(
    ("test", "change"),
    [
        (
            "assert_agg_daily_adds_up_to_facts",
            "update marts.agg_daily set replies = replies + 1 where ctid = (select min(ctid)"
            " from marts.agg_daily)",
        ),
        (
            "assert_aggregates_agree",
            "delete from marts.agg_hourly where ctid = (select min(ctid) from marts.agg_hourly)",
        ),
        (
            "assert_aggregates_agree",
            "update marts.agg_daily_campaign set leads = leads + 1 where ctid = (select min(ctid)"
            " from marts.agg_daily_campaign)",
        ),
        (
            "assert_backlog_ends_in_the_present",
            "update marts.agg_backlog set open_conversations = open_conversations + 1",
        ),
        (
            "assert_rows_are_of_the_inboxs_owner",
            "update marts.fct_messages set inbox_id = 0 where ctid = (select min(ctid)"
            " from marts.fct_messages)",
        ),
        (
            "assert_facts_have_their_conversation",
            "update marts.fct_replies set tenant_id = tenant_id + 1 where ctid = (select min(ctid)"
            " from marts.fct_replies)",
        ),
        (
            "assert_later_stages_imply_earlier",
            "delete from marts.fct_funnel_events where stage = 'lead'",
        ),
        (
            "unique_key_dim_agents_tenant_id__agent_id",
            "do $$ begin execute (select string_agg(format('drop index %s;',"
            " indexrelid::regclass), '') from pg_index where indrelid ="
            " 'marts.dim_agents'::regclass); end $$;"
            " insert into marts.dim_agents select * from marts.dim_agents limit 1",
        ),
        (
            "unique_key_int_backlog_days_tenant_id__date__inbox_id",
            "update intermediate.int_backlog_days set inbox_id = null where ctid = (select"
            " min(ctid) from intermediate.int_backlog_days)",
        ),
        (
            "unique_key_stg_chatwoot__messages_message_id",
            "alter table raw_chatwoot.messages drop constraint messages_pkey;"
            " insert into raw_chatwoot.messages select * from raw_chatwoot.messages"
            " where _deleted_at is null limit 1",
        ),
    ],
)
def test_a_data_test_sees(test: str, change: str, project: Project, pipeline: Pipeline) -> None:
    sql = project.compiled(test)
    with psycopg.connect(pipeline.warehouse.dsn("owner")) as connection:
        assert connection.execute(sql).fetchall() == []
        connection.execute(change)
        assert len(connection.execute(sql).fetchall()) >= 1
        connection.rollback()


def test_sql_is_clean(project: Project, pipeline: Pipeline, tmp_path: Path) -> None:
    environment = dbt_process_environment(pipeline, tmp_path)
    config = (PROJECT_ROOT / ".sqlfluff").read_text()
    (tmp_path / "sqlfluff.cfg").write_text(
        config.replace("project_dir = .", f"project_dir = {PROJECT_ROOT}").replace(
            "profiles_dir = .", f"profiles_dir = {tmp_path}"
        )
    )
    run = subprocess.run(
        [
            Path(sys.executable).with_name("sqlfluff"), "lint", "--disable-progress-bar",
            "--nocolor", "--ignore-local-config", "--config", str(tmp_path / "sqlfluff.cfg"),
            "models", "tests/dbt",
        ],
        cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-4000:]


def test_no_infinite_time_leaves_staging(project: Project, pipeline: Pipeline) -> None:
    """Whatever column of whatever table holds one: every timestamp goes through utc_time."""
    infinite = {table: [] for table in (model["name"] for model in project.models("staging"))}
    with psycopg.connect(pipeline.warehouse.dsn("owner")) as connection:
        columns = connection.execute(
            "select table_schema, table_name, column_name from information_schema.columns"
            " where data_type like 'timestamp%' and (table_schema = 'staging'"
            " or table_schema = 'raw_chatwoot' and column_name not like '\\_%'"
            " and table_name not like '\\_%')"
        ).fetchall()
        for schema, table, column in columns:
            if schema == "raw_chatwoot":
                for value in ("infinity", "-infinity"):
                    connection.execute(
                        f"update raw_chatwoot.{table} set {column} = '{value}' where ctid ="
                        f" (select ctid from raw_chatwoot.{table} order by {column} limit 1)"
                    )
        for schema, table, column in columns:
            if schema == "staging":
                found = connection.execute(
                    f"select count(*) from staging.{table} where not isfinite({column})"
                ).fetchone()
                infinite[table] += [column] if found != (0,) else []
        connection.rollback()
    assert len(infinite) > 25
    assert not any(infinite.values()), infinite
