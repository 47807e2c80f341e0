//! Reads catalogs.
