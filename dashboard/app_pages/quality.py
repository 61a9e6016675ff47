"""Qualidade dos dados: how new and how whole the numbers are, and why Chatwoot shows others."""

from datetime import UTC, datetime, timedelta
from html import escape

import pandas as pd
import streamlit as st

from dashboard import definitions, filters, formats, frame, lists, queries, words
from dashboard.auth import Visit
from dashboard.filters import Filters
from dashboard.frame import Column
from dashboard.lists import Part
from warehouse.limits import WARNING_PERCENT

STEPS = {"load": "Carga do Chatwoot", "build": "Processamento dos números"}
FAILURES = {
    "source": "o banco de dados do Chatwoot não respondeu como esperado",
    "warehouse": "o banco de dados dos relatórios não respondeu como esperado",
    "interrupted": "foi interrompida antes do fim",
    "other": "um erro inesperado, que a equipe técnica vê no log",
}
TABLES = {
    "accounts": "Contas",
    "account_users": "Usuários das contas",
    "users": "Usuários",
    "teams": "Equipes",
    "team_members": "Membros das equipes",
    "inboxes": "Caixas de entrada",
    "inbox_members": "Agentes das caixas de entrada",
    "channel_twilio_sms": "Canais Twilio",
    "channel_facebook_pages": "Páginas do Facebook",
    "contacts": "Contatos",
    "contact_inboxes": "Contatos por caixa de entrada",
    "conversations": "Conversas",
    "conversation_participants": "Participantes das conversas",
    "messages": "Mensagens",
    "attachments": "Anexos",
    "labels": "Etiquetas",
    "tags": "Nomes das etiquetas",
    "taggings": "Etiquetas aplicadas",
    "csat_survey_responses": "Pesquisas de satisfação",
    "reporting_events": "Eventos de atendimento",
    "working_hours": "Horários de atendimento",
    "agent_bots": "Robôs",
    "agent_bot_inboxes": "Robôs por caixa de entrada",
    "campaigns": "Campanhas",
    "captain_assistants": "Assistentes do Captain",
    "captain_inboxes": "Captain por caixa de entrada",
}
METRICS = {
    "conversations_count": "Conversas",
    "incoming_messages_count": "Mensagens recebidas",
    "outgoing_messages_count": "Mensagens enviadas",
    "resolutions_count": "Resoluções",
    "first_response_time": "Tempo até a 1ª resposta (média)",
    "reply_time": "Tempo de resposta (média)",
    "resolution_time": "Tempo de resolução (média)",
}
# Of rpt_chatwoot_parity_reasons (docs block parity_reason).
REASONS = {
    "private_notes": "Notas privadas da equipe: o Chatwoot as conta como mensagens enviadas; aqui "
    "não, porque o contato não as vê.",
    "bot_messages": "Mensagens do robô e de automações: aqui contam só as de pessoas, e só elas "
    "encerram uma espera.",
    "no_conversation": "A conversa não existe mais no Chatwoot, ou está em uma caixa de entrada "
    "que não é desta conta.",
    "other_inbox": "O Chatwoot guardou outra caixa de entrada na linha; aqui vale a da conversa.",
    "duplicate_events": "Eventos repetidos: o Chatwoot gravou o mesmo mais de uma vez; aqui conta "
    "um.",
    "no_time": "Eventos de versões antigas do Chatwoot, sem o momento em que aconteceram.",
    "removed_events": "Eventos apagados do Chatwoot junto com um agente removido; aqui continuam.",
    "event_time": "O Chatwoot conta no dia em que gravou o evento; aqui, no dia em que aconteceu.",
    "creation_date": "Aqui a 1ª resposta conta no dia em que a conversa começou; no Chatwoot, no "
    "dia da resposta.",
    "contact_clock": "Aqui o relógio começa quando o contato escreve; no Chatwoot, quando a "
    "conversa é criada.",
    "handoff_clock": "A passagem do robô para uma pessoa reinicia o relógio em um dos dois.",
    "first_response_apart": "O Chatwoot deixa a 1ª resposta fora do tempo de resposta; aqui toda "
    "espera conta.",
    "later_resolves": "O Chatwoot mede cada resolução da conversa; aqui, o tempo até a primeira.",
    "dropped_waits": "Esperas que acabaram com a conversa resolvida, sem resposta; aqui não contam"
    " como tempo de resposta.",
    "stored_value": "O Chatwoot arredonda cada ponta para segundos inteiros e guarda valores "
    "calculados por versões antigas.",
    "no_event": "O Chatwoot não gravou o evento; as mensagens mostram que aconteceu, e aqui conta.",
    "other": "Sem explicação conhecida: avise a equipe técnica.",
}  # fmt: skip


