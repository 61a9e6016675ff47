"""Exported files: every row of every tenant, read back; who gets one, and what stays of it."""

import contextlib
import dataclasses
import glob
import io
import json
import re
import tempfile
import threading
import tracemalloc
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import httpx
import psycopg
import pytest
from playwright.sync_api import Browser, expect

from dashboard import export_files, exports, formats, queries
from dashboard.auth import COOKIE_NAME, Origin, Sessions, Viewer, token_hash
from dashboard.export_files import CsvZip, FileColumn, XlsxBook, clean, csv_text, is_formula
from dashboard.filters import Filters
from dashboard.lists import Selection
from dashboard.state import Dashboard
from dashboard.web import BadFormError
from tests.browsing import (
    DESKTOP,
    PHONE,
    choose,
    plain,
    serious_findings,
    settled,
    visitor,
)
from tests.conftest import Pipeline
from tests.serving import Served, serving
from warehouse import users
from warehouse.db import open_pool

START, END = date(2020, 1, 1), date(2026, 6, 30)  # all of the sample
PATH = "/exportar/arquivo"
# What the pages say, in words of the test's own: heading, column, how it is written.
WORDS = {
    "status": {
        "open": "Aberta", "pending": "Pendente", "snoozed": "Adiada", "resolved": "Resolvida",
    },
    "priority": {"low": "Baixa", "medium": "Média", "high": "Alta", "urgent": "Urgente"},
    "channel": {
        "whatsapp": "WhatsApp", "instagram": "Instagram", "facebook": "Facebook",
        "telegram": "Telegram", "email": "E-mail", "web": "Site", "api": "API", "sms": "SMS",
        "line": "LINE", "tiktok": "TikTok", "other": "Outro",
    },
    "last_side": {"contact": "Contato", "agent": "Atendente", "bot": "Robô"},
    "lead_class": {"high": "Alto", "medium": "Médio", "low": "Baixo"},
    "sentiment": {"positive": "Positivo", "neutral": "Neutro", "negative": "Negativo"},
    "intent": {
        "purchase": "Compra", "information": "Informação", "support": "Suporte",
        "complaint": "Reclamação",
    },
    "ai_provider": {"openai": "OpenAI", "local": "Modelo local"},
    "ai_status": {
        "ok": "Atual", "stale": "Conversa mudou depois", "corrected": "Corrigida por pessoa",
    },
    "stage": {
        "converted": "Cliente convertido", "visit_scheduled": "Visita agendada",
        "qualified": "Lead qualificado", "lead": "Lead",
    },
}  # fmt: skip
CONVERSATION_FILE = """
Conversa nº=display_id:n;ID da conversa=conversation_id:n;Criada em=created_at:m;Situação=status:w
Prioridade=priority:w;Canal=channel:w;Caixa de entrada=inbox_name:t;Atendente=agent_name:t
ID do contato=contact_id:n;Nome=contact_name:t;Telefone=contact_phone:p;E-mail=contact_email:t
Etiquetas=labels:l;Mensagens=message_count:n;Mensagens do contato=contact_message_count:n
Mensagens de atendentes=agent_message_count:n;Mensagens do robô=bot_message_count:n
1ª mensagem do contato=first_contact_message_at:m;1ª resposta=first_reply_at:m
Tempo até a 1ª resposta (segundos)=first_reply_seconds:n
Tempo até a 1ª resposta=first_reply_seconds:d
Tempo até a 1ª resposta, em expediente (segundos)=first_reply_business_seconds:n
Tempo até a 1ª resposta, em expediente=first_reply_business_seconds:d
Última mensagem do contato=last_contact_message_at:m;Última mensagem=last_message_at:m
Última mensagem de=last_side:w;Aguardando resposta=is_waiting:f;Aguardando desde=waiting_since:m
1ª resolução=first_resolved_at:m;Última resolução=last_resolved_at:m
Tempo até a 1ª resolução (segundos)=first_resolution_seconds:n
Tempo até a 1ª resolução=first_resolution_seconds:d
Resoluções=resolution_count:n;Reaberturas=reopen_count:n;Resolvida em um toque=is_one_touch:f
Resolvida pelo robô=is_bot_resolved:f;Nota de satisfação=csat_rating:n
Nota dada em=csat_answered_at:m;Lead=is_lead:f;Lead qualificado=is_qualified:f
Visita agendada=is_visit_scheduled:f;Cliente convertido=is_converted:f;Classe (IA)=lead_class:w
Score (IA)=lead_score:n;Sentimento (IA)=sentiment:w;Intenção (IA)=intent:w
Resumo (IA)=ai_summary:t;Próximo passo (IA)=ai_next_step:t
Mensagens que embasam a análise=ai_evidence_message_ids:l;Análise por=ai_provider:w
Estado da análise=ai_status:w;Analisada em=ai_scored_at:m;UTM source=utm_source:t
UTM medium=utm_medium:t;UTM campaign=utm_campaign:t;Página de origem=referrer_url:t;Prévia=preview:t
"""
REMARKETING_FILE = """
Nome=contact_name:t;Telefone=contact_phone:p;E-mail=contact_email:t;Situação=status:w
Classe=lead_class:w;Score=lead_score:n;Etapa=stage:w;Canal=channel:w
Caixa de entrada=inbox_name:t;Atendente=agent_name:t;Última mensagem de=last_side:w
Última mensagem em=last_message_at:m;Parada há (segundos)=idle_seconds:n;Parada há=idle_seconds:d
Prévia=preview:t;Próximo passo (IA)=ai_next_step:t;Etiquetas=labels:l;UTM source=utm_source:t
UTM medium=utm_medium:t;UTM campaign=utm_campaign:t;Página de origem=referrer_url:t
Análise por=ai_provider:w;Conversa criada em=created_at:m;Conversa nº=display_id:n
ID da conversa=conversation_id:n;ID do contato=contact_id:n
"""
SHAPES = {
    kind: [
        (head, *source.split(":"))
        for head, source in (part.split("=") for part in re.split(r"[;\n]", text.strip()))
    ]
    for kind, text in (("conversas", CONVERSATION_FILE), ("remarketing", REMARKETING_FILE))
}
TRUTH = """
select conversations.*, inboxes.name as inbox_name, agents.name as agent_name,
    case
        when is_converted then 'converted' when is_visit_scheduled then 'visit_scheduled'
        when is_qualified then 'qualified' when is_lead then 'lead'
    end as stage,
    trunc(extract(epoch from %s - last_message_at))::bigint as idle_seconds
from marts.fct_conversations as conversations
left join marts.dim_inboxes as inboxes using (tenant_id, inbox_id)
left join marts.dim_agents as agents using (tenant_id, agent_id)
where tenant_id = %s
order by conversations.created_at desc, conversation_id desc
"""
HOSTILE = {
    "contact_name": '=HYPERLINK("http://evil.example";"clique")',
    "contact_email": "\u200b\u00a0+1+1@evil.example",
    "ai_summary": 'uma "citação"; com\r\nlinha\rdupla, e \x01controle\ufffe _x0041_ 🙂',
    "ai_next_step": "\t=1+1",
    "utm_source": "＝1+1",
    "utm_medium": "-2+3",
    "utm_campaign": "@SUM(1)",
    "referrer_url": "https://exemplo.example/?a=1&b=<c>",
    "preview": "x" * 20_000 + "🙂" * 8_000,
}
# The same as cells of the CSV, before its quotes.
TAMED = {
    **HOSTILE,
    "contact_name": "'" + HOSTILE["contact_name"],
    "contact_email": "'" + HOSTILE["contact_email"],
    "ai_summary": 'uma "citação"; com\nlinha\ndupla, e controle _x0041_ 🙂',
    "ai_next_step": "'\t=1+1",
    "utm_source": "'＝1+1",
    "utm_medium": "'-2+3",
    "utm_campaign": "'@SUM(1)",
    "preview": "x" * 20_000 + "🙂" * 6_378 + "… (cortado)",
}


