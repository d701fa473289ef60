//! How commands are run.

use lazyblob_cache::snapshot::Wanted;
use lazyblob_worker::Error;
use lazyblob_worker::executor::{self, Ulimit};
use lazyblob_worker::llb::{self, Definition, Network, Security, State, host_platform};
use lazyblob_worker::ops::{check_entitlements, entitlements};
use lazyblob_worker::session::{Entitlement, Session};

use crate::support::{World, run};

#[tokio::test]
async fn a_command_is_run_as_the_definition_says() {
    let session = Session { allowed: vec![Entitlement::SecurityInsecure], ..Session::default() };
    let world = World::with(Wanted::Plain, session).await;
    let state = run(&llb::scratch(), &["say x"])
        .env("A", "1")
        .cwd("/w/../v/")
        .user("1000:staff")
        .hostname("builder")
        .extra_host("db", "10.0.0.7".parse().unwrap())
        .ulimit("nofile", 10, -1)
        .cgroup_parent("/group")
        .network(Network::None)
        .security(Security::Insecure)
        .root();
    world.build(&state).await;
    let process = world.theatre.process("say x");
    assert_eq!(process.args, ["play", "say x"]);
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(process.env, ["A=1", path]);
    assert_eq!((process.cwd.as_str(), process.user.as_str()), ("/v", "1000:staff"));
    assert_eq!(process.hostname, "builder");
    assert_eq!(process.extra_hosts, [("db".to_owned(), "10.0.0.7".to_owned())]);
    assert_eq!(process.ulimits, [Ulimit { name: "nofile".to_owned(), soft: 10, hard: u64::MAX }]);
    assert_eq!(process.cgroup_parent.as_deref(), Some("/group"));
    assert_eq!(process.network, executor::Network::None);
    assert_eq!(process.security, executor::Security::Insecure);
    assert!(process.remove_stubs_recursively && !process.read_only_root);
    assert!(process.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));

    world.build(&run(&llb::scratch(), &["say y"]).root()).await;
    let plain = world.theatre.process("say y");
    assert_eq!(plain.network, executor::Network::Host, "what is not said is the host's");
    assert_eq!(plain.security, executor::Security::Sandbox);
    assert_eq!((plain.cwd.as_str(), plain.cgroup_parent), ("/", None));
    assert_ne!(plain.id, process.id);
    world.close().await;
}

fn definition(state: &State) -> Definition {
    state.definition(&host_platform()).unwrap()
}

#[test]
fn what_needs_to_be_allowed_is_known_before_anything_runs() {
    let plain = run(&llb::scratch(), &["say a"]).network(Network::None).root();
    let host = run(&plain, &["say b"]).network(Network::Host).root();
    let both = run(&host, &["say c"]).network(Network::Host).security(Security::Insecure).root();
    assert!(entitlements(&definition(&plain)).is_empty());
    check_entitlements(&definition(&plain), &[]).unwrap();
    let (network, security) = (Entitlement::NetworkHost, Entitlement::SecurityInsecure);
    let asked: Vec<_> = entitlements(&definition(&both)).into_iter().map(|(_, asked)| asked).collect();
    assert_eq!(asked, [network, network, security]);
    check_entitlements(&definition(&host), &[network]).unwrap();
    let refused = check_entitlements(&definition(&both), &[network]).unwrap_err();
    assert!(matches!(refused, Error::NotAllowed { entitlement, .. } if entitlement == security));
    let refused = check_entitlements(&definition(&host), &[security]).unwrap_err().to_string();
    assert!(refused.contains("--allow network.host"), "{refused}");
}

#[test]
fn contradictions_are_refused_before_anything_runs() {
    let refused = |exec: llb::Exec, wanted: &str| {
        let out = exec.mount("/out", llb::Mount::bind(&llb::scratch())).done().mounted("/out").unwrap();
        let error = out.definition(&host_platform()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    };
    let any = || run(&llb::scratch(), &["say a"]);
    refused(any().ulimit("nofile", 10, 5), "nofile");
    refused(any().ulimit("nofile", -1, 5), "nofile");
    refused(any().mount("//", llb::Mount::tmpfs(0)), "two mounts at /");
    refused(any().mount("/", llb::Mount::tmpfs(0)), "no tree");
    refused(any().secret_env("A=B", llb::Secret::new("s")), "A=B");
    refused(any().cgroup_parent("../x"), "../x");
    any().ulimit("nofile", 10, -1).root().definition(&host_platform()).unwrap();
}

/// Whoever makes the graph: what nobody allows who wants a command does not run.
#[tokio::test]
async fn what_is_not_allowed_does_not_run() {
    let insecure =
        run(&llb::scratch(), &["say c"]).security(Security::Insecure).network(Network::Host).root();
    let (network, security) = (Entitlement::NetworkHost, Entitlement::SecurityInsecure);
    for allowed in [vec![], vec![network], vec![security]] {
        let lacks = if allowed.contains(&network) { security } else { network };
        let session = Session { allowed, ..Session::default() };
        let world = World::with(Wanted::Plain, session).await;
        let refused = world.try_build(&insecure).await.map(drop).unwrap_err().to_string();
        assert!(refused.contains(lacks.as_str()), "{refused}");
        assert_eq!(world.executor.runs(), 0);
        world.close().await;
    }
    let world =
        World::with(Wanted::Plain, Session { allowed: vec![network, security], ..Session::default() }).await;
    world.build(&insecure).await;
    assert_eq!(world.executor.runs(), 1);
    world.close().await;
}