def show(visit: Visit) -> None:
    """Draw the page."""
    coverage = frame.loaded(visit)
    if coverage is None:
        return
    chosen = filters.choose(visit, coverage["first_date"])
    if chosen is None:
        return
    st.caption(formats.plain_markdown(chosen.text))
    show_pipeline(queries.pipeline_state(visit), visit)
    show_loads(queries.source_loads(visit), visit)
    show_ai(queries.ai_coverage(visit, chosen), visit)
    show_parity(queries.parity(visit, chosen), queries.parity_reasons(visit, chosen))
    show_gaps(queries.gaps(visit, chosen).iloc[0], chosen)
    if visit.viewer.role in {"admin", "super_admin"}:
        show_budget(queries.ai_budget(visit), visit)
        show_inboxes(queries.inbox_gaps(visit), visit)


def show_pipeline(steps: pd.DataFrame, visit: Visit) -> None:
    """Load and build: when each last went well, and what went wrong since."""
    is_agency = visit.viewer.role == "super_admin"
    shown = pd.DataFrame(
        {
            "step": [STEPS[step] for step in steps["step"]],
            "moment": [_moment(at, visit) for at in steps["succeeded_at"]],
            "age": [_age(at) for at in steps["succeeded_at"]],
            "state": [step_state(step, visit) for _, step in steps.iterrows()],
            "error": steps["error"],
        }
    )
    frame.panel(
        "pipeline",
        "Atualização dos dados",
        "Primeiro as tabelas do Chatwoot são carregadas, depois os números são processados. O "
        "aviso no alto das páginas fica amarelo quando a última carga tem mais de 60 minutos e "
        "vermelho depois de 3 horas: até a próxima, o que aconteceu desde então não aparece.",
        rows=shown,
        columns=(
            Column("step", "Etapa"),
            Column("state", "Situação"),
            Column("age", "Última com sucesso"),
            Column("moment", "Em"),
            *((Column("error", "Erro (só a agência vê)"),) if is_agency else ()),
        ),
        is_open=True,
    )


def step_state(step: pd.Series, visit: Visit) -> str:
    """In plain words."""
    running = "Em andamento. " if step["is_running"] else ""
    if not pd.isna(step["failed_at"]):
        return (
            f"{running}A tentativa de {_moment(step['failed_at'], visit)} falhou: "
            f"{FAILURES[step['failure']]}."
        )
    if pd.isna(step["succeeded_at"]):
        return f"{running}Ainda não aconteceu."
    return running or "Tudo certo."


def show_loads(loads: pd.DataFrame, visit: Visit) -> None:
    """When each table of Chatwoot was last read."""
    is_agency = visit.viewer.role == "super_admin"
    oldest = loads["age_seconds"].max()
    counts = (
        Column("rows_read", "Linhas lidas", formats.number, is_number=True),
        Column("rows_changed", "Linhas mudadas", formats.number, is_number=True),
    )
    frame.panel(
        "loads",
        "Tabelas do Chatwoot",
        "Nenhuma tabela foi carregada ainda."
        if loads.empty
        else f"{formats.count(len(loads), 'tabela', 'tabelas')} na última carga; a leitura mais "
        f"antiga tem {formats.duration(oldest)}. As tabelas são de todo o Chatwoot, e o horário é "
        "o mesmo para todas as contas.",
        rows=None
        if loads.empty
        else loads.assign(
            name=[TABLES.get(table, table) for table in loads["source_table"]],
            moment=[_moment(at, visit) for at in loads["loaded_at"]],
        ),
        columns=(
            Column("name", "Tabela"),
            Column("moment", "Lida em"),
            Column("age_seconds", "Atraso", formats.duration, is_number=True),
            *(counts if is_agency else ()),
        ),
    )


