-- The sweeper looks at a session when its sweep_time has come, not every second at every active session.
alter table upload_session
    -- When the sweeper looks at the session. It ends the session if it is overdue; otherwise ranges have prolonged it,
    -- and it is looked at again at its expire_time. Ranges do not change it, so that their updates stay heap-only. A
    -- program that does not know the column leaves the default, and the session is looked at once early.
    add column sweep_time timestamptz not null default now();
update upload_session set sweep_time = expire_time where state = 'active';
create index upload_session_sweep_idx on upload_session (sweep_time) where state = 'active';
drop index upload_session_active_idx;

-- The latest session of an owner is found without reading the document's other sessions, however many have ended.
create index upload_session_owner_idx on upload_session (tenant_id, document_id, owner, create_time desc);
drop index upload_session_latest_idx;
