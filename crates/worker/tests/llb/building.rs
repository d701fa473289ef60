//! What our builder writes is what BuildKit's client writes.

use std::collections::BTreeSet;

use lazyblob_worker::llb::{
    self, Copy, Files, Mkdir, Mkfile, Mount, Network, Op, Owner, Rm, Secret, Security, Ssh, State, Symlink,
    pb,
};
use prost::Message as _;

use crate::{built, fixture};

fn amd64() -> pb::Platform {
    "linux/amd64".parse().unwrap()
}

/// Every op to the byte, and all that is said of it. Only the order of what has none differs: that of maps, and that of ops
/// that do not need one another.
#[test]
fn fixtures_are_written_to_the_byte() {
    let mut not_said = Vec::new();
    let mut same_order = 0;
    for (path, bytes) in fixture::all() {
        let (folder, name) = path.split_once('/').unwrap();
        let Some(state) = built::state(folder, name) else {
            not_said.push(name.to_owned());
            continue;
        };
        let ours = pb::Definition::decode(state.marshal(&amd64()).as_slice()).unwrap();
        let wanted = pb::Definition::decode(bytes.as_slice()).unwrap();
        let ops = |definition: &pb::Definition| -> Vec<pb::Op> {
            definition.def.iter().map(|op| pb::Op::decode(op).unwrap()).collect()
        };
        if ours.def.iter().collect::<BTreeSet<_>>() != wanted.def.iter().collect() {
            assert_eq!(ops(&ours), ops(&wanted), "{path}");
            panic!("{path}: the same fields, other bytes");
        }
        assert_eq!(ours.def.last(), wanted.def.last(), "{path}");
        assert_eq!(ours.metadata, wanted.metadata, "{path}");
        same_order += usize::from(ours.def == wanted.def);
        assert_eq!(state.marshal(&amd64()), state.marshal(&amd64()), "{path}");
    }
    // Written by hand, with what the client never writes; or from sources that are not run here.
    let by_hand = ["rawempty", "rawexec2", "rawmulti", "rawrootwild", "rawsrc"];
    let not_run = ["gitbrkeep", "gitkeep", "gittag", "httpsum", "nested"];
    let wanted: BTreeSet<_> = by_hand.into_iter().chain(not_run).collect();
    assert_eq!(not_said.iter().map(String::as_str).collect::<BTreeSet<_>>(), wanted);
    assert_eq!(same_order, 50 - wanted.len());
}

#[test]
fn everything_that_can_be_said_comes_back() {
    let tools = llb::image("alpine");
    let run = tools
        .clone()
        .env("A", "1")
        .env("B", "2")
        .env("A", "3")
        .cwd("/w")
        .cwd("x/../y")
        .user("me")
        .run(["make"])
        .env("C", "4")
        .cwd("z")
        .mount("/z", Mount::bind(&llb::local("ctx")).read_only())
        .mount("/a", Mount::tmpfs(1 << 20))
        .mount("/t", Mount::bind(&tools).no_output())
        .mount("/o", Mount::bind(&llb::scratch()))
        .secret("/run/s", Secret::new("token").file(1, 2, 0o440).optional())
        .secret_env("TOKEN", Secret::new("token"))
        .ssh(Ssh::new("default"))
        .extra_host("h", [10, 0, 0, 1].into())
        .hostname("box")
        .ulimit("nofile", 10, 20)
        .cgroup_parent("g")
        .valid_exit_codes([0, 3])
        .network(Network::None)
        .security(Security::Insecure)
        .done();
    let state = run
        .mounted("/o")
        .unwrap()
        .named("made")
        .ignore_cache()
        .progress_group("g", "group")
        .export_cache(false);
    assert!(run.mounted("/z").is_none() && run.mounted("/t").is_none() && run.mounted("/nowhere").is_none());
    let definition = state.definition(&amd64()).unwrap();
    assert_eq!(definition.result().output, 1, "the root is the first output");
    let vertex = definition.vertices().last().unwrap();
    assert_eq!(&*vertex.name.name, "made");
    assert!(vertex.ignores_cache() && !vertex.is_exported());
    assert_eq!(vertex.metadata.progress_group.as_ref().unwrap().name, "group");
    assert_eq!((vertex.outputs, vertex.inputs.len()), (2, 2), "an image twice is one input");
    let Op::Exec(exec) = &vertex.op else { panic!() };
    let meta = exec.meta.as_ref().unwrap();
    assert_eq!(meta.env, ["B=2", "A=3", "C=4", "SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0"]);
    assert_eq!((meta.cwd.as_str(), meta.user.as_str(), meta.hostname.as_str()), ("/w/y/z", "me", "box"));
    assert_eq!(meta.valid_exit_codes, [0, 3]);
    assert_eq!((exec.network(), exec.security()), (pb::NetMode::None, pb::SecurityMode::Insecure));
    let mounts: Vec<_> = exec
        .mounts
        .iter()
        .map(|m| (m.dest.as_str(), m.mount_type(), m.input, m.output, m.readonly))
        .collect();
    use pb::MountType::{Bind, Secret as SecretFile, Ssh as Socket, Tmpfs};
    assert_eq!(
        mounts,
        [
            ("/", Bind, 0, 0, false),
            ("/a", Tmpfs, -1, -1, false),
            ("/o", Bind, -1, 1, false),
            ("/t", Bind, 0, -1, false),
            ("/z", Bind, 1, -1, true),
            ("/run/s", SecretFile, -1, 0, false),
            ("/run/buildkit/ssh_agent.0", Socket, -1, 0, false),
        ]
    );
    let Op::Source { identifier, .. } = &definition.vertices()[0].op else { panic!() };
    assert_eq!(identifier, "docker-image://docker.io/library/alpine:latest");
}

