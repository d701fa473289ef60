//! What a command is given, and what comes back.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use lazyblob_worker::Error;
use lazyblob_worker::executor::Ulimit;

use crate::support::World;

#[tokio::test]
async fn both_streams_and_the_status() {
    let Some(world) = World::new("both streams").await else { return };
    let (exit, captured) = world.run(world.sh("echo out; echo err >&2; cat; exit 3")).await;
    assert_eq!(exit.unwrap().code, 3);
    assert_eq!((captured.out().as_str(), captured.err().as_str()), ("out\n", "err\n"));
    // A status of 1 is the runtime's as well when it fails.
    let (exit, captured) = world.run(world.sh("exit 1")).await;
    assert_eq!((exit.unwrap().code, captured.err().as_str()), (1, ""));
    world.close().await;
}

#[tokio::test]
async fn much_output_is_whole() {
    let Some(world) = World::new("much output").await else { return };
    let text = world.text(world.sh("seq 200000")).await;
    let wanted: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert!(text == wanted, "{} bytes", text.len());
    world.close().await;
}

/// It is streamed: the command goes on when it has been read.
#[tokio::test]
async fn output_comes_while_the_command_runs() {
    let Some(world) = World::new("streaming").await else { return };
    let mut process = world.sh("echo begun; while ! [ -e /shared/go ]; do sleep 0.01; done; echo ended");
    let shared = world.dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    process.mounts = vec![crate::mounts::bind("/shared", &shared, true)];
    let captured = crate::support::Captured::default();
    let cancel = tokio_util::sync::CancellationToken::new();
    let run = lazyblob_worker::executor::Executor::run(&world.executor, process, &captured, &cancel);
    let go = async {
        captured.has("begun").await;
        assert_eq!(captured.out(), "begun\n");
        fs::write(shared.join("go"), "").unwrap();
    };
    let (exit, ()) = tokio::join!(run, go);
    assert_eq!(exit.unwrap().code, 0);
    assert_eq!(captured.out(), "begun\nended\n");
    world.close().await;
}

#[tokio::test]
async fn a_signal_is_a_status() {
    let Some(world) = World::new("signals").await else { return };
    let (exit, _) = world.run(world.sh("sh -c 'kill -9 $$'; exit $?")).await;
    assert_eq!(exit.unwrap().code, 137);
    // The first process of a namespace is only killed from outside, or by what it does itself.
    let (exit, _) = world.run(world.process(&["awk", "BEGIN { system(\"kill -15 $$\"); exit 5 }"])).await;
    assert_eq!(exit.unwrap().code, 5);
    world.close().await;
}

#[tokio::test]
async fn environment_and_host_name() {
    let Some(world) = World::new("environment").await else { return };
    let mut process = world.sh("env; hostname; cat /etc/hosts");
    process.env.extend(["SECRET=a b=c\nd".to_owned(), "HOME=/x".to_owned()]);
    process.extra_hosts = vec![("db.example".to_owned(), "10.1.2.3".to_owned())];
    let text = world.text(process.clone()).await;
    assert!(text.contains("SECRET=a b=c\nd\n") && text.contains("HOME=/x\n"), "{text}");
    assert!(text.contains("\nbuildkitsandbox\n"), "{text}");
    assert!(text.contains("127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost"), "{text}");
    assert!(text.ends_with("10.1.2.3\tdb.example\n"), "{text}");
    assert!(!text.contains("CARGO"), "nothing of this process's environment");
    process.hostname = "builder".to_owned();
    let text = world.text(process).await;
    assert!(text.contains("\nbuilder\n") && text.contains("localhost builder\n"), "{text}");
    world.close().await;
}

#[tokio::test]
async fn the_host_s_name_servers() {
    let Some(world) = World::new("resolv.conf").await else { return };
    let Ok(host) = fs::read_to_string("/etc/resolv.conf") else { return };
    // Nobody can change what is bound in.
    let text = world.text(world.sh("cat /etc/resolv.conf; echo x >>/etc/resolv.conf || true")).await;
    assert_eq!(text, host);
    assert_eq!(fs::read_to_string("/etc/resolv.conf").unwrap(), host);
    world.close().await;
}

#[tokio::test]
async fn a_working_directory_is_made_and_stays() {
    let Some(world) = World::new("the working directory").await else { return };
    world.write("etc/passwd", "builder:x:1000:1001::/home/builder:/bin/sh\n");
    let mut process = world.sh("pwd; touch made");
    process.cwd = "/work/in/here".to_owned();
    process.user = "builder".to_owned();
    assert_eq!(world.text(process).await, "/work/in/here\n");
    for path in ["work", "work/in", "work/in/here", "work/in/here/made"] {
        let meta = fs::metadata(world.root.join(path)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (1000, 1001), "{path}");
    }
    world.close().await;
}

