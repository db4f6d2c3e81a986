//! Upload sessions, from creation to the last byte reclaimed.

mod create;
mod delete;
mod delete_at_expiry;
mod delete_named;
mod delete_race;
mod expiry;
mod expiry_during_a_range;
mod life;
mod purge;
mod reclaim;
mod renew;
mod states;
