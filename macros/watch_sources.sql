{# Which conversations a changed row belongs to, for each table that the marts follow from; `%s` is
   the rows that changed. What is not here is small and read whole, or part of an inbox's settings
   (int_inbox_settings). #}
{% macro watched_tables() %}
    {%- set of_row = "select conversation_id from (%s) as changed" %}
    {%- set of_contact = "select conversations.id from (%s) as changed"
        ~ " inner join raw_chatwoot.conversations on changed.{} = conversations.contact_id" %}
    {%- set of_person %}
        with changed as (select distinct tenant_id, key_sha256 from (%s) as rows_of_keys),
        persons as (
            select contacts.id, tenants.tenant_id, keys.key_sha256
            from (select distinct tenant_id from changed) as tenants
            cross join raw_chatwoot.contacts
            cross join lateral (values
                ({{ person_key("tenants.tenant_id", "phone", phone_key("contacts.phone_number")) }}),
                ({{ person_key("tenants.tenant_id", "email", "lower(btrim(contacts.email))") }})
            ) as keys (key_sha256)
        )
        select conversations.id from changed
        inner join persons using (tenant_id, key_sha256)
        inner join raw_chatwoot.conversations on persons.id = conversations.contact_id
    {%- endset %}
    {{ return({
        "raw_chatwoot.conversations": "select id from (%s) as changed",
        "raw_chatwoot.messages": of_row,
        "raw_chatwoot.reporting_events": of_row,
        "raw_chatwoot.csat_survey_responses": of_row,
        "raw_chatwoot.conversation_participants": of_row,
        "raw_chatwoot.attachments": "select messages.conversation_id from (%s) as changed"
            ~ " inner join raw_chatwoot.messages on changed.message_id = messages.id",
        "raw_chatwoot.taggings": "select taggable_id from (%s) as changed"
            ~ " where taggable_type = 'Conversation'",
        "raw_chatwoot.tags": "select taggings.taggable_id from (%s) as changed"
            ~ " inner join raw_chatwoot.taggings on changed.id = taggings.tag_id"
            ~ " where taggings.taggable_type = 'Conversation'",
        "raw_chatwoot.contacts": of_contact.replace("{}", "id"),
        "raw_chatwoot.campaigns": "select conversations.id from (%s) as changed"
            ~ " inner join raw_chatwoot.conversations on changed.id = conversations.campaign_id",
        "app.opt_outs": of_contact.replace("{}", "contact_id"),
        "app.opt_out_keys": of_person,
        "ai.conversation_scores": of_row,
        "ai.corrections": of_row,
    }) }}
{% endmacro %}


{# Pre-hook of int_conversations_touched: from here on the database notes what changes, and this
   build takes what was noted before. A table that nobody watched may have changed in any row, which
   matters once there is something built. #}
{% macro claim_changes() %}
    {%- for table, ids in watched_tables().items() %}
    {%- if is_incremental() %}
    insert into app.changed_conversations (conversation_id, source_table)
    select conversations.id, '{{ table }}'
    from (select app.watch_conversations_of('{{ table }}', $ids${{ ids }}$ids$) as is_new) as watched
    inner join raw_chatwoot.conversations on watched.is_new;
    {%- else %}
    select app.watch_conversations_of('{{ table }}', $ids${{ ids }}$ids$);
    {%- endif %}
    {%- endfor %}
    select app.keep_opt_out_keys();
    update app.changed_conversations set is_claimed = true where not is_claimed
{% endmacro %}
