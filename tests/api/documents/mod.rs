//! Documents: their names, their state and their bytes.

mod content;
mod fairness;
mod names;
