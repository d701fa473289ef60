//! The database of records, behind a trait, and its hand-over between processes.
