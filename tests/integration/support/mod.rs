//! What the tests share.

mod command;
mod docker_registry;
mod images;
mod peer;
mod served;

pub(crate) use command::{Desk, Ran, holds, signal};
pub(crate) use docker_registry::{Answered, DockerRegistry, Guard, PASSWORD, USER, ask, get, htpasswd};
pub(crate) use images::{Written, buildkit_caches, image, sized_image};
pub(crate) use peer::{peer, skopeo};
pub(crate) use served::Served;
