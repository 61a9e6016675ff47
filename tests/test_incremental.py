"""Random histories of rows and settings: a build of what changed ends as a build of everything.

Each round changes raw_chatwoot, tenants, rules and scores at random and builds; some builds are
broken half way. Then every mart is held against a full refresh, row by row.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from ai_enrich.local import FAST_MODEL
from ai_enrich.run import enrich
from extract.pipeline import run_extract
from tests.conftest import SAMPLE_UNTIL, own_databases
from warehouse import demo
from warehouse.build import build, dbt_environment
from warehouse.db import Warehouse, fetch_all
from warehouse.errors import MiranteError
from warehouse.sample import create_sample
from warehouse.settings import PROJECT_ROOT, Settings

CONVERSATIONS = 300
ROUNDS = 3
CHANGES = 30
MARTS = "select table_name from information_schema.tables where table_schema = 'marts' order by 1"


@dataclass
class History:
    """A warehouse, and what somebody does to its inputs."""

    settings: Settings
    warehouse: Warehouse
    owner: psycopg.Connection
    random: random.Random

    def build(self, **options: Any) -> None:
        build(self.settings, self.warehouse, **options)

    def make_anew(self) -> None:
        """A full refresh without the data tests, which random histories have."""
        self.build(full_refresh=True, test=False)

    # Rows

    def any(self, table: str, condition: str = "true") -> dict[str, Any]:
        """A row, the newer ones more often."""
        rows = self.owner.execute(
            f"select to_jsonb(t) from raw_chatwoot.{table} as t"
            f" where _deleted_at is null and {condition} order by id"
        ).fetchall()
        place = int(len(rows) * self.random.random() ** 0.5)
        return dict(rows[place][0])

    def add(self, table: str, like: dict[str, Any], **values: Any) -> int:
        """A copy of a row with other values; its id."""
        ((new_id,),) = self.owner.execute(
            f"select coalesce(max(id), 0) + 1 from raw_chatwoot.{table}"
        ).fetchall()
        row = like | values | {"id": new_id}
        self.owner.execute(
            f"insert into raw_chatwoot.{table} select (jsonb_populate_record("
            f"null::raw_chatwoot.{table}, %s)).*",
            [Jsonb(row)],
        )
        return int(new_id)

    def change(self, table: str, row: dict[str, Any], **values: Any) -> None:
        columns = sql.SQL(", ").join(
            sql.SQL("{} = %s").format(sql.Identifier(column)) for column in values
        )
        self.owner.execute(
            sql.SQL("update {} set {} where id = %s").format(
                sql.Identifier("raw_chatwoot", table), columns
            ),
            [*values.values(), row["id"]],
        )

    def remove(self, table: str, condition: str, *values: Any) -> None:
        """As reconcile does: sometimes a tombstone, sometimes (the erasure ledger) nothing."""
        if self.random.random() < 0.5:
            self.owner.execute(f"delete from raw_chatwoot.{table} where {condition}", values)
        else:
            self.owner.execute(
                f"update raw_chatwoot.{table} set _deleted_at = now() where {condition}", values
            )

    def moment(self) -> str:
        """Mostly of the last days, sometimes of long ago."""
        age = timedelta(days=self.random.expovariate(0.2), seconds=self.random.randrange(86400))
        return (SAMPLE_UNTIL - age).isoformat()

    # Changes of Chatwoot

    def message_arrives(self) -> None:
        like = self.any("messages", "not private and message_type in (0, 1)")
        texts = ("quero me matricular", "não quero", "quanto custa?", "obrigado", "tem vaga?", "")
        self.add(
            "messages", like, message_type=self.random.choice((0, 0, 1)),
            content=self.random.choice(texts), created_at=self.moment(),
            private=self.random.random() < 0.1,
        )  # fmt: skip

    def message_changes(self) -> None:
        changes: tuple[dict[str, Any], ...] = (
            {"content": "bom dia"}, {"private": True}, {"status": 3}, {"message_type": 2},
            {"content_attributes": '{"deleted": true}'}, {"sender_id": None},
            {"created_at": self.moment()}, {"conversation_id": self.any("conversations")["id"]},
            {"inbox_id": self.any("inboxes")["id"]},
        )  # fmt: skip
        self.change("messages", self.any("messages"), **self.random.choice(changes))

    def message_goes(self) -> None:
        self.remove("messages", "id = %s", self.any("messages")["id"])

    def attachment_comes_or_goes(self) -> None:
        if self.random.random() < 0.5:
            message = self.any("messages")["id"]
            self.add("attachments", self.any("attachments"), message_id=message, file_type=1)
        else:
            self.remove("attachments", "id = %s", self.any("attachments")["id"])

    def conversation_begins(self) -> None:
        like = self.any("conversations")
        created = self.moment()
        new = self.add("conversations", like, created_at=created, status=0)
        for side in (0, 0, 1):
            self.add(
                "messages", self.any("messages", "message_type = 0"), conversation_id=new,
                inbox_id=like["inbox_id"], message_type=side, created_at=created,
            )  # fmt: skip

    def conversation_changes(self) -> None:
        changes: tuple[dict[str, Any], ...] = (
            {"status": self.random.randrange(4)}, {"assignee_id": self.any("users")["id"]},
            {"priority": 2}, {"contact_id": self.any("contacts")["id"]}, {"contact_id": None},
            {"inbox_id": self.any("inboxes")["id"]}, {"created_at": self.moment()},
            {"additional_attributes": '{"referer": "https://a.b/?utm_source=ig&utm_campaign=x"}'},
            {"custom_attributes": '{"plano": "ouro"}'},
        )  # fmt: skip
        self.change("conversations", self.any("conversations"), **self.random.choice(changes))

    def conversation_moves_with_its_messages(self) -> None:
        conversation, inbox = self.any("conversations")["id"], self.any("inboxes")["id"]
        for table, key in (("conversations", "id"), ("messages", "conversation_id")):
            self.owner.execute(
                f"update raw_chatwoot.{table} set inbox_id = %s where {key} = %s",
                [inbox, conversation],
            )

    def conversation_goes(self) -> None:
        lost = self.any("conversations")["id"]
        self.remove("conversations", "id = %s", lost)
        for table in ("messages", "reporting_events", "csat_survey_responses"):
            if self.random.random() < 0.8:
                self.remove(table, "conversation_id = %s", lost)

    def event_comes(self) -> None:
        at = self.moment()
        self.add(
            "reporting_events", self.any("reporting_events"), event_end_time=at, created_at=at,
            name=self.random.choice((
                "conversation_resolved", "conversation_opened", "conversation_bot_handoff",
                "first_response", "reply_time",
            )),
            value=self.random.choice((None, 10, 3600)),
            conversation_id=self.random.choice((None, self.any("conversations")["id"])),
        )  # fmt: skip

    def event_goes(self) -> None:
        self.remove("reporting_events", "id = %s", self.any("reporting_events")["id"])

    def events_of_an_agent_go(self) -> None:
        agent = self.any("users")["id"]
        self.owner.execute(
            "update raw_chatwoot.reporting_events set _deleted_at = now() where user_id = %s",
            [agent],
        )

    def label_comes_or_goes(self) -> None:
        taggings = "taggable_type = 'Conversation'"
        if self.random.random() < 0.6:
            self.add(
                "taggings", self.any("taggings", taggings), tag_id=self.any("tags")["id"],
                taggable_id=self.any("conversations")["id"],
            )  # fmt: skip
        else:
            self.remove("taggings", "id = %s", self.any("taggings", taggings)["id"])

    def label_is_renamed(self) -> None:
        names = ("venda", "visita", "perdido", "vip")
        self.change("tags", self.any("tags"), name=self.random.choice(names))

    def contact_changes(self) -> None:
        changes: tuple[dict[str, Any], ...] = (
            {"name": "Outro Nome"}, {"phone_number": "+5511987650000"}, {"email": "A@b.com"},
            {"blocked": True}, {"custom_attributes": '{"cliente": "sim"}'}, {"account_id": 1},
        )  # fmt: skip
        self.change("contacts", self.any("contacts"), **self.random.choice(changes))

    def contacts_merge(self) -> None:
        gone, kept = self.any("contacts")["id"], self.any("contacts")["id"]
        self.owner.execute(
            "update raw_chatwoot.conversations set contact_id = %s where contact_id = %s",
            [kept, gone],
        )
        self.remove("contacts", "id = %s", gone)

    def survey_is_answered(self) -> None:
        self.add(
            "csat_survey_responses", self.any("csat_survey_responses"),
            conversation_id=self.any("conversations")["id"],
            rating=self.random.randrange(1, 6), created_at=self.moment(),
        )  # fmt: skip

    def participant_comes(self) -> None:
        row = {"account_id": 1, "created_at": self.moment(), "updated_at": self.moment()}
        self.add(
            "conversation_participants", row, user_id=self.any("users")["id"],
            conversation_id=self.any("conversations")["id"],
        )  # fmt: skip

    def small_table_changes(self) -> None:
        table, values = self.random.choice((
            ("users", {"display_name": "Novo"}), ("inboxes", {"name": "Outra"}),
            ("inboxes", {"timezone": "Asia/Tokyo"}), ("inboxes", {"working_hours_enabled": True}),
            ("inboxes", {"working_hours_enabled": False}), ("working_hours", {"close_hour": 20}),
            ("working_hours", {"closed_all_day": True}), ("campaigns", {"title": "Verão"}),
        ))  # fmt: skip
        self.change(table, self.any(table), **values)

    # Changes of the control plane

    def tenant(self) -> int:
        return int(self.random.choice(self.column("select id from app.tenants order by id")))

    def column(self, query: str, *values: Any) -> list[Any]:
        return [row[0] for row in self.owner.execute(query, values or None)]

    def tenant_changes(self) -> None:
        assignment = self.random.choice((
            "timezone = 'Asia/Tokyo'", "timezone = 'America/Sao_Paulo'", "segment = 'shop'",
            "segment = 'clinic'", "name = name || '!'", "slug = slug || 'x'",
        ))  # fmt: skip
        self.owner.execute(f"update app.tenants set {assignment} where id = %s", [self.tenant()])

    def inbox_moves(self) -> None:
        self.owner.execute(
            "insert into app.tenant_inboxes (inbox_id, tenant_id) values (%s, %s)"
            " on conflict (inbox_id) do update set tenant_id = excluded.tenant_id",
            [self.any("inboxes")["id"], self.tenant()],
        )

    def inbox_is_nobodys(self) -> None:
        inbox = self.any("inboxes")["id"]
        self.owner.execute("delete from app.tenant_inboxes where inbox_id = %s", [inbox])

    def rule_comes_or_goes(self) -> None:
        if self.random.random() < 0.4:
            self.owner.execute("delete from app.funnel_rules where tenant_id = %s", [self.tenant()])
            return
        rule = self.random.choice((
            ("lead", "keyword", "quanto custa"), ("converted", "label", "vip"),
            ("converted", "crm", ""), ("visit_scheduled", "ai", "visit_scheduled=true"),
            ("lead", "custom_attribute", "plano=ouro"), ("lead", "custom_attribute", "cliente=sim"),
        ))  # fmt: skip
        self.owner.execute(
            "insert into app.funnel_rules (tenant_id, stage, kind, value) values (%s, %s, %s, %s)"
            " on conflict do nothing",
            [self.tenant(), *rule],
        )

    def customer_is_imported_or_taken_back(self) -> None:
        if self.random.random() < 0.3:
            self.owner.execute("delete from app.crm_rows where id % 2 = 0")
            return
        self.owner.execute(
            "insert into app.crm_rows (tenant_id, row_key, phone, converted_on)"
            " select tenant_id, %s, contact_phone, created_date + 3 from marts.fct_conversations"
            " where contact_phone is not null order by conversation_id desc offset %s limit 1"
            " on conflict do nothing",
            [str(self.random.random()), self.random.randrange(200)],
        )

    def contact_opts_out_or_in(self) -> None:
        if self.random.random() < 0.3:
            self.owner.execute("delete from app.opt_outs")
            return
        self.owner.execute(
            "insert into app.opt_outs (tenant_id, contact_id) select tenant_id, contact_id"
            " from marts.rpt_remarketing_queue order by contact_id limit 1 on conflict do nothing"
        )

    def one_who_opted_out_comes_as_another_contact(self) -> None:
        known = self.owner.execute(
            "select conversations.id, contacts.phone_number, contacts.email"
            " from app.opt_outs inner join raw_chatwoot.contacts"
            " on opt_outs.contact_id = contacts.id inner join raw_chatwoot.conversations"
            " on contacts.id = conversations.contact_id"
            " where coalesce(contacts.phone_number, contacts.email) is not null order by 1 limit 1"
        ).fetchone()
        if known:
            person = {"phone_number": known[1], "email": known[2]}
            if self.random.random() < 0.5:
                self.change("contacts", self.any("contacts"), **person)
                return
            contact_id = self.add("contacts", self.any("contacts"), **person)
            self.change("conversations", {"id": known[0]}, contact_id=contact_id)

    def scores_come(self) -> None:
        enrich(self.warehouse.dsn("owner"), model=FAST_MODEL, quiet_minutes=0)

    def score_changes(self) -> None:
        self.owner.execute(
            "update ai.conversation_scores set lead_class = %s, scored_at = scored_at"
            " where conversation_id = %s",
            [self.random.choice(("high", "low")), self.any("conversations")["id"]],
        )


KINDS: tuple[Callable[[History], None], ...] = (
    *[History.message_arrives] * 4, *[History.conversation_begins] * 3,
    *[History.conversation_changes] * 3, *[History.message_changes] * 2, History.message_goes,
    History.attachment_comes_or_goes, History.conversation_moves_with_its_messages,
    History.conversation_goes, History.event_comes, History.event_comes, History.event_goes,
    History.events_of_an_agent_go, History.label_comes_or_goes, History.label_comes_or_goes,
    History.label_is_renamed, History.contact_changes, History.contact_changes,
    History.contacts_merge, History.survey_is_answered, History.participant_comes,
    History.small_table_changes, History.small_table_changes, History.tenant_changes,
    History.inbox_moves, History.inbox_is_nobodys, History.rule_comes_or_goes,
    History.customer_is_imported_or_taken_back, History.contact_opts_out_or_in,
    History.one_who_opted_out_comes_as_another_contact, History.scores_come,
    History.score_changes,
)  # fmt: skip


@pytest.fixture(scope="module")
def history(warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """A small Chatwoot, loaded, built and scored."""
    settings = Settings(_env_file=None, home=tmp_path_factory.mktemp("small") / ".mirante")
    with own_databases(warehouse, "small") as (small, chatwoot):
        create_sample(chatwoot, conversations=CONVERSATIONS, until=SAMPLE_UNTIL)
        demo.add_sample_tenants(small)
        run_extract(chatwoot, small.dsn("owner"), settings.home)
        with psycopg.connect(small.dsn("owner"), autocommit=True) as owner:
            history = History(settings, small, owner, random.Random(0))
            history.build()
            history.scores_come()
            history.build()
            yield history


def snapshot(history: History, schema: str) -> None:
    history.owner.execute(f"drop schema if exists {schema} cascade; create schema {schema}")
    for mart in history.column(MARTS):
        history.owner.execute(f"create table {schema}.{mart} as table marts.{mart}")


def differences(history: History, schema: str) -> dict[str, list[Any]]:
    """Of each mart up to three rows a side that are only in the snapshot, or only in the mart."""
    found = {}
    for mart in history.column(MARTS):
        sides = (f"{schema}.{mart}", f"marts.{mart}")
        rows = [
            (mine, *row)
            for mine, other in (sides, sides[::-1])
            for row in history.owner.execute(
                f"table {mine} except all table {other} order by 1, 2 limit 3"
            )
        ]
        if rows:
            found[mart] = rows
    return found


@contextmanager
def refusing(history: History, mart: str) -> Iterator[None]:
    """The mart takes no row, and the build inside says so."""
    history.owner.execute(
        f"alter table marts.{mart} add constraint refused check (tenant_id < 0) not valid"
    )
    try:
        with pytest.raises(MiranteError, match=rf"stale: .*{mart}"):
            yield
    finally:
        history.owner.execute(f"alter table marts.{mart} drop constraint refused")


def break_half_way(history: History) -> None:
    """Lose the server's sessions of the build at some moment, or have a mart refuse its rows."""
    if history.random.random() < 0.5:
        mart = history.random.choice(("agg_daily", "fct_conversations", "dim_contacts"))
        with refusing(history, mart):
            history.build()
        return
    done = threading.Event()

    def terminate() -> None:
        done.wait(history.random.uniform(1, 5))
        fetch_all(
            history.warehouse.dsn("admin"),
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name = 'dbt'",
        )

    killer = threading.Thread(target=terminate)
    killer.start()
    try:
        history.build()
    except MiranteError:
        pass
    finally:
        done.set()
        killer.join()


