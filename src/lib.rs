//! Roster: one daemon that knows who is on each team and decides what they may do.
pub mod catalogs;
pub mod domain;
pub mod engine;
pub mod store;
