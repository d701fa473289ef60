//! Unfinished blobs: saved, locked, gone on with, listed, and removed in the end.

mod commit;
mod damage;
mod follow;
mod interrupted;
mod life;
mod processes;
mod resume;
mod support;
mod waiting;