@dataclass(frozen=True)
class Office:
    """A copy of the pipeline with an admin for each tenant, hostile rows and opt-outs, served."""

    pipeline: Pipeline
    served: Served
    hostile_id: int

    @property
    def slug(self) -> str:
        return next(iter(self.pipeline.users))

    def log_in(self, slug: str | None = None) -> httpx.Client:
        email, password = (
            self.pipeline.users[slug or self.slug] if slug != "" else self.pipeline.agency()
        )
        return self.served.log_in(email, password)

    def ask(self, client: httpx.Client, tenant_id: int, **fields: str) -> httpx.Response:
        return self.served.post(client, PATH, **asked(tenant_id, **fields))

    def owner(self, sql: str, *parameters: object) -> list[tuple]:
        with psycopg.connect(self.pipeline.warehouse.dsn("owner"), autocommit=True) as connection:
            cursor = connection.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def log(self, action: str) -> list[dict[str, Any]]:
        """Lines of the audit log, newest first."""
        columns = ("id", "actor_kind", "actor_id", "tenant_id", "target", "after")
        return [
            dict(zip(columns, row, strict=True))
            for row in self.owner(
                f"select {', '.join(columns)} from app.audit_log where action = %s"
                " order by id desc",
                action,
            )
        ]


def asked(tenant_id: int, **fields: str) -> dict[str, str]:
    return {
        "tenant_id": str(tenant_id), "kind": "conversas", "file_format": "csv",
        "first_day": START.isoformat(), "last_day": END.isoformat(), "inbox_ids": "",
        "selection": "", **fields,
    }  # fmt: skip


@pytest.fixture(scope="module")
def office(copied: Pipeline) -> Iterator[Office]:
    first = copied.tenants[next(iter(copied.users))]
    with psycopg.connect(copied.warehouse.dsn("owner"), autocommit=True) as connection:
        connection.execute("update app.users set role = 'admin' where role = 'client'")
        (hostile_id,) = connection.execute(
            "select max(conversation_id) from marts.fct_conversations"
            " where tenant_id = %s and contact_phone is not null",
            [first],
        ).fetchone() or (0,)
        for name, value in HOSTILE.items():
            connection.execute(
                f"update marts.fct_conversations set {name} = %s where conversation_id = %s",
                [value, hostile_id],
            )
        connection.execute(
            "update marts.fct_conversations set first_resolution_seconds = -90"
            " where conversation_id = %s",
            [hostile_id],
        )
    with serving(copied.warehouse.dsn("app")) as served:
        yield Office(copied, served, hostile_id)


@pytest.fixture(autouse=True)
def _no_throttle(request: pytest.FixtureRequest) -> None:
    """Tests ask for more files in a minute than people in an hour."""
    if "office" in request.fixturenames:
        request.getfixturevalue("office").owner("delete from app.throttles")


# ---- files read back --------------------------------------------------------------------------


def truth(office: Office, slug: str) -> list[dict[str, Any]]:
    with psycopg.connect(office.pipeline.warehouse.dsn("owner")) as connection:
        ((loaded_at,),) = office.pipeline.query(
            "select last_loaded_at from app.load_state()", role="app"
        )
        cursor = connection.execute(TRUTH, [loaded_at, office.pipeline.tenants[slug]])
        names = [column.name for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor]
    for row in rows:
        if row["conversation_id"] == office.hostile_id:
            row.update(TAMED)
    return rows