def test_who_opted_out_stays_out_as_another_contact(history: History) -> None:
    """Whose contact is deleted in Chatwoot, who writes by the phone of another one; no tenant but
    the one that was asked.
    """
    owner = history.owner
    history.build()
    pairs = owner.execute(
        "select queue.tenant_id, queue.contact_id, contacts.phone_number"
        " from marts.rpt_remarketing_queue as queue inner join raw_chatwoot.contacts"
        " on queue.contact_id = contacts.id where contacts.phone_number ~ '^[+]55[1-9][0-9]9'"
        " and contacts._deleted_at is null and queue.contact_id in (select contact_id"
        " from marts.rpt_remarketing_queue group by 1 having count(*) = 1) order by 1, 2"
    ).fetchall()
    tenant_id, gone, phone = pairs[0]
    again = next(contact_id for whose, contact_id, _ in pairs[1:] if whose == tenant_id)
    foreign = next(contact_id for whose, contact_id, _ in pairs if whose != tenant_id)
    queue = "select contact_id from marts.rpt_remarketing_queue where contact_id = any (%s)"
    owner.execute("insert into app.opt_outs values (%s, %s)", [tenant_id, gone])
    history.build()
    assert sorted(history.column(queue, [gone, again, foreign])) == sorted([again, foreign])
    before = owner.execute("select key_sha256 from app.opt_out_keys order by 1").fetchall()
    assert before
    # The ninth digit is not what tells people apart.
    owner.execute("delete from raw_chatwoot.contacts where id = %s", [gone])
    for contact_id in (again, foreign):
        history.change("contacts", {"id": contact_id}, phone_number=phone[:5] + phone[6:])
    history.build()
    assert history.column(queue, [gone, again, foreign]) == [foreign]
    assert set(before) <= set(owner.execute("select key_sha256 from app.opt_out_keys"))
    # Another opt-out, taken back: who shares a phone with it leaves and comes again.
    for contact_id in (again, foreign):
        history.change("contacts", {"id": contact_id}, phone_number="+5511955550000")
    history.build()
    assert sorted(history.column(queue, [again, foreign])) == sorted([again, foreign])
    other = next(
        contact_id for whose, contact_id, _ in pairs[1:]
        if whose == tenant_id and contact_id != again
    )  # fmt: skip
    history.change("contacts", {"id": other}, phone_number="+551155550000")
    owner.execute("insert into app.opt_outs values (%s, %s)", [tenant_id, other])
    history.change("contacts", {"id": other}, phone_number="+5511955550000")
    history.build()
    assert history.column(queue, [again, other, foreign]) == [foreign]
    owner.execute("delete from app.opt_outs where contact_id = %s", [other])
    history.build()
    assert sorted(history.column(queue, [again, other, foreign])) == sorted([again, other, foreign])
    owner.execute("delete from app.opt_outs")
    assert owner.execute("select * from app.opt_out_keys").fetchall() == []


