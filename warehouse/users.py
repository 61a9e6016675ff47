"""People who open the dashboard: passwords, second factors, and the rows of app.users."""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Literal

import bcrypt
import psycopg
import pyotp
from psycopg import Connection
from psycopg.errors import CheckViolation, UniqueViolation

from warehouse.audit import SYSTEM, Actor, record
from warehouse.errors import MiranteError, UsageError

ROLES = ("client", "admin", "super_admin")
MINIMUM_PASSWORD_LENGTH = 10
# 0.22 s on the machine of benchmarks/login.py; hashes of another cost are replaced at log-in.
BCRYPT_ROUNDS = 12
# What an attacker gets through in an hour at the throttles' pace is a thousandth of it.
EASY_GUESSES = 1_000_000
# Beside zxcvbn's lists of leaked passwords, which are mostly English.
BRAZILIAN_WORDS = (  # noqa: SIM905  # as a list it would be two screens long
    "senha mudar mudar123 trocar acesso usuario administrador sistema empresa cliente clinica "
    "academia escola loja painel relatorio mirante geniai chatwoot brasil brazil flamengo "
    "corinthians palmeiras santos saopaulo gremio internacional vasco cruzeiro atletico botafogo "
    "fluminense bahia fortaleza amor teamo euteamo jesus deus familia felicidade saudade princesa "
    "gatinha estrela vitoria gabriel rafael lucas mateus pedro maria joao ana julia janeiro "
    "fevereiro marco abril maio junho julho agosto setembro outubro novembro dezembro segunda "
    "domingo bemvindo primeiro acesso123 senha123 abc123"
).split()

INVITE_LIFETIME = timedelta(days=7)
RESET_LIFETIME = timedelta(days=1)
RECOVERY_CODES = 10
STEP_SECONDS = 30

Weakness = Literal["short", "common"]


def password_weakness(password: str, hints: Iterable[str] = ()) -> Weakness | None:
    """Why a password is refused, if it is. `hints`: what a guesser would try first, the e-mail."""
    if len(password) < MINIMUM_PASSWORD_LENGTH:
        return "short"
    # No list has one like these, and on a long text the search takes long.
    if len(password) > 40 or not password.isprintable():
        return None
    from zxcvbn import zxcvbn  # half a megabyte of lists, for this one question

    words = [
        word
        for hint in hints
        for word in (hint, *hint.split("@"), *re.split(r"[@.]", hint))
        if word
    ]
    guesses = zxcvbn(password, user_inputs=[*BRAZILIAN_WORDS, *words])["guesses"]
    return "common" if guesses < EASY_GUESSES else None


def plain_email(email: str) -> str:
    """How an address is compared and counted: the one way, so that no spelling counts apart."""
    return email.strip().lower()


def hash_password(password: str, hints: Iterable[str] = ()) -> str:
    """Hash with bcrypt over a pre-hash: bcrypt alone reads 72 bytes and stops at a NUL.

    Raises UsageError when the password is shorter than 10 characters or easily guessed.
    """
    weakness = password_weakness(password, hints)
    if weakness == "short":
        raise UsageError(f"a password needs at least {MINIMUM_PASSWORD_LENGTH} characters")
    if weakness == "common":
        raise UsageError(
            "this password is among the commonly leaked or easily guessed: take another, such as "
            "four words that do not belong together"
        )
    return bcrypt.hashpw(_prehash(password), bcrypt.gensalt(rounds=BCRYPT_ROUNDS)).decode()


def verify_password(password: str, stored: str) -> bool:
    """Whether `password` is the one behind `stored`; takes a quarter of a second either way."""
    return bcrypt.checkpw(_prehash(password), stored.encode())


def needs_rehash(stored: str) -> bool:
    """Whether a hash was made at another cost than today's."""
    return not stored.startswith(f"$2b${BCRYPT_ROUNDS:02}$")


def _prehash(password: str) -> bytes:
    return base64.b64encode(hashlib.sha256(password.encode()).digest())


def generate_password() -> str:
    """About 95 random bits, easy to select with a double click."""
    return secrets.token_hex(12)


# ---- second factor and tokens -----------------------------------------------------------------


def generate_totp_secret() -> str:
    """160 random bits in base32, as authenticator apps take them."""
    return pyotp.random_base32(32)