def people(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The latest conversation of each: rows are newest first."""
    seen: dict[object, dict[str, Any]] = {}
    for row in rows:
        phone = row["contact_phone"]
        match = re.fullmatch(r"\+55([1-9]\d)9([6-9]\d{7})", phone or "")
        key = (
            (f"+55{match[1]}{match[2]}" if match else phone)
            or row["contact_id"]
            or -row["conversation_id"]
        )
        seen.setdefault(key, row)
    return list(seen.values())


def readable(seconds: int | None) -> str:
    if seconds is None or seconds < 0:
        return ""
    days, hours = seconds // 86400, seconds // 3600 % 24
    minutes, rest = seconds // 60 % 60, seconds % 60
    if days:
        thousands = f"{days:,}".replace(",", ".")
        return f"{thousands} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def rendered(row: dict[str, Any], name: str, code: str, zone: ZoneInfo) -> str:
    value = row[name]
    if code == "d":
        return readable(value)
    if value is None:
        return ""
    match code:
        case "w":
            return WORDS[name][value]
        case "p":
            return re.sub(r"\D", "", value)
        case "f":
            return {True: "Sim", False: "Não"}[value]
        case "l":
            return ", ".join(str(one) for one in value)
        case "m":
            local = value.astimezone(zone)
            return f"{local.day:02}/{local.month:02}/{local.year} {local.hour:02}:{local.minute:02}"
    return str(value)


def quoted(text: str) -> str:
    if text[:1] in set("=+-@") and not re.fullmatch(r"-\d+", text):  # names that are phones, too
        text = f"'{text}"
    if any(mark in text for mark in ';"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def expected_csv(rows: list[dict[str, Any]], kind: str, zone: ZoneInfo) -> bytes:
    shape = SHAPES[kind]
    lines = [";".join(head for head, *_ in shape)]
    lines += [
        ";".join(quoted(rendered(row, name, code, zone)) for _, name, code in shape) for row in rows
    ]
    return b"\xef\xbb\xbf" + "".join(f"{line}\r\n" for line in lines).encode()


def zone_of(office: Office, slug: str) -> ZoneInfo:
    ((name,),) = office.owner("select timezone from app.tenants where slug = %s", slug)
    return ZoneInfo(name)


@pytest.mark.parametrize("kind", ["conversas", "remarketing"])
def test_csv_of_every_tenant_byte_by_byte(office: Office, kind: str) -> None:
    for slug, tenant_id in office.pipeline.tenants.items():
        answer = office.ask(office.log_in(slug), tenant_id, kind=kind)
        assert answer.status_code == 200, answer.text
        name = f"mirante_{slug}_{kind}_{START}_{END}.zip"
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "application/zip"
        assert answer.headers["x-content-type-options"] == "nosniff"
        rows = truth(office, slug)
        rows = people(rows) if kind == "remarketing" else rows
        assert len(rows) > 100
        with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
            assert file.testzip() is None
            assert file.namelist() == [f"{kind}_{START}_{END}.csv", "filtros.csv"]
            content = file.read(file.namelist()[0])
            notes = file.read("filtros.csv").decode("utf-8-sig")
        wanted = expected_csv(rows, kind, zone_of(office, slug))
        for ours, theirs in zip(content.split(b"\r\n"), wanted.split(b"\r\n"), strict=True):
            assert ours == theirs
        assert content == wanted
        ((tenant_name,),) = office.owner("select name from app.tenants where slug = %s", slug)
        for line in (
            f"Cliente;{tenant_name}", f"Gerado por;{office.pipeline.users[slug][0]}",
            "Período;01/01/2020 a 30/06/2026", "Caixas de entrada;todas",
            "Lista;Todas as conversas", f"Linhas;{len(rows)}",
        ):  # fmt: skip
            assert f"{line}\r\n" in notes, notes
        cut = "Células cortadas no limite do Excel;1\r\n"
        assert (cut in notes) is (slug == office.slug)


SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def read_sheet(content: bytes, number: int) -> list[dict[str, str | float]]:
    """Rows of a sheet, each by column letter; asserts that there is no formula."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        root = ElementTree.fromstring(file.read(f"xl/worksheets/sheet{number}.xml"))
        assert "xl/calcChain.xml" not in file.namelist()
        assert not [name for name in file.namelist() if "externalLink" in name]
    assert root.find(f".//{SHEET}f") is None
    assert root.find(f".//{SHEET}hyperlink") is None
    rows = []
    for row in root.iter(f"{SHEET}row"):
        cells: dict[str, str | float] = {}
        for one in row:
            letter = re.sub(r"\d", "", one.attrib["r"])
            if one.attrib.get("t") == "inlineStr":
                cells[letter] = "".join(text.text or "" for text in one.iter(f"{SHEET}t"))
            elif (found := one.find(f"{SHEET}v")) is not None and "t" not in one.attrib:
                cells[letter] = float(found.text or "")
            else:
                assert found is None, one.attrib  # an empty cell with a look
        rows.append(cells)
    return rows


def letter(position: int) -> str:
    return (chr(64 + position // 26) if position >= 26 else "") + chr(65 + position % 26)


@pytest.mark.parametrize("kind", ["conversas", "remarketing"])
def test_xlsx_is_typed_and_holds_the_same(office: Office, kind: str) -> None:
    slug, zone = office.slug, zone_of(office, office.slug)
    answer = office.ask(
        office.log_in(), office.pipeline.tenants[slug], kind=kind, file_format="xlsx"
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"].endswith(f'_{END}.xlsx"')
    rows = truth(office, slug)
    rows = people(rows) if kind == "remarketing" else rows
    head, *lines = read_sheet(answer.content, 1)
    shape = SHAPES[kind]
    assert list(head.values()) == [title for title, *_ in shape]
    assert len(lines) == len(rows)
    for row, line in zip(rows, lines, strict=True):
        for position, (_, name, code) in enumerate(shape):
            shown = line.get(letter(position))
            if code == "n" and row[name] is not None:
                assert shown == row[name]
            elif code == "m" and row[name] is not None:
                assert isinstance(shown, float)
                moment = datetime(1899, 12, 30) + timedelta(days=shown)
                local = row[name].astimezone(zone).replace(tzinfo=None)
                assert abs(moment - local) < timedelta(milliseconds=2)
            elif row["conversation_id"] == office.hostile_id and name in HOSTILE:
                # No apostrophe: a string there is a string.
                text = TAMED[name].removeprefix("'").replace("_x0041_", "_x005F_x0041_")
                assert shown == text
            else:
                assert (shown or "") == rendered(row, name, code, zone)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
        sheet = file.read("xl/worksheets/sheet1.xml").decode()
        book = file.read("xl/workbook.xml").decode()
    assert 'state="frozen"' in sheet
    assert f'<autoFilter ref="A1:{letter(len(shape) - 1)}{len(rows) + 1}"/>' in sheet
    assert '<sheet name="Filtros"' in book
    notes = {str(line["A"]): line["B"] for line in read_sheet(answer.content, 2)}
    assert notes["Linhas"] == str(len(rows))
    assert notes["Filtro"] == "Valor"


def test_filters_narrow_the_file_and_are_written_down(office: Office) -> None:
    slug, tenant_id = office.slug, office.pipeline.tenants[office.slug]
    inboxes = office.owner(
        "select inbox_id, name from marts.dim_inboxes where tenant_id = %s order by 1", tenant_id
    )
    (inbox_id, inbox_name), start = inboxes[0], date(2026, 5, 1)
    answer = office.ask(
        office.log_in(), tenant_id, inbox_ids=str(inbox_id), first_day=start.isoformat(),
        selection=urlencode({"lista": "leads", "classe": "Alto", "score": "60", "busca": "ana"}),
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    wanted = [
        row
        for row in truth(office, slug)
        if row["inbox_id"] == inbox_id and row["is_lead"] and row["lead_class"] == "high"
        and row["lead_score"] >= 60 and "ana" in (row["contact_name"] or "").lower()
        and row["created_date"] >= start
    ]  # fmt: skip
    with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
        content = file.read(file.namelist()[0])
        notes = file.read("filtros.csv").decode("utf-8-sig")
    assert content == expected_csv(wanted, "conversas", zone_of(office, slug))
    for line in (
        f"Caixas de entrada;{inbox_name}", "Lista;Leads", "Classe;Alto", "Score mínimo;60",
        "Busca;ana", f"Linhas;{len(wanted)}",
    ):  # fmt: skip
        assert f"{line}\r\n" in notes
    # What was typed may be somebody's name: the log knows only that there was something.
    (line_of_log, *_) = office.log("export.start")
    assert line_of_log["after"] == {
        "kind": "conversas", "format": "csv", "start": "2026-05-01", "end": END.isoformat(),
        "inbox_ids": [inbox_id], "list": "leads", "part": {}, "lead_class": "high",
        "score_from": 60, "has_text": True, "rows": len(wanted),
    }  # fmt: skip


def test_who_opted_out_is_in_no_remarketing_file(office: Office) -> None:
    """By the contact, and by a phone or e-mail another contact shares with it."""
    tenant_id = office.pipeline.tenants[office.slug]
    rows = people(truth(office, office.slug))
    with_phone = [row for row in rows if re.match(r"\+55\d{11}$", row["contact_phone"] or "")]
    by_id, by_phone, twin, by_email = with_phone[:4]
    phone = by_phone["contact_phone"]
    without_ninth = phone[:5] + phone[6:]
    # Two contacts who are the same persons, with a conversation each that no build knows.
    office.owner(
        "insert into raw_chatwoot.contacts (id, phone_number, email)"
        " values (900001, %s, null), (900002, null, ' GEMEA@exemplo.example')",
        without_ninth,
    )
    office.owner(
        "insert into raw_chatwoot.conversations (id, account_id, inbox_id, contact_id)"
        " select contact_id, account_id, inbox_id, contact_id"
        " from (select account_id, inbox_id from raw_chatwoot.conversations where id = %s) as his,"
        " unnest(array[900001, 900002]) as contact_id",
        by_id["conversation_id"],
    )
    office.owner(
        "update marts.fct_conversations set contact_email = 'gemea@exemplo.example'"
        " where conversation_id = %s",
        by_email["conversation_id"],
    )
    foreign = next(id_ for id_ in office.pipeline.tenants.values() if id_ != tenant_id)
    office.owner(
        "insert into app.opt_outs (tenant_id, contact_id)"
        " values (%s, %s), (%s, 900001), (%s, 900002), (%s, %s)",
        tenant_id, by_id["contact_id"], tenant_id, tenant_id, foreign, twin["contact_id"],
    )  # fmt: skip
    try:
        client = office.log_in()
        for file_format in ("csv", "xlsx"):
            if file_format == "xlsx":  # merged and deleted in Chatwoot: still the same persons
                office.owner(
                    "update raw_chatwoot.contacts set phone_number = null, email = null,"
                    " _deleted_at = now() where id = 900001"
                )
                office.owner("delete from raw_chatwoot.contacts where id = 900002")
                office.owner("select app.keep_opt_out_keys()")
            answer = office.ask(client, tenant_id, kind="remarketing", file_format=file_format)
            if file_format == "xlsx":
                lines = read_sheet(answer.content, 1)[1:]
                shown = {int(line["Y"]) for line in lines}
                notes = {line["A"]: line["B"] for line in read_sheet(answer.content, 2)}
                assert notes["Fora por pedido da pessoa (opt-out)"] == "3"
            else:
                with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
                    text = file.read(file.namelist()[0]).decode("utf-8-sig")
                    assert "opt-out);3\r\n" in file.read("filtros.csv").decode("utf-8-sig")
                assert phone.lstrip("+") not in text
                assert by_id["contact_phone"].lstrip("+") not in text
                assert "gemea@" not in text
                shown = set(map(int, re.findall(r";(\d+);\d*\r\n", text)))
            assert len(shown) == len(rows) - 3
            assert twin["conversation_id"] in shown, "another tenant's opt-out says nothing here"
            gone = {by_id["conversation_id"], by_phone["conversation_id"]}
            assert not shown & {*gone, by_email["conversation_id"]}
    finally:
        office.owner("delete from app.opt_outs")
        office.owner("delete from raw_chatwoot.contacts where id > 900000")
        office.owner("delete from raw_chatwoot.conversations where id > 900000")
        office.owner("delete from app.changed_conversations where conversation_id > 900000")
        office.owner(
            "update marts.fct_conversations set contact_email = %s where conversation_id = %s",
            by_email["contact_email"], by_email["conversation_id"],
        )  # fmt: skip


# ---- cells ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["=1", "+1", "-1", "@x", "\t1", "\n1", " =1", "\u200b=1", "\ufeff\u00a0@x", "＝1", "＋1", "－1",
     "＠x", "﹢1", "﹣1", "\u2212 1", "\u202e=1", "\u0301=1"],
)  # fmt: skip
def test_formulas_are_text(text: str) -> None:
    assert is_formula(text)
    assert csv_text(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "Ana", "5511987654321", "a=b", "1-1", " ", "'=1", "€ 5", "é"])
def test_text_is_left_alone(text: str) -> None:
    assert csv_text(text) == text


SPLIT = {
    "x,=cmd|' /C calc'!A0,y": "x,'=cmd|' /C calc'!A0,y",
    "oi\n+HYPERLINK(1)": "oi\n'+HYPERLINK(1)",
    "a\t @SUM(1)": "a\t' @SUM(1)",
    'a,"=SUM(1)': "a,'\"=SUM(1)",
    "a,，＝SUM（1）": "a,，＝SUM（1）",  # one piece, which begins with a full-width comma
    "a,＝SUM（1）": "a,'＝SUM（1）",
    # Runs nothing.
    "insta, @joana": "insta, @joana",
    "R$ 10,- (dez)": "R$ 10,'- (dez)",
    "R$ 10,-": "R$ 10,-",
    "a, (b)": "a, (b)",
}


@pytest.mark.parametrize("text", SPLIT)
def test_a_cell_that_another_separator_would_split_runs_nothing(text: str, tmp_path: Path) -> None:
    """Excel of another country splits lines at commas, and knows nothing of our quotes."""
    assert csv_text(text) == SPLIT[text]
    column = FileColumn("x", "Texto")
    book = CsvZip(tmp_path / "x.zip", "x", [column, column])
    book.write([1, text])
    book.close([("Busca", text)])
    with zipfile.ZipFile(tmp_path / "x.zip") as file:
        for name in file.namelist():
            for line in file.read(name).decode("utf-8-sig").splitlines():
                for piece in re.split("[,\t]", line):
                    bare = unicodedata.normalize("NFKC", piece.replace('"', "")).strip()
                    assert not re.match(r"[=+@-].*[(|!]", bare), line


def test_numbers_stay_numbers() -> None:
    cells = [-5, -5.25, 0, 1234567, None, datetime(2026, 3, 4, 5, 6, 59)]
    assert [csv_text(cell) for cell in cells] == [
        "-5", "-5,25", "0", "1234567", "", "04/03/2026 05:06",
    ]  # fmt: skip


def test_what_a_cell_cannot_hold() -> None:
    assert clean("a\x00b\x0bc\x1fd\x7fe\x85f\ufffeg\uffffh\ti\r\nj\rk") == (
        "abcdefgh\ti\nj\nk",
        False,
    )
    limit = 32_767
    assert clean("x" * limit) == ("x" * limit, False)
    text, was_cut = clean("🙂" * limit)
    assert was_cut
    assert len(text.encode("utf-16-le")) // 2 <= limit
    assert text.endswith("🙂… (cortado)")


def test_moments_before_excels_first_are_text(tmp_path: Path) -> None:
    book = XlsxBook(tmp_path / "x.xlsx", "Um", [FileColumn("a", "A", "moment")])
    book.write([datetime(1850, 1, 2, 3, 4)])
    book.close([("x", "=1+1")])
    content = (tmp_path / "x.xlsx").read_bytes()
    assert read_sheet(content, 1)[1]["A"] == "02/01/1850 03:04"
    assert read_sheet(content, 2)[1] == {"A": "x", "B": "=1+1"}


def test_filters_of_a_csv_are_no_formulas_either(tmp_path: Path) -> None:
    file = CsvZip(tmp_path / "x.zip", "x", [FileColumn("a", "A")])
    file.write(["1"])
    file.close([("Busca", "=1+1")])
    with zipfile.ZipFile(tmp_path / "x.zip") as made:
        assert made.read("filtros.csv").decode("utf-8-sig").endswith("Busca;'=1+1\r\n")


@pytest.mark.parametrize("file_format", ["csv", "xlsx"])
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, file_format: str) -> None:
    def peak(rows: int) -> int:
        folder = tmp_path / str(rows)
        folder.mkdir()
        columns = export_files.COLUMNS["remarketing"]
        tracemalloc.start()
        writer = export_files.open_writer(folder, "x", "remarketing", file_format)  # type: ignore[arg-type]
        for number in range(rows):
            writer.write([f"texto {number} {position}" for position in range(len(columns))])
        writer.close([])
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(10)  # what is imported and made once
    assert peak(10_000) < peak(1_000) * 1.5 + 250_000


# ---- who, and how much ------------------------------------------------------------------------


def test_a_client_is_refused_whatever_it_sends(office: Office) -> None:
    tenant_id = office.pipeline.tenants[office.slug]
    before = office.log("export.start")
    office.owner("update app.users set role = 'client' where tenant_id = %s", tenant_id)
    try:
        client = office.log_in()
        answer = office.ask(client, tenant_id)
        assert answer.status_code == 403
        assert "administradores" in answer.text
        with open_pool(office.pipeline.warehouse.dsn("app"), max_size=2) as pool:
            sessions = Sessions(pool)
            viewer = viewer_of(sessions, client)
            assert sessions.admit_export(viewer) == ("denied", 0)
            assert sessions.begin_export(viewer, {}, Origin()) == ("denied", 0)
            assert sessions.recent_exports(viewer.token_sha256) == []
    finally:
        office.owner("update app.users set role = 'admin' where tenant_id = %s", tenant_id)
    assert office.log("export.start") == before


def viewer_of(sessions: Sessions, client: httpx.Client) -> Viewer:
    token_sha256 = token_hash(client.cookies[COOKIE_NAME])
    assert token_sha256
    viewer = sessions.find(token_sha256)
    assert viewer
    return viewer


def test_the_agency_exports_the_client_it_looks_at_and_no_other(office: Office) -> None:
    (slug, tenant_id), (_, other_id), *_ = office.pipeline.tenants.items()
    client = office.log_in("")
    assert office.ask(client, tenant_id).headers["location"] == "/cliente"
    office.served.post(client, "/cliente", tenant_id=str(tenant_id))
    assert office.ask(client, tenant_id).status_code == 200
    # A page left open in another tab, from before the switch.
    office.served.post(client, "/cliente", tenant_id=str(other_id))
    answer = office.ask(client, tenant_id)
    assert answer.status_code == 409
    assert "outro cliente" in answer.text
    with open_pool(office.pipeline.warehouse.dsn("app"), max_size=2) as pool:
        sessions = Sessions(pool)
        office.served.post(client, "/cliente", tenant_id=str(tenant_id))
        viewer = viewer_of(sessions, client)
        (newest, *_) = sessions.recent_exports(viewer.token_sha256)
        assert (newest.is_agency, newest.email, newest.ending) == (True, None, "complete")
        # To the tenant's own admin it is the agency too, without an address.
        own = viewer_of(sessions, office.log_in(slug))
        assert sessions.recent_exports(own.token_sha256)[0] == newest
        others = sessions.recent_exports(
            viewer_of(sessions, office.log_in(list(office.pipeline.tenants)[1])).token_sha256
        )
        assert newest not in others
        # Another tenant's page: no file, no turn of that tenant.
        throttles = office.owner("select * from app.throttles order by key")
        foreign = dataclasses.replace(own, tenant_id=other_id)
        assert sessions.admit_export(foreign) == ("switched", 0)
        assert sessions.begin_export(foreign, {}, Origin()) == ("switched", 0)
        assert office.owner("select * from app.throttles order by key") == throttles


def test_nothing_of_another_tenant_by_its_ids(office: Office) -> None:
    (_, tenant_id), (_, other_id), *_ = office.pipeline.tenants.items()
    client = office.log_in()
    assert office.ask(client, other_id).status_code == 409
    ((inbox_id, inbox_name),) = office.owner(
        "select inbox_id, name from marts.dim_inboxes where tenant_id = %s limit 1", other_id
    )
    answer = office.ask(client, tenant_id, inbox_ids=str(inbox_id))
    assert answer.status_code == 400
    assert inbox_name not in answer.text
    ((agent_id, agent_name, number, name),) = office.owner(
        "select agent_id, agents.name, display_id, contact_name"
        " from marts.fct_conversations as theirs"
        " inner join marts.dim_agents as agents using (tenant_id, agent_id)"
        " where tenant_id = %s and length(contact_name) > 8 and agent_id not in ("
        " select agent_id from marts.dim_agents where tenant_id = %s) limit 1",
        other_id, tenant_id,
    )  # fmt: skip
    for selection in (
        {"agente": agent_id},
        {"busca": f"{name} zz"},
        {"agente": agent_id, "busca": number},
    ):
        answer = office.ask(client, tenant_id, selection=urlencode(selection))
        with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
            assert file.read(file.namelist()[0]).count(b"\r\n") == 1
            assert agent_name not in file.read("filtros.csv").decode()


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "tudo"}, {"kind": ""}, {"file_format": "pdf"}, {"first_day": "ontem"},
        {"first_day": "2026-02-30"}, {"last_day": "20260101"}, {"inbox_ids": "1,x"},
        {"inbox_ids": "1'; drop table x"}, {"inbox_ids": "0"}, {"tenant_id": ""},
        {"inbox_ids": "9" * 40}, {"selection": "&".join("a=1" for _ in range(40))},
        {"selection": "busca=%ff"},
    ],
)  # fmt: skip
def test_forms_no_page_of_ours_sends(office: Office, fields: dict[str, str]) -> None:
    tenant_id = office.pipeline.tenants[office.slug]
    given = {**asked(tenant_id), **fields}
    answer = office.served.post(office.log_in(), PATH, **given)
    assert answer.status_code == (409 if "tenant_id" in fields else 400), answer.text


