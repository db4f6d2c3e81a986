//! `print-upload-dev`: what runs the service on one machine.

mod issuer;
mod page;
mod stack;
