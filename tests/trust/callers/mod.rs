//! Who may call what, and how long.

mod admission;
mod credentials;
mod keys;
mod process;
mod stage;
mod table;