def show_ai(rows: pd.DataFrame, visit: Visit) -> None:
    """How many conversations have a score, by whom, and what became of the others."""
    definition = definitions.definition("kpi_score_coverage")
    if rows.empty:
        frame.panel(
            "ai", definition.label, "Nenhuma conversa criada neste período.",
            help_text=definition.text,
        )  # fmt: skip
        return
    total = rows.iloc[0]
    last = _moment(total["last_scored_at"], visit)
    latest = "" if last == formats.MISSING else f" A análise mais recente é de {last}."
    frame.panel(
        "ai",
        definition.label,
        f"{formats.number(total['scored'])} de "
        f"{formats.count(total['total'], 'conversa', 'conversas')} têm score "
        f"({formats.percent(total['coverage'])}).{latest} Uma conversa é analisada depois de um "
        "tempo sem mensagens novas.",
        rows=rows.assign(
            state_text=[words.AI_STATES.get(state, state) for state in rows["state"]],
            provider_text=[words.PROVIDERS.get(name, formats.MISSING) for name in rows["provider"]],
        ),
        columns=(
            Column("state_text", "Situação"),
            Column("provider_text", "Por"),
            Column(
                "conversations", "Conversas", formats.number, is_number=True,
                link=_of_ai_state,
            ),
            Column("share", "Parte", formats.percent, is_number=True),
        ),
        is_open=True,
        help_text=definition.text,
    )  # fmt: skip


def _of_ai_state(row: frame.Row) -> str | None:
    """The list behind a row of queries.ai_coverage; None for a state that no address can say."""
    if row["state"] not in words.AI_STATES:
        return None
    if not row["is_scored"]:
        return lists.href("sem-analise", part=Part(ai_state=row["state"]))
    if row["provider"] not in words.PROVIDERS:
        return None
    part = Part(ai_state=row["state"], ai_provider=row["provider"])
    return lists.href("analisadas", part=part)


def show_parity(metrics: pd.DataFrame, reasons: pd.DataFrame) -> None:
    """Chatwoot's numbers beside ours, and what adds up to each difference."""
    title = "Os números do Chatwoot e os daqui"
    if metrics.empty:
        frame.panel("parity", title, "Nada para comparar neste período.")
        return
    ordered = metrics.set_index("metric").reindex([m for m in METRICS if m in set(metrics.metric)])
    shown = ordered.reset_index()
    frame.panel(
        "parity",
        title,
        "Os dois estão certos: cada um conta por uma regra. Os relatórios do Chatwoot contam o que "
        "ele gravou, no dia em que gravou; aqui cada conversa é medida de novo pelas mensagens, do "
        "ponto de vista do contato.",
        rows=shown.assign(
            label=[METRICS[metric] for metric in shown["metric"]],
            chatwoot=[
                written(row, "chatwoot_count", "chatwoot_mean") for _, row in shown.iterrows()
            ],
            ours=[written(row, "our_count", "our_mean") for _, row in shown.iterrows()],
            difference=[difference(row) for _, row in shown.iterrows()],
        ),
        columns=(
            Column("label", "Métrica"),
            Column("chatwoot", "Chatwoot", is_number=True),
            Column("ours", "Aqui", is_number=True),
            Column("difference", "Diferença", is_number=True),
        ),
        is_open=True,
    )
    show_reasons(shown, reasons)


def is_time(metric: str) -> bool:
    """Whether Chatwoot gives it as a mean of seconds."""
    return metric.endswith("_time")


def written(row: pd.Series, count: str, mean: str) -> str:
    """A count, or a mean as a duration."""
    return formats.duration(row[mean]) if is_time(row["metric"]) else formats.number(row[count])


def difference(row: pd.Series) -> str:
    """Ours less Chatwoot's, with its sign."""
    if not is_time(row["metric"]):
        return signed(row["count_difference"])
    value = row["mean_difference"]
    if formats.is_missing(value):
        return formats.MISSING
    sign = "" if int(abs(value)) == 0 else "-" if value < 0 else "+"
    return f"{sign}{formats.duration(abs(value))}"


