"""Log-in, sessions and cookies: who is asking, and whose numbers may be shown."""

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, LiteralString, TypeVar

import psycopg
from psycopg import Connection
from psycopg.rows import class_row, tuple_row
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from warehouse import audit, users
from warehouse.branding import Logo
from warehouse.errors import MiranteError

T = TypeVar("T")

SESSION_LIFETIME = timedelta(days=7)
IDLE_LIMIT = timedelta(hours=24)
# A `__Host-` cookie cannot be planted from another subdomain; browsers take it over https only.
COOKIE_NAME = "mirante_session"
SECURE_COOKIE_NAME = "__Host-mirante_session"
DEVICE_COOKIE_NAME = "mirante_device"
SECURE_DEVICE_COOKIE_NAME = "__Host-mirante_device"
DEVICE_LIFETIME = timedelta(days=400)  # the longest a browser keeps a cookie
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Viewer:
    """One live session as the database knows it at this moment; check again before each use.

    `tenant_id` is whose numbers may be shown: the user's own tenant, or the one a super_admin
    chose; None until then.
    """

    token_sha256: bytes = field(repr=False)
    user_id: int
    email: str = field(repr=False)
    role: str
    tenant_id: int | None
    tenant_slug: str | None
    tenant_name: str | None
    timezone: str | None
    currency: str | None
    segment: str | None


@dataclass(frozen=True)
class Pending:
    """A right password that waits for the second factor, or for one to be set up."""

    user_id: int
    email: str = field(repr=False)
    stage: Literal["code", "enrol"]
    totp_secret: str | None = field(repr=False)


@dataclass(frozen=True)
class Origin:
    """Where a request comes from. `address`: the client's; `device`: the device cookie's token."""

    address: str = field(default="", repr=False)
    device: str | None = field(default=None, repr=False)
    browser: str = ""


@dataclass(frozen=True)
class Admission:
    """Whether a password may be checked now: seconds to wait, 0 when it may."""

    wait_seconds: int
    is_known_device: bool


@dataclass(frozen=True)
class OwnAccount:
    """What a person may know of its own account."""

    user_id: int
    email: str
    role: str
    tenant_name: str | None
    totp_secret: str | None = field(repr=False)
    recovery_codes_left: int


@dataclass(frozen=True)
class OwnSession:
    """One of a person's own log-ins."""

    session_id: int
    device: str
    created_at: datetime
    last_seen_at: datetime
    is_current: bool


@dataclass(frozen=True)
class ManagedUser:
    """A user of the tenant that an admin manages."""

    user_id: int
    email: str
    role: str
    is_active: bool
    has_password: bool
    has_second_factor: bool
    link_expires_at: datetime | None
    last_log_in_at: datetime | None
    is_self: bool


@dataclass(frozen=True)
class ManagedSettings:
    """What an admin sets for its tenant, and what its plan allows; None: no limit, or not set.

    `inbox_ids` are those owned one by one; of whole accounts the marts know the inboxes.
    `ai_own_budget_usd` goes before `ai_plan_budget_usd`, which is the most an admin may set.
    """

    tenant_id: int
    segment: str
    plan: str
    users: int
    inbox_ids: list[int]
    max_users: int | None
    max_inboxes: int | None
    max_conversations_per_month: int | None
    ai_own_budget_usd: Decimal | None
    ai_plan_budget_usd: Decimal | None
    ai_spent_usd: Decimal
    ai_outside_allowed: bool
    display_name: str | None
    primary_color: str | None
    accent_color: str | None
    logo: bytes | None = field(repr=False)
    logo_type: str | None

    @property
    def ai_budget_usd(self) -> Decimal | None:
        """The budget that holds."""
        own = self.ai_own_budget_usd
        return self.ai_plan_budget_usd if own is None else own


@dataclass(frozen=True)
class ManagedRule:
    """One rule of the funnel that is the tenant's own."""

    rule_id: int
    stage: str
    kind: str
    value: str


@dataclass(frozen=True)
class LinkUser:
    """Whom a live one-time link belongs to."""

    email: str
    tenant_name: str | None
    is_invite: bool


@dataclass(frozen=True)
class SelectableTenant:
    """A client the agency may look at."""

    tenant_id: int
    tenant_slug: str
    tenant_name: str
    segment: str
    status: str


