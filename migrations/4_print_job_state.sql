-- Jobs are created, started and canceled here as well, not only pushed by the catalog's owner. Which of the two says what
-- is in print_jobs.proto.
alter table print_job
    -- When the job was created, or first came with the catalog.
    add column create_time   timestamptz not null default now(),
    -- How to print: a JSON object, to the letter. Nothing when its creator gave none.
    add column configuration text,
    -- When the job was started: its document was complete.
    add column start_time    timestamptz,
    -- When the job was canceled: its document takes no upload any more.
    add column cancel_time   timestamptz,
    add constraint print_job_configuration_check check (octet_length(configuration) <= 16384);
