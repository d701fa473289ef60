//! In which order a vertex may tell a job what happens to it: the rules of [`Status`](crate::Status).

use std::collections::HashMap;
use std::sync::Arc;

use crate::ids::VertexName;
use crate::status::{Event, What};

/// What each vertex told last.
#[derive(Default)]
pub(super) struct Order(HashMap<Arc<VertexName>, Told>);

#[derive(Clone, Copy, Default)]
struct Told {
    stage: Stage,
    /// How many preparations are going on: of a vertex that a job has under one name there may be several.
    preparing: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Waiting,
    Cached,
    Running,
    Completed,
    Failed,
}

impl Order {
    /// Whether an event fits in; if it does, it has been told.
    pub(super) fn admits(&mut self, event: &Event) -> bool {
        let Some(vertex) = &event.vertex else { return true };
        if matches!(event.what, What::Progress(_) | What::Log(_) | What::Dropped { .. } | What::Warning(_)) {
            return true;
        }
        let told = self.0.entry(Arc::clone(vertex)).or_default();
        let next = match (&event.what, told.stage) {
            (What::Preparing, _) => {
                told.preparing += 1;
                return told.preparing == 1;
            }
            (What::Prepared, _) => {
                let before = told.preparing;
                told.preparing = before.saturating_sub(1);
                return before == 1;
            }
            (What::Started, Stage::Waiting | Stage::Cached) => Stage::Running,
            (What::Stopped, Stage::Running) => Stage::Waiting,
            (What::Cached, Stage::Waiting) => Stage::Cached,
            (What::Completed, Stage::Running) => Stage::Completed,
            (What::Failed(_), stage) if stage != Stage::Failed => Stage::Failed,
            (What::Lost(_), Stage::Running) => Stage::Running,
            (What::Lost(_), stage) if stage != Stage::Failed => Stage::Waiting,
            _ => return false,
        };
        told.stage = next;
        true
    }
}
