-- Jobs that were created here: started with a complete document, canceled with an upload, canceled without one.

insert into print_job
    (tenant_id, printer_id, job_id, created_by, revision, create_time, configuration, start_time, cancel_time)
values
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'started', 'user:ada', 0, now() - interval '1 hour',
     '{ "copies": 2 }', now(), null),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'stopped', 'user:ada', 0, now() - interval '1 hour',
     null, null, now()),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'dropped', 'user:ada', 0, now() - interval '1 hour',
     '{}', null, now());

insert into print_document (tenant_id, document_id, printer_id, job_id) values
    ('aaaaaaaa-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-000000000041', 'p', 'started'),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-000000000042', 'p', 'stopped'),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-000000000043', 'p', 'dropped');

insert into upload_session
    (tenant_id, session_id, document_id, owner, document_name, content_type, size_bytes, received, fragment_count,
     expire_time, expire_limit, state, end_time, ended_by, end_reason, completing_range, completing_crc32c)
values
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000041',
     'd0000000-0000-4000-8000-000000000041', 'user:ada', 'poster.pdf', 'application/pdf', 1000, '{[0,1000)}', 1,
     now() + interval '1 hour', now() + interval '24 hours',
     'completed', now(), 'user:ada', 'upload-completed', '[0,1000)', 3244595429),
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000042',
     'd0000000-0000-4000-8000-000000000042', 'user:ada', 'poster.pdf', 'application/pdf', 1000, '{[0,500)}', 1,
     now() + interval '1 hour', now() + interval '24 hours',
     'canceled', now(), 'user:ada', 'print-job-canceled', null, null);

insert into fragment (tenant_id, session_id, start_byte, end_byte, object_id, object_offset, crc32c) values
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000041', 0, 1000,
     'f0000000-0000-4000-8000-000000000041', 0, 3244595429),
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000042', 0, 500,
     'f0000000-0000-4000-8000-000000000042', 0, 2576821339);

insert into reclaim (tenant_id, session_id, final_time) values
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000042', now() + interval '11 minutes');

insert into audit (tenant_id, session_id, document_id, action, actor, credential, request_id)
values
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000041',
     'd0000000-0000-4000-8000-000000000041', 'complete', 'user:ada', 'access-token', 'request-4'),
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000042',
     'd0000000-0000-4000-8000-000000000042', 'cancel', 'user:ada', 'access-token', 'request-5');