def signed(value: float) -> str:
    """A whole number with its sign; 0 has none."""
    return f"{'+' if value > 0 else ''}{formats.number(value)}"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, so that what is written adds up: `1.234:05:06`."""
    if formats.is_missing(seconds):
        return formats.MISSING
    minutes, rest = divmod(round(abs(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{'-' if round(seconds) < 0 else ''}{formats.number(hours)}:{minutes:02}:{rest:02}"


def signed_clock(seconds: float) -> str:
    """The same with its sign; 0 has none."""
    is_more = not formats.is_missing(seconds) and round(seconds) > 0
    return f"{'+' if is_more else ''}{clock(seconds)}"


def show_reasons(metrics: pd.DataFrame, reasons: pd.DataFrame) -> None:
    """For each metric the way from Chatwoot's number to ours, a reason a row."""
    with st.container(border=True, key="panel-parity-reasons"):
        st.header("Por que diferem", anchor=False)
        st.caption(
            "Abra uma métrica: os motivos somam exatamente a diferença. Nos tempos, "
            "somam os casos e o tempo de todos eles, em horas, minutos e segundos."
        )
        st.html("".join(reasons_of(metric, reasons) for _, metric in metrics.iterrows()))


def reasons_of(metric: pd.Series, reasons: pd.DataFrame) -> str:
    """HTML: a metric's line, and behind it the steps from Chatwoot's number to ours."""
    name = str(metric["metric"])
    found = reasons[reasons["metric"] == name]
    steps = pd.DataFrame(
        [
            (
                "No Chatwoot",
                formats.number(metric["chatwoot_count"]),
                clock(metric["chatwoot_seconds"]),
            ),
            *(
                (REASONS.get(reason, reason), signed(count), signed_clock(seconds))
                for reason, count, seconds in zip(
                    found["reason"], found["count_delta"], found["seconds_delta"], strict=True
                )
            ),
            ("Aqui", formats.number(metric["our_count"]), clock(metric["our_seconds"])),
        ],
        columns=["step", "count", "seconds"],
    )
    columns = (
        Column("step", "Motivo"),
        Column("count", "Casos" if is_time(name) else "Quantidade", is_number=True),
        *((Column("seconds", "Tempo somado", is_number=True),) if is_time(name) else ()),
    )
    label = METRICS[name]
    summary = "sem diferença" if found.empty else difference(metric)
    return (
        f'<details class="m-details m-bridge" data-metric="{escape(name)}">'
        f"<summary>{escape(label)}: {escape(summary)}</summary>"
        f"{frame.table(steps, columns, label)}</details>"
    )


def show_gaps(row: pd.Series, chosen: Filters) -> None:
    """What the client can do something about."""
    if not row["conversations"] and not row["failed_messages"]:
        frame.panel("gaps", "O que vale corrigir", "Nenhuma conversa criada neste período.")
        return
    shown = pd.DataFrame(
        [
            (
                "Contato sem telefone", row["without_phone"], row["without_phone_share"],
                "sem-telefone", "Sem telefone uma venda do CRM só é ligada à conversa pelo e-mail.",
            ),
            (
                "Contato sem telefone nem e-mail", row["without_address"],
                row["without_address_share"], "sem-contato",
                "Peça o telefone na conversa e grave-o no contato: sem ele não há como retomar.",
            ),
            (
                "Contato sem nome", row["without_name"], row["without_name_share"], "sem-nome",
                "Um nome no contato ajuda a equipe e a fila de retomada.",
            ),
            (
                "Com mensagem não entregue", row["failed_conversations"], None, "nao-entregues",
                f"{formats.count(row['failed_messages'], 'mensagem falhou', 'mensagens falharam')}:"
                " confira o número do contato e a situação do canal no Chatwoot.",
            ),
        ],
        columns=["what", "conversations", "share", "list_name", "advice"],
    )  # fmt: skip
    frame.panel(
        "gaps",
        "O que vale corrigir",
        "Conversas do período em que falta algo que a equipe pode completar no Chatwoot.",
        rows=shown,
        columns=(
            Column("what", "O quê"),
            Column(
                "conversations", "Conversas", formats.number, is_number=True,
                link=lambda gap: lists.href(gap["list_name"]) if gap["conversations"] else None,
            ),
            Column("share", "Parte", formats.percent, is_number=True),
            Column("advice", "O que fazer"),
        ),
        is_open=True,
    )  # fmt: skip


