use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::executor::{MountSource, Mounted, Network, Ulimit};

fn process() -> Process {
    Process {
        id: "x".to_owned(),
        root: "/root".into(),
        read_only_root: false,
        mounts: Vec::new(),
        args: vec!["true".to_owned()],
        env: vec!["A=b".to_owned()],
        cwd: String::new(),
        user: String::new(),
        hostname: String::new(),
        extra_hosts: Vec::new(),
        network: Network::Host,
        security: Security::Sandbox,
        ulimits: Vec::new(),
        cgroup_parent: None,
        remove_stubs_recursively: false,
    }
}

/// The config of a process on a machine that has all there is but `CAP_MKNOD`.
fn config(process: &Process, cgroup: Option<&str>) -> Value {
    let machine = Machine { bounding: !(1 << 27), cgroup_namespaces: true };
    let input = Input {
        process,
        root: Path::new("/root"),
        user: &User { uid: 1, gid: 2, additional_gids: vec![2, 3] },
        cwd: "/work",
        given: &[Given { dest: "/etc/hosts", source: "/bundle/hosts".into() }],
        machine: &machine,
        cgroup,
    };
    serde_json::to_value(spec(&input)).unwrap()
}

fn mount<'a>(config: &'a Value, dest: &str) -> &'a Value {
    let mounts = config["mounts"].as_array().unwrap();
    mounts.iter().rfind(|mount| mount["destination"] == dest).unwrap_or(&Value::Null)
}

fn has(options: &Value, option: &str) -> bool {
    options["options"].as_array().unwrap().iter().any(|one| one == option)
}

