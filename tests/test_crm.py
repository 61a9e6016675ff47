"""CRM files: what is read, what is refused by row and column, whose conversation a row meets."""

import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Pipeline
from tests.test_cli import assert_one_line, mirante
from warehouse.build import build
from warehouse.crm import import_crm, read_crm_file
from warehouse.errors import UsageError

SLUG = "academia-movimento"


@pytest.fixture
def crm_file(tmp_path: Path) -> Path:
    return tmp_path / "vendas.csv"


@pytest.fixture
def imported(pipeline: Pipeline) -> Iterator[psycopg.Connection]:
    """A connection of the owner; what the test imported is gone afterwards."""
    with psycopg.connect(pipeline.warehouse.dsn("owner"), autocommit=True) as connection:
        yield connection
        connection.execute("delete from app.crm_rows")


def test_a_file_as_a_brazilian_spreadsheet_writes_it(crm_file: Path) -> None:
    crm_file.write_bytes(
        "Código;Nome;E-mail;Telefone;Celular;Data da Matrícula\r\n"
        "A1;José;ZE@Exemplo.com; (11) 3456-7890 ;(11) 98765-4321;05/01/2026\r\n"
        "A2;Bia;;11 8765-4321;;2026-01-06 14:30:00\r\n"
        "\r\n"
        ";Caio;caio@exemplo.com;;'+351 912 345 678;7-1-2026\r\n".encode("cp1252")
    )
    rows = read_crm_file(crm_file)
    assert [(row.number, row.phone, row.email, row.converted_on) for row in rows] == [
        (2, "+5511987654321", "ze@exemplo.com", date(2026, 1, 5)),
        (3, "+551187654321", None, date(2026, 1, 6)),
        (5, "+351912345678", "caio@exemplo.com", date(2026, 1, 7)),
    ]
    assert [row.key[:5] for row in rows] == ["id:A1", "id:A2", "row:" + rows[2].key[4]]


def test_comma_tab_and_byte_order_mark(crm_file: Path) -> None:
    expected = [("+5511987654321", date(2026, 1, 5))]
    for text in (
        "\ufefftelefone,data\n11987654321,05/01/2026\n",
        "data\tphone\n2026-01-05\t5511987654321\n",
        'nome,"WhatsApp",DATE\n"Silva, Ana","+55 (11) 98765-4321",05.01.2026\n',
    ):
        crm_file.write_text(text, encoding="utf-8")
        assert [(row.phone, row.converted_on) for row in read_crm_file(crm_file)] == expected
    crm_file.write_bytes("telefone\tdata\n11987654321\t05/01/2026\n".encode("utf-16"))
    assert [(row.phone, row.converted_on) for row in read_crm_file(crm_file)] == expected


