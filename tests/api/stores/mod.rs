//! Object stores of every kind; slow, full and unusable ones.

mod disk;
mod every_store;
mod identity;
mod slow;
mod small_store;
mod startup;
