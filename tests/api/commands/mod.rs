//! The commands of those who upload, as people and scripts run them.

mod failures;
mod interrupt;
mod output;
pub mod resume;
