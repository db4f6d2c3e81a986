-- Reads all of the audit trail, beside the calls that write to it.
alter table audit validate constraint audit_before_check;