def test_a_build_of_less_than_everything_is_enough(history: History) -> None:
    """What `mirante run` does after one change that is noted: the models that follow from it."""
    owner = history.owner
    conversation = history.any("conversations", "contact_id is not null")
    ((tenant_id, contact_id),) = owner.execute(
        "select tenant_id, contact_id from marts.rpt_remarketing_queue order by 1, 2 limit 1"
    ).fetchall()
    campaign = history.add(
        "campaigns", {"inbox_id": conversation["inbox_id"]}, title="Inverno", account_id=1
    )
    history.build()
    changes: tuple[Callable[[], Any], ...] = (
        lambda: owner.execute("insert into app.opt_outs values (%s, %s)", [tenant_id, contact_id]),
        lambda: owner.execute("delete from app.opt_outs where contact_id = %s", [contact_id]),
        history.score_changes, history.attachment_comes_or_goes, history.label_comes_or_goes,
        history.survey_is_answered, history.participant_comes, history.contact_changes,
        history.event_comes, history.message_arrives, history.conversation_changes,
        lambda: history.change("conversations", conversation, campaign_id=campaign),
        lambda: history.change("campaigns", {"id": campaign}, title="Verão"),
    )  # fmt: skip
    queue = "select count(*) from marts.rpt_remarketing_queue where contact_id = %s"
    noted = "select count(*) from app.changed_conversations"
    for number, change in enumerate(changes):
        for _ in range(50):  # by chance it may hit a row of no conversation, or none at all
            change()
            if history.column(noted) != [0]:
                break
        assert not build(history.settings, history.warehouse, only_if_changed=True).skipped
        assert history.column(noted) == [0]
        if number < 2:
            assert owner.execute(queue, [contact_id]).fetchone() == (number,)
    assert build(history.settings, history.warehouse, only_if_changed=True).skipped
    snapshot(history, "kept")
    history.make_anew()
    assert differences(history, "kept") == {}


