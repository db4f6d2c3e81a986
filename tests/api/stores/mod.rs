//! Object stores of every kind; slow, full and unusable ones.

mod disk;
mod ended_meanwhile;
mod every_store;
mod identity;
mod slow;
mod small_store;
mod startup;
