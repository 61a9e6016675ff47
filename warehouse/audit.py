"""The record of who did what: lines of app.audit_log, written in the caller's transaction."""

import getpass
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NewType

import psycopg
from psycopg import Connection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

ActorKind = Literal["anonymous", "user", "operator", "analyst", "system"]
KeyedHash = NewType("KeyedHash", str)

# What names a person or a network: an e-mail address, IPv4, IPv6, a phone in E.164.
PERSONAL = re.compile(
    r"[^@\s]+@[^@\s]+\.|\b\d{1,3}(\.\d{1,3}){3}\b|\b([0-9a-f]{0,4}:){3,}|\+[1-9]\d{9,14}\b", re.I
)


@dataclass(frozen=True)
class Actor:
    """Who acts: a user by id, an operator by keyed hash, an analyst by role name."""

    kind: ActorKind
    id: str | None = None


SYSTEM = Actor("system")
ANONYMOUS = Actor("anonymous")


@dataclass(frozen=True)
class AuditLine:
    """A row of app.audit_log, its tenant by slug where that still exists."""

    id: int
    at: datetime
    action: str
    actor_kind: str
    actor_id: str | None
    database_role: str
    tenant_id: int | None
    tenant_slug: str | None
    target: str | None
    before: Any
    after: Any
    address_hash: str | None


def keyed_hash(key: bytes, value: str) -> KeyedHash:
    """HMAC-SHA-256 in hex: tells two people apart, and says who neither is without the key."""
    return KeyedHash(hmac.new(key, value.encode(), hashlib.sha256).hexdigest())


def operator(key: bytes) -> Actor:
    """Whoever runs this process on the command line, by the account's keyed hash."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's account without a name
        name = "unnamed"
    return Actor("operator", keyed_hash(key, name)[:16])


def record(
    connection: Connection[Any],
    action: str,
    *,
    actor: Actor,
    tenant_id: int | None = None,
    target: str | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    address: KeyedHash | None = None,
) -> int:
    """Write one line and return its id; it stands or falls with the caller's transaction.

    `action` is noun.verb, `target` kind:id. Personal data goes in as ids or `keyed_hash`: raises
    ValueError (without the value) where a text looks like an e-mail, phone or network address.
    A failure to write is the caller's failure: what cannot be recorded is not done.
    """
    for name, value in (
        ("actor", actor.id), ("target", target), ("before", before), ("after", after),
    ):  # fmt: skip
        if _is_personal(value):
            raise ValueError(f"audit {action}: {name} names a person or an address: use a hash")
    row = connection.execute(
        "select app.record_audit(%s, %s, %s, %s, %s, %s, %s, %s)",
        [
            action, actor.kind, actor.id, tenant_id, target,
            None if before is None else Jsonb(dict(before)),
            None if after is None else Jsonb(dict(after)),
            address,
        ],
    ).fetchone()  # fmt: skip
    return int(row[0]) if row else 0


def without_personal(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` for `record`, where somebody may have typed an address: a name, say."""
    return {
        name: "(looks like somebody's address)" if _is_personal(value) else value
        for name, value in values.items()
    }


def _is_personal(value: Any) -> bool:
    if isinstance(value, str):
        return PERSONAL.search(value) is not None
    if isinstance(value, Mapping):
        return any(_is_personal(part) for part in (*value.keys(), *value.values()))
    if isinstance(value, list | tuple | set):
        return any(_is_personal(part) for part in value)
    return False


def list_lines(
    owner_dsn: str, *, tenant_slug: str | None = None, action: str | None = None, limit: int = 50
) -> list[AuditLine]:
    """The newest lines first; `action` may be a noun alone, such as tenant."""
    with (
        psycopg.connect(owner_dsn) as connection,
        connection.cursor(row_factory=class_row(AuditLine)) as cursor,
    ):
        return cursor.execute(
            """
            select
                lines.id, lines.at, lines.action, lines.actor_kind, lines.actor_id,
                lines.database_role, lines.tenant_id, tenants.slug as tenant_slug, lines.target,
                lines.before, lines.after, lines.address_hash
            from app.audit_log as lines
            left join app.tenants as tenants on lines.tenant_id = tenants.id
            where (%(slug)s::text is null or tenants.slug = %(slug)s)
                and (
                    %(action)s::text is null or lines.action = %(action)s
                    or split_part(lines.action, '.', 1) = %(action)s
                )
            order by lines.id desc
            limit %(limit)s
            """,
            {"slug": tenant_slug, "action": action, "limit": limit},
        ).fetchall()
