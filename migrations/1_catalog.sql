-- What other internal services own and push to us. Nothing here says whether a document is uploaded: that is derived
-- from its upload session. Every key begins with the tenant, so that a fleet can be split by it.

create table tenant (
    -- The directory's GUID, claim `tid` of every access token.
    tenant_id           uuid        not null,
    -- Whether anybody in the tenant may upload.
    subscription_active boolean     not null,
    -- The owning service's revision; an upsert with an older one changes nothing.
    revision            bigint      not null,
    constraint tenant_pkey primary key (tenant_id),
    constraint tenant_revision_check check (revision >= 0)
);

create table printer (
    -- The tenant that owns the printer.
    tenant_id  uuid   not null,
    -- The printer's id, unique in its tenant.
    printer_id text   not null,
    -- The owning service's revision; an upsert with an older one changes nothing.
    revision   bigint not null,
    constraint printer_pkey primary key (tenant_id, printer_id),
    constraint printer_tenant_fkey foreign key (tenant_id) references tenant,
    constraint printer_revision_check check (revision >= 0)
);

create table printer_share (
    -- The tenant that owns the share and its printer.
    tenant_id  uuid   not null,
    -- The share's id, unique in its tenant.
    share_id   text   not null,
    -- The printer it leads to.
    printer_id text   not null,
    -- The owning service's revision; an upsert with an older one changes nothing.
    revision   bigint not null,
    constraint printer_share_pkey primary key (tenant_id, share_id),
    constraint printer_share_printer_fkey foreign key (tenant_id, printer_id) references printer,
    constraint printer_share_revision_check check (revision >= 0)
);

create table print_job (
    -- The tenant of the printer.
    tenant_id   uuid        not null,
    -- The printer that the job was created on.
    printer_id  text        not null,
    -- The job's id, unique on its printer.
    job_id      text        not null,
    -- Who created the job, 'user:{oid}' or 'app:{appid}'; unknown only for a job that was deleted before it was created.
    created_by  text,
    -- The owning service's revision; an upsert with an older one changes nothing.
    revision    bigint      not null,
    -- When the job was deleted. Kept as a tombstone, so that a late upsert does not bring it back.
    delete_time timestamptz,
    constraint print_job_pkey primary key (tenant_id, printer_id, job_id),
    constraint print_job_printer_fkey foreign key (tenant_id, printer_id) references printer,
    constraint print_job_created_by_check check (created_by ~ '^(user|app):.' or delete_time is not null),
    constraint print_job_revision_check check (revision >= 0)
);
-- Purging tombstones.
create index print_job_deleted_idx on print_job (delete_time) where delete_time is not null;

create table print_document (
    -- The tenant of the job.
    tenant_id   uuid not null,
    -- The document's id, unique in its tenant.
    document_id uuid not null,
    -- The printer of the job.
    printer_id  text not null,
    -- The job. It has exactly one document.
    job_id      text not null,
    constraint print_document_pkey primary key (tenant_id, document_id),
    constraint print_document_job_key unique (tenant_id, printer_id, job_id),
    constraint print_document_job_fkey foreign key (tenant_id, printer_id, job_id) references print_job on delete cascade
);

create table print_task (
    -- The tenant of the job.
    tenant_id           uuid   not null,
    -- The printer of the job.
    printer_id          text   not null,
    -- The job that the task works on.
    job_id              text   not null,
    -- The task's id, unique in its job.
    task_id             text   not null,
    -- The client id of the application whose trigger started the task.
    trigger_application text   not null,
    -- How far the task is.
    state               text   not null,
    -- The owning service's revision; an upsert with an older one changes nothing.
    revision            bigint not null,
    constraint print_task_pkey primary key (tenant_id, printer_id, job_id, task_id),
    constraint print_task_job_fkey foreign key (tenant_id, printer_id, job_id) references print_job on delete cascade,
    constraint print_task_state_check check (state in ('pending', 'processing', 'completed', 'aborted')),
    constraint print_task_revision_check check (revision >= 0)
);