def test_a_line_break_inside_a_cell_is_no_row(crm_file: Path) -> None:
    crm_file.write_text(
        'nota,email,data\n"liga\ndepois\u2028",a@b.c,05/01/2026\n,d@e.f,06/01/2026\n'
    )
    assert [(row.number, row.email) for row in read_crm_file(crm_file)] == [
        (2, "a@b.c"),
        (3, "d@e.f"),
    ]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["the file is empty"]),
        ("nome;telefone\nAna;11987654321\n", ["no column for the date", "data"]),
        ("telefone;data\n" + "9" * 200_000 + ";05/01/2026\n", ["no CSV file"]),
        ("nome;data\nAna;05/01/2026\n", ["no column to know a contact by", "telefone", "email"]),
        ("telefone;data\n123;05/01/2026\n", ["row 2, column telefone", "'123'"]),
        ("Telefone Celular;data\nabc;05/01/2026\n", ["row 2, column Telefone Celular", "'abc'"]),
        ("telefone;data\n(11) 2345;05/01/2026\n", ["row 2, column telefone"]),
        ("telefone;data\n11987654321;31/02/2026\n", ["row 2, column data", "31/02/2026"]),
        ("telefone;data\n11987654321;\n", ["row 2, column data", "missing"]),
        ("telefone;data\n11987654321;05/01/2999\n", ["row 2, column data", "future"]),
        ("telefone;data\n11987654321;05/01/0206\n", ["row 2, column data", "before 2000"]),
        ("telefone;data\n11987654321\n", ["row 2, column data", "missing"]),
        ("email;data\nana exemplo;05/01/2026\n", ["row 2, column email", "'ana exemplo'"]),
        ("id;email;data\nA;a@b;05/01/2026\nA;c@d;05/01/2026\n", ["row 3, column id", "row 2"]),
        (
            "email;data\n" + "x;05/01/2026\n" * 7,
            ["row 2, column email", "row 6, column email", "and 2 more"],
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_row_and_column(
    crm_file: Path, text: str, parts: list[str]
) -> None:
    crm_file.write_text(text)
    with pytest.raises(UsageError) as refused:
        read_crm_file(crm_file)
    assert "\n" not in str(refused.value)
    for part in parts:
        assert part in str(refused.value)


def test_rows_meet_the_contacts_last_conversation_before_their_date(
    pipeline: Pipeline, imported: psycopg.Connection, crm_file: Path
) -> None:
    """With and without the ninth digit; told by the report, and by the funnel's evidence."""
    tenant_id = pipeline.tenants[SLUG]
    history: dict[str, list[tuple[date, object, int]]] = {}
    for phone, created_date, created_at, conversation_id in pipeline.query(
        "select contact_phone, created_date, created_at, conversation_id"
        " from marts.fct_conversations where tenant_id = %s and contact_phone like '+55%%'",
        tenant_id,
    ):
        # The ninth digit stands for nothing: two contacts may differ by it alone.
        person = re.sub(r"^(\+55..)9([6-9].{7})$", r"\1\2", phone)
        history.setdefault(person, []).append((created_date, created_at, conversation_id))
    people = sorted(history)[:300]
    assert sum(len(history[person]) > 1 for person in people) > 20
    lines, expected = [], {}
    for number, person in enumerate(people, start=2):
        dates = sorted(created for created, _, _ in history[person])
        day = dates[0] + timedelta(days=(-1, 0, 3, 40)[number % 4])
        written = person if number % 2 else re.sub(r"^(\+55..)([6-9].{7})$", r"\g<1>9\2", person)
        lines.append(f"{number};{written};{day:%d/%m/%Y}")
        earlier = [row for row in history[person] if row[0] <= day]
        expected[number] = max(earlier, key=lambda row: row[1:])[2] if earlier else None
    crm_file.write_text("id;telefone;data\n" + "\n".join(lines))
    report = import_crm(pipeline.warehouse.dsn("owner"), tenant_slug=SLUG, path=crm_file)
    assert (report.rows, report.inserted, report.updated) == (300, 300, 0)
    assert report.matched == sum(found is not None for found in expected.values()) > 200
    assert set(report.statuses.values()) == {"matched", "wrote_later"}
    build(pipeline.settings, pipeline.warehouse)
    credited = imported.execute(
        "select substr(row_key, 4)::int, evidence.conversation_id from app.crm_rows as stored"
        " left join intermediate.int_funnel_evidence_found_by_rules as evidence"
        " on evidence.tenant_id = stored.tenant_id and evidence.evidence_kind = 'crm'"
        " and evidence.evidence_ref = stored.id::text and evidence.stage = 'converted'"
    ).fetchall()
    imported.execute("delete from app.crm_rows")
    build(pipeline.settings, pipeline.warehouse)
    assert dict(credited) == expected
    assert len(credited) == len(expected)  # one row, one conversion


def test_an_imported_customer_is_a_conversion_on_the_pages(
    pipeline: Pipeline, imported: psycopg.Connection, crm_file: Path
) -> None:
    """Counted on the conversation's day, reached on the CRM's; other tenants' stay as they are."""
    ((tenant_id, conversation_id, phone, created),) = pipeline.query(
        "select tenant_id, conversation_id, contact_phone, created_date"
        " from marts.fct_conversations where tenant_id = %s and not is_lead"
        " and contact_phone ~ '^[+]55..9[6-9]' and contact_phone not in (select contact_phone"
        "  from marts.fct_conversations where contact_phone is not null"
        "  group by 1 having count(*) > 1) order by conversation_id limit 1",
        pipeline.tenants[SLUG],
    )
    day = created + timedelta(days=5)
    crm_file.write_text(f"telefone;data\n{phone};{day:%d/%m/%Y}\n")
    conversions = "select tenant_id, sum(conversions), sum(leads) from marts.agg_daily group by 1"
    before = {row[0]: row[1:] for row in pipeline.query(conversions)}
    import_crm(pipeline.warehouse.dsn("owner"), tenant_slug=SLUG, path=crm_file)
    build(pipeline.settings, pipeline.warehouse)
    try:
        after = {row[0]: row[1:] for row in pipeline.query(conversions)}
        assert after == before | {tenant_id: tuple(n + 1 for n in before[tenant_id])}
        assert pipeline.query(
            "select stage, evidence_kind, reached_date from marts.fct_funnel_events"
            " where conversation_id = %s order by stage",
            conversation_id,
        ) == [
            ("converted", "crm", day),
            ("lead", "implied", day),
            ("visit_scheduled", "implied", day),
        ]
    finally:
        imported.execute("delete from app.crm_rows")
        build(pipeline.settings, pipeline.warehouse)
    assert {row[0]: row[1:] for row in pipeline.query(conversions)} == before


def test_importing_again_changes_nothing_and_a_dry_run_keeps_nothing(
    pipeline: Pipeline, imported: psycopg.Connection, crm_file: Path
) -> None:
    owner = pipeline.warehouse.dsn("owner")
    stored = "select row_key, phone, email, converted_on, id from app.crm_rows order by id"
    crm_file.write_text(
        "id;email;data\nA;a@b.c;05/01/2026\n;d@e.f;05/01/2026\n;d@e.f;05/01/2026\n;d@e.f;06/01/2026"
    )
    dry = import_crm(owner, tenant_slug=SLUG, path=crm_file, dry_run=True)
    assert (dry.rows, dry.inserted, dry.updated) == (4, 4, 0)
    assert set(dry.statuses) == {2, 3, 4, 5}
    assert imported.execute(stored).fetchall() == []
    import_crm(owner, tenant_slug=SLUG, path=crm_file)
    rows = imported.execute(stored).fetchall()
    assert len(rows) == 4
    again = import_crm(owner, tenant_slug=SLUG, path=crm_file)
    assert (again.inserted, again.updated) == (0, 0)
    assert imported.execute(stored).fetchall() == rows
    crm_file.write_text("id;email;data\nA;a@b.c;07/01/2026\n;d@e.f;05/01/2026\n")
    later = import_crm(owner, tenant_slug=SLUG, path=crm_file)
    assert (later.rows, later.inserted, later.updated) == (2, 0, 1)
    assert imported.execute(
        "select count(*), max(converted_on) from app.crm_rows"
    ).fetchone() == (4, date(2026, 1, 7))  # fmt: skip


def test_another_tenants_contact_is_nobody(
    pipeline: Pipeline, imported: psycopg.Connection, crm_file: Path
) -> None:
    """A phone that only another tenant knows, and the same file for both."""
    tenant_id, foreign_slug = pipeline.tenants[SLUG], "loja-dona-flor"
    ((phone,),) = pipeline.query(
        "select contact_phone from marts.fct_conversations as facts where tenant_id = %s"
        " and contact_phone ~ '^[+]55..9[6-9]' and not exists ("
        "  select 1 from marts.fct_conversations as own where own.tenant_id = %s"
        "  and right(own.contact_phone, 8) = right(facts.contact_phone, 8)) limit 1",
        pipeline.tenants[foreign_slug],
        tenant_id,
    )
    crm_file.write_text(f"id;telefone;data\n1;{phone};30/06/2026\n")
    owner = pipeline.warehouse.dsn("owner")
    ours = import_crm(owner, tenant_slug=SLUG, path=crm_file)
    assert ours.statuses == {2: "unknown"}
    theirs = import_crm(owner, tenant_slug=foreign_slug, path=crm_file)
    assert (theirs.inserted, theirs.statuses) == (1, {2: "matched"})
    assert imported.execute("select tenant_id from app.crm_rows order by id").fetchall() == [
        (tenant_id,),
        (pipeline.tenants[foreign_slug],),
    ]


@pytest.mark.parametrize("table", ["crm_rows", "opt_outs", "opt_out_keys"])
def test_no_reader_has_a_right_to_the_rows(
    pipeline: Pipeline, analyst: tuple[str, int, int], table: str
) -> None:
    for dsn in (pipeline.warehouse.dsn("app"), pipeline.warehouse.dsn("super"), analyst[0]):
        with (
            psycopg.connect(dsn) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(f"select * from app.{table}")


def test_the_command_reports_rows_and_refuses_with_one_line(
    pipeline: Pipeline, imported: psycopg.Connection, crm_file: Path
) -> None:
    home = pipeline.settings.home
    command = ("crm", "import", "--file", str(crm_file), "--tenant")
    assert_one_line(mirante(home, *command, SLUG), 2, str(crm_file), "No such file")
    crm_file.write_text("telefone;email;data\n+5511999990000;;05/01/2026\n;;05/01/2026\n")
    assert_one_line(mirante(home, *command, "ninguem"), 2, "--tenant 'ninguem'", "tenant list")
    assert_one_line(mirante(home, *command, SLUG, "--country", "Brasil"), 2, "--country 'Brasil'")
    done = mirante(home, *command, SLUG, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "2 rows: 2 new, 0 changed, 0 as they were; a dry run" in done.stdout
    assert "0 matched, 2 not" in done.stdout
    assert "nobody who wrote has this phone or e-mail: rows 2\n" in done.stdout
    assert "neither phone nor e-mail: rows 3\n" in done.stdout
    assert imported.execute("select count(*) from app.crm_rows").fetchone() == (0,)
    done = mirante(home, *command, SLUG)
    assert done.returncode == 0, done.stderr
    assert "2 rows: 2 new" in done.stdout
    assert imported.execute("select count(*) from app.crm_rows").fetchone() == (2,)
    crm_file.write_text("telefone;data\n12;05/01/2026\n")
    assert_one_line(mirante(home, *command, SLUG), 2, "row 2, column telefone")
