-- The tables of a Chatwoot 4.14 database: names, types, defaults, sequences, triggers, indexes.
-- The last columns of a table, under "credentials", are those an extraction must never select.
-- Times are UTC without a zone, as Rails writes them.
--
-- generator.py runs the first part, copies the rows in, then runs the part after the line
-- "-- Indexes". pg_trgm must be available, as in Chatwoot itself; pgvector may be absent.

create extension if not exists pg_trgm;

-- Tables

create table accounts (
    id serial primary key,
    name varchar not null,
    created_at timestamp not null,
    updated_at timestamp not null,
    locale integer default 0,
    domain varchar(100),
    support_email varchar(100),
    feature_flags bigint default 0 not null,
    auto_resolve_duration integer,
    limits jsonb default '{}',
    custom_attributes jsonb default '{}',
    status integer default 0,
    settings jsonb default '{}',
    -- credentials
    internal_attributes jsonb default '{}' not null
);

create table account_users (
    id bigserial primary key,
    account_id bigint,
    user_id bigint,
    role integer default 0,
    inviter_id bigint,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    active_at timestamp,
    availability integer default 0 not null,
    auto_offline boolean default true not null,
    custom_role_id bigint,
    agent_capacity_policy_id bigint
);

create table users (
    id serial primary key,
    provider varchar default 'email' not null,
    reset_password_sent_at timestamp,
    remember_created_at timestamp,
    sign_in_count integer default 0 not null,
    current_sign_in_at timestamp,
    last_sign_in_at timestamp,
    confirmed_at timestamp,
    confirmation_sent_at timestamp,
    name varchar not null,
    display_name varchar,
    email varchar,
    created_at timestamp not null,
    updated_at timestamp not null,
    availability integer default 0,
    ui_settings jsonb default '{}',
    custom_attributes jsonb default '{}',
    type varchar,
    message_signature text,
    otp_required_for_login boolean default false,
    -- credentials
    encrypted_password varchar default '' not null,
    reset_password_token varchar,
    confirmation_token varchar,
    tokens json,
    pubsub_token varchar,
    otp_secret varchar,
    otp_backup_codes text,
    consumed_timestep integer,
    current_sign_in_ip varchar,
    last_sign_in_ip varchar,
    unconfirmed_email varchar,
    uid varchar default '' not null
);

