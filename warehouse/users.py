"""People who open the dashboard: passwords and the rows of app.users."""

import base64
import hashlib
import secrets

import bcrypt
import psycopg
from psycopg.errors import CheckViolation, UniqueViolation

from warehouse.errors import MiranteError, UsageError

ROLES = ("client", "admin", "super_admin")
MINIMUM_PASSWORD_LENGTH = 10


def hash_password(password: str) -> str:
    """Hash with bcrypt over a pre-hash: bcrypt alone reads 72 bytes and stops at a NUL.

    Raises UsageError when the password is shorter than 10 characters.
    """
    if len(password) < MINIMUM_PASSWORD_LENGTH:
        raise UsageError(f"a password needs at least {MINIMUM_PASSWORD_LENGTH} characters")
    return bcrypt.hashpw(_prehash(password), bcrypt.gensalt(rounds=12)).decode()


def verify_password(password: str, stored: str) -> bool:
    """Whether `password` is the one behind `stored`; takes a quarter of a second either way."""
    return bcrypt.checkpw(_prehash(password), stored.encode())


def _prehash(password: str) -> bytes:
    return base64.b64encode(hashlib.sha256(password.encode()).digest())


def generate_password() -> str:
    """About 95 random bits, easy to select with a double click."""
    return secrets.token_hex(12)


def add_user(
    owner_dsn: str, *, email: str, password: str, role: str, tenant_slug: str | None
) -> int:
    """Insert a user and return its id.

    Raises UsageError on a bad e-mail, role, password or tenant, MiranteError on an e-mail in use.
    """
    email = email.strip().lower()
    if role not in ROLES:
        raise UsageError(f"role {role!r}: use one of {', '.join(ROLES)}")
    if (role == "super_admin") != (tenant_slug is None):
        raise UsageError(
            "a super_admin belongs to no tenant: leave --tenant out"
            if role == "super_admin"
            else f"a {role} belongs to a tenant: give --tenant SLUG"
        )
    password_hash = hash_password(password)
    with psycopg.connect(owner_dsn) as connection:
        tenant_id = None
        if tenant_slug is not None:
            row = connection.execute(
                "select id from app.tenants where slug = %s", [tenant_slug]
            ).fetchone()
            if row is None:
                raise UsageError(
                    f"tenant {tenant_slug!r} does not exist: see `mirante tenant list`"
                )
            tenant_id = row[0]
        try:
            (user_id,) = connection.execute(
                "insert into app.users (email, password_hash, role, tenant_id)"
                " values (%s, %s, %s, %s) returning id",
                [email, password_hash, role, tenant_id],
            ).fetchone() or (0,)
        except UniqueViolation:
            raise MiranteError(f"user {email} exists: `mirante user list`") from None
        except CheckViolation:
            raise UsageError(f"--email {email!r} is not an e-mail address") from None
    return int(user_id)


def set_password(owner_dsn: str, email: str, password: str) -> None:
    """Give a user a new password and end all its sessions. Raises UsageError when unknown."""
    password_hash = hash_password(password)
    with psycopg.connect(owner_dsn) as connection:
        _change(connection, email, "password_hash = %s", [password_hash])


def disable_user(owner_dsn: str, email: str) -> None:
    """Refuse the user from now on and end all its sessions. Raises UsageError when unknown."""
    with psycopg.connect(owner_dsn) as connection:
        _change(connection, email, "is_active = %s", [False])


def _change(
    connection: psycopg.Connection, email: str, assignment: str, values: list[object]
) -> None:
    row = connection.execute(
        f"update app.users set {assignment}, updated_at = now()"  # noqa: S608  # a literal of ours
        " where email = lower(btrim(%s)) returning id",
        [*values, email],
    ).fetchone()
    if row is None:
        raise UsageError(f"user {email!r} does not exist: see `mirante user list`")
    connection.execute("delete from app.sessions where user_id = %s", [row[0]])