def test_unknown_words_of_an_address_choose_nothing_wrong(office: Office) -> None:
    """They are left out, as on the page; the log never gets them."""
    tenant_id = office.pipeline.tenants[office.slug]
    selection = urlencode(
        {"lista": "'; drop", "classe": "x", "canal": "ana@exemplo.example", "tenant_id": "2"}
    )
    answer = office.ask(office.log_in(), tenant_id, selection=selection)
    assert answer.status_code == 200
    (line, *_) = office.log("export.start")
    assert (line["after"]["list"], line["after"]["part"]) == ("todas", {})
    assert "exemplo" not in json.dumps(line["after"])


def test_a_form_of_elsewhere_or_of_another_session(office: Office) -> None:
    tenant_id = office.pipeline.tenants[office.slug]
    client, fields = office.log_in(), asked(tenant_id)
    for origin in ("https://evil.example", "null"):
        assert client.post(PATH, data=fields, headers={"Origin": origin}).status_code == 403
    own = {"Origin": office.served.address}
    for csrf in ("", "x" * 64):
        answer = client.post(PATH, data={**fields, "csrf": csrf}, headers=own)
        assert answer.status_code == 403
    answer = client.get(PATH)
    assert (answer.status_code, answer.headers["location"]) == (303, "/exportar")
    nobody = office.served.client().post(PATH, data=fields, headers=own)
    assert nobody.status_code == 401


