"""Routes of people: log-in and its second step, one-time links, one's account, a tenant's users."""

import logging
import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Literal, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from dashboard import account_forms, forms
from dashboard.auth import Origin, Pending, UserLimitError, Viewer, cookie_name, token_hash
from dashboard.guard import (
    ACCOUNT_PATH,
    CODE_PATH,
    ENROL_PATH,
    LINK_PREFIX,
    LOG_IN_PATH,
    LOG_OUT_PATH,
    USERS_PATH,
)
from dashboard.state import Dashboard
from dashboard.web import (
    BadFormError,
    guard_of,
    is_id,
    origin_of,
    read_form,
    read_own_form,
    route,
    session_hash,
    set_device_cookie,
    set_session_cookie,
)
from warehouse import users
from warehouse.errors import UsageError

log = logging.getLogger(__name__)
T = TypeVar("T")

WRONG_PASSWORD = "E-mail ou senha não conferem."  # noqa: S105  # a sentence
WRONG_CODE = "Este código não confere, ou já foi usado. Espere o próximo."
NO_ROOM = "O plano não tem lugar para mais uma pessoa: desligue alguém ou fale com a agência."
LINK_OVER = "Este link já foi usado ou venceu. Peça outro a quem administra a sua conta."


class BusyError(Exception):
    """Too many passwords are being checked at this moment."""


