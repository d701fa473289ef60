//! The digest of what a build step reads of a tree.
//!
//! Two trees that a step cannot tell apart have the same digest, whatever layers, times and names of images they are
//! made of. It is the one BuildKit computes (its `contenthash`), to the bit, so that its remote caches are found by what
//! is in a tree.
//!
//! ```text
//! file            sha256 of a header (mode, owner, size, kind, target, attributes) and of the content
//! directory       two records: itself, which is a header; and with all below it:
//!                 sha256 of  NUL header  NUL name digest  NUL name digest …, by name
//! path            the record at its end
//! *, patterns     sha256 of  path digest  of each file taken, directories without what is in them
//! all together    sha256 of the selectors' digests, joined by NULs
//! ```
//!
//! A [`Table`] has the records of one tree. It is filled by whoever makes the tree, as files arrive; or it asks a
//! [`Source`] for what a [`Selector`] needs, and for nothing else: the digest of one file reads one file. A
//! [`ContentHash`] is a table that several ask at once.
//!
//! ```text
//! bytes beside a snapshot ── Table::decode ──┐
//! Table::insert, link, remove (files arrive) ┼─ ContentHash ─ known? ── digest: nothing was mounted, nothing pulled
//! Table::unread (nothing known yet) ─────────┘                  │ no
//!                                    mount the tree ─ Directory ┴ checksum ── digest ─ Table::encode ─ beside the snapshot
//! ```
//!
//! What is not as in BuildKit, on purpose: a directory is listed when it must be, and not all that is around a path; what
//! changes while it is read is an error; a path with a NUL is one no file can have.

mod checksum;
mod choose;
mod codec;
mod directory;
mod glob;
mod header;
mod path;
mod patterns;
mod reading;
mod regex;
mod rune;
mod selector;
mod shared;
mod source;
mod sum;
mod table;

pub use checksum::of_nothing;
pub use directory::Directory;
pub use glob::{BadPattern, Glob, has_wildcards};
pub use header::{FileHasher, Kind, Meta};
pub use patterns::{Matched, Patterns};
pub use selector::{Selector, dedupe};
pub use shared::ContentHash;
pub use source::{Node, Source};
pub use sum::Sum;
pub use table::{Part, Record, Root, Table};
