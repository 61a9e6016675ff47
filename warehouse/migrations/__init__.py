"""The control plane's tables, one file a step, run by Alembic as mirante_owner."""

from alembic import op


def execute(sql: str) -> None:
    """Run plain SQL: no bind parameters, so `:` and `%` mean what they say."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(sql)