#[test]
fn relative_paths_are_in_the_directory_of_their_tree() {
    let from = llb::image("x").cwd("/from");
    let files = Files::new()
        .then(Copy::new(&from, "a/../b", "sub/").mode(0o600).timestamp(0))
        .then(Copy::new(&from, "/abs/", "."))
        .then(Mkdir::new("d", 0o755).owner(Owner::user("me").group(7)))
        .then(Rm::new("../r*").wildcard().allow_not_found())
        .then(Symlink::new("../as/it/is", "l"));
    let definition = llb::image("y").cwd("/to").file(files).definition(&amd64()).unwrap();
    let Op::File(file) = &definition.vertices().last().unwrap().op else { panic!() };
    let said: Vec<String> = file
        .actions
        .iter()
        .map(|action| match action.action.as_ref().unwrap() {
            pb::Action::Copy(copy) => format!("{} {}", copy.src, copy.dest),
            pb::Action::MkDir(dir) => {
                format!("{} {:?}", dir.path, dir.owner.as_ref().unwrap().user.as_ref().unwrap().user)
            }
            pb::Action::Rm(rm) => rm.path.clone(),
            pb::Action::Symlink(link) => format!("{} {}", link.oldpath, link.newpath),
            _ => panic!(),
        })
        .collect();
    let owner = r#"/to/d Some(ByName(NamedUserOpt { name: "me", input: 0 }))"#;
    assert_eq!(said, ["/from/b /to/sub/", "/abs /to", owner, "/r*", "../as/it/is /to/l"]);
}

#[test]
fn nothing_is_left_out_and_one_is_itself() {
    let one = llb::scratch().file(Mkfile::new("/a", 0o644, "a"));
    let bytes = |state: &State| state.marshal(&amd64());
    let none = llb::scratch();
    assert_eq!(bytes(&llb::merge([&none, &one, &none])), bytes(&one));
    assert_eq!(bytes(&llb::merge([&none])), bytes(&none));
    assert_eq!(bytes(&llb::diff(&none, &one)), bytes(&one));
    let gone = llb::diff(&one, &none).definition(&amd64()).unwrap();
    let Op::Diff(diff) = &gone.vertices().last().unwrap().op else { panic!() };
    assert_eq!((diff.lower.unwrap().input, diff.upper.unwrap().input), (0, -1));
    assert!(matches!(none.definition(&amd64()), Err(lazyblob_worker::Error::Malformed { .. })));
    // A wish for a name does not change those who have the same vertex.
    let named = one.clone().named("other");
    let both = llb::merge([&one, &named]);
    let definition = both.definition(&amd64()).unwrap();
    assert_eq!(definition.vertices().len(), 2, "it is one vertex still");
    assert_eq!(&*definition.vertices()[0].name.name, "other");
    assert!(bytes(&one).len() < bytes(&named).len());
}
