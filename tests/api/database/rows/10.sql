-- A job that was created here, and a completed session whose bytes were given up with its job.

insert into print_job (tenant_id, printer_id, job_id, created_by, revision, created_here) values
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'created-here', 'user:ada', 0, true);

insert into print_document (tenant_id, document_id, printer_id, job_id) values
    ('aaaaaaaa-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-000000000101', 'p', 'created-here');

update upload_session set is_freed = true
where state = 'completed'
  and not exists (
      select from fragment f
      where (f.tenant_id, f.session_id) = (upload_session.tenant_id, upload_session.session_id)
  );
