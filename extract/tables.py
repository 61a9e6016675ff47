"""Which tables and columns of Chatwoot are read, and how: an allow-list, nothing else leaves it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

# whole: a tick compares every row by hash, range by range. For small tables, for those whose rows
# change or go without a trace in any index, and for those without `updated_at`.
# recent: a tick reads again what is new by id or was created lately; the rest is for reconcile.
Read = Literal["whole", "recent"]

# Types that a Chatwoot of another age may have in a column's place: cast to ours, losing nothing.
KIN = (
    frozenset({"int2", "int4", "int8"}),
    frozenset({"varchar", "text", "bpchar", "citext"}),
    frozenset({"json", "jsonb"}),
    frozenset({"float4", "float8", "numeric"}),
)


@dataclass(frozen=True)
class Column:
    """A column by its PostgreSQL type name. One that is not required is NULL where it is absent."""

    name: str
    type: str
    required: bool

    @property
    def is_kept(self) -> bool:
        """Whether a tombstone keeps it: keys, references and times say nothing about anybody."""
        is_reference = self.name == "id" or self.name.endswith("_id")
        return (
            (is_reference and self.type in ("int4", "int8"))
            or self.type == "timestamp"
            or self.name in ("taggable_type", "tagger_type", "sender_type")
        )

    def accepts(self, source_type: str) -> bool:
        """Whether the source's type can be read as ours."""
        return source_type == self.type or any(
            self.type in kin and source_type in kin for kin in KIN
        )