class Turnstile:
    """Lets a few password checks run at once: each is a fifth of a second of one core.

    More would slow all of them down, and a long queue would make a right log-in wait behind wrong
    ones: who finds the queue full is sent away at once. Browsers that logged in before have a lane
    of their own, and one address never more than half of the other.
    """

    QUEUE = 6  # those being checked among them

    def __init__(self) -> None:
        self._strangers = CapacityLimiter(max(2, (os.cpu_count() or 2) - 1))
        self._known = CapacityLimiter(1)
        self._waiting: Counter[str] = Counter()

    async def check(
        self, function: Callable[..., T], *arguments: object, origin: Origin, is_known: bool
    ) -> T:
        """Run `function` in a thread. Raises BusyError when too many wait."""
        lane = "known" if is_known else "strangers"
        places = [(lane, self.QUEUE)]
        if not is_known:
            places.append((f"address {origin.address}", self.QUEUE // 2))
        if any(self._waiting[place] >= limit for place, limit in places):
            raise BusyError
        self._waiting.update(place for place, _ in places)
        try:
            return await to_thread.run_sync(
                partial(function, *arguments), limiter=self._known if is_known else self._strangers
            )
        finally:
            self._waiting.subtract(place for place, _ in places)
            self._waiting += Counter()  # forgets who is gone


class Accounts:
    """The handlers; the guard has checked Origin, and the session where one is needed."""

    def __init__(self, dashboard: Dashboard) -> None:
        self._dashboard = dashboard
        self._sessions = dashboard.sessions
        self._brand = dashboard.brand_name
        self._turnstile = Turnstile()

    def routes(self) -> list[Route]:
        """Every route of this module."""
        return [
            route(self._dashboard, path, endpoint, method)
            for path, endpoint, method in (
                (LOG_IN_PATH, self._show_log_in, "GET"),
                (LOG_IN_PATH, self._log_in, "POST"),
                (LOG_OUT_PATH, self._log_out, "POST"),
                (CODE_PATH, self._show_code, "GET"),
                (CODE_PATH, self._give_code, "POST"),
                (ENROL_PATH, self._show_enrol, "GET"),
                (ENROL_PATH, self._enrol, "POST"),
                (LINK_PREFIX + "{token}", self._show_link, "GET"),
                (LINK_PREFIX + "{token}", self._use_link, "POST"),
                (ACCOUNT_PATH, self._show_account, "GET"),
                (ACCOUNT_PATH, self._change_account, "POST"),
                (USERS_PATH, self._show_users, "GET"),
                (USERS_PATH, self._change_users, "POST"),
            )
        ]

    # ---- log-in -------------------------------------------------------------------------------

    async def _show_log_in(self, request: Request) -> Response:
        guard = guard_of(request)
        token_sha256 = session_hash(request, self._dashboard)
        if token_sha256:
            if await guard.find(token_sha256):
                return RedirectResponse("/", status_code=303)
            pending = await guard.in_thread(self._sessions.pending, token_sha256)
            if pending:
                return self._to_second_step(pending.stage)
        response = HTMLResponse(forms.log_in_page(self._brand))
        if cookie_name(secure=self._dashboard.cookie_secure) in request.cookies:
            set_session_cookie(response, self._dashboard, "", 0)
        return response

    async def _log_in(self, request: Request) -> Response:
        form = await read_form(request)
        email, password = form.get("email", ""), form.get("password", "")
        guard, origin = guard_of(request), origin_of(request, self._dashboard)
        admission = await guard.in_thread(self._sessions.admit_log_in, email, origin)
        if admission.wait_seconds:
            return self._later(email, admission.wait_seconds)
        try:
            token = await self._turnstile.check(
                self._sessions.log_in, email, password, origin,
                origin=origin, is_known=admission.is_known_device,
            )  # fmt: skip
        except BusyError:
            await guard.in_thread(
                partial(self._sessions.forgive_log_in, email, origin, was_right=False)
            )
            return self._later(email, 2)
        token_sha256 = token_hash(token)
        if token is None or token_sha256 is None:
            page = forms.log_in_page(self._brand, email=email, problem=WRONG_PASSWORD)
            return HTMLResponse(page, status_code=401)
        await self._end_session(request)
        pending = await guard.in_thread(self._sessions.pending, token_sha256)
        if pending:
            response = self._to_second_step(pending.stage)
            set_session_cookie(response, self._dashboard, token)
            return response
        response = RedirectResponse("/", status_code=303)
        await self._welcome(request, response, token, email)
        return response

    def _later(self, email: str, seconds: int) -> Response:
        """The same whether the account exists or not, and whether the password was right."""
        log.warning("log-in put off by %s s", seconds)
        unit = "segundo" if seconds == 1 else "segundos"
        page = forms.log_in_page(
            self._brand, email=email,
            problem=f"Muitas tentativas. Tente de novo em {seconds} {unit}.",
        )  # fmt: skip
        return HTMLResponse(page, status_code=429, headers={"retry-after": str(seconds)})

    def _to_second_step(self, stage: str) -> Response:
        return RedirectResponse(CODE_PATH if stage == "code" else ENROL_PATH, status_code=303)

    async def _welcome(self, request: Request, response: Response, token: str, email: str) -> None:
        """What follows a whole log-in: cookies, a browser that is known, failures forgotten."""
        guard, origin = guard_of(request), origin_of(request, self._dashboard)
        set_session_cookie(response, self._dashboard, token)
        await guard.in_thread(self._sessions.forgive_log_in, email, origin)
        device = origin.device if token_hash(origin.device) else users.generate_token()
        if device is not None:
            await guard.in_thread(self._sessions.remember_device, token_hash(token), device)
            set_device_cookie(response, self._dashboard, device)

    async def _log_out(self, request: Request) -> Response:
        token_sha256 = session_hash(request, self._dashboard)
        if token_sha256 and await self._is_alive(request, token_sha256):
            await read_own_form(request, token_sha256)
            await self._end_session(request)
        response = RedirectResponse(LOG_IN_PATH, status_code=303)
        set_session_cookie(response, self._dashboard, "", 0)
        return response

    async def _is_alive(self, request: Request, token_sha256: bytes) -> bool:
        guard = guard_of(request)
        return (
            await guard.find(token_sha256) is not None
            or await guard.in_thread(self._sessions.pending, token_sha256) is not None
        )

    async def _end_session(self, request: Request) -> None:
        token_sha256 = session_hash(request, self._dashboard)
        if token_sha256:
            guard = guard_of(request)
            await guard.in_thread(self._sessions.close, token_sha256)
            guard.recheck(token_sha256)

    # ---- second step --------------------------------------------------------------------------

    async def _pending(
        self, request: Request, stage: Literal["code", "enrol"]
    ) -> tuple[bytes | None, Pending | None]:
        """The session of the request and what it waits for, when it waits at this stage."""
        token_sha256 = session_hash(request, self._dashboard)
        if token_sha256 is None:
            return None, None
        pending = await guard_of(request).in_thread(self._sessions.pending, token_sha256)
        return token_sha256, pending if pending and pending.stage == stage else None

    async def _show_code(self, request: Request) -> Response:
        token_sha256, pending = await self._pending(request, "code")
        if token_sha256 is None or pending is None:
            return RedirectResponse(LOG_IN_PATH, status_code=303)
        return HTMLResponse(account_forms.code_page(self._brand, token_sha256, pending))

    async def _give_code(self, request: Request) -> Response:
        guard, origin = guard_of(request), origin_of(request, self._dashboard)
        token_sha256, pending = await self._pending(request, "code")
        if token_sha256 is None or pending is None:
            return RedirectResponse(LOG_IN_PATH, status_code=303)
        form = await read_own_form(request, token_sha256)
        seconds = await guard.in_thread(self._sessions.admit_code, token_sha256, origin)
        if not seconds:
            token = await guard.in_thread(
                self._sessions.pass_second_factor, token_sha256, form.get("code", ""), origin
            )
            if token:
                response = RedirectResponse("/", status_code=303)
                await self._welcome(request, response, token, pending.email)
                return response
        _, pending = await self._pending(request, "code")
        if pending is None:  # too many wrong ones
            return RedirectResponse(LOG_IN_PATH, status_code=303)
        problem = (
            f"Muitas tentativas. Tente de novo em {seconds} segundos." if seconds else WRONG_CODE
        )
        page = account_forms.code_page(self._brand, token_sha256, pending, problem)
        return HTMLResponse(page, status_code=429 if seconds else 401)

    async def _show_enrol(self, request: Request, problem: str | None = None) -> Response:
        guard = guard_of(request)
        token_sha256, pending = await self._pending(request, "enrol")
        if token_sha256 is None or pending is None:
            return RedirectResponse(LOG_IN_PATH, status_code=303)
        secret = await guard.in_thread(self._sessions.offer_totp, token_sha256)
        if secret is None:
            return RedirectResponse(LOG_IN_PATH, status_code=303)
        page = account_forms.enrol_page(self._brand, token_sha256, pending.email, secret, problem)
        return HTMLResponse(page, status_code=401 if problem else 200)

    async def _enrol(self, request: Request) -> Response:
        guard, origin = guard_of(request), origin_of(request, self._dashboard)
        token_sha256, pending = await self._pending(request, "enrol")
        if token_sha256 is None or pending is None:
            return RedirectResponse(LOG_IN_PATH, status_code=303)
        form = await read_own_form(request, token_sha256)
        confirmed = await guard.in_thread(
            self._sessions.confirm_totp, token_sha256, form.get("code", ""), origin
        )
        if confirmed is None:
            return await self._show_enrol(request, WRONG_CODE)
        token, codes = confirmed
        response = HTMLResponse(account_forms.recovery_codes_page(self._brand, codes))
        await self._welcome(request, response, token, pending.email)
        return response

    # ---- one-time links -----------------------------------------------------------------------

    async def _show_link(self, request: Request, problem: str | None = None) -> Response:
        token_sha256 = token_hash(request.path_params["token"])
        found = (
            await guard_of(request).in_thread(self._sessions.link_user, token_sha256)
            if token_sha256
            else None
        )
        if found is None:
            page = forms.message_page(self._brand, "Este link não vale mais", LINK_OVER)
            return HTMLResponse(page, status_code=404)
        page = account_forms.link_page(self._brand, request.url.path, found, problem)
        return HTMLResponse(page, status_code=400 if problem else 200)

    async def _use_link(self, request: Request) -> Response:
        form = await read_form(request)
        password = form.get("password", "")
        token_sha256 = token_hash(request.path_params["token"])
        guard, origin = guard_of(request), origin_of(request, self._dashboard)
        found = (
            await guard.in_thread(self._sessions.link_user, token_sha256) if token_sha256 else None
        )
        if found is None:
            return await self._show_link(request)
        problem = await _password_problem(password, form.get("again", ""), found.email)
        if problem:
            return await self._show_link(request, problem)
        try:
            is_set = await self._turnstile.check(
                self._sessions.use_link, token_sha256, password, origin,
                origin=origin, is_known=False,
            )  # fmt: skip
        except BusyError:
            return await self._show_link(request, "Tente de novo em instantes.")
        if not is_set:
            return await self._show_link(request)
        await self._end_session(request)
        text = "Agora entre com o seu e-mail e a senha que você acabou de criar."
        response = HTMLResponse(forms.message_page(self._brand, "Senha criada", text))
        set_session_cookie(response, self._dashboard, "", 0)
        return response

    # ---- one's own account --------------------------------------------------------------------

    async def _show_account(
        self,
        request: Request,
        *,
        offered_secret: str | None = None,
        problem: str | None = None,
        done: str | None = None,
        status: int = 200,
    ) -> Response:
        viewer: Viewer = request.scope["mirante.viewer"]
        guard = guard_of(request)
        account = await guard.in_thread(self._sessions.own_account, viewer.token_sha256)
        if account is None:
            return RedirectResponse(LOG_IN_PATH, status_code=303)
        sessions = await guard.in_thread(self._sessions.own_sessions, viewer.token_sha256)
        page = account_forms.account_page(
            self._brand, viewer, account, sessions,
            offered_secret=offered_secret, problem=problem, done=done,
        )  # fmt: skip
        return HTMLResponse(page, status_code=status)

    async def _change_account(self, request: Request) -> Response:
        viewer: Viewer = request.scope["mirante.viewer"]
        form = await read_own_form(request, viewer.token_sha256)
        act, guard = form.get("act"), guard_of(request)
        if act in {"confirm", "renew", "take_off"}:
            return await self._change_second_factor(request, form)
        if act == "offer":
            secret = await guard.in_thread(self._sessions.offer_totp, viewer.token_sha256)
            return await self._show_account(request, offered_secret=secret)
        if act == "password":
            return await self._change_password(request, form)
        if act == "end" and not is_id(form.get("target", "")):
            raise BadFormError
        if act in {"end", "end_others"}:
            target = int(form["target"]) if act == "end" else None
            ended = await guard.in_thread(
                self._sessions.end_own_sessions, viewer.token_sha256, target
            )
            for token_sha256 in ended:
                guard.recheck(token_sha256)
            if viewer.token_sha256 in ended:
                return RedirectResponse(LOG_IN_PATH, status_code=303)
            return await self._show_account(
                request, done="Sessão encerrada." if ended else "Nada a encerrar."
            )
        raise BadFormError

    async def _change_second_factor(self, request: Request, form: dict[str, str]) -> Response:
        viewer: Viewer = request.scope["mirante.viewer"]
        guard, origin = guard_of(request), origin_of(request, self._dashboard)
        mine, code, act = viewer.token_sha256, form.get("code", ""), form["act"]
        seconds = await guard.in_thread(self._sessions.admit_code, mine, origin)
        if seconds:
            problem = f"Muitas tentativas. Tente de novo em {seconds} segundos."
            return await self._show_account(request, problem=problem, status=429)
        if act == "confirm":
            confirmed = await guard.in_thread(self._sessions.confirm_totp, mine, code, origin)
            if confirmed is None:
                secret = await guard.in_thread(self._sessions.offer_totp, mine)
                return await self._show_account(
                    request, offered_secret=secret, problem=WRONG_CODE, status=401
                )
            token, codes = confirmed
            response: Response = HTMLResponse(account_forms.recovery_codes_page(self._brand, codes))
            guard.recheck(mine)
            await self._welcome(request, response, token, viewer.email)
            return response
        if act == "renew":
            new_codes = await guard.in_thread(self._sessions.renew_recovery_codes, mine, code)
            if new_codes:
                return HTMLResponse(account_forms.recovery_codes_page(self._brand, new_codes))
        elif await guard.in_thread(self._sessions.take_off_second_factor, mine, code):
            guard.recheck(mine)
            return RedirectResponse(LOG_IN_PATH, status_code=303)
        return await self._show_account(request, problem=WRONG_CODE, status=401)

    async def _change_password(self, request: Request, form: dict[str, str]) -> Response:
        viewer: Viewer = request.scope["mirante.viewer"]
        guard, origin = guard_of(request), origin_of(request, self._dashboard)
        current, new = form.get("current", ""), form.get("password", "")
        problem = await _password_problem(new, form.get("again", ""), viewer.email)
        if problem:
            return await self._show_account(request, problem=problem, status=400)
        # A stolen session must not be a place to guess the password at will.
        admission = await guard.in_thread(self._sessions.admit_log_in, viewer.email, origin)
        token, seconds = None, admission.wait_seconds
        if not seconds:
            try:
                token = await self._turnstile.check(
                    self._sessions.change_password, viewer.token_sha256, current, new,
                    origin=origin, is_known=admission.is_known_device,
                )  # fmt: skip
            except BusyError:
                await guard.in_thread(
                    partial(self._sessions.forgive_log_in, viewer.email, origin, was_right=False)
                )
                seconds = 2
            except UsageError:
                token = None
        if token is None:
            problem = (
                f"Muitas tentativas. Tente de novo em {seconds} segundos."
                if seconds
                else "A senha atual não confere."
            )
            return await self._show_account(
                request, problem=problem, status=429 if seconds else 401
            )
        guard.recheck(viewer.token_sha256)
        response = RedirectResponse(ACCOUNT_PATH, status_code=303)
        await self._welcome(request, response, token, viewer.email)
        return response

    # ---- a tenant's users ---------------------------------------------------------------------

    async def _show_users(
        self,
        request: Request,
        *,
        link: tuple[str, str] | None = None,
        problem: str | None = None,
        done: str | None = None,
        email: str = "",
        status: int = 200,
    ) -> Response:
        viewer: Viewer = request.scope["mirante.viewer"]
        if viewer.role not in {"admin", "super_admin"}:
            return self._not_yours()
        managed = await guard_of(request).in_thread(
            self._sessions.managed_users, viewer.token_sha256
        )
        page = account_forms.users_page(
            self._brand, viewer, managed, link=link, problem=problem, done=done, email=email
        )
        return HTMLResponse(page, status_code=status)

    async def _change_users(self, request: Request) -> Response:
        """What the database refuses is refused: the session's role and tenant are its word."""
        viewer: Viewer = request.scope["mirante.viewer"]
        form = await read_own_form(request, viewer.token_sha256)
        if viewer.role not in {"admin", "super_admin"}:
            return self._not_yours()
        act, guard, mine = form.get("act", ""), guard_of(request), viewer.token_sha256
        if act == "invite":
            return await self._invite(request, form)
        if not is_id(form.get("user_id", "")):
            raise BadFormError
        user_id = int(form["user_id"])
        if act == "reset":
            email = await self._email_of(request, user_id)
            token = await guard.in_thread(self._sessions.start_reset, mine, user_id)
            if token and email:
                return await self._show_users(request, link=(email, self._link(request, token)))
            return self._not_yours()
        changes: dict[str, tuple[dict[str, object], str]] = {
            "disable": ({"is_active": False}, "Acesso desligado; as sessões terminaram."),
            "enable": ({"is_active": True}, "Acesso religado."),
            "client": ({"role": "client"}, "Agora com acesso de leitura."),
            "admin": ({"role": "admin"}, "Agora com acesso de administração."),
            "drop_second_factor": (
                {"drop_second_factor": True},
                "Verificação em duas etapas desligada; a pessoa pode ativá-la de novo.",
            ),
        }
        if act not in changes:
            raise BadFormError
        values, done = changes[act]
        manage = partial(self._sessions.manage_user, mine, user_id, **values)  # type: ignore[arg-type]
        try:
            is_done = await guard.in_thread(manage)
        except UserLimitError:
            return await self._show_users(request, problem=NO_ROOM, status=400)
        if not is_done:
            return self._not_yours()
        return await self._show_users(request, done=done)

    async def _invite(self, request: Request, form: dict[str, str]) -> Response:
        viewer: Viewer = request.scope["mirante.viewer"]
        email, tenant_id = users.plain_email(form.get("email", "")), form.get("tenant_id", "")
        if not is_id(tenant_id):
            raise BadFormError
        result, token = await guard_of(request).in_thread(
            self._sessions.invite_user, viewer.token_sha256, int(tenant_id), email,
            form.get("role", ""),
        )  # fmt: skip
        if result == "ok":
            return await self._show_users(request, link=(email, self._link(request, token)))
        if result == "denied":
            return self._not_yours()
        problem = {
            "taken": "Este e-mail já tem um acesso e não pode ser convidado: fale com a agência.",
            "invalid": "Este e-mail não parece um endereço.",
            "full": NO_ROOM,
            "switched": f"Ninguém foi convidado: agora o cliente é {viewer.tenant_name}.",
            "too_many": "Muitos convites em pouco tempo. Espere um minuto.",
        }[result]
        status = 429 if result == "too_many" else 400
        return await self._show_users(request, problem=problem, email=email, status=status)

    async def _email_of(self, request: Request, user_id: int) -> str | None:
        viewer: Viewer = request.scope["mirante.viewer"]
        managed = await guard_of(request).in_thread(
            self._sessions.managed_users, viewer.token_sha256
        )
        return next((user.email for user in managed if user.user_id == user_id), None)

    def _link(self, request: Request, token: str) -> str:
        """The address of a one-time link, for the eyes of whoever sent this very request."""
        scheme = "https" if self._dashboard.cookie_secure else request.url.scheme
        base = self._dashboard.public_url or f"{scheme}://{request.headers.get('host', '')}"
        return f"{base}{LINK_PREFIX}{token}"

    def _not_yours(self) -> Response:
        text = "Você não pode fazer isto, ou este usuário não existe aqui."
        page = forms.message_page(self._brand, "Sem permissão", text)
        return HTMLResponse(page, status_code=403)


async def _password_problem(password: str, again: str, email: str) -> str | None:
    if password != again:
        return "As duas senhas não são iguais."
    weakness = await to_thread.run_sync(users.password_weakness, password, [email])
    return account_forms.PASSWORD_PROBLEMS[weakness] if weakness else None