#[test]
fn a_sandboxed_process() {
    let config = config(&process(), Some("/lazyblob-x"));
    let capabilities = &config["process"]["capabilities"];
    for set in ["bounding", "effective", "permitted"] {
        let set = capabilities[set].as_array().unwrap();
        assert_eq!(set.len(), 13, "but for the one that cannot be had");
        assert!(set.contains(&json!("CAP_SETFCAP")) && !set.contains(&json!("CAP_SYS_ADMIN")));
    }
    assert_eq!(capabilities.as_object().unwrap().len(), 3, "nothing is inheritable or ambient");
    assert_eq!(config["process"]["user"], json!({"uid": 1, "gid": 2, "additionalGids": [2, 3]}));
    assert_eq!(config["process"]["noNewPrivileges"], json!(false));
    assert_eq!(config["process"]["cwd"], json!("/work"));
    assert_eq!(config["hostname"], json!("buildkitsandbox"));
    let linux = &config["linux"];
    assert_eq!(linux["resources"]["devices"], json!([{"allow": false, "access": "rwm"}]));
    assert_eq!(linux["devices"], json!([]));
    assert!(linux["maskedPaths"].as_array().unwrap().contains(&json!("/proc/kcore")));
    assert!(linux["readonlyPaths"].as_array().unwrap().contains(&json!("/proc/sys")));
    let types: Vec<_> = linux["namespaces"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
    assert_eq!(types, ["pid", "ipc", "uts", "mount", "cgroup"]);
    for dest in ["/sys", "/sys/fs/cgroup", "/etc/hosts"] {
        assert!(has(mount(&config, dest), "ro"), "{dest}");
    }
}

#[test]
fn an_insecure_process() {
    let mut process = process();
    process.security = Security::Insecure;
    let config = config(&process, Some("/lazyblob-x"));
    assert_eq!(config["process"]["capabilities"]["effective"].as_array().unwrap().len(), 40);
    let linux = &config["linux"];
    assert_eq!(linux["seccomp"], Value::Null);
    assert_eq!((&linux["maskedPaths"], &linux["readonlyPaths"]), (&json!([]), &json!([])));
    assert_eq!(linux["resources"]["devices"], json!([{"allow": true, "access": "rwm"}]));
    assert!(linux["devices"].as_array().unwrap().iter().any(|device| device["path"] == "/dev/fuse"));
    for dest in ["/sys", "/sys/fs/cgroup"] {
        assert!(has(mount(&config, dest), "rw"), "{dest}");
    }
}

#[test]
fn a_network_of_its_own() {
    let mut process = process();
    process.network = Network::None;
    let config = config(&process, Some("/lazyblob-x"));
    let namespaces = config["linux"]["namespaces"].as_array().unwrap();
    assert!(namespaces.contains(&json!({"type": "network"})));
}

#[test]
fn without_cgroups_nothing_is_said_of_them() {
    let config = config(&process(), None);
    assert_eq!(mount(&config, "/sys/fs/cgroup"), &Value::Null);
    assert_eq!(config["linux"]["cgroupsPath"], Value::Null);
    assert!(!config["linux"]["namespaces"].as_array().unwrap().contains(&json!({"type": "cgroup"})));
}

#[test]
fn mounts_and_limits() {
    let mut process = process();
    process.read_only_root = true;
    process.mounts = vec![
        Mounted {
            dest: "/a".to_owned(),
            source: MountSource::Tmpfs { size: Some(4096) },
            read_only: false,
            is_own: true,
        },
        Mounted {
            dest: "/etc/hosts".to_owned(),
            source: MountSource::Bind("/h".into()),
            read_only: true,
            is_own: true,
        },
    ];
    process.ulimits = vec![Ulimit { name: "nofile".to_owned(), soft: 1, hard: 2 }];
    let config = config(&process, None);
    assert!(has(mount(&config, "/a"), "size=4096"));
    assert_eq!(mount(&config, "/etc/hosts")["source"], json!("/h"), "its own comes last");
    assert_eq!(config["root"], json!({"path": "/root", "readonly": true}));
    assert_eq!(config["process"]["rlimits"], json!([{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}]));
}

#[test]
fn the_filter_of_system_calls() {
    for (architecture, own) in [("x86_64", "arch_prctl"), ("aarch64", "set_tls")] {
        let filter = serde_json::to_value(seccomp::of(architecture)).unwrap();
        assert_eq!(
            (&filter["defaultAction"], &filter["defaultErrnoRet"]),
            (&json!("SCMP_ACT_ERRNO"), &json!(1))
        );
        let rules = filter["syscalls"].as_array().unwrap();
        let names = rules[0]["names"].as_array().unwrap();
        for name in ["execve", "openat2", "chroot", "statx", own] {
            assert!(names.contains(&json!(name)), "{architecture}: {name}");
        }
        // Nor is any rule about those that get out of a sandbox.
        for name in
            ["mount", "unshare", "setns", "bpf", "keyctl", "init_module", "kexec_load", "io_uring_setup"]
        {
            assert!(
                !rules.iter().any(|rule| rule["names"].as_array().unwrap().contains(&json!(name))),
                "{name}"
            );
        }
        for name in ["clone", "clone3", "socket", "personality"] {
            assert!(!names.contains(&json!(name)), "{name} depends on its arguments");
        }
        let rule = |name: &str| rules.iter().find(|rule| rule["names"] == json!([name])).unwrap();
        assert_eq!(
            (&rule("clone3")["action"], &rule("clone3")["errnoRet"]),
            (&json!("SCMP_ACT_ERRNO"), &json!(38))
        );
        let clone = json!([{"index": 0, "value": 0x7e02_0000, "op": "SCMP_CMP_MASKED_EQ"}]);
        assert_eq!(rule("clone")["args"], clone);
    }
    assert!(seccomp::of("m68k").is_none());
}

#[test]
fn no_call_is_listed_twice() {
    let all: Vec<_> = syscalls::ALLOWED.iter().flat_map(|group| group.iter()).collect();
    let once: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(all.len(), once.len());
}

#[test]
fn what_a_process_may_have_is_read() {
    assert_eq!(bounding("Name:\tx\nCapBnd:\t00000000a80425fb\n"), Some(0xa804_25fb));
    assert_eq!(bounding("Name:\tx\n"), None);
}
