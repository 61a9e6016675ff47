"""Who writes to the businesses of the sample."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from warehouse.sample import texts
from warehouse.sample.plan import Planned
from warehouse.sample.rows import Tables
from warehouse.sample.world import (
    AGENCY_ACCOUNT,
    BUSINESSES,
    LISBON,
    TAG_IDS,
    Business,
    Inbox,
    secret,
)

SCATTER = 7_654_321  # odd steps through the numbers: no two contacts share one
# Names as strangers type them into a form.
HOSTILE_NAMES = ("<b onmouseover=alert(1)>Ana</b>", '=HYPERLINK("http://mal.example";"Ana")')
AREA_CODES = ("11", "11", "21", "31", "65", "71", "81", "85", "92")


@dataclass(slots=True)
class Contact:
    """A contact of an account; `name` is what people call them, which may be nothing."""

    id: int
    account_id: int
    name: str
    last_name: str
    email: str | None
    phone: str | None
    style: str
    created_at: datetime
    is_nameless: bool = False
    is_blocked: bool = False
    is_gone: bool = False
    last_activity_at: datetime | None = None
    busy_until: datetime | None = None  # None: in a conversation that goes on
    inboxes: dict[int, int] = field(default_factory=dict)  # inbox id: contact_inboxes id


class People:
    """Who writes: new contacts, old ones who come back, and some who talk with two tenants."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._pools: dict[tuple[str, str], list[Contact]] = defaultdict(list)
        self._all: list[Contact] = []
        self._shared_phones: set[str] = set()
        self._asked = 0

    def contact_for(
        self, rng: random.Random, planned: Planned, start: datetime
    ) -> tuple[Contact, int]:
        """(contact, contact_inboxes id) of a conversation that begins at `start`."""
        business, inbox = planned.business, planned.inbox
        # Identities that hold beyond one inbox: a phone number, an address.
        group = {"whatsapp": "phone", "sms": "phone", "email": "email"}.get(
            inbox.channel, f"inbox {inbox.id}"
        )
        self._asked += 1
        contact = None
        if planned.scenario.has_contact and not planned.scenario.is_imported:
            if self._asked % 25 == 0 and business.account_id == AGENCY_ACCOUNT:
                others = [b.name for b in BUSINESSES if b.account_id == AGENCY_ACCOUNT]
                others.remove(business.name)
                contact = self._free_one(rng, rng.choice(others), group, inbox, start)
            elif rng.random() < 0.25:
                contact = self._free_one(rng, business.name, group, inbox, start)
        if contact is None:
            contact = self._new(rng, business, inbox, group, start)
            contact.is_gone = not planned.scenario.has_contact
            if not contact.is_gone:
                self._pools[business.name, group].append(contact)
        if inbox.id not in contact.inboxes:
            contact.inboxes[inbox.id] = self._join(rng, contact, inbox, start)
        return contact, contact.inboxes[inbox.id]

    def write(self) -> None:
        """Send the contacts, which changed until the end."""
        for contact in self._all:
            if contact.is_gone:
                continue
            changed_at = contact.last_activity_at or contact.created_at
            self._tables.add("contacts", {
                "id": contact.id,
                "name": self._shown_name(contact),
                "email": contact.email,
                "phone_number": contact.phone,
                "account_id": contact.account_id,
                "created_at": contact.created_at,
                "updated_at": changed_at,
                "last_activity_at": contact.last_activity_at,
                "contact_type": int(bool(contact.email or contact.phone)),
                "blocked": contact.is_blocked,
                "identifier": f"portal-{contact.id}" if 18 in contact.inboxes else None,
                "custom_attributes": (
                    json.dumps({"plano": "anual", "pontos": contact.id % 90, "ativo": True})
                    if contact.id % 9 == 0
                    else "{}"
                ),
                "additional_attributes": json.dumps(
                    {"city": "Recife", "country": "Brazil", "created_at_ip": "203.0.113.7"}
                    if contact.id % 7 == 0
                    else {}
                ),
            })  # fmt: skip

    def _free_one(
        self, rng: random.Random, business: str, group: str, inbox: Inbox, start: datetime
    ) -> Contact | None:
        pool = self._pools[business, group]
        for _ in range(4 if pool else 0):
            contact = pool[-1 - int(rng.random() * min(len(pool), 600))]
            is_free = contact.busy_until is not None and contact.busy_until < start
            # Such an inbox would go on with the contact's old conversation instead.
            if is_free and not (inbox.lock_to_single and inbox.id in contact.inboxes):
                return contact
        return None

    def _new(
        self, rng: random.Random, business: Business, inbox: Inbox, group: str, start: datetime
    ) -> Contact:
        number = self._tables.next_id("contacts")
        name, last_name = rng.choice(texts.FIRST_NAMES), rng.choice(texts.LAST_NAMES)
        contact = Contact(
            id=number,
            account_id=business.account_id,
            name=name,
            last_name=last_name,
            email=None,
            phone=None,
            style=rng.choice(texts.TYPING_STYLES),
            created_at=start - timedelta(milliseconds=rng.randint(40, 900)),
            is_nameless=number % 31 == 0 or (inbox.channel == "web" and rng.random() < 0.35),
            is_blocked=number % 83 == 0,
        )
        if group == "phone":
            ninth = "" if rng.random() < 0.06 else "9"
            prefix = f"55{rng.choice(AREA_CODES)}{ninth}"
            if inbox.timezone == LISBON:
                prefix = "3519"
            contact.phone = f"+{prefix}9{number * SCATTER % 10_000_000:07}"
            if number % 37 == 0:
                contact.phone = f"1203630{number:011}@g.us"  # a group, by an importer
            elif number % 19 == 0 and (known := self._known_phone(business)):
                contact.phone = known
        if group == "email" or (rng.random() < 0.3 and not contact.is_nameless):
            contact.email = f"{ascii_lower(name)}.{ascii_lower(last_name)}{number}@correio.example"
        if number % 23 == 0:
            self._label(contact)
        self._all.append(contact)
        return contact

    def _label(self, contact: Contact) -> None:
        self._tables.tag_uses["vip"] += 1
        self._tables.later(contact.created_at, "taggings", {
            "tag_id": TAG_IDS["vip"], "taggable_type": "Contact", "taggable_id": contact.id,
            "context": "labels", "created_at": contact.created_at,
        })  # fmt: skip

    def _known_phone(self, business: Business) -> str | None:
        """The phone of somebody in the other account: one person, two rows."""
        for other in reversed(self._all[-200:]):
            phone = other.phone or ""
            if other.account_id != business.account_id and phone.startswith("+"):
                if phone in self._shared_phones:
                    continue
                self._shared_phones.add(phone)
                return phone
        return None

    def _join(self, rng: random.Random, contact: Contact, inbox: Inbox, start: datetime) -> int:
        number = self._tables.next_id("contact_inboxes")
        digits = (contact.phone or "").lstrip("+") or f"{10**12 + number * SCATTER}"
        source_id = {
            "email": contact.email,
            "sms": contact.phone,
            # The key of the public API: as good as a password.
            "web": secret(f"visitor-{rng.getrandbits(64):016x}"),
            "api": secret(f"source-{number}"),
        }.get(inbox.channel, f"{digits}")
        if inbox.channel == "whatsapp" and inbox.channel_type == "Channel::TwilioSms":
            source_id = f"whatsapp:+{digits}"
        self._tables.add("contact_inboxes", {
            "id": number, "contact_id": contact.id, "inbox_id": inbox.id,
            "source_id": f"{source_id}.{number}" if contact.is_gone else source_id,
            "pubsub_token": secret(f"contact-{number}"),
            "created_at": start, "updated_at": start,
        })  # fmt: skip
        return number

    @staticmethod
    def _shown_name(contact: Contact) -> str | None:
        if contact.is_nameless:
            return (None, "", contact.phone or "visitante-azul-42")[contact.id % 3]
        if contact.id % 97 == 0:
            return HOSTILE_NAMES[contact.id % 2]
        return f"{contact.name} {contact.last_name}" if contact.id % 4 else contact.name


def ascii_lower(name: str) -> str:
    """The name as it stands in an address."""
    return name.translate(texts.UNACCENTED).lower()