def test_more_rows_than_a_file_takes_are_refused_with_the_number(office: Office) -> None:
    tenant_id = office.pipeline.tenants[office.slug]
    rows = len(truth(office, office.slug))
    before = office.log("export.start")
    for most, status in ((rows - 1, 413), (rows, 200)):
        with serving(office.pipeline.warehouse.dsn("app"), export_max_rows=most) as served:
            client = served.log_in(*office.pipeline.users[office.slug])
            answer = served.post(client, PATH, **asked(tenant_id))
            assert answer.status_code == status
            if status == 413:
                assert f"{rows:,}".replace(",", ".") in answer.text
                assert office.log("export.start") == before


def test_files_of_a_person_are_paced(office: Office) -> None:
    (slug, tenant_id), (other_slug, other_id), *_ = office.pipeline.tenants.items()
    client = office.log_in(slug)
    fields = {"first_day": END.isoformat(), "kind": "remarketing"}
    for _ in range(20):
        assert office.ask(client, tenant_id, **fields).status_code == 200
    answer = office.ask(client, tenant_id, **fields)
    assert answer.status_code == 429
    assert re.search(r"Tente de novo em (\d min \d\d s|\d+ s)", answer.text)
    assert office.ask(office.log_in(other_slug), other_id, **fields).status_code == 200


