//! Placeholder while this is being written.
