//! What commands may do only if it is allowed.

use std::sync::Arc;

use lazyblob_solver::VertexName;

use crate::error::{Error, Result};
use crate::llb::pb::{ExecOp, NetMode, SecurityMode};
use crate::llb::{Definition, Op};
use crate::session::{Entitlement, Session};

/// What a definition asks for that not every build may do, vertex by vertex.
#[must_use]
pub fn entitlements(definition: &Definition) -> Vec<(VertexName, Entitlement)> {
    let mut asked = Vec::new();
    for vertex in definition.vertices() {
        if let Op::Exec(exec) = &vertex.op {
            asked.extend(of(exec).map(|entitlement| (vertex.name.clone(), entitlement)));
        }
    }
    asked
}

/// Whether all that a definition asks for is among what is `allowed`: to be asked before anything runs.
///
/// # Errors
/// [`Error::NotAllowed`] with the first vertex that asks for more.
pub fn check_entitlements(definition: &Definition, allowed: &[Entitlement]) -> Result<()> {
    let mut asked = entitlements(definition).into_iter();
    match asked.find(|(_, entitlement)| !allowed.contains(entitlement)) {
        Some((vertex, entitlement)) => Err(Error::NotAllowed { vertex, entitlement }),
        None => Ok(()),
    }
}

/// Whether one of those who want a command allows all that it asks for: asked when it is about to run, whoever made its
/// graph.
///
/// # Errors
/// [`Error::NotAllowed`] with what nobody of them allows.
pub(super) fn check(vertex: &VertexName, exec: &ExecOp, sessions: &[Arc<Session>]) -> Result<()> {
    let allows = |session: &Arc<Session>| of(exec).all(|asked| session.allowed.contains(&asked));
    match of(exec).next() {
        Some(entitlement) if !sessions.iter().any(allows) => {
            // Of several the first one that the first session lacks, if there is one.
            let lacks = |asked: &Entitlement| sessions.first().is_none_or(|it| !it.allowed.contains(asked));
            let entitlement = of(exec).find(lacks).unwrap_or(entitlement);
            Err(Error::NotAllowed { vertex: vertex.clone(), entitlement })
        }
        _ => Ok(()),
    }
}

fn of(exec: &ExecOp) -> impl Iterator<Item = Entitlement> {
    let network = (exec.network() == NetMode::Host).then_some(Entitlement::NetworkHost);
    let security = (exec.security() == SecurityMode::Insecure).then_some(Entitlement::SecurityInsecure);
    network.into_iter().chain(security)
}