def test_a_turn_is_taken_before_anything_is_counted(office: Office) -> None:
    """A large tenant's rows are not counted without end by who is refused each time."""
    tenant_id = office.pipeline.tenants[office.slug]
    before = office.log("export.start")
    with serving(office.pipeline.warehouse.dsn("app"), export_max_rows=1) as served:
        client = served.log_in(*office.pipeline.users[office.slug])
        for number in range(22):
            answer = served.post(client, PATH, **asked(tenant_id))
            assert answer.status_code == (413 if number < 20 else 429)
    assert office.log("export.start") == before


# ---- the log, and what stays ------------------------------------------------------------------


def test_a_file_is_in_the_log_before_and_after(office: Office) -> None:
    tenant_id = office.pipeline.tenants[office.slug]
    ((user_id,),) = office.owner(
        "select id from app.users where email = %s", office.pipeline.users[office.slug][0]
    )
    answer = office.ask(office.log_in(), tenant_id)
    start, finish = office.log("export.start")[0], office.log("export.finish")[0]
    for line in (start, finish):
        assert (line["actor_kind"], line["actor_id"]) == ("user", str(user_id))
        assert line["tenant_id"] == tenant_id
    rows = len(truth(office, office.slug))
    assert start["after"]["rows"] == rows
    assert finish["target"] == f"export:{start['id']}"
    assert finish["after"] == {
        "outcome": "complete", "rows": rows, "bytes": len(answer.content),
    }  # fmt: skip
    assert leftovers() == []


def leftovers() -> list[str]:
    return glob.glob(f"{tempfile.gettempdir()}/{exports.FOLDER_PREFIX}*")


def finish_of(office: Office, start_id: int) -> dict[str, Any]:
    for _ in range(200):
        for line in office.log("export.finish"):
            if line["target"] == f"export:{start_id}":
                return line["after"]  # type: ignore[no-any-return]
        threading.Event().wait(0.05)
    pytest.fail("no line of its end")


def test_whoever_leaves_half_way_is_in_the_log_too(office: Office) -> None:
    tenant_id = office.pipeline.tenants[office.slug]
    # Larger than what the kernel takes in for a reader who does not read.
    office.owner(
        "update marts.fct_conversations set ai_summary = ("
        " select string_agg(md5(conversation_id::text || part), '') from generate_series(1, 900)"
        " as part) where tenant_id = %s and conversation_id <> %s",
        tenant_id, office.hostile_id,
    )  # fmt: skip
    try:
        client = office.log_in()
        token_sha256 = token_hash(client.cookies[COOKIE_NAME])
        with (
            streamed(office, client, tenant_id) as answer,
        ):
            assert next(answer.iter_raw(1000))
            start = office.log("export.start")[0]
        end = finish_of(office, start["id"])
        assert end["outcome"] == "broken_off"
        assert end["bytes"] < int(answer.headers["content-length"])
        assert end["rows"] == start["after"]["rows"]

        # And a session that ends meanwhile breaks it off.
        with streamed(office, client, tenant_id) as answer:
            pieces = answer.iter_raw(1000)
            next(pieces)
            start = office.log("export.start")[0]
            office.owner("delete from app.sessions where token_sha256 = %s", token_sha256)
            threading.Event().wait(exports.RECHECK_SECONDS + 0.2)
            with pytest.raises(httpx.RemoteProtocolError):
                list(pieces)
        assert finish_of(office, start["id"])["outcome"] == "session_ended"
        assert leftovers() == []
    finally:
        office.owner(
            "update marts.fct_conversations set ai_summary = null"
            " where tenant_id = %s and conversation_id <> %s",
            tenant_id, office.hostile_id,
        )  # fmt: skip


