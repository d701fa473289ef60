//! What a command may do and see.

use std::fs;

use lazyblob_worker::executor::{Network, Security};

use crate::support::World;

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim()
}

#[tokio::test]
async fn capabilities_and_seccomp() {
    let Some(world) = World::new("capabilities").await else { return };
    let status = world.text(world.sh("cat /proc/self/status")).await;
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(field(&status, set), "00000000a80425fb", "{set}");
    }
    for set in ["CapInh:", "CapAmb:"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
    assert_eq!((field(&status, "Seccomp:"), field(&status, "NoNewPrivs:")), ("2", "0"));
    let mut process = world.sh("cat /proc/self/status");
    process.user = "1000:1000".to_owned();
    let status = world.text(process).await;
    assert_eq!(field(&status, "CapEff:"), "0000000000000000");
    world.close().await;
}

#[tokio::test]
async fn what_is_not_allowed_fails() {
    let Some(world) = World::new("seccomp").await else { return };
    for script in [
        "mount -t tmpfs none /tmp",
        "unshare -U true",
        "echo 1 >/proc/sys/kernel/printk",
        "echo b >/proc/sysrq-trigger",
        "mkdir /sys/fs/cgroup/x",
        "[ -s /proc/kcore ] && cat /proc/timer_list | grep .",
        "echo x >/sys/kernel/profiling",
        "dd if=/dev/kmsg count=1",
    ] {
        let (exit, captured) = world.run(world.sh(script)).await;
        assert_ne!(exit.unwrap().code, 0, "{script}: {}", captured.out());
    }
    world.close().await;
}

#[tokio::test]
async fn what_every_command_sees() {
    let Some(world) = World::new("devices").await else { return };
    let script = "echo $$; [ -d /sys/kernel ] && [ -d /dev/mqueue ] && [ -d /dev/pts ] || exit 1
        for device in null zero full random urandom tty; do [ -c /dev/$device ] || exit 2; done
        echo x >/dev/null && touch /dev/shm/x && [ -L /dev/stdin ] && [ -L /dev/fd ] || exit 3
        grep -q ' /sys/fs/cgroup ' /proc/self/mountinfo || exit 4";
    assert_eq!(world.text(world.sh(script)).await, "1\n", "a process namespace of its own");
    world.close().await;
}

#[tokio::test]
async fn a_network_of_its_own_is_loopback_only() {
    let Some(world) = World::new("networks").await else { return };
    let mut process = world.sh("cat /proc/net/dev; cat /sys/class/net/lo/flags; ls /sys/class/net");
    process.network = Network::None;
    let text = world.text(process).await;
    let devices: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    assert_eq!(devices, ["lo"]);
    assert!(text.ends_with("0x9\nlo\n"), "it is up: {text}");
    let mut process = world.sh("readlink /proc/self/ns/net || ls -l /proc/self/ns/net");
    process.args = ["ls", "-l", "/proc/self/ns"].map(str::to_owned).to_vec();
    let text = world.text(process).await;
    for name in ["net", "user"] {
        let host = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert!(text.contains(host.to_str().unwrap()), "{name} is the host's: {text}");
    }
    for name in ["mnt", "pid", "ipc", "uts"] {
        let host = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert!(!text.contains(host.to_str().unwrap()), "{name} is its own: {text}");
    }
    world.close().await;
}

#[tokio::test]
async fn insecure_may_do_everything() {
    let Some(world) = World::new("insecure mode").await else { return };
    let script = "cat /proc/self/status; mkdir /tmp; mount -t tmpfs none /tmp || exit 1
        [ -c /dev/fuse ] && [ -b /dev/loop0 ] || exit 2
        cat /proc/kcore | dd of=/dev/null bs=1 count=1 || exit 3
        echo $(cat /proc/sys/kernel/printk) >/proc/sys/kernel/printk || exit 4
        grep ' /sys ' /proc/self/mountinfo | grep -v ' rw,' && exit 5
        true";
    let mut process = world.sh(script);
    process.security = Security::Insecure;
    let status = world.text(process).await;
    let host = fs::read_to_string("/proc/self/status").unwrap();
    assert_eq!(field(&status, "CapEff:"), field(&host, "CapBnd:"));
    assert_eq!(field(&status, "Seccomp:"), "0");
    world.close().await;
}

#[tokio::test]
async fn a_read_only_root() {
    let Some(world) = World::new("read-only roots").await else { return };
    let mut process = world.sh("touch /x && exit 1; touch /bin/x && exit 1; touch /dev/shm/x");
    process.read_only_root = true;
    world.text(process).await;
    assert!(!world.root.join("x").exists());
    world.close().await;
}