def test_a_build_mends_who_may_read(history: History) -> None:
    """And a table that was empty when it was made gets its statistics with its first rows."""
    access = """
        select relname, relrowsecurity, array(
                select (case when grantee = 0 then 'public' else pg_get_userbyid(grantee)::text end,
                    privilege_type, is_grantable)::text
                from aclexplode(relacl) order by 1
            ), array(
                select (polname, polroles, pg_get_expr(polqual, polrelid))::text
                from pg_policy where polrelid = pg_class.oid order by 1
            )
        from pg_class where relnamespace = 'marts'::regnamespace and relkind = 'r' order by 1
    """
    credited = "select reltuples from pg_class where relname = 'int_crm_rows_credited'"
    owner = history.owner
    before = owner.execute(access).fetchall()
    changes = (
        "alter table {} disable row level security", "grant select on {} to public",
        "grant delete, truncate on {} to mirante_app",
        "grant select on {} to mirante_app with grant option",
        "revoke select on {} from mirante_analyst",
        "alter policy tenant_isolation on {} using (true)", "drop policy super_read on {}",
        "create policy more on {} to mirante_app using (true)",
    )  # fmt: skip
    # Each on a mart of its own, that one build mends them all.
    marts = history.column(
        "select polrelid::regclass::text from pg_policy where polname = 'super_read' order by 1"
    )[: len(changes)]
    for change, mart in zip(changes, marts, strict=True):
        broken = owner.execute(access).fetchall()
        owner.execute(change.format(mart))
        assert owner.execute(access).fetchall() != broken
    history.build()
    assert owner.execute(access).fetchall() == before
    assert max(history.column(credited)) <= 0
    while not history.column("select 1 from app.crm_rows"):
        history.customer_is_imported_or_taken_back()
    history.build()
    assert history.column(credited)[0] > 0