def test_few_files_are_sent_at_a_time(office: Office) -> None:
    """Each slow download is a file on the disk: two of a person, four of a tenant."""
    (slug, tenant_id), (other_slug, other_id), *_ = office.pipeline.tenants.items()
    colleagues = ("segunda@exports.example", "terceira@exports.example")
    for email in colleagues:
        users.add_user(
            office.pipeline.warehouse.dsn("owner"), email=email, password="uma senha de teste",
            role="admin", tenant_slug=slug,
        )  # fmt: skip
    office.owner(
        "update marts.fct_conversations set ai_summary = ("
        " select string_agg(md5(conversation_id::text || part), '') from generate_series(1, 900)"
        " as part) where tenant_id = %s and conversation_id <> %s",
        tenant_id, office.hostile_id,
    )  # fmt: skip
    try:
        admin = office.log_in(slug)
        second, third = (
            office.served.log_in(email, "uma senha de teste") for email in colleagues
        )  # fmt: skip
        with contextlib.ExitStack() as downloads:
            for client in (admin, admin):
                downloads.enter_context(streamed(office, client, tenant_id))
            answer = office.ask(admin, tenant_id)
            assert (answer.status_code, "ainda estão sendo baixados" in answer.text) == (503, True)
            for client in (second, second):
                downloads.enter_context(streamed(office, client, tenant_id))
            answer = office.ask(third, tenant_id)
            assert (answer.status_code, "ainda estão sendo baixados" in answer.text) == (503, True)
            assert office.ask(office.log_in(other_slug), other_id).status_code == 200
            starts = office.log("export.start")[:5]
        for start in starts:
            finish_of(office, start["id"])
        assert office.ask(third, tenant_id).status_code == 200
        assert office.ask(admin, tenant_id).status_code == 200
    finally:
        office.owner("delete from app.users where email = any (%s)", list(colleagues))
        office.owner(
            "update marts.fct_conversations set ai_summary = null"
            " where tenant_id = %s and conversation_id <> %s",
            tenant_id, office.hostile_id,
        )  # fmt: skip


@contextlib.contextmanager
def streamed(office: Office, client: httpx.Client, tenant_id: int) -> Iterator[httpx.Response]:
    from dashboard.auth import csrf_token

    token_sha256 = token_hash(client.cookies[COOKIE_NAME])
    assert token_sha256
    fields = {"csrf": csrf_token(token_sha256), **asked(tenant_id)}
    with client.stream(
        "POST", PATH, data=fields, headers={"Origin": office.served.address}
    ) as answer:
        assert answer.status_code == 200
        yield answer


@pytest.fixture
def maker(office: Office) -> Iterator[tuple[exports.Exports, Sessions, Viewer]]:
    """The part that makes files, without a server, and a session of the first tenant's admin."""
    dsn = office.pipeline.warehouse.dsn("app")
    with open_pool(dsn, max_size=2) as pool, exports.open_export_pool(dsn) as own:
        sessions = Sessions(pool)
        token = sessions.log_in(*office.pipeline.users[office.slug])
        viewer = sessions.find(token_hash(token) or b"")
        assert viewer
        dashboard = Dashboard(sessions, pool, "x", cookie_secure=False)
        yield exports.Exports(dashboard, own), sessions, viewer


WANTED = exports.Wanted("conversas", "xlsx", Filters(START, END), Selection())


@pytest.mark.parametrize("file_format", ["csv", "xlsx"])
@pytest.mark.parametrize("how", ["session", "tenant", "gone", "too long"])
def test_making_stops_between_batches(
    office: Office,
    maker: tuple[exports.Exports, Sessions, Viewer],
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    file_format: str,
) -> None:
    made, sessions, viewer = maker
    monkeypatch.setattr(exports, "BATCH_ROWS", 50)
    gone = threading.Event()
    checks = 0
    find = sessions.find

    def ended_meanwhile(token_sha256: bytes) -> Viewer | None:
        nonlocal checks
        checks += 1
        if checks == 3:
            if how == "session":
                sessions.close(token_sha256)
            elif how == "tenant":
                other = list(office.pipeline.tenants.values())[1]
                office.owner(
                    "update app.users set tenant_id = %s where id = %s", other, viewer.user_id
                )
            elif how == "gone":
                gone.set()
            else:
                monkeypatch.setattr(exports.time, "monotonic", lambda: 1e12)
        return find(token_sha256)

    monkeypatch.setattr(sessions, "find", ended_meanwhile)
    wanted = exports.Wanted("conversas", file_format, WANTED.filters, Selection())  # type: ignore[arg-type]
    expected: type[Exception] = TimeoutError if how == "too long" else exports.StoppedError
    try:
        with pytest.raises(expected):
            made._make(viewer, wanted, Origin(), gone)
    finally:
        office.owner(
            "update app.users set tenant_id = %s where id = %s", viewer.tenant_id, viewer.user_id
        )
    outcome = {"gone": "broken_off", "too long": "failed"}.get(how, "session_ended")
    end = finish_of(office, office.log("export.start")[0]["id"])
    assert end["outcome"] == outcome
    assert end["bytes"] == 0
    assert 50 <= end["rows"] < 200
    assert leftovers() == []


