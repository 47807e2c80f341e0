//! Who may call what, and how long.

mod credentials;
mod keys;
mod process;
mod stage;
mod table;