def test_a_table_with_other_columns_stops_its_model(history: History) -> None:
    """Nothing is written, and the message says which and what helps."""
    for change, back, said in (
        ("add column extra integer", "drop column extra", r"extra \(table: integer, model: none\)"),
        ("rename column slug to old", "rename column old to slug", r"slug \(table: none, model: "),
        ("alter column segment type varchar", "alter column segment type text",
         r"segment \(table: character varying, model: text\)"),
    ):  # fmt: skip
        history.owner.execute(f"alter table marts.dim_tenants {change}")
        try:
            with pytest.raises(MiranteError, match=f"dim_tenants: .*{said}.*--full-refresh"):
                history.build()
        finally:
            history.owner.execute(f"alter table marts.dim_tenants {back}")
    history.build()


def test_the_comparison_sees_a_row(history: History) -> None:
    """The test of the test: one value that a build did not bring about."""
    snapshot(history, "kept")
    assert differences(history, "kept") == {}
    history.owner.execute("update kept.agg_daily set leads = leads + 1 where date = '2026-06-01'")
    assert list(differences(history, "kept")) == ["agg_daily"]


def test_without_a_note_a_change_is_not_seen(history: History) -> None:
    """So the triggers are what carries it, and a missing one costs a build of everything."""
    owner, row = history.owner, history.any("conversations", "inbox_id = 1")
    status = "select status from marts.fct_conversations where conversation_id = %s"
    other = 1 if row["status"] == 0 else 0
    owner.execute("alter table raw_chatwoot.conversations disable trigger note_changed_update")
    history.change("conversations", row, status=other)
    owner.execute("alter table raw_chatwoot.conversations enable trigger note_changed_update")
    before = owner.execute(status, [row["id"]]).fetchone()
    history.build()
    assert owner.execute(status, [row["id"]]).fetchone() == before
    owner.execute("drop trigger note_changed_update on raw_chatwoot.conversations")
    history.build()
    assert owner.execute(status, [row["id"]]).fetchone() == (["open", "resolved"][other],)
    snapshot(history, "kept")
    history.make_anew()
    assert differences(history, "kept") == {}


