//! What commands may do only if it is allowed.

use lazyblob_solver::VertexName;

use crate::error::{Error, Result};
use crate::llb::pb::{ExecOp, NetMode, SecurityMode};
use crate::llb::{Definition, Op};
use crate::session::Entitlement;

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

fn of(exec: &ExecOp) -> impl Iterator<Item = Entitlement> {
    let network = (exec.network() == NetMode::Host).then_some(Entitlement::NetworkHost);
    let security = (exec.security() == SecurityMode::Insecure).then_some(Entitlement::SecurityInsecure);
    network.into_iter().chain(security)
}
