-- The index of the sweeper. In a migration of its own: while it is built, nobody can write to the table, but everybody
-- can read it.

set local lock_timeout = '2s';
create index print_job_sweep_idx on print_job (sweep_time)
    where created_here and not is_in_catalog and delete_time is null;
