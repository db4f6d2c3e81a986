-- One row an upload. It is the fence: a range commits only through an active, undue row, and a cancel ends that row.
-- Nothing that a range commit changes is indexed, so that its update stays heap-only; hence the free space a page keeps.

create table upload_session (
    -- The tenant of the document.
    tenant_id         uuid           not null,
    -- The session's id (UUID v7): also its etag and the folder of its bytes.
    session_id        uuid           not null,
    -- The document that is uploaded.
    document_id       uuid           not null,
    -- Who created the session, 'user:{oid}' or 'app:{appid}'. Nobody else may see or end it.
    owner             text           not null,
    -- The document's name as shown to people.
    document_name     text           not null,
    -- The document's media type.
    content_type      text           not null,
    -- The document's exact size.
    size_bytes        bigint         not null,
    -- 'active', then one of the others for ever.
    state             text           not null default 'active',
    -- The committed bytes; always the union of the session's fragments.
    received          int8multirange not null default '{}',
    -- How many fragments are committed.
    fragment_count    integer        not null default 0,
    -- When the session was created.
    create_time       timestamptz    not null default now(),
    -- When the session ends by itself; each committed range moves it forward. Past it the session is expired, swept or not.
    expire_time       timestamptz    not null,
    -- The hard cap that expire_time never passes.
    expire_limit      timestamptz    not null,
    -- When the session ended.
    end_time          timestamptz,
    -- Who ended the session; nobody when it expired.
    ended_by          text,
    -- Why the session ended.
    end_reason        text,
    -- The range that completed the document, for its exact repeat.
    completing_range  int8range,
    -- The CRC32C of that range.
    completing_crc32c bigint,
    constraint upload_session_pkey primary key (tenant_id, session_id),
    constraint upload_session_document_fkey foreign key (tenant_id, document_id) references print_document,
    constraint upload_session_owner_check check (owner ~ '^(user|app):.'),
    constraint upload_session_state_check check (state in ('active', 'completed', 'canceled', 'expired')),
    constraint upload_session_size_check check (size_bytes between 1 and 1099511627776),
    constraint upload_session_received_check check (received <@ int8multirange(int8range(0, size_bytes))),
    constraint upload_session_expire_check check (expire_time <= expire_limit),
    constraint upload_session_end_check check (
        (state = 'active') = (end_time is null) and (state = 'active') = (end_reason is null)
        and (state in ('completed', 'canceled')) = (ended_by is not null)
    ),
    constraint upload_session_completed_check check (
        (state = 'completed') = (received = int8multirange(int8range(0, size_bytes)))
        and (state = 'completed') = (completing_range is not null)
        and (state = 'completed') = (completing_crc32c is not null)
    )
) with (fillfactor = 70);

-- One live or finished session a document: a second upload cannot begin, and an uploaded document cannot be replaced.
create unique index upload_session_document_key on upload_session (tenant_id, document_id)
    where state in ('active', 'completed');
-- Resolving a document's name to its latest sessions.
create index upload_session_latest_idx on upload_session (tenant_id, document_id, create_time desc);
-- Finding due sessions: the key never changes while a session is active.
create index upload_session_active_idx on upload_session (session_id) where state = 'active';
-- Purging tombstones.
create index upload_session_ended_idx on upload_session (end_time) where state in ('canceled', 'expired');

-- The manifest: which bytes of which object are the document.
create table fragment (
    -- The tenant of the session.
    tenant_id     uuid   not null,
    -- The session.
    session_id    uuid   not null,
    -- Offset of the first byte in the document.
    start_byte    bigint not null,
    -- Offset after the last byte in the document.
    end_byte      bigint not null,
    -- The object that holds the bytes, named {tenant}/{session}/{object}.
    object_id     uuid   not null,
    -- Where in the object the bytes begin.
    object_offset bigint not null,
    -- CRC32C of these bytes alone.
    crc32c        bigint not null,
    constraint fragment_pkey primary key (tenant_id, session_id, start_byte),
    constraint fragment_session_fkey foreign key (tenant_id, session_id) references upload_session on delete cascade,
    constraint fragment_range_check check (0 <= start_byte and start_byte < end_byte and object_offset >= 0),
    constraint fragment_crc32c_check check (crc32c between 0 and 4294967295)
);