@dataclass(frozen=True)
class PastExport:
    """A file that somebody of the tenant (`email`), or the agency, had made. `ending`: complete,
    broken_off, session_ended, failed; None while it is made.
    """

    started_at: datetime
    email: str | None = field(repr=False)
    is_agency: bool
    kind: str
    file_format: str
    row_count: int
    ending: str | None


@dataclass(frozen=True)
class SavedView:
    """A page with filters that a person keeps under a name."""

    name: str
    page: str
    parameters: dict[str, list[str]]


@dataclass(frozen=True)
class LoadState:
    """How fresh the numbers are, and the version that every cache key carries."""

    last_loaded_at: datetime | None
    last_built_at: datetime | None
    data_version: int


@dataclass(frozen=True)
class Visit:
    """One run of a page: who asks, and the state of the data that the answers belong to."""

    viewer: Viewer
    load_state: LoadState

    @property
    def tenant_id(self) -> int:
        """Whose numbers are on the page. Raises SessionEndedError when no tenant is chosen."""
        if self.viewer.tenant_id is None:
            raise SessionEndedError("no tenant is chosen")
        return self.viewer.tenant_id

    @property
    def timezone(self) -> str:
        """The tenant's IANA zone."""
        return self.viewer.timezone or "America/Sao_Paulo"


class SessionEndedError(MiranteError):
    """The session behind a page ended, or stands for another tenant by now."""


class UserLimitError(MiranteError):
    """One more active user than the tenant's plan allows."""


def cookie_name(*, secure: bool) -> str:
    """Name of the session cookie on this installation."""
    return SECURE_COOKIE_NAME if secure else COOKIE_NAME


def device_cookie_name(*, secure: bool) -> str:
    """Name of the cookie by which a browser is known as one that logged in before."""
    return SECURE_DEVICE_COOKIE_NAME if secure else DEVICE_COOKIE_NAME


def token_hash(token: str | None) -> bytes | None:
    """What the database knows of a token; None for what cannot be one."""
    if token is None or not _TOKEN.fullmatch(token):
        return None
    return users.token_digest(token)


def csrf_token(token_sha256: bytes) -> str:
    """What a form of this session carries: another site can send the cookie, but not know this."""
    return hmac.new(token_sha256, b"mirante form", hashlib.sha256).hexdigest()


