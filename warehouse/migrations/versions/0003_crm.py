"""Rows of imported CRM files, and the contacts who asked not to be written to."""

from warehouse.migrations import execute

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = r"""
create table app.crm_rows (
    id bigint generated always as identity,
    tenant_id integer not null references app.tenants (id) on delete cascade,
    row_key text not null,
    phone text check (phone ~ '^\+[1-9][0-9]{1,14}$'),
    email text check (email = lower(btrim(email)) and email <> ''),
    converted_on date not null,
    imported_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, row_key)
);
comment on table app.crm_rows is
    'Customers won, from the CRM files a client gave: who, by phone in E.164 and e-mail, and when. '
    'dbt matches them to conversations. Personal data.';
comment on column app.crm_rows.row_key is
    'What a second import of the same row is known by: the CRM''s own id, else a hash of the row.';
comment on column app.crm_rows.converted_on is 'The CRM''s date, in the tenant''s time zone.';

create table app.opt_outs (
    tenant_id integer not null references app.tenants (id) on delete cascade,
    contact_id bigint not null check (contact_id > 0),
    reason text not null default '',
    created_at timestamptz not null default now(),
    primary key (tenant_id, contact_id)
);
comment on table app.opt_outs is
    'Contacts of a tenant who asked not to be written to; no list of whom to write to has them.';
"""


def upgrade() -> None:
    """Create both tables; no reader has a right to them."""
    execute(TABLES)
