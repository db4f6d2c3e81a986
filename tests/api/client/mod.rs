//! The client crate, as programs that upload use it.

mod transfers;