ATTRIBUTE_REACHED = (
    "select reached_at from marts.fct_funnel_events"
    " where evidence_kind = 'custom_attribute' and evidence_ref = 'clube=sim'"
)


def test_an_attribute_dates_from_the_load_that_showed_it_first(history: History) -> None:
    """A later message rewrites the row."""
    (tenant_id, conversation_id) = history.owner.execute(
        "select tenant_id, conversation_id from marts.fct_conversations where not is_lead limit 1"
    ).fetchone() or (0, 0)
    row = {"id": conversation_id}
    history.owner.execute(
        "insert into app.funnel_rules (tenant_id, stage, kind, value)"
        " values (%s, 'lead', 'custom_attribute', 'clube=sim')",
        [tenant_id],
    )
    loads = [f"{at.timestamp()}" for at in (SAMPLE_UNTIL, SAMPLE_UNTIL + timedelta(days=9))]
    history.change(
        "conversations", row, custom_attributes='{"clube": "sim"}', _dlt_load_id=loads[0]
    )
    history.build()
    first = history.column(ATTRIBUTE_REACHED)
    assert len(first) == 1
    history.change("conversations", row, _dlt_load_id=loads[1])
    history.build()
    assert history.column(ATTRIBUTE_REACHED) == first


def test_hours_that_a_broken_build_took_in_and_were_put_back(history: History) -> None:
    """What was timed by them follows; so does the calendar, of which only a version is kept."""
    calendar = "select count(*) from (table intermediate.int_inbox_days_scheduled except all" \
        " table kept.calendar) as others"  # fmt: skip
    owner = history.owner
    history.build()
    snapshot(history, "kept")
    owner.execute("create table kept.calendar as table intermediate.int_inbox_days_scheduled")
    owner.execute("create table kept.hours as table raw_chatwoot.working_hours")
    owner.execute("update raw_chatwoot.working_hours set close_hour = 14 where close_hour > 14")
    with refusing(history, "agg_daily"):
        history.build()
    assert history.column(calendar)[0] > 0
    owner.execute("truncate raw_chatwoot.working_hours")
    owner.execute("insert into raw_chatwoot.working_hours table kept.hours")
    history.build()
    assert history.column(calendar) == [0]
    owner.execute("drop table kept.calendar, kept.hours")
    assert differences(history, "kept") == {}


