-- Sessions in every state, and their manifests. Every document is the first 1000 bytes of the harness' sample pattern.
-- This schema has no queue of bytes to reclaim.

insert into upload_session
    (tenant_id, session_id, document_id, owner, document_name, content_type, size_bytes, received, fragment_count,
     expire_time, expire_limit)
values
    -- empty
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000001',
     'd0000000-0000-4000-8000-000000000001', 'user:ada', 'poster.pdf', 'application/pdf', 1000, '{}', 0,
     now() + interval '1 hour', now() + interval '24 hours'),
    -- half; its second range overlapped the first one
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000002',
     'd0000000-0000-4000-8000-000000000002', 'user:ada', 'poster.pdf', 'application/pdf', 1000, '{[0,500)}', 2,
     now() + interval '1 hour', now() + interval '24 hours'),
    -- unwanted; its expiry has reached the cap
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000003',
     'd0000000-0000-4000-8000-000000000003', 'user:ada', 'poster.pdf', 'application/pdf', 1000, '{[100,200)}', 1,
     now() + interval '30 minutes', now() + interval '30 minutes'),
    -- overdue, not swept yet
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000004',
     'd0000000-0000-4000-8000-000000000004', 'user:ada', 'poster.pdf', 'application/pdf', 1000, '{[0,100)}', 1,
     now() - interval '1 minute', now() + interval '23 hours'),
    -- resumed, in its second session
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000009',
     'd0000000-0000-4000-8000-000000000008', 'user:ada', 'poster.pdf', 'application/pdf', 1000, '{[0,800)}', 3,
     now() + interval '1 hour', now() + interval '24 hours'),
    -- robot
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-00000000000a',
     'd0000000-0000-4000-8000-000000000009', 'app:robot', 'poster.pdf', 'application/pdf', 1000, '{[0,500)}', 1,
     now() + interval '1 hour', now() + interval '24 hours'),
    -- half, in the other tenant
    ('bbbbbbbb-0000-4000-8000-000000000002', '01900000-0000-7000-8000-00000000000b',
     'd0000000-0000-4000-8000-000000000002', 'user:ada', 'poster.pdf', 'application/pdf', 1000, '{[0,500)}', 1,
     now() + interval '1 hour', now() + interval '24 hours');

insert into upload_session
    (tenant_id, session_id, document_id, owner, document_name, content_type, size_bytes, received, fragment_count,
     create_time, expire_time, expire_limit, state, end_time, ended_by, end_reason, completing_range, completing_crc32c)
values
    -- completed
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000005',
     'd0000000-0000-4000-8000-000000000005', 'user:ada', 'poster.pdf', 'application/pdf', 1000, '{[0,1000)}', 2,
     now() - interval '2 minutes', now() + interval '1 hour', now() + interval '24 hours',
     'completed', now() - interval '1 minute', 'user:ada', 'upload-completed', '[600,1000)', 2600885220),
    -- canceled
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000006',
     'd0000000-0000-4000-8000-000000000006', 'user:ada', 'poster.pdf', 'application/pdf', 1000, '{[0,500)}', 1,
     now() - interval '2 minutes', now() + interval '1 hour', now() + interval '24 hours',
     'canceled', now() - interval '1 minute', 'user:ada', 'deleted', null, null),
    -- expired
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000007',
     'd0000000-0000-4000-8000-000000000007', 'user:ada', 'poster.pdf', 'application/pdf', 1000, '{[0,100)}', 1,
     now() - interval '2 hours', now() - interval '1 hour', now() + interval '22 hours',
     'expired', now() - interval '1 hour', null, 'expired', null, null),
    -- resumed, in its first session
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000008',
     'd0000000-0000-4000-8000-000000000008', 'user:ada', 'poster.pdf', 'application/pdf', 1000, '{}', 0,
     now() - interval '2 minutes', now() + interval '1 hour', now() + interval '24 hours',
     'canceled', now() - interval '1 minute', 'user:ada', 'deleted', null, null),
    -- freed: its manifest was emptied with its job
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-00000000000c',
     'd0000000-0000-4000-8000-00000000000a', 'user:ada', 'poster.pdf', 'application/pdf', 1000, '{[0,1000)}', 1,
     now() - interval '2 minutes', now() + interval '1 hour', now() + interval '24 hours',
     'completed', now() - interval '1 minute', 'user:ada', 'upload-completed', '[0,1000)', 3244595429),
    -- withdrawn: canceled with its job
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-00000000000d',
     'd0000000-0000-4000-8000-00000000000b', 'user:ada', 'poster.pdf', 'application/pdf', 1000, '{[0,500)}', 1,
     now() - interval '2 minutes', now() + interval '1 hour', now() + interval '24 hours',
     'canceled', now() - interval '1 minute', 'app:catalog-service', 'print-job-deleted', null, null);

insert into fragment (tenant_id, session_id, start_byte, end_byte, object_id, object_offset, crc32c) values
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000002', 0, 300,
     'f0000000-0000-4000-8000-000000000001', 0, 4124951628),
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000002', 300, 500,
     'f0000000-0000-4000-8000-000000000002', 100, 473759524),
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000003', 100, 200,
     'f0000000-0000-4000-8000-000000000003', 0, 1607895771),
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000004', 0, 100,
     'f0000000-0000-4000-8000-000000000004', 0, 3251301349),
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000005', 0, 600,
     'f0000000-0000-4000-8000-000000000005', 0, 2656556145),
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000005', 600, 1000,
     'f0000000-0000-4000-8000-000000000006', 0, 2600885220),
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000006', 0, 500,
     'f0000000-0000-4000-8000-000000000007', 0, 2576821339),
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000007', 0, 100,
     'f0000000-0000-4000-8000-000000000008', 0, 3251301349),
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000009', 100, 600,
     'f0000000-0000-4000-8000-000000000009', 0, 641436656),
    -- The range [0,800) filled both gaps around the earlier one: one object, two pieces.
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000009', 0, 100,
     'f0000000-0000-4000-8000-00000000000f', 0, 3251301349),
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-000000000009', 600, 800,
     'f0000000-0000-4000-8000-00000000000f', 600, 2132846995),
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-00000000000a', 0, 500,
     'f0000000-0000-4000-8000-00000000000a', 0, 2576821339),
    ('bbbbbbbb-0000-4000-8000-000000000002', '01900000-0000-7000-8000-00000000000b', 0, 500,
     'f0000000-0000-4000-8000-00000000000b', 0, 2576821339),
    ('aaaaaaaa-0000-4000-8000-000000000001', '01900000-0000-7000-8000-00000000000d', 0, 500,
     'f0000000-0000-4000-8000-00000000000d', 0, 2576821339);
