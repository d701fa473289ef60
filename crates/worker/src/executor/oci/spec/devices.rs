//! Device nodes besides those that every container has.

use serde::Serialize;

/// So many loop devices are there for an insecure process.
const LOOPS: u32 = 8;

/// A node in `/dev`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Device {
    path: String,
    r#type: char,
    major: u32,
    minor: u32,
    file_mode: u32,
    uid: u32,
    gid: u32,
}

/// What an insecure process finds in `/dev`, as with BuildKit: the kernel's log, user-space file systems and character
/// devices, virtual machines, tunnels, loop devices.
pub(super) fn insecure() -> Vec<Device> {
    let chars = [
        ("/dev/kmsg", 1, 11),
        ("/dev/cuse", 10, 203),
        ("/dev/fuse", 10, 229),
        ("/dev/kvm", 10, 232),
        ("/dev/net/tun", 10, 200),
        ("/dev/loop-control", 10, 237),
    ];
    let chars = chars.into_iter().map(|(path, major, minor)| device(path.to_owned(), 'c', major, minor));
    let loops = (0..LOOPS).map(|minor| device(format!("/dev/loop{minor}"), 'b', 7, minor));
    chars.chain(loops).collect()
}

fn device(path: String, r#type: char, major: u32, minor: u32) -> Device {
    Device { path, r#type, major, minor, file_mode: 0o600, uid: 0, gid: 0 }
}