def test_what_was_not_made_anew_to_its_end_is_made_anew_again(history: History) -> None:
    """Facts that are made anew note no day, so that what follows from them would keep the old.

    What is recorded and not made (the attribute of the test before) stays as it was.
    """
    recorded = history.column(ATTRIBUTE_REACHED)
    sums = "select count(*) from marts.agg_daily where date = '2025-03-03' and contact_messages > 0"
    message = history.any("messages", "not private and message_type = 0")
    history.change("messages", message, created_at="2025-03-03 15:00:00")
    history.build()
    assert history.column(sums) == [1]
    history.change("messages", message, created_at="2025-03-05 15:00:00")
    admin = history.warehouse.dsn("admin")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(
            """
            create function public.refuse() returns event_trigger language plpgsql as $$
            begin
                if exists (
                    select from pg_event_trigger_ddl_commands()
                    where object_identity ~ 'agg_daily__dbt_tmp'
                ) then
                    raise 'not now';
                end if;
            end $$;
            create event trigger refuse on ddl_command_end execute function public.refuse()
            """
        )
        with pytest.raises(MiranteError, match=r"stale: .*agg_daily"):
            history.make_anew()
        connection.execute("drop function public.refuse() cascade")
    history.build(test=False)
    assert history.column(sums) == [0]
    assert history.column(ATTRIBUTE_REACHED) == recorded
    history.owner.execute("delete from app.funnel_rules where value = 'clube=sim'")