create table teams (
    id bigserial primary key,
    name varchar not null,
    description text,
    allow_auto_assign boolean default true,
    account_id bigint not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table team_members (
    id bigserial primary key,
    team_id bigint not null,
    user_id bigint not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table inboxes (
    id serial primary key,
    channel_id integer not null,
    account_id integer not null,
    name varchar not null,
    created_at timestamp not null,
    updated_at timestamp not null,
    channel_type varchar,
    enable_auto_assignment boolean default true,
    greeting_enabled boolean default false,
    greeting_message varchar,
    email_address varchar,
    working_hours_enabled boolean default false,
    out_of_office_message varchar,
    timezone varchar default 'UTC',
    enable_email_collect boolean default true,
    csat_survey_enabled boolean default false,
    allow_messages_after_resolved boolean default true,
    auto_assignment_config jsonb default '{}',
    lock_to_single_conversation boolean default false not null,
    portal_id bigint,
    sender_name_type integer default 0 not null,
    business_name varchar,
    csat_config jsonb default '{}' not null
);

create table inbox_members (
    id serial primary key,
    user_id integer not null,
    inbox_id integer not null,
    created_at timestamp not null,
    updated_at timestamp not null
);

create table channel_api (
    id bigserial primary key,
    account_id integer not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    hmac_mandatory boolean default false,
    additional_attributes jsonb default '{}',
    -- credentials
    hmac_token varchar,
    secret varchar,
    webhook_url varchar,
    identifier varchar
);

create table channel_email (
    id bigserial primary key,
    account_id integer not null,
    email varchar not null,
    forward_to_email varchar not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    imap_enabled boolean default false,
    imap_address varchar default '',
    imap_port integer default 0,
    imap_enable_ssl boolean default true,
    smtp_enabled boolean default false,
    smtp_address varchar default '',
    smtp_port integer default 0,
    smtp_domain varchar default '',
    smtp_enable_starttls_auto boolean default true,
    smtp_authentication varchar default 'login',
    smtp_openssl_verify_mode varchar default 'none',
    smtp_enable_ssl_tls boolean default false,
    provider varchar,
    imap_authentication varchar default 'plain',
    verified_for_sending boolean default false not null,
    -- credentials
    imap_login varchar default '',
    imap_password varchar default '',
    smtp_login varchar default '',
    smtp_password varchar default '',
    provider_config jsonb default '{}'
);

create table channel_facebook_pages (
    id serial primary key,
    page_id varchar not null,
    account_id integer not null,
    created_at timestamp not null,
    updated_at timestamp not null,
    instagram_id varchar,
    -- credentials
    user_access_token varchar not null,
    page_access_token varchar not null
);

create table channel_instagram (
    id bigserial primary key,
    expires_at timestamp(6) not null,
    account_id integer not null,
    instagram_id varchar not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    -- credentials
    access_token varchar not null
);

create table channel_line (
    id bigserial primary key,
    account_id integer not null,
    line_channel_id varchar not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    -- credentials
    line_channel_secret varchar not null,
    line_channel_token varchar not null
);

create table channel_sms (
    id bigserial primary key,
    account_id integer not null,
    phone_number varchar not null,
    provider varchar default 'default',
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    -- credentials
    provider_config jsonb default '{}'
);

create table channel_telegram (
    id bigserial primary key,
    bot_name varchar,
    account_id integer not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    -- credentials
    bot_token varchar not null
);

create table channel_tiktok (
    id bigserial primary key,
    account_id integer not null,
    business_id varchar not null,
    expires_at timestamp(6) not null,
    refresh_token_expires_at timestamp(6) not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    -- credentials
    access_token varchar not null,
    refresh_token varchar not null
);

create table channel_twilio_sms (
    id bigserial primary key,
    phone_number varchar,
    account_id integer not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    medium integer default 0,
    messaging_service_sid varchar,
    content_templates jsonb default '{}',
    content_templates_last_updated timestamp(6),
    voice_enabled boolean default false not null,
    -- credentials
    auth_token varchar not null,
    account_sid varchar not null,
    api_key_sid varchar,
    api_key_secret varchar,
    twiml_app_sid varchar
);

create table channel_twitter_profiles (
    id bigserial primary key,
    profile_id varchar not null,
    account_id integer not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    tweets_enabled boolean default true,
    -- credentials
    twitter_access_token varchar not null,
    twitter_access_token_secret varchar not null
);

create table channel_web_widgets (
    id serial primary key,
    website_url varchar,
    account_id integer,
    created_at timestamp not null,
    updated_at timestamp not null,
    widget_color varchar default '#1f93ff',
    welcome_title varchar,
    welcome_tagline varchar,
    feature_flags integer default 7 not null,
    reply_time integer default 0,
    pre_chat_form_enabled boolean default false,
    pre_chat_form_options jsonb default '{}',
    hmac_mandatory boolean default false,
    continuity_via_email boolean default true not null,
    allowed_domains text default '',
    -- credentials
    website_token varchar,
    hmac_token varchar
);

create table channel_whatsapp (
    id bigserial primary key,
    account_id integer not null,
    phone_number varchar not null,
    provider varchar default 'default',
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    message_templates jsonb default '{}',
    message_templates_last_updated timestamp,
    -- credentials
    provider_config jsonb default '{}'
);

create table contacts (
    id serial primary key,
    name varchar default '',
    email varchar,
    phone_number varchar,
    account_id integer not null,
    created_at timestamp not null,
    updated_at timestamp not null,
    additional_attributes jsonb default '{}',
    identifier varchar,
    custom_attributes jsonb default '{}',
    last_activity_at timestamp,
    contact_type integer default 0,
    middle_name varchar default '',
    last_name varchar default '',
    location varchar default '',
    country_code varchar default '',
    blocked boolean default false not null,
    company_id bigint
);

create table contact_inboxes (
    id bigserial primary key,
    contact_id bigint,
    inbox_id bigint,
    source_id text not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    hmac_verified boolean default false,
    -- credentials
    pubsub_token varchar
);

create table companies (
    id bigserial primary key,
    name varchar not null,
    domain varchar,
    description text,
    account_id bigint not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    contacts_count integer,
    additional_attributes jsonb default '{}',
    custom_attributes jsonb default '{}',
    last_activity_at timestamp
);

create table conversations (
    id serial primary key,
    account_id integer not null,
    inbox_id integer not null,
    status integer default 0 not null,
    assignee_id integer,
    created_at timestamp not null,
    updated_at timestamp not null,
    contact_id bigint,
    display_id integer not null,
    contact_last_seen_at timestamp,
    agent_last_seen_at timestamp,
    additional_attributes jsonb default '{}',
    contact_inbox_id bigint,
    uuid uuid default gen_random_uuid() not null,
    identifier varchar,
    last_activity_at timestamp default current_timestamp not null,
    team_id bigint,
    campaign_id bigint,
    snoozed_until timestamp,
    custom_attributes jsonb default '{}',
    assignee_last_seen_at timestamp,
    first_reply_created_at timestamp,
    priority integer,
    sla_policy_id bigint,
    waiting_since timestamp(6),
    cached_label_list text,
    assignee_agent_bot_id bigint
);

create table conversation_participants (
    id bigserial primary key,
    account_id bigint not null,
    user_id bigint not null,
    conversation_id bigint not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table messages (
    id serial primary key,
    content text,
    account_id integer not null,
    inbox_id integer not null,
    conversation_id integer not null,
    message_type integer not null,
    created_at timestamp not null,
    updated_at timestamp not null,
    private boolean default false not null,
    status integer default 0,
    source_id text,
    content_type integer default 0 not null,
    content_attributes json default '{}',
    sender_type varchar,
    sender_id bigint,
    external_source_ids jsonb default '{}',
    additional_attributes jsonb default '{}',
    processed_message_content text,
    sentiment jsonb default '{}'
);

create table attachments (
    id serial primary key,
    file_type integer default 0,
    external_url varchar,
    coordinates_lat double precision default 0.0,
    coordinates_long double precision default 0.0,
    message_id integer not null,
    account_id integer not null,
    created_at timestamp not null,
    updated_at timestamp not null,
    fallback_title varchar,
    extension varchar,
    meta jsonb default '{}'
);

create table labels (
    id bigserial primary key,
    title varchar,
    description text,
    color varchar default '#1f93ff' not null,
    show_on_sidebar boolean,
    account_id bigint,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table tags (
    id serial primary key,
    name varchar,
    taggings_count integer default 0
);

create table taggings (
    id serial primary key,
    tag_id integer,
    taggable_type varchar,
    taggable_id integer,
    tagger_type varchar,
    tagger_id integer,
    context varchar(128),
    created_at timestamp
);

create table csat_survey_responses (
    id bigserial primary key,
    account_id bigint not null,
    conversation_id bigint not null,
    message_id bigint not null,
    rating integer not null,
    feedback_message text,
    contact_id bigint not null,
    assigned_agent_id bigint,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    csat_review_notes text,
    review_notes_updated_at timestamp(6),
    review_notes_updated_by_id bigint
);

create table reporting_events (
    id bigserial primary key,
    name varchar,
    value double precision,
    account_id integer,
    inbox_id integer,
    user_id integer,
    conversation_id integer,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    value_in_business_hours double precision,
    event_start_time timestamp,
    event_end_time timestamp
);

create table reporting_events_rollups (
    id bigserial primary key,
    account_id integer not null,
    date date not null,
    dimension_type varchar not null,
    dimension_id bigint not null,
    metric varchar not null,
    count bigint default 0 not null,
    sum_value double precision default 0.0 not null,
    sum_value_business_hours double precision default 0.0 not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table working_hours (
    id bigserial primary key,
    inbox_id bigint,
    account_id bigint,
    day_of_week integer not null,
    closed_all_day boolean default false,
    open_hour integer,
    open_minutes integer,
    close_hour integer,
    close_minutes integer,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    open_all_day boolean default false
);

create table agent_bots (
    id bigserial primary key,
    name varchar,
    description varchar,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    account_id bigint,
    bot_type integer default 0,
    -- credentials
    secret varchar,
    outgoing_url varchar,
    bot_config jsonb default '{}'
);

create table agent_bot_inboxes (
    id bigserial primary key,
    inbox_id integer,
    agent_bot_id integer,
    status integer default 0,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    account_id integer
);

create table campaigns (
    id bigserial primary key,
    display_id integer not null,
    title varchar not null,
    description text,
    message text not null,
    sender_id integer,
    enabled boolean default true,
    account_id bigint not null,
    inbox_id bigint not null,
    trigger_rules jsonb default '{}',
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    campaign_type integer default 0 not null,
    campaign_status integer default 0 not null,
    audience jsonb default '[]',
    scheduled_at timestamp,
    trigger_only_during_business_hours boolean default false,
    template_params jsonb
);

create table sla_policies (
    id bigserial primary key,
    name varchar not null,
    first_response_time_threshold double precision,
    next_response_time_threshold double precision,
    only_during_business_hours boolean default false,
    account_id bigint not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    description varchar,
    resolution_time_threshold double precision
);

create table applied_slas (
    id bigserial primary key,
    account_id bigint not null,
    sla_policy_id bigint not null,
    conversation_id bigint not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    sla_status integer default 0
);

create table sla_events (
    id bigserial primary key,
    applied_sla_id bigint not null,
    conversation_id bigint not null,
    account_id bigint not null,
    sla_policy_id bigint not null,
    inbox_id bigint not null,
    event_type integer,
    meta jsonb default '{}',
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table notes (
    id bigserial primary key,
    content text not null,
    account_id bigint not null,
    contact_id bigint not null,
    user_id bigint,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table mentions (
    id bigserial primary key,
    user_id bigint not null,
    conversation_id bigint not null,
    account_id bigint not null,
    mentioned_at timestamp not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table audits (
    id bigserial primary key,
    auditable_id bigint,
    auditable_type varchar,
    associated_id bigint,
    associated_type varchar,
    user_id bigint,
    user_type varchar,
    username varchar,
    action varchar,
    version integer default 0,
    comment varchar,
    request_uuid varchar,
    created_at timestamp,
    -- credentials
    audited_changes jsonb,
    remote_address varchar
);

create table canned_responses (
    id serial primary key,
    account_id integer not null,
    short_code varchar,
    content text,
    created_at timestamp not null,
    updated_at timestamp not null
);

create table custom_attribute_definitions (
    id bigserial primary key,
    attribute_display_name varchar,
    attribute_key varchar,
    attribute_display_type integer default 0,
    default_value integer,
    attribute_model integer default 0,
    account_id bigint,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    attribute_description text,
    attribute_values jsonb default '[]',
    regex_pattern varchar,
    regex_cue varchar
);

create table custom_roles (
    id bigserial primary key,
    name varchar,
    description varchar,
    account_id bigint not null,
    permissions text[] default '{}',
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table automation_rules (
    id bigserial primary key,
    account_id bigint not null,
    name varchar not null,
    description text,
    event_name varchar not null,
    conditions jsonb default '{}' not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    active boolean default true not null,
    -- credentials
    actions jsonb default '{}' not null
);

create table macros (
    id bigserial primary key,
    account_id bigint not null,
    name varchar not null,
    visibility integer default 0,
    created_by_id bigint,
    updated_by_id bigint,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    -- credentials
    actions jsonb default '{}' not null
);

create table custom_filters (
    id bigserial primary key,
    name varchar not null,
    filter_type integer default 0 not null,
    query jsonb default '{}' not null,
    account_id bigint not null,
    user_id bigint not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table assignment_policies (
    id bigserial primary key,
    account_id bigint not null,
    name varchar(255) not null,
    description text,
    assignment_order integer default 0 not null,
    conversation_priority integer default 0 not null,
    fair_distribution_limit integer default 100 not null,
    fair_distribution_window integer default 3600 not null,
    enabled boolean default true not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table inbox_assignment_policies (
    id bigserial primary key,
    inbox_id bigint not null,
    assignment_policy_id bigint not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table agent_capacity_policies (
    id bigserial primary key,
    account_id bigint not null,
    name varchar(255) not null,
    description text,
    exclusion_rules jsonb default '{}' not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table inbox_capacity_limits (
    id bigserial primary key,
    agent_capacity_policy_id bigint not null,
    inbox_id bigint not null,
    conversation_limit integer not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table leaves (
    id bigserial primary key,
    account_id bigint not null,
    user_id bigint not null,
    start_date date not null,
    end_date date not null,
    leave_type integer default 0 not null,
    status integer default 0 not null,
    reason text,
    approved_by_id bigint,
    approved_at timestamp(6),
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table calls (
    id bigserial primary key,
    account_id bigint not null,
    inbox_id bigint not null,
    conversation_id bigint not null,
    contact_id bigint not null,
    message_id bigint,
    accepted_by_agent_id bigint,
    provider_call_id varchar not null,
    provider integer default 0 not null,
    direction integer not null,
    status varchar default 'ringing' not null,
    started_at timestamp(6),
    duration_seconds integer,
    end_reason varchar,
    meta jsonb default '{}',
    transcript text,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table captain_assistants (
    id bigserial primary key,
    name varchar not null,
    account_id bigint not null,
    description varchar,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    config jsonb default '{}' not null,
    response_guidelines jsonb default '[]',
    guardrails jsonb default '[]'
);

create table captain_assistant_responses (
    id bigserial primary key,
    question varchar not null,
    answer text not null,
    embedding text,  -- vector(1536) where pgvector is available: see the end
    assistant_id bigint not null,
    documentable_id bigint,
    account_id bigint not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    status integer default 1 not null,
    documentable_type varchar,
    edited boolean default false not null
);

create table captain_documents (
    id bigserial primary key,
    name varchar,
    external_link text not null,
    content text,
    assistant_id bigint not null,
    account_id bigint not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    status integer default 0 not null,
    metadata jsonb default '{}',
    sync_status integer,
    last_synced_at timestamp(6),
    last_sync_attempted_at timestamp(6)
);

create table captain_inboxes (
    id bigserial primary key,
    captain_assistant_id bigint not null,
    inbox_id bigint not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table captain_scenarios (
    id bigserial primary key,
    title varchar,
    description text,
    instruction text,
    tools jsonb default '[]',
    enabled boolean default true not null,
    assistant_id bigint not null,
    account_id bigint not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table captain_custom_tools (
    id bigserial primary key,
    account_id bigint not null,
    slug varchar not null,
    title varchar not null,
    description text,
    http_method varchar default 'GET' not null,
    response_template text,
    auth_type varchar default 'none',
    param_schema jsonb default '[]',
    enabled boolean default true not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    -- credentials
    auth_config jsonb default '{}',
    endpoint_url text not null,
    request_template text
);

create table copilot_threads (
    id bigserial primary key,
    title varchar not null,
    user_id bigint not null,
    account_id bigint not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    assistant_id integer
);

create table copilot_messages (
    id bigserial primary key,
    copilot_thread_id bigint not null,
    account_id bigint not null,
    message jsonb default '{}' not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    message_type integer default 0
);

create table notifications (
    id bigserial primary key,
    account_id bigint not null,
    user_id bigint not null,
    notification_type integer not null,
    primary_actor_type varchar not null,
    primary_actor_id bigint not null,
    secondary_actor_type varchar,
    secondary_actor_id bigint,
    read_at timestamp,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    snoozed_until timestamp(6),
    last_activity_at timestamp(6) default current_timestamp,
    meta jsonb default '{}'
);

create table data_imports (
    id bigserial primary key,
    account_id bigint not null,
    data_type varchar not null,
    status integer default 0 not null,
    processing_errors text,
    total_records integer,
    processed_records integer,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table webhooks (
    id bigserial primary key,
    account_id integer,
    inbox_id integer,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    webhook_type integer default 0,
    subscriptions jsonb default '[]',
    name varchar,
    -- credentials
    secret varchar,
    url text
);

create table integrations_hooks (
    id bigserial primary key,
    status integer default 1,
    inbox_id integer,
    account_id integer,
    app_id varchar,
    hook_type integer default 0,
    reference_id varchar,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    -- credentials
    access_token varchar,
    settings jsonb default '{}'
);

-- Whole tables of credentials: an extraction must leave all of them out.

create table access_tokens (
    id bigserial primary key,
    owner_type varchar,
    owner_id bigint,
    token varchar,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table account_saml_settings (
    id bigserial primary key,
    account_id bigint not null,
    sso_url varchar,
    certificate text,
    sp_entity_id varchar,
    idp_entity_id varchar,
    role_mappings json default '{}',
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table installation_configs (
    id bigserial primary key,
    name varchar not null,
    serialized_value jsonb default '{}' not null,
    locked boolean default true not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table platform_apps (
    id bigserial primary key,
    name varchar not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table notification_subscriptions (
    id bigserial primary key,
    user_id bigint not null,
    subscription_type integer not null,
    subscription_attributes jsonb default '{}' not null,
    identifier text,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

create table active_storage_blobs (
    id bigserial primary key,
    key varchar not null,
    filename varchar not null,
    content_type varchar,
    metadata text,
    byte_size bigint not null,
    checksum varchar,
    service_name varchar not null,
    created_at timestamp(6) not null
);

create table action_mailbox_inbound_emails (
    id bigserial primary key,
    status integer default 0 not null,
    message_id varchar not null,
    message_checksum varchar not null,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null
);

-- display_id counts within an account.

create function accounts_after_insert_row_tr() returns trigger language plpgsql as $$
begin
    execute format('create sequence if not exists conv_dpid_seq_%s', new.id);
    return null;
end $$;
create trigger accounts_after_insert_row_tr after insert on accounts
for each row execute function accounts_after_insert_row_tr();

create function camp_dpid_before_insert() returns trigger language plpgsql as $$
begin
    execute format('create sequence if not exists camp_dpid_seq_%s', new.id);
    return null;
end $$;
create trigger camp_dpid_before_insert after insert on accounts
for each row execute function camp_dpid_before_insert();

create function conversations_before_insert_row_tr() returns trigger language plpgsql as $$
begin
    new.display_id := nextval('conv_dpid_seq_' || new.account_id);
    return new;
end $$;
create trigger conversations_before_insert_row_tr before insert on conversations
for each row execute function conversations_before_insert_row_tr();

create function campaigns_before_insert_row_tr() returns trigger language plpgsql as $$
begin
    new.display_id := nextval('camp_dpid_seq_' || new.account_id);
    return new;
end $$;
create trigger campaigns_before_insert_row_tr before insert on campaigns
for each row execute function campaigns_before_insert_row_tr();

-- Indexes

create index index_accounts_on_status on accounts (status);

create unique index uniq_user_id_per_account_id on account_users (account_id, user_id);
create index index_account_users_on_account_id on account_users (account_id);
create index index_account_users_on_agent_capacity_policy_id
    on account_users (agent_capacity_policy_id);
create index index_account_users_on_custom_role_id on account_users (custom_role_id);
create index index_account_users_on_user_id on account_users (user_id);

create index index_users_on_email on users (email);
create index index_users_on_otp_required_for_login on users (otp_required_for_login);
create unique index index_users_on_otp_secret on users (otp_secret);
create unique index index_users_on_pubsub_token on users (pubsub_token);
create unique index index_users_on_reset_password_token on users (reset_password_token);
create unique index index_users_on_uid_and_provider on users (uid, provider);

create index index_teams_on_account_id on teams (account_id);
create unique index index_teams_on_name_and_account_id on teams (name, account_id);

create unique index index_team_members_on_team_id_and_user_id on team_members (team_id, user_id);
create index index_team_members_on_team_id on team_members (team_id);
create index index_team_members_on_user_id on team_members (user_id);

create index index_inboxes_on_account_id on inboxes (account_id);
create index index_inboxes_on_channel_id_and_channel_type on inboxes (channel_id, channel_type);
create index index_inboxes_on_portal_id on inboxes (portal_id);

create unique index index_inbox_members_on_inbox_id_and_user_id
    on inbox_members (inbox_id, user_id);
create index index_inbox_members_on_inbox_id on inbox_members (inbox_id);

create unique index index_channel_api_on_hmac_token on channel_api (hmac_token);
create unique index index_channel_api_on_identifier on channel_api (identifier);

create unique index index_channel_email_on_email on channel_email (email);
create unique index index_channel_email_on_forward_to_email on channel_email (forward_to_email);

create unique index index_channel_facebook_pages_on_page_id_and_account_id
    on channel_facebook_pages (page_id, account_id);
create index index_channel_facebook_pages_on_page_id on channel_facebook_pages (page_id);

create unique index index_channel_instagram_on_instagram_id on channel_instagram (instagram_id);

create unique index index_channel_line_on_line_channel_id on channel_line (line_channel_id);

create unique index index_channel_sms_on_phone_number on channel_sms (phone_number);

create unique index index_channel_telegram_on_bot_token on channel_telegram (bot_token);

create unique index index_channel_tiktok_on_business_id on channel_tiktok (business_id);

create unique index index_channel_twilio_sms_on_account_sid_and_phone_number
    on channel_twilio_sms (account_sid, phone_number);
create unique index index_channel_twilio_sms_on_messaging_service_sid
    on channel_twilio_sms (messaging_service_sid);
create unique index index_channel_twilio_sms_on_phone_number on channel_twilio_sms (phone_number);

create unique index index_channel_twitter_profiles_on_account_id_and_profile_id
    on channel_twitter_profiles (account_id, profile_id);

create unique index index_channel_web_widgets_on_hmac_token on channel_web_widgets (hmac_token);
create unique index index_channel_web_widgets_on_website_token
    on channel_web_widgets (website_token);

create unique index index_channel_whatsapp_on_phone_number on channel_whatsapp (phone_number);

create index index_contacts_on_lower_email_account_id on contacts (lower(email::text), account_id);
create index index_contacts_on_account_id_and_contact_type on contacts (account_id, contact_type);
create index index_contacts_on_nonempty_fields
    on contacts (account_id, email, phone_number, identifier)
    where email <> '' or phone_number <> '' or identifier <> '';
create index index_contacts_on_account_id_and_last_activity_at
    on contacts (account_id, last_activity_at desc nulls last);
create index index_contacts_on_account_id on contacts (account_id);
create index index_resolved_contact_account_id
    on contacts (account_id)
    where email <> '' or phone_number <> '' or identifier <> '';
create index index_contacts_on_blocked on contacts (blocked);
create index index_contacts_on_company_id on contacts (company_id);
create unique index uniq_email_per_account_contact on contacts (email, account_id);
create unique index uniq_identifier_per_account_contact on contacts (identifier, account_id);
create index index_contacts_on_name_email_phone_number_identifier
    on contacts using gin (name gin_trgm_ops, email gin_trgm_ops, phone_number gin_trgm_ops, identifier gin_trgm_ops);
create index index_contacts_on_phone_number_and_account_id on contacts (phone_number, account_id);

create index index_contact_inboxes_on_contact_id on contact_inboxes (contact_id);
create unique index index_contact_inboxes_on_inbox_id_and_source_id
    on contact_inboxes (inbox_id, source_id);
create index index_contact_inboxes_on_inbox_id on contact_inboxes (inbox_id);
create unique index index_contact_inboxes_on_pubsub_token on contact_inboxes (pubsub_token);
create index index_contact_inboxes_on_source_id on contact_inboxes (source_id);

create unique index index_companies_on_account_and_domain
    on companies (account_id, domain)
    where domain is not null;
create index index_companies_on_account_id on companies (account_id);
create index index_companies_on_name_and_account_id on companies (name, account_id);

create unique index index_conversations_on_account_id_and_display_id
    on conversations (account_id, display_id);
create index index_conversations_on_id_and_account_id on conversations (account_id, id);
create index conv_acid_inbid_stat_asgnid_idx
    on conversations (account_id, inbox_id, status, assignee_id);
create index index_conversations_on_account_id on conversations (account_id);
create index index_conversations_on_assignee_id_and_account_id
    on conversations (assignee_id, account_id);
create index index_conversations_on_campaign_id on conversations (campaign_id);
create index index_conversations_on_contact_id on conversations (contact_id);
create index index_conversations_on_contact_inbox_id on conversations (contact_inbox_id);
create index index_conversations_on_first_reply_created_at
    on conversations (first_reply_created_at);
create index index_conversations_on_identifier_and_account_id
    on conversations (identifier, account_id);
create index index_conversations_on_inbox_id on conversations (inbox_id);
create index index_conversations_on_priority on conversations (priority);
create index index_conversations_on_status_and_account_id on conversations (status, account_id);
create index index_conversations_on_status_and_priority on conversations (status, priority);
create index index_conversations_on_team_id on conversations (team_id);
create unique index index_conversations_on_uuid on conversations (uuid);
create index index_conversations_on_waiting_since on conversations (waiting_since);

create index index_conversation_participants_on_account_id
    on conversation_participants (account_id);
create index index_conversation_participants_on_conversation_id
    on conversation_participants (conversation_id);
create unique index index_conversation_participants_on_user_id_and_conversation_id
    on conversation_participants (user_id, conversation_id);
create index index_conversation_participants_on_user_id on conversation_participants (user_id);

create index index_messages_on_additional_attributes_campaign_id
    on messages using gin ((additional_attributes -> 'campaign_id'));
create index idx_messages_account_content_created
    on messages (account_id, content_type, created_at);
create index index_messages_on_account_created_type
    on messages (account_id, created_at, message_type);
create index index_messages_on_account_id_and_inbox_id on messages (account_id, inbox_id);
create index index_messages_on_account_id on messages (account_id);
create index index_messages_on_content on messages using gin (content gin_trgm_ops);
create index index_messages_on_conversation_account_type_created
    on messages (conversation_id, account_id, message_type, created_at);
create index index_messages_on_conversation_id on messages (conversation_id);
create index index_messages_on_created_at on messages (created_at);
create index index_messages_on_inbox_id on messages (inbox_id);
create index index_messages_on_sender_type_and_sender_id on messages (sender_type, sender_id);
create index index_messages_on_source_id on messages (source_id);

create index index_attachments_on_account_id on attachments (account_id);
create index index_attachments_on_message_id on attachments (message_id);

create index index_labels_on_account_id on labels (account_id);
create unique index index_labels_on_title_and_account_id on labels (title, account_id);

create index tags_name_trgm_idx on tags using gin (lower(name::text) gin_trgm_ops);
create unique index index_tags_on_name on tags (name);

create index index_taggings_on_context on taggings (context);
create unique index taggings_idx
    on taggings (tag_id, taggable_id, taggable_type, context, tagger_id, tagger_type);
create index index_taggings_on_tag_id on taggings (tag_id);
create index index_taggings_on_taggable_id_and_taggable_type_and_context
    on taggings (taggable_id, taggable_type, context);
create index taggings_idy on taggings (taggable_id, taggable_type, tagger_id, context);
create index index_taggings_on_taggable_id on taggings (taggable_id);
create index index_taggings_on_taggable_type on taggings (taggable_type);
create index index_taggings_on_tagger_id_and_tagger_type on taggings (tagger_id, tagger_type);
create index index_taggings_on_tagger_id on taggings (tagger_id);

create index index_csat_survey_responses_on_account_id on csat_survey_responses (account_id);
create index index_csat_survey_responses_on_assigned_agent_id
    on csat_survey_responses (assigned_agent_id);
create index index_csat_survey_responses_on_contact_id on csat_survey_responses (contact_id);
create index index_csat_survey_responses_on_conversation_id
    on csat_survey_responses (conversation_id);
create unique index index_csat_survey_responses_on_message_id on csat_survey_responses (message_id);
create index index_csat_survey_responses_on_review_notes_updated_by_id
    on csat_survey_responses (review_notes_updated_by_id);

create index reporting_events__account_id__name__created_at
    on reporting_events (account_id, name, created_at);
create index index_reporting_events_for_response_distribution
    on reporting_events (account_id, name, inbox_id, created_at);
create index index_reporting_events_on_account_id on reporting_events (account_id);
create index index_reporting_events_on_conversation_id on reporting_events (conversation_id);
create index index_reporting_events_on_created_at on reporting_events (created_at);
create index index_reporting_events_on_inbox_id on reporting_events (inbox_id);
create index index_reporting_events_on_name on reporting_events (name);
create index index_reporting_events_on_user_id on reporting_events (user_id);

create unique index index_rollup_unique_key
    on reporting_events_rollups (account_id, date, dimension_type, dimension_id, metric);
create index index_rollup_summary on reporting_events_rollups (account_id, dimension_type, date);
create index index_rollup_timeseries on reporting_events_rollups (account_id, metric, date);

create index index_working_hours_on_account_id on working_hours (account_id);
create index index_working_hours_on_inbox_id on working_hours (inbox_id);

create index index_agent_bots_on_account_id on agent_bots (account_id);

create index index_campaigns_on_account_id on campaigns (account_id);
create index index_campaigns_on_campaign_status on campaigns (campaign_status);
create index index_campaigns_on_campaign_type on campaigns (campaign_type);
create index index_campaigns_on_inbox_id on campaigns (inbox_id);
create index index_campaigns_on_scheduled_at on campaigns (scheduled_at);

create index index_sla_policies_on_account_id on sla_policies (account_id);

create unique index index_applied_slas_on_account_sla_policy_conversation
    on applied_slas (account_id, sla_policy_id, conversation_id);
create index index_applied_slas_on_account_id on applied_slas (account_id);
create index index_applied_slas_on_conversation_id on applied_slas (conversation_id);
create index index_applied_slas_on_sla_policy_id on applied_slas (sla_policy_id);

create index index_sla_events_on_account_id on sla_events (account_id);
create index index_sla_events_on_applied_sla_id on sla_events (applied_sla_id);
create index index_sla_events_on_conversation_id on sla_events (conversation_id);
create index index_sla_events_on_inbox_id on sla_events (inbox_id);
create index index_sla_events_on_sla_policy_id on sla_events (sla_policy_id);

create index index_notes_on_account_id on notes (account_id);
create index index_notes_on_contact_id on notes (contact_id);
create index index_notes_on_user_id on notes (user_id);

create index index_mentions_on_account_id on mentions (account_id);
create index index_mentions_on_conversation_id on mentions (conversation_id);
create unique index index_mentions_on_user_id_and_conversation_id
    on mentions (user_id, conversation_id);
create index index_mentions_on_user_id on mentions (user_id);

create index associated_index on audits (associated_type, associated_id);
create index auditable_index on audits (auditable_type, auditable_id, version);
create index index_audits_on_created_at on audits (created_at);
create index index_audits_on_request_uuid on audits (request_uuid);
create index user_index on audits (user_id, user_type);

create index index_custom_attribute_definitions_on_account_id
    on custom_attribute_definitions (account_id);
create unique index attribute_key_model_index
    on custom_attribute_definitions (attribute_key, attribute_model, account_id);

create index index_custom_roles_on_account_id on custom_roles (account_id);

create index index_automation_rules_on_account_id on automation_rules (account_id);

create index index_macros_on_account_id on macros (account_id);

create index index_custom_filters_on_account_id on custom_filters (account_id);
create index index_custom_filters_on_user_id on custom_filters (user_id);

create unique index index_assignment_policies_on_account_id_and_name
    on assignment_policies (account_id, name);
create index index_assignment_policies_on_account_id on assignment_policies (account_id);
create index index_assignment_policies_on_enabled on assignment_policies (enabled);

create index index_inbox_assignment_policies_on_assignment_policy_id
    on inbox_assignment_policies (assignment_policy_id);
create unique index index_inbox_assignment_policies_on_inbox_id
    on inbox_assignment_policies (inbox_id);

create index index_agent_capacity_policies_on_account_id on agent_capacity_policies (account_id);

create unique index idx_on_agent_capacity_policy_id_inbox_id_71c7ec4caf
    on inbox_capacity_limits (agent_capacity_policy_id, inbox_id);
create index index_inbox_capacity_limits_on_agent_capacity_policy_id
    on inbox_capacity_limits (agent_capacity_policy_id);
create index index_inbox_capacity_limits_on_inbox_id on inbox_capacity_limits (inbox_id);

create index index_leaves_on_account_id_and_status on leaves (account_id, status);
create index index_leaves_on_account_id on leaves (account_id);
create index index_leaves_on_approved_by_id on leaves (approved_by_id);
create index index_leaves_on_user_id on leaves (user_id);

create index index_calls_on_account_id_and_contact_id on calls (account_id, contact_id);
create index index_calls_on_account_id_and_conversation_id on calls (account_id, conversation_id);
create index index_calls_on_message_id on calls (message_id);
create unique index index_calls_on_provider_and_provider_call_id
    on calls (provider, provider_call_id);

create index index_captain_assistants_on_account_id on captain_assistants (account_id);

create index index_captain_assistant_responses_on_account_id
    on captain_assistant_responses (account_id);
create index index_captain_assistant_responses_on_assistant_id
    on captain_assistant_responses (assistant_id);
create index idx_cap_asst_resp_on_documentable
    on captain_assistant_responses (documentable_id, documentable_type);
create index index_captain_assistant_responses_on_status on captain_assistant_responses (status);

create unique index idx_captain_documents_on_assistant_id_and_external_link_md5
    on captain_documents (assistant_id, md5(external_link));
create index idx_captain_documents_on_account_assistant_sync_stats
    on captain_documents (account_id, assistant_id, sync_status, last_synced_at);
create index index_captain_documents_on_account_id_and_sync_status
    on captain_documents (account_id, sync_status);
create index index_captain_documents_on_account_id on captain_documents (account_id);
create index index_captain_documents_on_assistant_id on captain_documents (assistant_id);
create index index_captain_documents_on_status on captain_documents (status);

create unique index index_captain_inboxes_on_captain_assistant_id_and_inbox_id
    on captain_inboxes (captain_assistant_id, inbox_id);
create index index_captain_inboxes_on_captain_assistant_id
    on captain_inboxes (captain_assistant_id);
create index index_captain_inboxes_on_inbox_id on captain_inboxes (inbox_id);

create index index_captain_scenarios_on_account_id on captain_scenarios (account_id);
create index index_captain_scenarios_on_assistant_id_and_enabled
    on captain_scenarios (assistant_id, enabled);
create index index_captain_scenarios_on_assistant_id on captain_scenarios (assistant_id);
create index index_captain_scenarios_on_enabled on captain_scenarios (enabled);

create unique index index_captain_custom_tools_on_account_id_and_slug
    on captain_custom_tools (account_id, slug);
create index index_captain_custom_tools_on_account_id on captain_custom_tools (account_id);

create index index_copilot_threads_on_account_id on copilot_threads (account_id);
create index index_copilot_threads_on_assistant_id on copilot_threads (assistant_id);
create index index_copilot_threads_on_user_id on copilot_threads (user_id);

create index index_copilot_messages_on_account_id on copilot_messages (account_id);
create index index_copilot_messages_on_copilot_thread_id on copilot_messages (copilot_thread_id);

create index index_notifications_on_account_id on notifications (account_id);
create index index_notifications_on_last_activity_at on notifications (last_activity_at);
create index uniq_primary_actor_per_account_notifications
    on notifications (primary_actor_type, primary_actor_id);
create index uniq_secondary_actor_per_account_notifications
    on notifications (secondary_actor_type, secondary_actor_id);
create index idx_notifications_performance
    on notifications (user_id, account_id, snoozed_until, read_at);
create index index_notifications_on_user_id on notifications (user_id);

create index index_data_imports_on_account_id on data_imports (account_id);

create unique index index_webhooks_on_account_id_and_url on webhooks (account_id, url);

create index index_access_tokens_on_owner_type_and_owner_id on access_tokens (owner_type, owner_id);
create unique index index_access_tokens_on_token on access_tokens (token);

create index index_account_saml_settings_on_account_id on account_saml_settings (account_id);

create unique index index_installation_configs_on_name on installation_configs (name);
create unique index index_installation_configs_on_name_and_created_at
    on installation_configs (name, created_at);

create unique index index_notification_subscriptions_on_identifier
    on notification_subscriptions (identifier);
create index index_notification_subscriptions_on_user_id on notification_subscriptions (user_id);

create unique index index_active_storage_blobs_on_key on active_storage_blobs (key);

create unique index index_action_mailbox_inbound_emails_uniqueness
    on action_mailbox_inbound_emails (message_id, message_checksum);

do $$
begin
    if exists (select from pg_available_extensions where name = 'vector')
        and current_setting('is_superuser') = 'on' then
        create extension if not exists vector;
        alter table captain_assistant_responses
            alter column embedding type vector(1536) using embedding::vector(1536);
        set local client_min_messages = warning;  -- "ivfflat index created with little data"
        create index vector_idx_knowledge_entries_embedding
            on captain_assistant_responses using ivfflat (embedding);
    end if;
end $$;