class Sessions:
    """Users and sessions through the functions of the app schema, all that the app role may call.

    Blocking: run in a thread. The pool is its own, so that slow pages never hold up a log-in.
    `hash_key` keys the hashes of accounts and addresses in the throttles and the audit log; all
    processes of an installation use the same, and without one each makes up its own.
    """

    def __init__(
        self,
        pool: ConnectionPool[Connection[Any]],
        *,
        idle_limit: timedelta = IDLE_LIMIT,
        lifetime: timedelta = SESSION_LIFETIME,
        hash_key: bytes | None = None,
    ) -> None:
        self._pool = pool
        self.idle_limit = idle_limit
        self.lifetime = lifetime
        self._hash_key = hash_key or secrets.token_bytes(32)
        # Checked for unknown e-mails, so that they cost what known ones cost.
        self._nobody = users.hash_password(secrets.token_hex(16))

    def admit_log_in(self, email: str, origin: Origin) -> Admission:
        """Whether this account may be tried from there now; charges the try.

        The same for accounts that exist and that do not. `forgive_log_in` gives it back.
        """
        return self._one(
            Admission,
            "select * from app.admit_log_in(%s, %s, %s, %s, %s)",
            _text(users.plain_email(email)), *self._throttle_keys(email, origin),
            token_hash(origin.device),
        )  # fmt: skip

    def forgive_log_in(self, email: str, origin: Origin, *, was_right: bool = True) -> None:
        """Take back what a log-in was charged, and the failures before it where it was right."""
        self._call(
            "select app.forgive_log_in(%s, %s, %s, %s, %s)",
            *self._throttle_keys(email, origin), token_hash(origin.device), was_right,
        )  # fmt: skip

    def log_in(self, email: str, password: str, origin: Origin | None = None) -> str | None:
        """Open a session and return its token; None when e-mail and password do not match.

        Unknown, disabled, invited and suspended users take as long as a wrong password. Where a
        second factor is due the session is `pending`, and nothing but that.
        """
        origin = origin or Origin()
        candidate = self._candidate(email)
        stored = candidate[1] if candidate else self._nobody
        if not users.verify_password(password, stored) or candidate is None:
            self._record_refusal(email, origin, candidate[0] if candidate else None)
            return None
        user_id, stored = candidate
        if users.needs_rehash(stored):
            stored = self._rehash(user_id, stored, password)
        token = users.generate_token()
        stage = self._call(
            "select app.open_session(%s, %s, %s, %s, %s, %s)",
            user_id, stored, token_hash(token), self.lifetime, origin.browser,
            self._address_hash(origin),
        )  # fmt: skip
        return token if stage else None

    def _rehash(self, user_id: int, stored: str, password: str) -> str:
        """The stored hash from now on: a new one, unless the password is refused today."""
        try:
            better = users.hash_password(password)
        except MiranteError:
            return stored
        self._call("select app.rehash_password(%s, %s, %s)", user_id, stored, better)
        return better

    def _record_refusal(self, email: str, origin: Origin, user_id: int | None) -> None:
        with self._pool.connection() as connection:
            audit.record(
                connection, "session.refuse", actor=audit.ANONYMOUS,
                target=f"user:{user_id}" if user_id else None,
                after={"account": audit.keyed_hash(self._hash_key, users.plain_email(email))},
                address=self._address_hash(origin),
            )  # fmt: skip

    def remember_device(self, token_sha256: bytes, device: str) -> None:
        """Know a browser again by its device cookie: other people's failures do not slow it."""
        self._call(
            "select app.remember_device(%s, %s, %s)",
            token_sha256, self.idle_limit, token_hash(device),
        )  # fmt: skip

    # ---- second factor ------------------------------------------------------------------------

    def pending(self, token_sha256: bytes) -> Pending | None:
        """The session that waits for a second factor; None for every other."""
        return self._maybe(Pending, "select * from app.pending_session(%s)", token_sha256)

    def admit_code(self, token_sha256: bytes, origin: Origin) -> int:
        """Seconds to wait before a code may be checked, 0 for now; charges the try.

        The sixth try of a session that waits for a code ends it.
        """
        seconds = self._call(
            "select app.admit_code(%s, %s)", token_sha256, token_hash(origin.device)
        )
        return int(seconds)

    def pass_second_factor(self, token_sha256: bytes, code: str, origin: Origin) -> str | None:
        """The token of a full session for a right code (or recovery code); None for a wrong one.

        A code that was taken before is a wrong one.
        """
        pending = self.pending(token_sha256)
        if pending is None or pending.stage != "code" or pending.totp_secret is None:
            return None
        step = users.totp_step(pending.totp_secret, code, datetime.now(UTC))
        token = users.generate_token()
        passed = self._call(
            "select app.pass_second_factor(%s, %s, %s, %s, %s, %s)",
            token_sha256, step, users.recovery_code_hash(code), token_hash(token), self.lifetime,
            self._address_hash(origin),
        )  # fmt: skip
        return token if passed else None

    def offer_totp(self, token_sha256: bytes) -> str | None:
        """The secret to be set up by this session; None when it has nothing to set up."""
        secret = self._call(
            "select app.offer_totp(%s, %s, %s)",
            token_sha256, self.idle_limit, users.generate_totp_secret(),
        )  # fmt: skip
        return str(secret) if secret else None

    def confirm_totp(
        self, token_sha256: bytes, code: str, origin: Origin
    ) -> tuple[str, list[str]] | None:
        """Set the offered secret up: the new session's token and the recovery codes.

        None when the code is wrong. Every other session of the user ends.
        """
        secret = self.offer_totp(token_sha256)
        step = users.totp_step(secret, code, datetime.now(UTC)) if secret else None
        if step is None:
            return None
        token, codes = users.generate_token(), users.generate_recovery_codes()
        confirmed = self._call(
            "select app.confirm_totp(%s, %s, %s, %s, %s, %s, %s, %s)",
            token_sha256, self.idle_limit, secret, step,
            [users.recovery_code_hash(one) for one in codes], token_hash(token), self.lifetime,
            self._address_hash(origin),
        )  # fmt: skip
        return (token, codes) if confirmed else None

    # ---- one's own account --------------------------------------------------------------------

    def own_account(self, token_sha256: bytes) -> OwnAccount | None:
        """The account behind a full session."""
        return self._maybe(
            OwnAccount, "select * from app.own_account(%s, %s)", token_sha256, self.idle_limit
        )

    def own_sessions(self, token_sha256: bytes) -> list[OwnSession]:
        """The live log-ins of the same person, this one first."""
        return self._many(
            OwnSession, "select * from app.own_sessions(%s, %s)", token_sha256, self.idle_limit
        )

    def end_own_sessions(self, token_sha256: bytes, session_id: int | None) -> list[bytes]:
        """End one of one's own log-ins, or with None all but this; the hashes of those ended."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                "select app.end_own_sessions(%s, %s, %s)",
                [token_sha256, self.idle_limit, session_id],
            ).fetchall()
        return [row[0] for row in rows]

    def change_password(self, token_sha256: bytes, current: str, new: str) -> str | None:
        """The token of the session from now on; None when `current` is not the password.

        Every other session ends. Raises UsageError when the new one is refused.
        """
        account = self.own_account(token_sha256)
        candidate = self._candidate(account.email) if account else None
        if candidate is None or not users.verify_password(current, candidate[1]):
            return None
        new_hash = users.hash_password(new, [account.email] if account else [])
        token = users.generate_token()
        changed = self._call(
            "select app.set_own_password(%s, %s, %s, %s, %s, %s)",
            token_sha256, self.idle_limit, candidate[1], new_hash, token_hash(token),
            self.lifetime,
        )  # fmt: skip
        return token if changed else None

    def renew_recovery_codes(self, token_sha256: bytes, code: str) -> list[str] | None:
        """New recovery codes in place of the old, for a right code; None for a wrong one."""
        codes = users.generate_recovery_codes()
        done = self._renew(token_sha256, code, [users.recovery_code_hash(one) for one in codes])
        return codes if done else None

    def take_off_second_factor(self, token_sha256: bytes, code: str) -> bool:
        """Take the second factor off, for a right code; every session ends. Never a super_admin."""
        return self._renew(token_sha256, code, [])

    def _renew(self, token_sha256: bytes, code: str, hashes: list[bytes]) -> bool:
        account = self.own_account(token_sha256)
        if account is None or account.totp_secret is None:
            return False
        step = users.totp_step(account.totp_secret, code, datetime.now(UTC))
        return step is not None and bool(
            self._call(
                "select app.renew_second_factor(%s, %s, %s, %s::bytea[])",
                token_sha256, self.idle_limit, step, hashes,
            )
        )  # fmt: skip

    # ---- one-time links -----------------------------------------------------------------------

    def link_user(self, token_sha256: bytes) -> LinkUser | None:
        """Whom a link belongs to while it lives; looking uses nothing up."""
        return self._maybe(LinkUser, "select * from app.link_user(%s)", token_sha256)

    def use_link(self, token_sha256: bytes, password: str, origin: Origin) -> bool:
        """Set the password, once; False when the link is over. Raises UsageError when refused."""
        found = self.link_user(token_sha256)
        if found is None:
            return False
        password_hash = users.hash_password(password, [found.email])
        return bool(
            self._call(
                "select app.use_link(%s, %s, %s)",
                token_sha256, password_hash, self._address_hash(origin),
            )
        )  # fmt: skip

    # ---- a tenant's users, for its admins -----------------------------------------------------

    def managed_users(self, token_sha256: bytes) -> list[ManagedUser]:
        """The users of the tenant this session manages; none unless it may."""
        return self._many(
            ManagedUser, "select * from app.managed_users(%s, %s)", token_sha256, self.idle_limit
        )

    def invite_user(
        self, token_sha256: bytes, tenant_id: int, email: str, role: str
    ) -> tuple[str, str]:
        """How it went (ok, taken, invalid, full, too_many, denied, or switched when the session
        manages another tenant than `tenant_id` by now), and the link's token.
        """
        token = users.generate_token()
        done = self._call(
            "select app.invite_user(%s, %s, %s, %s, %s, %s, %s)",
            token_sha256, self.idle_limit, tenant_id, _text(email), _text(role), token_hash(token),
            users.INVITE_LIFETIME,
        )  # fmt: skip
        return str(done), token

    def start_reset(self, token_sha256: bytes, user_id: int) -> str | None:
        """The token of a one-time link for another user of the managed tenant; None otherwise."""
        token = users.generate_token()
        done = self._call(
            "select app.start_reset(%s, %s, %s, %s, %s)",
            token_sha256, self.idle_limit, user_id, token_hash(token), users.RESET_LIFETIME,
        )  # fmt: skip
        return token if done else None

    def manage_user(
        self,
        token_sha256: bytes,
        user_id: int,
        *,
        role: str | None = None,
        is_active: bool | None = None,
        drop_second_factor: bool = False,
    ) -> bool:
        """Change another user of the managed tenant; False when it is not there.

        Raises UserLimitError when the tenant's plan has no room for one more.
        """
        try:
            done = self._call(
                "select app.manage_user(%s, %s, %s, %s, %s, %s)",
                token_sha256, self.idle_limit, user_id, role, is_active, drop_second_factor,
            )  # fmt: skip
        except psycopg.errors.RaiseException:
            raise UserLimitError("the tenant has as many users as its plan allows") from None
        return bool(done)

    # ---- what a person says of a conversation -------------------------------------------------

    def correct(
        self,
        visit: Visit,
        conversation_id: int,
        *,
        sentiment: str | None = None,
        intent: str | None = None,
        lead_class: str | None = None,
        visit_scheduled: bool | None = None,
    ) -> str:
        """Keep labels of a conversation of the visit's tenant; None: as it is.

        How it went: ok; denied to whom may only read; missing without such a conversation; invalid;
        too_many for five seconds; switched when the session stands for another tenant by now.
        """
        done = self._call(
            "select app.correct_conversation(%s, %s, %s, %s, %s, %s, %s, %s)",
            visit.viewer.token_sha256, self.idle_limit, visit.tenant_id, conversation_id,
            sentiment, intent, lead_class, visit_scheduled,
        )  # fmt: skip
        return str(done)

    # ---- files and saved filters --------------------------------------------------------------

    def admit_export(self, viewer: Viewer) -> tuple[str, int]:
        """Whether a file may be asked for now (ok, denied, switched, too_many), and seconds to wait
        when there were too many; takes one of the person's turns, whatever becomes of the file.
        """
        with self._pool.connection() as connection:
            row = connection.execute(
                "select outcome, wait_seconds from app.admit_export(%s, %s, %s)",
                [viewer.token_sha256, self.idle_limit, viewer.tenant_id],
            ).fetchone()
        if row is None:
            raise psycopg.DataError("app.admit_export() gave no row")
        return str(row[0]), row[1]

    def begin_export(
        self, viewer: Viewer, details: Mapping[str, Any], origin: Origin
    ) -> tuple[str, int]:
        """Whether a file may be made (ok, denied, switched), and its id in the audit log, where the
        line is committed when this returns.

        `details` go into the log: ids and names of filters, nothing that was typed.
        """
        with self._pool.connection() as connection:
            row = connection.execute(
                "select outcome, export_id from app.begin_export(%s, %s, %s, %s, %s)",
                [
                    viewer.token_sha256, self.idle_limit, viewer.tenant_id, Jsonb(dict(details)),
                    self._address_hash(origin),
                ],
            ).fetchone()  # fmt: skip
        if row is None:
            raise psycopg.DataError("app.begin_export() gave no row")
        return str(row[0]), row[1] or 0

    def finish_export(
        self, viewer: Viewer, export_id: int, outcome: str, *, rows: int, sent_bytes: int
    ) -> None:
        """Note how a file ended; the session may be over by now."""
        with self._pool.connection() as connection:
            audit.record(
                connection, "export.finish", actor=audit.Actor("user", str(viewer.user_id)),
                tenant_id=viewer.tenant_id, target=f"export:{export_id}",
                after={"outcome": outcome, "rows": rows, "bytes": sent_bytes},
            )  # fmt: skip

    def recent_exports(self, token_sha256: bytes) -> list[PastExport]:
        """The newest files of the tenant this session manages; none unless it may."""
        return self._many(
            PastExport, "select * from app.recent_exports(%s, %s)", token_sha256, self.idle_limit
        )

    def saved_views(self, token_sha256: bytes) -> list[SavedView]:
        """The person's own, of the tenant on the pages; by name."""
        return self._many(
            SavedView, "select * from app.saved_views(%s, %s)", token_sha256, self.idle_limit
        )

    def save_view(self, viewer: Viewer, view: SavedView) -> str:
        """Keep a view, in place of one of the same name: ok, invalid, full (50), denied, or
        switched when the session looks at another tenant than `viewer` by now.
        """
        done = self._call(
            "select app.save_view(%s, %s, %s, %s, %s, %s)",
            viewer.token_sha256, self.idle_limit, viewer.tenant_id, _text(view.name), view.page,
            Jsonb(view.parameters),
        )  # fmt: skip
        return str(done)

    def delete_view(self, viewer: Viewer, name: str) -> bool:
        """Forget one of the person's own; False when it is not there."""
        done = self._call(
            "select app.delete_view(%s, %s, %s, %s)",
            viewer.token_sha256, self.idle_limit, viewer.tenant_id, _text(name),
        )  # fmt: skip
        return bool(done)

    # ---- a tenant's settings, for its admins --------------------------------------------------
    # How a change went: ok, same, denied, switched (the session manages another tenant than the
    # page's `tenant_id` by now), too_many for five seconds, invalid, or what the function adds.

    def managed_settings(self, token_sha256: bytes) -> ManagedSettings | None:
        """The settings of the tenant this session manages; None unless it may."""
        return self._maybe(
            ManagedSettings, "select * from app.managed_settings(%s, %s)",
            token_sha256, self.idle_limit,
        )  # fmt: skip

    def managed_rules(self, token_sha256: bytes) -> list[ManagedRule]:
        """The tenant's own rules of the funnel; none unless the session may."""
        return self._many(
            ManagedRule, "select * from app.managed_rules(%s, %s)", token_sha256, self.idle_limit
        )

    def add_rule(
        self, token_sha256: bytes, tenant_id: int, stage: str, kind: str, value: str
    ) -> str:
        """Add a rule of the funnel: ok, taken, full, …"""
        return str(
            self._call(
                "select app.add_rule(%s, %s, %s, %s, %s, %s)",
                token_sha256, self.idle_limit, tenant_id, stage, kind, value,
            )
        )  # fmt: skip

    def remove_rule(self, token_sha256: bytes, tenant_id: int, rule_id: int) -> str:
        """Remove a rule of the funnel: ok, missing, …"""
        return str(
            self._call(
                "select app.remove_rule(%s, %s, %s, %s)",
                token_sha256, self.idle_limit, tenant_id, rule_id,
            )
        )  # fmt: skip

    def set_ai_budget(self, token_sha256: bytes, tenant_id: int, usd: Decimal | None) -> str:
        """US dollars a month, None for the plan's: ok, above (an admin, the plan's), …"""
        return str(
            self._call(
                "select app.set_ai_budget(%s, %s, %s, %s)",
                token_sha256, self.idle_limit, tenant_id, usd,
            )
        )  # fmt: skip

    def set_ai_outside(self, token_sha256: bytes, tenant_id: int, *, is_allowed: bool) -> str:
        """Whether any text of the tenant may go to a provider outside."""
        return str(
            self._call(
                "select app.set_ai_outside(%s, %s, %s, %s)",
                token_sha256, self.idle_limit, tenant_id, is_allowed,
            )
        )  # fmt: skip

    def set_looks(
        self,
        token_sha256: bytes,
        tenant_id: int,
        *,
        display_name: str | None = None,
        primary_color: str | None = None,
        accent_color: str | None = None,
        logo: Logo | None = None,
        keeps_logo: bool = False,
    ) -> str:
        """The whole look from now on, None being Mirante's own; pages show it at once."""
        try:
            done = self._call(
                "select app.set_looks(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                token_sha256, self.idle_limit, tenant_id, display_name, primary_color,
                accent_color, logo.content if logo else None, logo.media_type if logo else None,
                keeps_logo,
            )  # fmt: skip
        except psycopg.errors.CheckViolation:
            return "invalid"
        return str(done)

    # ---- sessions -----------------------------------------------------------------------------

    def find(self, token_sha256: bytes) -> Viewer | None:
        """The session while it, its user and its tenant are alive."""
        return self._maybe(
            Viewer,
            """
            select
                %s::bytea as token_sha256, user_id, email, role, tenant_id,
                tenant_slug, tenant_name, timezone, currency, segment
            from app.current_session(%s, %s)
            """,
            token_sha256, token_sha256, self.idle_limit,
        )  # fmt: skip

    def visit(self, token: str | None) -> Visit:
        """The start of a page run. Raises SessionEndedError without a live session and a tenant."""
        token_sha256 = token_hash(token)
        viewer = self.find(token_sha256) if token_sha256 else None
        if viewer is None or viewer.tenant_id is None:
            raise SessionEndedError("no live session with a tenant")
        return Visit(viewer, self.load_state(viewer.tenant_id))

    def verify(self, visit: Visit) -> None:
        """Raise SessionEndedError unless the session still stands as at the start of the run."""
        if self.find(visit.viewer.token_sha256) != visit.viewer:
            raise SessionEndedError("the session ended during the run")

    def touch(self, token_sha256: bytes) -> None:
        """Note that somebody is there: the idle limit counts from now."""
        with self._pool.connection() as connection:
            connection.execute("select app.touch_session(%s, %s)", [token_sha256, self.idle_limit])

    def close(self, token_sha256: bytes) -> None:
        """End a session; one that is not there is fine."""
        with self._pool.connection() as connection:
            connection.execute("select app.close_session(%s)", [token_sha256])

    def selectable_tenants(self, token_sha256: bytes) -> list[SelectableTenant]:
        """The agency's clients by name; none unless the session is a super_admin's."""
        with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(SelectableTenant)) as cursor,
        ):
            return cursor.execute(
                "select * from app.selectable_tenants(%s, %s)", [token_sha256, self.idle_limit]
            ).fetchall()

    def view_tenant(self, token_sha256: bytes, tenant_id: int) -> bool:
        """Look at one client from now on; False when the session may not."""
        with self._pool.connection() as connection:
            row = connection.execute(
                "select app.view_tenant(%s, %s, %s)", [token_sha256, self.idle_limit, tenant_id]
            ).fetchone()
        return row is not None and row[0] is True

    def load_state(self, tenant_id: int | None = None) -> LoadState:
        """When the last successful load and build were; the version is of the tenant's pages."""
        with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(LoadState)) as cursor,
        ):
            state = cursor.execute("select * from app.load_state(%s)", [tenant_id]).fetchone()
        if state is None:
            raise psycopg.DataError("app.load_state() gave no row")
        return state

    def _candidate(self, email: str) -> tuple[int, str] | None:
        if "\0" in email:  # PostgreSQL's text cannot hold it, so nobody has it
            return None
        with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=tuple_row) as cursor,
        ):
            return cursor.execute(
                "select user_id, password_hash from app.login_candidate(%s)",
                [users.plain_email(email)],
            ).fetchone()

    def _throttle_keys(self, email: str, origin: Origin) -> list[bytes]:
        """Of the account, of the address, and of the two together."""
        account, network = users.plain_email(email), _network(origin.address)
        return [
            hmac.new(self._hash_key, text.encode("utf-8", "replace"), hashlib.sha256).digest()
            for text in (f"account {account}", f"address {network}", f"pair {network} {account}")
        ]

    def _address_hash(self, origin: Origin) -> audit.KeyedHash | None:
        return audit.keyed_hash(self._hash_key, origin.address) if origin.address else None

    def _call(self, query: LiteralString, *values: object) -> Any:
        """The one value of a function."""
        with self._pool.connection() as connection:
            row = connection.execute(query, values).fetchone()
        return row[0] if row else None

    def _one(self, row_type: type[T], query: LiteralString, *values: object) -> T:
        row = self._maybe(row_type, query, *values)
        if row is None:
            raise psycopg.DataError(f"no row: {query}")
        return row

    def _maybe(self, row_type: type[T], query: LiteralString, *values: object) -> T | None:
        rows = self._many(row_type, query, *values)
        return rows[0] if rows else None

    def _many(self, row_type: type[T], query: LiteralString, *values: object) -> list[T]:
        with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(row_type)) as cursor,
        ):
            return cursor.execute(query, values).fetchall()


def _text(value: str) -> str:
    """What PostgreSQL's text can hold."""
    return value.replace("\0", "\ufffd")


def _network(address: str) -> str:
    """Whose tries are counted together: one IPv4 address, or a household's IPv6 network."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 6:
        mapped = parsed.ipv4_mapped
        return str(mapped or ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
