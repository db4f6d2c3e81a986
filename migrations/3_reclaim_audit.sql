-- Work: drop every object of an ended session that its manifest does not hold. Written by the statement that ends the
-- session; removed only by a pass that began when no writer of the session can be left.
create table reclaim (
    -- The tenant of the session.
    tenant_id  uuid        not null,
    -- The session.
    session_id uuid        not null,
    -- When the next pass may begin. While a pass runs it lies ahead: the worker's lease.
    due_time   timestamptz not null default now(),
    -- A pass that begins after this moment is the last.
    final_time timestamptz not null,
    -- How many passes went through.
    passes     integer     not null default 0,
    -- How many passes have begun since the last one that went through.
    attempts   integer     not null default 0,
    constraint reclaim_pkey primary key (tenant_id, session_id),
    -- A tombstone outlives its work.
    constraint reclaim_session_fkey foreign key (tenant_id, session_id) references upload_session on delete restrict
);
create index reclaim_due_idx on reclaim (due_time);

-- Who did what to a session. Without foreign keys: it outlives everything it speaks of.
create table audit (
    -- The order of writing.
    audit_id    bigint generated always as identity,
    -- When it was done.
    audit_time  timestamptz not null default now(),
    -- The tenant of the session.
    tenant_id   uuid        not null,
    -- The session.
    session_id  uuid        not null,
    -- The document of the session.
    document_id uuid        not null,
    -- What was done; 'free': the bytes of a completed session were given up with its job.
    action      text        not null,
    -- Who did it, 'user:{oid}' or 'app:{appid}'; nobody when the session expired.
    actor       text,
    -- What admitted them: an access token, the capability of an upload URL, or nothing.
    credential  text        not null,
    -- The request that did it; nothing for the sweeper.
    request_id  text,
    constraint audit_pkey primary key (audit_id),
    constraint audit_action_check check (action in ('create', 'complete', 'cancel', 'expire', 'free')),
    constraint audit_credential_check check (credential in ('access-token', 'upload-url', 'none'))
);
create index audit_session_idx on audit (tenant_id, session_id);
