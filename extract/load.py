"""dlt's part: pipeline, schema, state, load packages. Imported while the source is looked at."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import dlt
from dlt.common.schema.typing import TColumnSchema
from dlt.extract import DltResource

from extract import raw
from extract.databases import KEEPALIVES
from extract.destination import FILE_FORMAT, Loading, ReferenceDestination, next_load_id

PIPELINE = "chatwoot"

# dlt's settings; the environment goes before them.
DLT_CONFIG = """\
[runtime]
dlthub_telemetry = false
# Its messages may quote rows; ours do not.
log_level = "CRITICAL"

[extract]
workers = 1

[normalize]
workers = 1

[load]
# As many sessions on the source.
workers = 2
raise_on_max_retries = 1
delete_completed_jobs = true
"""


class LoadPipeline:
    """The pipeline of dlt with the state of the last finished load.

    The warehouse is the only memory: the working folder starts empty, so a package that a killed
    process left is dropped, with whatever state it believed in, and it is gone at the end.
    """

    def __init__(self, folder: Path, warehouse_dsn: str) -> None:
        """`folder` is dlt's alone for the time."""
        self._folder = folder
        self._warehouse_dsn = warehouse_dsn
        self._loading: Loading | None = None

    def __enter__(self) -> "LoadPipeline":
        shutil.rmtree(self._folder, ignore_errors=True)
        settings = self._folder / ".dlt"
        self._folder.mkdir(mode=0o700, parents=True)
        settings.mkdir()
        (settings / "config.toml").write_text(DLT_CONFIG)
        # Without a secrets file dlt looks for secrets in Streamlit, and imports it for that.
        (settings / "secrets.toml").touch()
        os.environ["DLT_PROJECT_DIR"] = os.environ["DLT_DATA_DIR"] = str(self._folder)
        credentials = self._warehouse_dsn.replace("postgres://", "postgresql://", 1)
        options = {"application_name": "mirante", **KEEPALIVES}
        credentials += ("&" if "?" in credentials else "?") + urlencode(options)
        self._pipeline = dlt.pipeline(
            PIPELINE,
            pipelines_dir=str(self._folder),
            destination=ReferenceDestination(lambda: self._loading, credentials=credentials),
            dataset_name=raw.SCHEMA,
        )
        self._pipeline.sync_destination()
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def read_state(self) -> Mapping[str, Any]:
        """What the last finished load left with `load`; empty before the first."""
        kept: Mapping[str, Any] = self._pipeline.state.get("sources", {}).get(PIPELINE, {})
        return kept

    def load(
        self,
        references: Sequence[tuple[Mapping[str, Any], int]],
        held: Mapping[str, raw.RawTable],
        state: Mapping[str, Any],
        loading: Loading,
        load_id: str | None = None,
    ) -> None:
        """One load package: a job a reference (with its rows), and the state to keep with it."""
        self._loading = loading
        self._pipeline.activate()  # in this thread: another one may have opened it
        folder = self._folder / "references"
        folder.mkdir(exist_ok=True)
        files: dict[str, list[tuple[Path, int]]] = {}
        for number, (reference, rows) in enumerate(references):
            path = folder / f"{number}.{FILE_FORMAT}"
            path.write_text(json.dumps(reference))
            files.setdefault(reference["table"], []).append((path, rows))
        with next_load_id(load_id):
            self._pipeline.extract(chatwoot(files, held, state))
        self._pipeline.normalize()
        self._pipeline.load()


@dlt.source(name=PIPELINE, max_table_nesting=0)
def chatwoot(
    files: Mapping[str, Sequence[tuple[Path, int]]],
    held: Mapping[str, raw.RawTable],
    state: Mapping[str, Any],
) -> Iterator[DltResource]:
    """Resources of the tables that have references to load, and the state that goes with them."""
    for table, listed in files.items():
        yield dlt.resource(
            iter(
                [dlt.mark.with_file_import(str(path), FILE_FORMAT, rows) for path, rows in listed]
            ),
            name=table,
            primary_key="id",
            write_disposition="append",
            columns=_hints(held[table]),
        )
    yield dlt.resource(_remember(state), name="state")


def _remember(state: Mapping[str, Any]) -> Iterator[Any]:
    dlt.current.source_state().update(state)
    yield from ()


def _hints(held: raw.RawTable) -> list[TColumnSchema]:
    """The types by dlt's names, for its schema: the tables themselves are made by us."""
    kinds: dict[str, TColumnSchema] = {
        "int4": {"data_type": "bigint", "precision": 32},
        "int8": {"data_type": "bigint", "precision": 64},
        "varchar": {"data_type": "text"},
        "text": {"data_type": "text"},
        "bool": {"data_type": "bool"},
        "float8": {"data_type": "double"},
        "json": {"data_type": "json"},
        "jsonb": {"data_type": "json"},
        "timestamp": {"data_type": "timestamp", "timezone": False, "precision": 6},
        "timestamptz": {"data_type": "timestamp", "timezone": True, "precision": 6},
    }
    return [
        {"name": name, "nullable": name != "id", **kinds[held.types[name]]}
        for name in (*held.table.column_names, raw.DELETED_AT, raw.LOAD_ID)
    ]
