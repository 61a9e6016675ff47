"""The one file that leans on dlt's inside: a load job whose file names rows and holds none.

dlt keeps pipeline, schema, state, packages, load ids and traces. A resource yields small files of
JSON (`.jsonl`), and dlt's PostgreSQL client, subclassed here, hands each to a `Loading`, which
moves the rows itself. Pinned with dlt 1.31; tests/test_extract.py loads through it.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.destination.client import LoadJob, RunnableLoadJob
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.storages.load_package import ParsedLoadJobFileName
from dlt.destinations import postgres
from dlt.destinations.impl.postgres.postgres import PostgresClient
from dlt.extract import storage

FILE_FORMAT: Final[Literal["jsonl"]] = "jsonl"


class Loading(Protocol):
    """Moves the rows that references name."""

    def load(self, reference: dict[str, Any], load_id: str) -> None:
        """Move one reference's rows. Called by dlt's load threads."""

    def complete(self) -> None:
        """Called once every job of the package is done, before dlt records the load."""


class _Job(RunnableLoadJob):
    def __init__(self, file_path: str, loading: Loading) -> None:
        super().__init__(file_path)
        self._loading = loading

    def run(self) -> None:
        self._loading.load(json.loads(Path(self._file_path).read_text()), self._load_id)


class _Client(PostgresClient):
    loading: Loading | None = None

    def create_load_job(
        self, table: PreparedTableSchema, file_path: str, load_id: str, restore: bool = False
    ) -> LoadJob:
        if self.loading and ParsedLoadJobFileName.parse(file_path).file_format == FILE_FORMAT:
            return _Job(file_path, self.loading)
        return super().create_load_job(table, file_path, load_id, restore)

    def complete_load(self, load_id: str) -> None:
        if self.loading:
            self.loading.complete()
        super().complete_load(load_id)


@contextmanager
def next_load_id(load_id: str | None) -> Iterator[None]:
    """Give dlt's next package this id: rows that moved before there was a package bear it."""
    create = storage.create_load_id  # type: ignore[attr-defined]
    if load_id is not None:
        storage.create_load_id = lambda: load_id  # type: ignore[attr-defined]
    try:
        yield
    finally:
        storage.create_load_id = create  # type: ignore[attr-defined]


class ReferenceDestination(postgres):
    """dlt's PostgreSQL, with files of references for a Loading."""

    def __init__(self, loading: Callable[[], Loading | None], **options: Any) -> None:
        """`loading` is asked at each use: a pipeline loads more than one package."""
        super().__init__(**options)
        self._loading = loading

    def _raw_capabilities(self) -> DestinationCapabilitiesContext:
        capabilities = super()._raw_capabilities()
        capabilities.supported_loader_file_formats = [
            *(capabilities.supported_loader_file_formats or ()),
            FILE_FORMAT,
        ]
        # It would offer parquet through a driver that we do not need.
        capabilities.loader_file_format_selector = None  # type: ignore[assignment]
        return capabilities

    @property
    def client_class(self) -> type[PostgresClient]:
        """Dlt's client with the present Loading."""
        return type("Client", (_Client,), {"loading": self._loading()})
