-- The index of the sweeper, and the one by which a printer is removed: its shares are found by their printer. In a
-- migration of its own: while they are built, nobody can write to the tables, but everybody can read them.

set local lock_timeout = '2s';
create index print_job_sweep_idx on print_job (sweep_time)
    where created_here and not is_in_catalog and delete_time is null;
create index printer_share_printer_idx on printer_share (tenant_id, printer_id);