def totp_uri(secret: str, email: str, issuer: str) -> str:
    """What the QR code says."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=issuer)


def totp_step(secret: str, code: str, moment: datetime) -> int | None:
    """The 30-second step a code belongs to: the running one, the one before or after; else None.

    Whoever takes the code must refuse a step that was taken before.
    """
    digits = "".join(code.split())
    if not (len(digits) == 6 and digits.isascii() and digits.isdigit()):
        return None
    totp, now = pyotp.TOTP(secret), int(moment.timestamp()) // STEP_SECONDS
    matches = [
        step
        for step in (now - 1, now, now + 1)
        if hmac.compare_digest(totp.at(step * STEP_SECONDS), digits)
    ]
    return matches[-1] if matches else None


def generate_recovery_codes() -> list[str]:
    """Ten codes of 80 random bits, written in fours."""
    words = [
        base64.b32encode(secrets.token_bytes(10)).decode().lower() for _ in range(RECOVERY_CODES)
    ]
    return ["-".join(word[i : i + 4] for i in range(0, 16, 4)) for word in words]


def recovery_code_hash(code: str) -> bytes:
    """What the database knows of a recovery code, however it was typed."""
    return hashlib.sha256("".join(filter(str.isalnum, code)).lower().encode()).digest()


def generate_token() -> str:
    """256 random bits for a cookie or a link."""
    return secrets.token_urlsafe(32)


def token_digest(token: str) -> bytes:
    """What the database knows of a token."""
    return hashlib.sha256(token.encode()).digest()


# ---- rows -------------------------------------------------------------------------------------


def add_user(
    owner_dsn: str,
    *,
    email: str,
    password: str,
    role: str,
    tenant_slug: str | None,
    actor: Actor = SYSTEM,
) -> int:
    """Insert a user and return its id.

    Raises UsageError on a bad e-mail, role, password or tenant, MiranteError on an e-mail in use.
    """
    _check_role(role, tenant_slug)
    password_hash = hash_password(password, [email.strip().lower()])
    with psycopg.connect(owner_dsn) as connection:
        return _insert(connection, email, password_hash, role, tenant_slug, actor)


def invite_user(
    owner_dsn: str, *, email: str, role: str, tenant_slug: str | None, actor: Actor = SYSTEM
) -> str:
    """Insert a user without a password and return the token of its one-time link.

    Raises what `add_user` raises.
    """
    _check_role(role, tenant_slug)
    with psycopg.connect(owner_dsn) as connection:
        user_id = _insert(connection, email, None, role, tenant_slug, actor)
        return _issue_link(connection, user_id, INVITE_LIFETIME)


def set_password(owner_dsn: str, email: str, password: str, actor: Actor = SYSTEM) -> None:
    """Give a user a new password and end all its sessions. Raises UsageError when unknown."""
    password_hash = hash_password(password, [email.strip().lower()])
    with psycopg.connect(owner_dsn) as connection:
        _change(
            connection, email, "password_hash = %s, password_changed_at = clock_timestamp()",
            [password_hash], "user.set_password", actor,
        )  # fmt: skip


def reset_password(owner_dsn: str, email: str, actor: Actor = SYSTEM) -> str:
    """Take a user's password away, end its sessions, and return the token of a one-time link.

    Raises UsageError when unknown or disabled.
    """
    with psycopg.connect(owner_dsn) as connection:
        user_id, is_active = _change(
            connection, email, "password_hash = null, password_changed_at = clock_timestamp()",
            [], "user.reset", actor,
        )  # fmt: skip
        if not is_active:
            raise UsageError(f"user {email!r} is disabled: `mirante user enable` first")
        return _issue_link(connection, user_id, RESET_LIFETIME)


def edit_user(
    owner_dsn: str, email: str, *, role: str, tenant_slug: str | None = None, actor: Actor = SYSTEM
) -> bool:
    """Give a user another role; whether it had another one. Triggers end its sessions.

    `tenant_slug` is for a super_admin, who has no tenant yet. Raises UsageError on an unknown user
    or role and where the tenant does not fit, MiranteError where no super_admin would be left.
    """
    if role not in ROLES:
        raise UsageError(f"role {role!r}: use one of {', '.join(ROLES)}")
    with psycopg.connect(owner_dsn) as connection:
        only_id = _only_super_admin(connection)
        row = connection.execute(
            "select id, role, tenant_id from app.users where email = lower(btrim(%s)) for update",
            [email],
        ).fetchone()
        if row is None:
            raise UsageError(f"user {email!r} does not exist: see `mirante user list`")
        user_id, old_role, old_tenant_id = row
        if tenant_slug is not None and old_role != "super_admin":
            raise UsageError(f"user {email!r} has a tenant already: leave --tenant out")
        if role == old_role and tenant_slug is None:
            return False
        if old_role == "super_admin":
            _check_role(role, tenant_slug)
            if user_id == only_id:
                raise _last_super_admin_error(email)
        tenant_id = old_tenant_id if role != "super_admin" else None
        if tenant_slug is not None:
            tenant_id = _tenant_id(connection, tenant_slug)
        connection.execute(
            "update app.users set role = %s, tenant_id = %s, updated_at = now() where id = %s",
            [role, tenant_id, user_id],
        )
        record(
            connection, "user.edit", actor=actor, tenant_id=old_tenant_id or tenant_id,
            target=f"user:{user_id}", before={"role": old_role, "tenant_id": old_tenant_id},
            after={"role": role, "tenant_id": tenant_id},
        )  # fmt: skip
    return True


def disable_user(owner_dsn: str, email: str, actor: Actor = SYSTEM) -> None:
    """Refuse the user from now on and end all its sessions.

    Raises UsageError when unknown, MiranteError where no super_admin would be left.
    """
    with psycopg.connect(owner_dsn) as connection:
        only_id = _only_super_admin(connection)
        user_id, _ = _change(connection, email, "is_active = false", [], "user.disable", actor)
        if user_id == only_id:
            raise _last_super_admin_error(email)  # which rolls it back


def enable_user(owner_dsn: str, email: str, actor: Actor = SYSTEM) -> None:
    """Let a disabled user log in again. Raises UsageError when unknown."""
    with psycopg.connect(owner_dsn) as connection:
        _change(connection, email, "is_active = true", [], "user.enable", actor)


def set_second_factor(owner_dsn: str, email: str, actor: Actor = SYSTEM) -> tuple[str, list[str]]:
    """Give a user a second factor; return its secret and recovery codes, which are kept as hashes.

    For installations that hand it over with the account: normally the person sets it up itself.
    """
    secret, codes = generate_totp_secret(), generate_recovery_codes()
    with psycopg.connect(owner_dsn) as connection:
        user_id, _ = _change(
            connection, email, "totp_secret = %s, totp_last_step = null", [secret],
            "user.enable_second_factor", actor,
        )  # fmt: skip
        connection.execute("delete from app.recovery_codes where user_id = %s", [user_id])
        connection.execute(
            "insert into app.recovery_codes (user_id, code_sha256) select %s, unnest(%s::bytea[])",
            [user_id, [recovery_code_hash(code) for code in codes]],
        )
    return secret, codes


def reset_second_factor(owner_dsn: str, email: str, actor: Actor = SYSTEM) -> None:
    """Take a user's second factor off and end its sessions: a super_admin sets up a new one at its
    next log-in. Raises UsageError when unknown.
    """
    with psycopg.connect(owner_dsn) as connection:
        # A session that is offered a secret, or waits for a code, ends too.
        user_id, _ = _change(
            connection, email, "totp_secret = null, totp_last_step = null", [],
            "user.disable_second_factor", actor,
        )  # fmt: skip
        for table in ("recovery_codes", "sessions"):
            connection.execute(
                f"delete from app.{table} where user_id = %s",  # noqa: S608  # ours
                [user_id],
            )


def _only_super_admin(connection: Connection[Any]) -> int | None:
    """Id of the one active super_admin where there is one alone; all are locked until the end of
    the transaction, in one order, so that of the last two only one steps down.
    """
    agency = connection.execute(
        "select id from app.users where role = 'super_admin' and is_active order by id for update"
    ).fetchall()
    return int(agency[0][0]) if len(agency) == 1 else None


def _last_super_admin_error(email: str) -> MiranteError:
    return MiranteError(
        f"user {email} is the last super_admin: add another first (`mirante user add --help`);"
        " if somebody has its password, `mirante user reset` locks everybody out of it at once"
    )


def _check_role(role: str, tenant_slug: str | None) -> None:
    if role not in ROLES:
        raise UsageError(f"role {role!r}: use one of {', '.join(ROLES)}")
    if (role == "super_admin") != (tenant_slug is None):
        raise UsageError(
            "a super_admin belongs to no tenant: leave --tenant out"
            if role == "super_admin"
            else f"a {role} belongs to a tenant: give --tenant SLUG"
        )


def _insert(
    connection: Connection[Any],
    email: str,
    password_hash: str | None,
    role: str,
    tenant_slug: str | None,
    actor: Actor,
) -> int:
    email = email.strip().lower()
    tenant_id = _tenant_id(connection, tenant_slug) if tenant_slug is not None else None
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
    record(
        connection, "user.add" if password_hash else "user.invite", actor=actor,
        tenant_id=tenant_id, target=f"user:{user_id}", after={"role": role},
    )  # fmt: skip
    return int(user_id)


def _tenant_id(connection: Connection[Any], slug: str) -> int:
    row = connection.execute("select id from app.tenants where slug = %s", [slug]).fetchone()
    if row is None:
        raise UsageError(f"tenant {slug!r} does not exist: see `mirante tenant list`")
    return int(row[0])


def _issue_link(connection: Connection[Any], user_id: int, lifetime: timedelta) -> str:
    token = generate_token()
    connection.execute("delete from app.user_links where user_id = %s", [user_id])
    connection.execute(
        "insert into app.user_links (token_sha256, user_id, expires_at)"
        " values (%s, %s, now() + %s)",
        [token_digest(token), user_id, lifetime],
    )
    return token


def _change(
    connection: Connection[Any],
    email: str,
    assignment: str,
    values: list[object],
    action: str,
    actor: Actor,
) -> tuple[int, bool]:
    """Id of the changed user, and whether it is active; triggers end its sessions."""
    row = connection.execute(
        f"update app.users set {assignment}, updated_at = now()"  # noqa: S608  # a literal of ours
        " where email = lower(btrim(%s)) returning id, is_active, tenant_id",
        [*values, email],
    ).fetchone()
    if row is None:
        raise UsageError(f"user {email!r} does not exist: see `mirante user list`")
    record(connection, action, actor=actor, tenant_id=row[2], target=f"user:{row[0]}")
    return int(row[0]), bool(row[1])