@dataclass(frozen=True)
class Table:
    """A table of the allow-list. `left_out`: known columns nobody needs."""

    name: str
    read: Read
    columns: tuple[Column, ...]
    left_out: frozenset[str] = frozenset()
    indexes: tuple[str, ...] = ()
    # A Chatwoot has an index on created_at alone for it.
    has_created_at_index: bool = False
    # Rows go with the row of this table that this column names: (table, column).
    parent: tuple[str, str] | None = None
    is_optional: bool = False
    # A tombstone keeps every column: nothing in it is anybody's words.
    tombstone_keeps_all: bool = False

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Names in the order of the allow-list."""
        return tuple(column.name for column in self.columns)

    def is_kept(self, column: Column) -> bool:
        """Whether a tombstone of this table keeps `column`."""
        return self.tombstone_keeps_all or column.is_kept


def _columns(lines: str) -> tuple[Column, ...]:
    """Columns from `name type` lines; a name that ends in `!` is required."""
    pairs = [line.split() for line in lines.strip().splitlines()]
    return tuple(Column(name.rstrip("!"), type_, name.endswith("!")) for name, type_ in pairs)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


TABLES: tuple[Table, ...] = (
    Table(
        "accounts",
        "whole",
        _columns("""
            id! int4
            name! varchar
            created_at! timestamp
            updated_at! timestamp
            status int4
            locale int4
        """),
        left_out=_names(
            "domain support_email feature_flags auto_resolve_duration limits custom_attributes "
            "settings"
        ),
    ),
    Table(
        "account_users",
        "whole",
        _columns("""
            id! int8
            account_id! int8
            user_id! int8
            role int4
            availability int4
            created_at! timestamp
            updated_at! timestamp
        """),
        left_out=_names(
            "inviter_id active_at auto_offline custom_role_id agent_capacity_policy_id"
        ),
    ),
    Table(
        "users",
        "whole",
        _columns("""
            id! int4
            name! varchar
            display_name varchar
            type varchar
            created_at! timestamp
            updated_at! timestamp
        """),
        left_out=_names(
            "provider reset_password_sent_at remember_created_at sign_in_count current_sign_in_at "
            "last_sign_in_at confirmed_at confirmation_sent_at email availability ui_settings "
            "custom_attributes message_signature otp_required_for_login"
        ),
    ),
    Table(
        "teams",
        "whole",
        _columns("""
            id! int8
            name! varchar
            account_id! int8
            created_at! timestamp
            updated_at! timestamp
        """),
        left_out=_names("description allow_auto_assign"),
    ),
    Table(
        "team_members",
        "whole",
        _columns("""
            id! int8
            team_id! int8
            user_id! int8
            created_at! timestamp
            updated_at! timestamp
        """),
    ),
    Table(
        "inboxes",
        "whole",
        _columns("""
            id! int4
            channel_id! int4
            account_id! int4
            name! varchar
            created_at! timestamp
            updated_at! timestamp
            channel_type! varchar
            working_hours_enabled! bool
            timezone! varchar
            csat_survey_enabled bool
            lock_to_single_conversation bool
        """),
        left_out=_names(
            "enable_auto_assignment greeting_enabled greeting_message email_address "
            "out_of_office_message enable_email_collect allow_messages_after_resolved "
            "auto_assignment_config portal_id sender_name_type business_name csat_config"
        ),
    ),
    Table(
        "inbox_members",
        "whole",
        _columns("""
            id! int4
            user_id! int4
            inbox_id! int4
            created_at! timestamp
            updated_at! timestamp
        """),
    ),
    Table(
        "channel_twilio_sms",
        "whole",
        _columns("""
            id! int8
            account_id! int4
            medium! int4
            created_at! timestamp
            updated_at! timestamp
        """),
        left_out=_names(
            "phone_number messaging_service_sid content_templates content_templates_last_updated "
            "voice_enabled"
        ),
    ),
    Table(
        "channel_facebook_pages",
        "whole",
        _columns("""
            id! int4
            account_id! int4
            instagram_id varchar
            created_at! timestamp
            updated_at! timestamp
        """),
        left_out=_names("page_id"),
    ),
    Table(
        "contacts",
        "whole",
        _columns("""
            id! int4
            name! varchar
            email! varchar
            phone_number! varchar
            account_id! int4
            created_at! timestamp
            updated_at! timestamp
            identifier varchar
            custom_attributes! jsonb
            last_activity_at timestamp
            contact_type int4
            middle_name varchar
            last_name varchar
            location varchar
            country_code varchar
            blocked bool
            company_id int8
        """),
        left_out=_names("additional_attributes"),
    ),
    Table(
        "contact_inboxes",
        "whole",
        _columns("""
            id! int8
            contact_id! int8
            inbox_id! int8
            created_at! timestamp
            updated_at! timestamp
        """),
        left_out=_names("source_id hmac_verified"),
        indexes=("contact_id",),
    ),
    Table(
        "conversations",
        "whole",
        _columns("""
            id! int4
            account_id! int4
            inbox_id! int4
            status! int4
            assignee_id! int4
            created_at! timestamp
            updated_at! timestamp
            contact_id! int8
            display_id! int4
            additional_attributes! jsonb
            contact_inbox_id int8
            identifier varchar
            last_activity_at timestamp
            team_id int8
            campaign_id int8
            snoozed_until timestamp
            custom_attributes! jsonb
            first_reply_created_at timestamp
            priority int4
            sla_policy_id int8
            waiting_since timestamp
            cached_label_list text
            assignee_agent_bot_id int8
        """),
        left_out=_names("uuid agent_last_seen_at assignee_last_seen_at contact_last_seen_at"),
        indexes=("contact_id", "inbox_id"),
    ),
    Table(
        "conversation_participants",
        "whole",
        _columns("""
            id! int8
            account_id! int8
            user_id! int8
            conversation_id! int8
            created_at! timestamp
            updated_at! timestamp
        """),
        indexes=("conversation_id",),
        is_optional=True,
    ),
    Table(
        "messages",
        "recent",
        _columns("""
            id! int4
            content! text
            account_id! int4
            inbox_id! int4
            conversation_id! int4
            message_type! int4
            created_at! timestamp
            updated_at! timestamp
            private! bool
            status! int4
            source_id text
            content_type! int4
            content_attributes! json
            sender_type! varchar
            sender_id! int8
            additional_attributes! jsonb
        """),
        left_out=_names("external_source_ids processed_message_content sentiment"),
        indexes=("conversation_id",),
        has_created_at_index=True,
        parent=("conversations", "conversation_id"),
    ),
    Table(
        "attachments",
        "recent",
        _columns("""
            id! int4
            file_type int4
            message_id! int4
            account_id! int4
            created_at! timestamp
            updated_at! timestamp
            extension varchar
        """),
        left_out=_names("external_url coordinates_lat coordinates_long fallback_title meta"),
        indexes=("message_id",),
        parent=("messages", "message_id"),
    ),
    Table(
        "labels",
        "whole",
        _columns("""
            id! int8
            title! varchar
            account_id! int8
            created_at! timestamp
            updated_at! timestamp
        """),
        left_out=_names("description color show_on_sidebar"),
    ),
    Table(
        "tags",
        "whole",
        _columns("""
            id! int4
            name! varchar
        """),
        left_out=_names("taggings_count"),
    ),
    Table(
        "taggings",
        "whole",
        _columns("""
            id! int4
            tag_id! int4
            taggable_type! varchar
            taggable_id! int4
            tagger_type varchar
            tagger_id int4
            context! varchar
            created_at! timestamp
        """),
        indexes=("taggable_id",),
    ),
    Table(
        "csat_survey_responses",
        "whole",
        _columns("""
            id! int8
            account_id! int8
            conversation_id! int8
            message_id! int8
            rating! int4
            feedback_message text
            contact_id! int8
            assigned_agent_id int8
            created_at! timestamp
            updated_at! timestamp
            csat_review_notes text
            review_notes_updated_at timestamp
            review_notes_updated_by_id int8
        """),
        indexes=("conversation_id",),
    ),
    Table(
        "reporting_events",
        "recent",
        _columns("""
            id! int8
            name! varchar
            value! float8
            account_id! int4
            inbox_id! int4
            user_id! int4
            conversation_id! int4
            created_at! timestamp
            updated_at! timestamp
            value_in_business_hours float8
            event_start_time timestamp
            event_end_time! timestamp
        """),
        indexes=("conversation_id",),
        has_created_at_index=True,
        parent=("conversations", "conversation_id"),
        tombstone_keeps_all=True,
    ),
    Table(
        "working_hours",
        "whole",
        _columns("""
            id! int8
            inbox_id! int8
            account_id! int8
            day_of_week! int4
            closed_all_day! bool
            open_hour! int4
            open_minutes! int4
            close_hour! int4
            close_minutes! int4
            created_at! timestamp
            updated_at! timestamp
            open_all_day bool
        """),
    ),
    Table(
        "agent_bots",
        "whole",
        _columns("""
            id! int8
            name! varchar
            account_id! int8
            bot_type int4
            created_at! timestamp
            updated_at! timestamp
        """),
        left_out=_names("description"),
    ),
    Table(
        "agent_bot_inboxes",
        "whole",
        _columns("""
            id! int8
            inbox_id! int4
            agent_bot_id! int4
            status! int4
            created_at! timestamp
            updated_at! timestamp
            account_id int4
        """),
    ),
    Table(
        "campaigns",
        "whole",
        _columns("""
            id! int8
            display_id! int4
            title! varchar
            account_id! int8
            inbox_id! int8
            campaign_type int4
            campaign_status int4
            enabled bool
            created_at! timestamp
            updated_at! timestamp
        """),
        left_out=_names(
            "description message sender_id trigger_rules audience scheduled_at "
            "trigger_only_during_business_hours template_params"
        ),
    ),
    Table(
        "captain_assistants",
        "whole",
        _columns("""
            id! int8
            name! varchar
            account_id! int8
            created_at! timestamp
            updated_at! timestamp
        """),
        left_out=_names("description config response_guidelines guardrails"),
        is_optional=True,
    ),
    Table(
        "captain_inboxes",
        "whole",
        _columns("""
            id! int8
            captain_assistant_id! int8
            inbox_id! int8
            created_at! timestamp
            updated_at! timestamp
        """),
        is_optional=True,
    ),
)

# Credentials, and personal data nobody needs. A test holds the allow-list against it.
FORBIDDEN_COLUMNS: dict[str, frozenset[str]] = {
    "accounts": frozenset({"internal_attributes"}),
    "agent_bots": frozenset({"secret", "outgoing_url", "bot_config"}),
    "audits": frozenset({"audited_changes", "remote_address"}),
    "automation_rules": frozenset({"actions"}),
    "captain_custom_tools": frozenset({"auth_config", "endpoint_url", "request_template"}),
    "channel_api": frozenset({"hmac_token", "secret", "webhook_url", "identifier"}),
    "channel_email": frozenset(
        {"imap_login", "imap_password", "smtp_login", "smtp_password", "provider_config"}
    ),
    "channel_facebook_pages": frozenset({"user_access_token", "page_access_token"}),
    "channel_instagram": frozenset({"access_token"}),
    "channel_line": frozenset({"line_channel_secret", "line_channel_token"}),
    "channel_sms": frozenset({"provider_config"}),
    "channel_telegram": frozenset({"bot_token"}),
    "channel_tiktok": frozenset({"access_token", "refresh_token"}),
    "channel_twilio_sms": frozenset(
        {"auth_token", "account_sid", "api_key_sid", "api_key_secret", "twiml_app_sid"}
    ),
    "channel_twitter_profiles": frozenset({"twitter_access_token", "twitter_access_token_secret"}),
    "channel_web_widgets": frozenset({"website_token", "hmac_token"}),
    "channel_whatsapp": frozenset({"provider_config"}),
    # The key of the contact's public conversation on web and API inboxes.
    "contact_inboxes": frozenset({"pubsub_token", "source_id"}),
    "contacts": frozenset({"additional_attributes"}),
    "conversations": frozenset({"uuid"}),
    "integrations_hooks": frozenset({"access_token", "settings"}),
    "macros": frozenset({"actions"}),
    "users": frozenset(
        {
            "encrypted_password", "reset_password_token", "confirmation_token", "tokens",
            "pubsub_token", "otp_secret", "otp_backup_codes", "consumed_timestep",
            "current_sign_in_ip", "last_sign_in_ip", "unconfirmed_email", "uid",
        }
    ),
    "webhooks": frozenset({"secret", "url"}),
}  # fmt: skip
FORBIDDEN_TABLES = frozenset(
    {
        "access_tokens",
        "account_saml_settings",
        "action_mailbox_inbound_emails",
        "active_storage_blobs",
        "installation_configs",
        "notification_subscriptions",
        "platform_apps",
    }
)


def grant_statements(role: str) -> list[str]:
    """SQL that lets `role` read the allow-list and nothing else; docs/source-role.md shows it."""
    quoted = '"' + role.replace('"', '""') + '"'
    return [f"grant usage on schema public to {quoted}"] + [
        f"grant select ({', '.join(table.column_names)}) on public.{table.name} to {quoted}"
        for table in TABLES
    ]
