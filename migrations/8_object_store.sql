-- The object store that the database belongs to. There is no row before a `serve` has adopted a store.
create table object_store (
    -- Always true: there is at most one row.
    only_row   boolean     not null default true,
    -- The identity of the store, which is also in an object at its root.
    store_id   uuid        not null,
    -- When the store was adopted.
    adopt_time timestamptz not null default now(),
    constraint object_store_pkey primary key (only_row),
    constraint object_store_only_row_check check (only_row)
);