def show_budget(budget: pd.DataFrame, visit: Visit) -> None:
    """How much of the month's AI budget is used, in words."""
    if not budget.empty:
        with st.container(border=True, key="panel-budget"):
            st.header("Orçamento de IA", anchor=False)
            st.caption(budget_sentence(budget.iloc[0]))


def budget_sentence(budget: pd.Series) -> str:
    """What is used and what follows; amounts where the row has them (the agency)."""
    if not budget["may_leave"]:
        return (
            "Nenhum texto desta conta sai do banco de dados: o modelo local analisa as conversas, "
            "sem custo."
        )
    spent = (
        ""
        if formats.is_missing(budget["used_usd"])
        else f" Usados US\\$ {formats.number(budget['used_usd'], 2)}"
        + (f" de US\\$ {formats.number(budget['budget_usd'], 2)}." if budget["has_budget"] else ".")
    )
    if not budget["has_budget"]:
        return f"Esta conta não tem orçamento próprio; vale o limite geral da instalação.{spent}"
    share = budget["used_share"]
    if formats.is_missing(share):
        return f"O orçamento é zero: só o modelo local analisa as conversas.{spent}"
    used = formats.percent(share)
    if share >= 1:
        return (
            f"O orçamento do mês acabou ({used}): até o mês virar (UTC), o modelo local analisa as "
            f"conversas novas.{spent}"
        )
    if share * 100 >= WARNING_PERCENT:
        return (
            f"{used} do orçamento do mês já foi usado. Quando acabar, o modelo local assume até o "
            f"mês virar (UTC).{spent}"
        )
    return f"{used} do orçamento do mês foi usado.{spent}"


def show_inboxes(gaps: pd.DataFrame, visit: Visit) -> None:
    """Inboxes whose conversations are on no page, for those who can have it changed."""
    is_agency = visit.viewer.role == "super_admin"
    if gaps.empty:
        frame.panel(
            "inboxes",
            "Caixas de entrada fora dos números",
            "Nenhuma: todas as caixas de entrada "
            + ("do Chatwoot têm um cliente" if is_agency else "ligadas a esta conta estão nos "
               "números. Uma caixa nova em uma conta do Chatwoot dividida com outros negócios só "
               "entra quando a agência a liga")
            + ".",
        )  # fmt: skip
        return
    frame.panel(
        "inboxes",
        "Caixas de entrada fora dos números",
        "As conversas delas não aparecem em nenhuma página desta conta.",
        rows=gaps.assign(
            name=gaps["inbox_name"].fillna("(não existe no Chatwoot)"),
            reason=[GAPS[gap] for gap in gaps["gap"]],
            moment=[_moment(at, visit) for at in gaps["last_conversation_at"]],
        ),
        columns=(
            Column("name", "Caixa de entrada"),
            Column("inbox_id", "Número", formats.number, is_number=True),
            Column("reason", "Motivo"),
            *(
                (
                    Column("account_name", "Conta do Chatwoot"),
                    Column("conversations", "Conversas", formats.number, is_number=True),
                    Column("moment", "Última conversa"),
                )
                if is_agency
                else ()
            ),
        ),
        is_open=True,
    )


GAPS = {
    "missing": "Ligada a esta conta, mas não existe mais no Chatwoot.",
    "waiting": "Desta conta, e entra nos números no próximo processamento.",
    "unowned": "De nenhum cliente: ligue-a com `mirante tenant assign-inbox`.",
}


def _moment(at: pd.Timestamp | None, visit: Visit) -> str:
    """On the tenant's clock."""
    return formats.MISSING if at is None or pd.isna(at) else formats.moment(at, visit.timezone)


def _age(at: pd.Timestamp | None) -> str:
    """Up to this minute."""
    if at is None or pd.isna(at):
        return formats.MISSING
    return formats.age(max(datetime.now(UTC) - at.to_pydatetime(), timedelta()))
