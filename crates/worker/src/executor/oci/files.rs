//! What a process finds in `/etc` that is not its root's.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::spec::hostname;
use crate::executor::Process;

/// The lines of `/etc/hosts`: this machine, then the hosts that the process is given.
pub(super) fn hosts(process: &Process) -> String {
    let mut text =
        format!("127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n", hostname(process));
    for (name, address) in &process.extra_hosts {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}

/// The host's `resolv.conf` for a process that does not see the host's loopback device: without the name servers there.
pub(super) fn resolv_conf(host: &str) -> String {
    let is_kept = |line: &&str| {
        let mut words = line.split_whitespace();
        let is_server = words.next() == Some("nameserver");
        let address = words.next().and_then(|address| address.parse::<IpAddr>().ok());
        !(is_server && address.is_some_and(|address| address.is_loopback()))
    };
    host.lines().filter(is_kept).flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_on_the_host_s_loopback_device_is_left_out() {
        let host =
            "# by hand\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 10.0.0.2\nsearch example.org";
        assert_eq!(resolv_conf(host), "# by hand\nnameserver 10.0.0.2\nsearch example.org\n");
    }
}
