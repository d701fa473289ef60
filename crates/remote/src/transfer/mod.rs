//! Everything about a transfer that goes beyond one request: the queue, limits, retries, resume, alternates,
//! verification. Nowhere else.
//!
//! ```text
//!  bring(Wanted) ─┐ joins: its sources are alternates, its rank raises the flight's
//!  bring(Wanted) ─┼─▶ Flight of (blob, target) ─▶ one run in flightcontrol's group, ended by the last to leave
//!  layers([…])   ─┘      │
//!                        │ mount? present?            a question takes a slot for itself, for as long as it lasts
//!                        ▼
//!                  Lease ── slots of both ends in one step ──▶ Scheduler: limits, ranks, pauses of hosts
//!                        │                                      (given back while it waits, or only commits)
//!                        ▼
//!                  Blob ── open(range) ──▶ current source ──▶ Paced ──▶ the target's put_blob, which verifies
//!                        ▲      breaks: the ladder, then the same offset; refused: the next source, the same offset
//!                        └────── wrong bytes: once more from the beginning, without the one who brought them
//! ```
//!
//! Memory: a transfer that has its slot holds what its connections buffer (about 0.4 MB at each end), half a MB where it is
//! read from or written to a disk, up to 128 KiB of a small blob that is sent, and one chunk where a host takes uploads in
//! chunks only (4 MiB unless set, 64 MiB at the most where the host insists). So the whole is bounded by
//! [`Limits::total`], or by the limits of hosts where that is zero. What waits in line has opened nothing and takes about
//! 40 kB, its task among them (measured with 1000 layers); only a source that [fetches](crate::Provider::fetches) is opened
//! before.

mod ask;
mod blob;
mod board;
mod carry;
mod engine;
mod flights;
mod keyed;
mod layers;
mod lease;
mod limits;
mod locations;
mod pace;
mod pauses;
mod queue;
mod reading;
mod retry;
mod scheduler;
mod settings;
mod sources;
mod turns;

pub use blob::Blob;
pub use engine::{Action, Brought, Transfers, Wanted};
pub use keyed::{Guard, Keyed};
pub use layers::{Layer, LayerError, Layers};
pub use limits::{Limits, Need, Operation};
pub use locations::{Caps, Locations};
pub use pace::Pace;
pub use queue::Rank;
pub use retry::Retry;
pub use scheduler::{Place, Scheduler, Slot};
pub use settings::Settings;
