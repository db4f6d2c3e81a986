-- What a caller and a tenant use is counted from rows, through these indexes. There is no counter. A committed range and a
-- cancel write to none of the indexes: a canceled session is in none of them.

alter table print_job
    -- Whether a caller created the job here. False for a job that came with the catalog: it counts for no limit.
    add column created_here boolean not null default false;
-- The latest jobs on a printer, and of a creator. Neither a start nor a cancel changes what is indexed.
create index print_job_latest_idx on print_job (tenant_id, printer_id, create_time) where created_here;
create index print_job_creator_idx on print_job (tenant_id, created_by, create_time) where created_here;

alter table upload_session
    -- Whether the bytes of a completed session were given up with its job.
    add column is_freed boolean not null default false;
-- What an owner and a tenant hold. Active sessions have no end_time. Ending a session in another way than by its last
-- range takes it out without a write.
create index upload_session_usage_idx on upload_session (tenant_id, owner, end_time) include (size_bytes, is_freed)
    where state in ('active', 'completed');
