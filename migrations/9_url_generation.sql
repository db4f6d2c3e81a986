-- The upload URLs of a session can be renewed: those that went out before are worthless from then on.
alter table upload_session
    -- How often that was done. An upload URL has the number of its time, and none stands for 0. A program that does not
    -- know the column leaves the default.
    add column url_generation integer not null default 0;
