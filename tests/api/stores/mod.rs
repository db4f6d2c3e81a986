//! Object stores: every kind, slow ones, full ones.

mod disk;
mod every_store;
mod slow;
