-- The catalog. Each job has the name of what happens to its document.

insert into tenant (tenant_id, subscription_active, revision) values
    ('aaaaaaaa-0000-4000-8000-000000000001', true, 1),
    ('bbbbbbbb-0000-4000-8000-000000000002', true, 9),
    ('cccccccc-0000-4000-8000-000000000003', false, 9223372036854775807);

insert into printer (tenant_id, printer_id, revision) values
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 1),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'a printer without jobs', 0),
    ('bbbbbbbb-0000-4000-8000-000000000002', 'p', 1);

insert into printer_share (tenant_id, share_id, printer_id, revision) values
    ('aaaaaaaa-0000-4000-8000-000000000001', 's', 'p', 1),
    ('bbbbbbbb-0000-4000-8000-000000000002', 's', 'p', 1);

insert into print_job (tenant_id, printer_id, job_id, created_by, revision, delete_time) values
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'idle',      'user:ada',  1, null),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'empty',     'user:ada',  1, null),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'half',      'user:ada',  1, null),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'unwanted',  'user:ada',  1, null),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'overdue',   'user:ada',  1, null),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'completed', 'user:ada',  1, null),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'canceled',  'user:ada',  1, null),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'expired',   'user:ada',  1, null),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'resumed',   'user:ada',  1, null),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'robot',     'app:robot', 1, null),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'freed',     'user:ada',  2, now()),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'withdrawn', 'user:ada',  2, now()),
    -- Deleted before it was created.
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'never',     null,        2, now()),
    ('bbbbbbbb-0000-4000-8000-000000000002', 'p', 'half',      'user:ada',  1, null);

insert into print_document (tenant_id, document_id, printer_id, job_id) values
    ('aaaaaaaa-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-000000000000', 'p', 'idle'),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-000000000001', 'p', 'empty'),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-000000000002', 'p', 'half'),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-000000000003', 'p', 'unwanted'),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-000000000004', 'p', 'overdue'),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-000000000005', 'p', 'completed'),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-000000000006', 'p', 'canceled'),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-000000000007', 'p', 'expired'),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-000000000008', 'p', 'resumed'),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-000000000009', 'p', 'robot'),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-00000000000a', 'p', 'freed'),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-00000000000b', 'p', 'withdrawn'),
    -- The same id as in the other tenant.
    ('bbbbbbbb-0000-4000-8000-000000000002', 'd0000000-0000-4000-8000-000000000002', 'p', 'half');

insert into print_task (tenant_id, printer_id, job_id, task_id, trigger_application, state, revision) values
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'robot', '1', 'robot', 'processing', 2),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'robot', '2', 'robot', 'pending',    1),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'empty', '1', 'robot', 'completed',  3),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'half',  '1', 'robot', 'aborted',    3),
    ('aaaaaaaa-0000-4000-8000-000000000001', 'p', 'freed', '1', 'robot', 'processing', 2);
