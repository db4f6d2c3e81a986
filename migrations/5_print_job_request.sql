-- A caller that got no answer may create its job again, and gets the same one: the request has an id of the caller's.
alter table print_job
    -- The id of the request that created the job, if its creator gave one.
    add column request_id text,
    add constraint print_job_request_id_check check (request_id ~ '^[!-~]{1,64}$');
-- One job for each request of a creator on a printer.
create unique index print_job_request_key on print_job (tenant_id, printer_id, created_by, request_id)
    where request_id is not null;
