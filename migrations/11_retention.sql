-- Jobs that were created here end, and go, by themselves. A tenant can be deleted. The audit trail becomes a table for
-- each month, in three steps: this one, 13 and 14.
--
-- It changes tables that every call uses, and reads none of them. So it must wait for nobody while calls wait for it.

set local lock_timeout = '2s';

alter table print_job
    -- Whether the catalog has pushed the job. Then it is the catalog's to delete, also if it was created here. A
    -- program that does not know the column leaves it: a job with a revision was pushed as well. The jobs from before
    -- this migration count as pushed: with revision 0, their rows do not show it.
    add column is_in_catalog boolean     not null default true,
    -- When the sweeper looks at a job that was created here. A start and a cancel do not change it, so that they write
    -- to no index. A program that does not know the column leaves the default, and the job is looked at once early.
    add column sweep_time    timestamptz not null default now();
alter table print_job alter column is_in_catalog set default false;

alter table tenant
    -- Since when the tenant is being deleted. It has no subscription then, and the catalog cannot give it one.
    add column delete_time timestamptz;

-- What is in the table now, and until the end of next month, becomes one partition. With this constraint it need not be
-- read while it is locked.
do $$
declare
    until constant timestamptz :=
        (date_trunc('month', now() at time zone 'UTC') + interval '2 months') at time zone 'UTC';
begin
    execute format('alter table audit add constraint audit_before_check check (audit_time < %L) not valid', until);
end $$;
