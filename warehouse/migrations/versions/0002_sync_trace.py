"""What a run of the extraction tells: rows compared, how old its data is, what the source lacks."""

from warehouse.migrations import execute

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns to the record of runs."""
    execute("""
        alter table app.sync_runs
            add column source_moment timestamptz,
            add column lag_seconds double precision,
            add column drift text[] not null default '{}';
        comment on column app.sync_runs.pass is
            'tick: what is new or recent. reconcile: every row compared.';
        comment on column app.sync_runs.source_moment is
            'As of when the source was that the run read; a replica that is behind it is not read.';
        comment on column app.sync_runs.lag_seconds is
            'Age of the source''s state that the run brought, at its end; a replica''s delay included.';
        comment on column app.sync_runs.drift is
            'What the source had or lacked beside the allow-list, and types that changed.';
        alter table app.sync_tables add column rows_compared bigint not null default 0;
        comment on column app.sync_tables.rows_compared is
            'Rows of raw hashed against the source; rows_read travelled.';
        comment on column app.sync_tables.watermark is
            'The moment of the source (UTC) as of which the table was read.';
    """)
