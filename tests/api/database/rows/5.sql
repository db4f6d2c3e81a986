-- A job that was created here by a request with an id.

insert into print_job (tenant_id, printer_id, job_id, created_by, revision, configuration, request_id) values
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'repeated', 'user:ada', 0, '{"copies":2}', 'request-of-ada');

insert into print_document (tenant_id, document_id, printer_id, job_id) values
    ('aaaaaaaa-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-000000000051', 'p', 'repeated');
