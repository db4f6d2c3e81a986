-- What ends a session writes to as few indexes as it can.

-- The audit trail of a session is read in its order: one index instead of two.
alter table audit drop constraint audit_pkey;
alter table audit add constraint audit_pkey primary key (tenant_id, session_id, audit_id);
drop index audit_session_idx;

-- A session is queued by the statement that has just locked its row, and it is purged only if it is not queued. So the
-- key was never violated, and checking it took a tenth of the time of a cancel.
alter table reclaim drop constraint reclaim_session_fkey;
