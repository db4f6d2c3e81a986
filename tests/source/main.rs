//! What holds for the source itself: imports, the protos' comments, the written reference. Needs no database.

mod imports;
mod proto;
mod reference;