#[tokio::test]
async fn a_working_directory_behind_a_link_stays_in_the_root() {
    let Some(world) = World::new("the working directory").await else { return };
    let outside = world.dir.path().join("outside");
    std::os::unix::fs::symlink(&outside, world.root.join("out")).unwrap();
    let mut process = world.sh("pwd");
    process.cwd = "/out/../../there".to_owned();
    world.text(process).await;
    assert!(!outside.exists(), "nothing is made outside");
    world.close().await;
}

#[tokio::test]
async fn users_and_groups() {
    let Some(world) = World::new("users").await else { return };
    world.write(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nbuilder:x:1000:1001::/home/b:/bin/sh\n77:x:5:5::/:\n",
    );
    world.write(
        "etc/group",
        "root:x:0:\nwheel:x:10:root,builder\nbuilder:x:1001:\nextra:x:50:other,builder\n",
    );
    for (user, wanted) in [
        ("", "uid=0 gid=0 groups=0,10"),
        ("builder", "uid=1000 gid=1001 groups=1001,10,50"),
        ("1000", "uid=1000 gid=1001 groups=1001,10,50"),
        ("builder:wheel", "uid=1000 gid=10 groups=10"),
        ("builder:4711", "uid=1000 gid=4711 groups=4711"),
        ("4712", "uid=4712 gid=0 groups=0"),
        ("4712:4713", "uid=4712 gid=4713 groups=4713"),
        ("77", "uid=77 gid=0 groups=0"),
    ] {
        let mut process = world.sh("awk '/^(Uid|Gid|Groups)/' /proc/self/status; echo $HOME");
        process.user = user.to_owned();
        let text = world.text(process).await;
        let words: Vec<&str> = text.split_whitespace().collect();
        let groups: Vec<&str> =
            words[11..].iter().take_while(|word| word.parse::<u32>().is_ok()).copied().collect();
        let mut groups_wanted: Vec<&str> = wanted.rsplit('=').next().unwrap().split(',').collect();
        groups_wanted.sort_unstable_by_key(|group| group.parse::<u32>().unwrap());
        assert!(wanted.starts_with(&format!("uid={} gid={} ", words[1], words[6])), "{user}: {text}");
        assert_eq!(groups, groups_wanted, "{user}");
        if user == "builder" {
            assert_eq!(*words.last().unwrap(), "/home/b", "the runtime's doing");
        }
    }
    for user in ["nobody", "builder:nobody", "-1", "99999999999"] {
        let mut process = world.sh("true");
        process.user = user.to_owned();
        let error = world.run(process).await.0.unwrap_err();
        assert!(matches!(error, Error::Failed { .. }), "{error:?}");
        let word = user.rsplit(':').next().unwrap();
        assert!(error.to_string().contains(word), "{error}");
    }
    world.close().await;
}

#[tokio::test]
async fn a_list_of_users_outside_the_root_is_not_read() {
    let Some(world) = World::new("users").await else { return };
    let outside = world.dir.path().join("passwd");
    fs::write(&outside, "evil:x:1:1::/:\n").unwrap();
    fs::create_dir(world.root.join("etc")).unwrap();
    std::os::unix::fs::symlink(&outside, world.root.join("etc/passwd")).unwrap();
    let mut process = world.sh("true");
    process.user = "evil".to_owned();
    let error = world.run(process).await.0.unwrap_err();
    assert!(error.to_string().contains("no user \"evil\""), "{error}");
    world.close().await;
}

#[tokio::test]
async fn limits() {
    let Some(world) = World::new("limits").await else { return };
    let mut process = world.sh("ulimit -Sn; ulimit -Hn");
    process.ulimits = vec![Ulimit { name: "nofile".to_owned(), soft: 100, hard: 200 }];
    assert_eq!(world.text(process.clone()).await, "100\n200\n");
    process.ulimits[0].name = "many".to_owned();
    let error = world.run(process).await.0.unwrap_err();
    assert!(error.to_string().contains("no limit \"many\""), "{error}");
    world.close().await;
}

/// What a process is that cannot be run is said without what is secret.
#[tokio::test]
async fn a_process_that_makes_no_sense() {
    let Some(world) = World::new("bad processes").await else { return };
    let mut processes = vec![world.process(&[]), world.process(&["a\0b"])];
    processes.resize(5, world.sh("true"));
    processes[2].env.push("hunter2".to_owned());
    processes[3].env.push("X=hunter2\0".to_owned());
    processes[4].extra_hosts.push(("a".to_owned(), "1.2.3.4\n6.6.6.6 b".to_owned()));
    for process in processes {
        let error = world.run(process).await.0.unwrap_err();
        assert!(matches!(error, Error::Failed { .. }), "{error:?}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    world.close().await;
}