def test_a_file_is_one_moment_of_the_warehouse(
    office: Office, maker: tuple[exports.Exports, Sessions, Viewer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that go while it is made (a moved inbox) are in it or not, and the count agrees."""
    made, sessions, viewer = maker
    monkeypatch.setattr(exports, "BATCH_ROWS", 50)
    rows = len(truth(office, office.slug))
    find, checks = sessions.find, 0

    def changed_meanwhile(token_sha256: bytes) -> Viewer | None:
        nonlocal checks
        checks += 1
        if checks == 2:
            office.owner(
                "update marts.fct_conversations set tenant_id = -tenant_id where tenant_id = %s",
                viewer.tenant_id,
            )
        return find(token_sha256)

    monkeypatch.setattr(sessions, "find", changed_meanwhile)
    try:
        file = made._make(viewer, WANTED, Origin(), threading.Event())
        assert file.rows == rows == len(read_sheet(file.file.read(), 1)) - 1
        file.file.close()
        again = made._make(viewer, WANTED, Origin(), threading.Event())
        assert again.rows == 0
        again.file.close()
    finally:
        office.owner(
            "update marts.fct_conversations set tenant_id = -tenant_id where tenant_id < 0"
        )


@pytest.mark.parametrize("setting", [None, "", "foreign"])
def test_rows_of_a_to_b_are_none(office: Office, setting: str | None) -> None:
    """Row security alone and the query's own condition alone both suffice."""
    tenant_id, other_id, *_ = office.pipeline.tenants.values()
    selection = Selection()
    with psycopg.connect(office.pipeline.warehouse.dsn("app")) as connection:
        if setting is not None:
            value = str(other_id) if setting == "foreign" else setting
            connection.execute("select set_config('app.current_tenant_id', %s, true)", [value])
        values = {
            "start": START, "end": END, "inbox_ids": None, **selection.values,
            "as_of": datetime.now(UTC), "timezone": "UTC", "tenant_id": tenant_id,
        }  # fmt: skip
        for kind in ("remarketing", "conversas"):
            sql = queries.export_sql(kind, selection)  # type: ignore[arg-type]
            assert connection.execute(sql, values).fetchall() == []
        counts = connection.execute(queries.export_counts_sql(selection), values).fetchone()
        assert counts == (0, 0, 0, 0)


def test_opted_out_contacts_are_the_settings_tenants_alone(office: Office) -> None:
    tenant_id, other_id, *_ = office.pipeline.tenants.values()
    office.owner(
        "insert into app.opt_outs (tenant_id, contact_id) values (%s, 1), (%s, 2)",
        tenant_id, other_id,
    )  # fmt: skip
    office.owner("delete from app.opt_out_keys")
    for owner_id, contact_id in ((tenant_id, 1), (other_id, 2)):
        office.owner(
            "insert into app.opt_out_keys values (%s, %s, %s)",
            owner_id, contact_id, bytes([contact_id]) * 32,
        )  # fmt: skip
    try:
        for setting, expected in (
            (None, []), ("", []), (str(tenant_id), [1]), (str(other_id), [2]),
        ):  # fmt: skip
            with psycopg.connect(office.pipeline.warehouse.dsn("app")) as connection:
                if setting is not None:
                    connection.execute(
                        "select set_config('app.current_tenant_id', %s, true)", [setting]
                    )
                found = connection.execute("select app.opted_out_contacts()").fetchall()
                assert [row[0] for row in found] == expected
                keys = connection.execute("select app.opted_out_keys()").fetchall()
                assert [key for (key,) in keys] == [bytes([id_]) * 32 for id_ in expected]
    finally:
        office.owner("delete from app.opt_outs")


def test_leftovers_of_a_killed_process_go_at_the_next_start(
    maker: tuple[exports.Exports, Sessions, Viewer],
) -> None:
    dead = Path(tempfile.mkdtemp(prefix=f"{exports.FOLDER_PREFIX}4194399-"))  # above pid_max
    alive = Path(tempfile.mkdtemp(prefix=f"{exports.FOLDER_PREFIX}1-"))
    (dead / "x.csv").write_text("x")
    try:
        exports._remove_leftovers()
        assert (dead.exists(), alive.exists()) == (False, True)
    finally:
        alive.rmdir()


def test_a_form_is_read_strictly() -> None:
    with pytest.raises(BadFormError):
        exports.read_wanted({})
    wanted = exports.read_wanted(asked(1, selection="lista=leads&busca=ana", inbox_ids="3,4"))
    assert wanted.filters == Filters(START, END, (3, 4))
    assert (wanted.selection.name, wanted.selection.text) == ("leads", "ana")


# ---- the page ---------------------------------------------------------------------------------

ALL = f"periodo=Personalizado&datas={date(2026, 5, 1)}&datas={END}"


@pytest.mark.browser
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_file_by_the_page(browser: Browser, office: Office, size: tuple[int, int]) -> None:
    slug, tenant_id = office.slug, office.pipeline.tenants[office.slug]
    first, last = date(2026, 5, 1), END
    chosen = [
        row
        for row in truth(office, slug)
        if row["created_date"] >= first and row["is_lead"] and row["lead_class"] == "high"
    ]
    out = people(chosen)[0]
    office.owner("insert into app.opt_outs values (%s, %s)", tenant_id, out["contact_id"])
    try:
        with visitor(browser, office.served, size, "dark" if size == PHONE else "light") as someone:
            page = someone.page
            someone.let_in(*office.pipeline.users[slug])
            someone.open(f"/exportar?{ALL}&lista=leads&classe=Alto")
            remarketing = page.locator(".st-key-panel-export-remarketing")
            expect(remarketing.get_by_role("button", name="Excel (.xlsx)")).to_be_visible()
            settled(page)
            text = plain(remarketing.inner_text())
            assert f"{formats.number(len(people(chosen)) - 1)} pessoas" in text
            assert "1 fora por opt-out" in text
            assert "Classe: Alto" in page.locator("[data-testid=stText]").inner_text()
            conversations = page.locator(".st-key-panel-export-conversas")
            assert f"{formats.number(len(chosen))} conversas" in plain(conversations.inner_text())
            conversations.get_by_text("Ver as primeiras").click()
            expect(conversations.locator("tbody tr").first).to_be_visible()
            cells = conversations.locator("tbody tr").first.locator("th, td").all_inner_texts()
            assert cells[:2] == [str(chosen[0]["display_id"]), str(chosen[0]["conversation_id"])]
            assert serious_findings(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0]

            for panel, kind, label, suffix in (
                (remarketing, "remarketing", "CSV para Excel", "zip"),
                (conversations, "conversas", "Excel (.xlsx)", "xlsx"),
            ):
                with page.expect_download() as download:
                    panel.get_by_role("button", name=label).click()
                file = download.value
                assert file.suggested_filename == f"mirante_{slug}_{kind}_{first}_{last}.{suffix}"
                content = Path(file.path()).read_bytes()
                if suffix == "xlsx":
                    assert len(read_sheet(content, 1)) == len(chosen) + 1
                    continue
                with zipfile.ZipFile(io.BytesIO(content)) as made:
                    lines = made.read(made.namelist()[0])
                assert lines == expected_csv(
                    [row for row in people(chosen) if row is not out], kind, zone_of(office, slug)
                )
            # Still the same page, and the list of files has them after a look.
            page.reload()
            past = page.locator(".st-key-panel-export-past")
            expect(past.locator("tbody tr").first).to_contain_text("baixado")
            expect(past.locator("tbody tr").first).to_contain_text(office.pipeline.users[slug][0])

            # Another list: the address says it, and the numbers follow.
            choose(page, "Lista", "Clientes convertidos")
            expect(page).to_have_url(re.compile("lista=convertidas"))
            won = [row for row in truth(office, slug) if row["created_date"] >= first]
            won = [row for row in won if row["is_converted"] and row["lead_class"] == "high"]
            words = "conversa" if len(won) == 1 else "conversas"
            expect(conversations.locator(".m-facts")).to_contain_text(
                f"{formats.number(len(won))} {words}"
            )
    finally:
        office.owner("delete from app.opt_outs")


@pytest.mark.browser
def test_a_client_is_told_whom_to_ask(browser: Browser, office: Office) -> None:
    slug, tenant_id = list(office.pipeline.tenants.items())[1]
    office.owner("update app.users set role = 'client' where tenant_id = %s", tenant_id)
    try:
        with visitor(browser, office.served) as someone:
            someone.let_in(*office.pipeline.users[slug])
            someone.open("/exportar")
            expect(someone.page.get_by_text("Exportar é para administradores")).to_be_visible()
            assert someone.page.locator(".m-files").count() == 0
            assert serious_findings(someone.page) == []
    finally:
        office.owner("update app.users set role = 'admin' where tenant_id = %s", tenant_id)