def test_plain_dbt_builds_what_changed_too(history: History, tmp_path: Path) -> None:
    """An engineer's `dbt run`; and where more is touched than ids are written out."""
    from dbt.cli.main import dbtRunner

    history.owner.execute("update raw_chatwoot.messages set content = 'oi' where id % 3 = 0")
    profile = (PROJECT_ROOT / "profiles.yml.example").read_text()
    (tmp_path / "profiles.yml").write_text(profile)
    os.environ.update(dbt_environment(history.settings, history.warehouse))
    outcome = dbtRunner().invoke([
        "run", "--vars", "{touched_ids_written_out: 10}", "--quiet",
        "--project-dir", str(PROJECT_ROOT), "--profiles-dir", str(tmp_path),
        "--target-path", str(tmp_path / "target"), "--log-path", str(tmp_path / "logs"),
    ])  # fmt: skip
    assert outcome.success
    compiled = (tmp_path / "target").rglob("compiled/**/fct_messages.sql")
    assert "in (select touched.conversation_id" in next(compiled).read_text()
    assert history.column("select count(*) from app.changed_conversations") == [0]
    assert history.column("select count(*) from intermediate.int_days_touched") == [0]
    snapshot(history, "kept")
    history.make_anew()
    assert differences(history, "kept") == {}


@pytest.mark.parametrize("seed", [1, 2, None])
def test_what_changed_built_alone_equals_everything_built(
    history: History, seed: int | None
) -> None:
    seed = time.time_ns() % 10**6 if seed is None else seed
    history.random = random.Random(seed)
    done: list[str] = []
    oids = "select string_agg(oid::text, ' ' order by oid) from pg_class where relkind = 'r'" \
        " and relnamespace = 'marts'::regnamespace"  # fmt: skip
    tables = history.column(oids)
    for _ in range(ROUNDS):
        for kind in history.random.choices(KINDS, k=CHANGES):
            done.append(kind.__name__)
            kind(history)
        if history.random.random() < 0.5:
            break_half_way(history)
            done.append("broken build")
            history.message_arrives()
        history.build()
        done.append("build")
    assert history.column(oids) == tables  # nothing was made anew
    assert history.column("select count(*) from app.changed_conversations") == [0]
    snapshot(history, "kept")
    history.build(full_refresh=True)
    assert not differences(history, "kept"), f"seed {seed}: {done}"
