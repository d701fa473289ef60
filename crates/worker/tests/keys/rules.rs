//! Rules that the fixtures do not reach, with the texts they must make.

use lazyblob_remote::digest;
use lazyblob_worker::keys::{ContentSelector, OpKeys, image_keys, image_preimages};
use lazyblob_worker::llb::{
    self, CacheSharing, Copy, Definition, Files, Mkdir, Mkfile, Mount, Network, Owner, Secret, Ssh, State,
    Symlink, pb,
};
use prost::Message as _;

use crate::{amd64, fixture};

/// Keys of the vertex that a state is an output of.
fn keys(state: &State) -> OpKeys {
    let definition = state.definition(&amd64()).unwrap();
    OpKeys::of(definition.vertices().last().unwrap(), &amd64()).unwrap().unwrap()
}

fn base() -> State {
    llb::image("h.io/base:1")
}

fn other() -> State {
    llb::image("h.io/other:1")
}

fn exec(rest: &str) -> String {
    format!(
        r#"{{"Type":"buildkit.exec.v0","Exec":{{"meta":{{"args":["c"],{rest},"OS":"linux","Arch":"amd64"}}"#
    )
}

#[test]
fn merge_and_diff() {
    let merge = keys(&llb::merge([&base(), &other(), &base()]));
    assert_eq!(
        merge.preimage,
        r#"{"Type":"buildkit.merge.v0","Merge":{"inputs":[{},{"input":1},{"input":2}]}}"#
    );
    assert_eq!(merge.deps, vec![Default::default(); 3]);
    let diff = keys(&llb::diff(&base(), &llb::scratch()));
    assert_eq!(diff.preimage, r#"{"Type":"buildkit.diff.v0","Diff":{"lower":{},"upper":{"input":-1}}}"#);
    assert_eq!(diff.deps.len(), 1);
}

#[test]
fn a_command_with_everything() {
    let run = |ip: [u8; 4]| {
        base()
            .env("A", "1")
            .cwd("/w")
            .user("me")
            .run(["c"])
            .extra_host("h", ip.into())
            .hostname("box")
            .ulimit("nofile", 1, 2)
            .cgroup_parent("g")
            .valid_exit_codes([0, -1])
            .network(Network::Host)
            .secret_env("S", Secret::new("token").optional())
            .root()
    };
    let wanted = exec(concat!(
        r#""env":["A=1"],"cwd":"/w","user":"me","extraHosts":[{"Host":"h"}],"hostname":"box","#,
        r#""ulimit":[{"Name":"nofile","Soft":1,"Hard":2}],"cgroupParent":"g","removeMountStubsRecursive":true,"#,
        r#""validExitCodes":[0,-1]},"network":1,"secretenv":[{"ID":"token","name":"S","optional":true}]}"#,
    ));
    assert_eq!(keys(&run([10, 0, 0, 1])).preimage, wanted);
    assert_eq!(keys(&run([10, 0, 0, 2])), keys(&run([10, 0, 0, 1])), "addresses do not count");
}

#[test]
fn mounts_of_files_and_memory() {
    let state = base()
        .run(["c"])
        .mount("/m", Mount::tmpfs(7))
        .secret("/s", Secret::new("token").file(1, 2, 0o440))
        .ssh(Ssh::new("default").at("/a"))
        .root();
    let wanted = exec(concat!(
        r#""env":["SSH_AUTH_SOCK=/a"],"cwd":"/","removeMountStubsRecursive":true},"mounts":[{"dest":"/"},"#,
        r#"{"input":-1,"dest":"/m","output":-1,"mountType":4,"TmpfsOpt":{"size":7}},"#,
        r#"{"input":-1,"dest":"/s","mountType":1,"secretOpt":{"ID":"token","uid":1,"gid":2,"mode":288}},"#,
        r#"{"input":-1,"dest":"/a","mountType":2,"SSHOpt":{"ID":"default","mode":384}}]}"#,
    ));
    assert_eq!(keys(&state).preimage, wanted);
}

/// A cache counts by its place, unless it is the one that stands there by default.
#[test]
fn caches() {
    let at = |mount: Mount| {
        let text = keys(&base().run(["c"]).mount("/c", mount).root()).preimage;
        let (_, after) = text.split_once(r#""cacheOpt":"#).unwrap();
        after.split_once('}').unwrap().0.to_owned()
    };
    assert_eq!(at(Mount::cache("/c")), r#"{"ID":"/c""#);
    assert_eq!(at(Mount::cache("ns//c")), r#"{"ID":"ns//c""#);
    assert_eq!(at(Mount::cache("a/b//c")), "{", "it is the part after the first slash");
    assert_eq!(at(Mount::cache("named")), "{");
    assert_eq!(at(Mount::cache("/c").sharing(CacheSharing::Locked)), "{");
}

/// Of several mounts of one input the paths of all count, and the last says whether content does.
#[test]
fn several_mounts_of_one_input() {
    let part = |path: &str| Mount::bind(&other()).select(path).read_only();
    let run = |last: Mount| {
        base().run(["c"]).mount("/1", part("b/")).mount("/2", part("/b/../a")).mount("/3", last)
    };
    let both = keys(&run(part("/a/x")).root());
    assert_eq!(both.deps[1].paths, ["/b", "/a", "/a/x"]);
    assert_eq!(both.deps[1].selector, Some(digest::sha256(b"/b\0/a\0/a/x")));
    let parts = [ContentSelector::path("/a", true), ContentSelector::path("/b", true)];
    assert_eq!(both.deps[1].content.as_deref(), Some(parts.as_slice()));
    assert_eq!(keys(&run(part("/a").content_keys(false)).root()).deps[1].content, None);
    // What is written to is in the output with the rest of the tree.
    assert_eq!(keys(&run(Mount::bind(&other()).select("/a")).root()).deps[1].content, None);
    let whole = keys(&run(Mount::bind(&other())).root());
    assert_eq!(whole.deps[1].content.as_deref(), Some([ContentSelector::whole()].as_slice()));
    assert_eq!(whole.deps[0].content, None, "nobody hashes what is at the root");
}

#[test]
fn owners_by_name_are_looked_up_in_their_tree() {
    let action = |state: State| {
        let keys = keys(&state);
        let (_, text) = keys.preimage.split_once(r#""Actions":[""#).unwrap();
        (text.split_once('"').unwrap().0.to_owned(), keys)
    };
    let owner = || Owner::user("me").group(7);
    let (text, keys) = action(base().file(Mkdir::new("/d", 0o755).owner(owner())));
    let wanted = concat!(
        r#"{"path":"/d","mode":493,"owner":{"user":{"User":{"byName":{"name":"me"}}},"#,
        r#""group":{"User":{"byId":7}}},"timestamp":-1}"#,
    );
    assert_eq!(text, fixture::base64(wanted.as_bytes()));
    // The tree it is looked up in is also the one that is written to, so all of it counts.
    assert_eq!(keys.deps[0], Default::default());
    assert!(
        !keys.preimage.contains("indexes"),
        "one action on one input is how it always was: {}",
        keys.preimage
    );
    let (_, keys) = action(base().file(Symlink::new("a", "/b").owner(owner())));
    assert_eq!(keys.deps[0], Default::default());
}

#[test]
fn patterns_of_copies() {
    let copy = |src: &str| Copy::new(&other(), src, "/x").wildcard(true);
    let files = Files::new()
        .then(copy("/z*"))
        .then(copy(r"/b\*"))
        .then(Copy::new(&other(), "/b", "/x").follow_symlink())
        .then(Copy::new(&other(), "/a", "/x").exclude(["*.o"]))
        .then(Mkfile::new("/f", 0o600, "x"));
    let keys = keys(&base().file(files));
    assert_eq!(keys.deps[1].paths, ["/z*", r"/b\*", "/b", "/a"], "the last first");
    let parts: Vec<_> = keys.deps[1]
        .content
        .as_ref()
        .unwrap()
        .iter()
        .map(|part| (part.path.as_str(), part.wildcard, part.follow_links, part.exclude_patterns.len()))
        .collect();
    assert_eq!(
        parts,
        [
            ("/a", false, false, 1),
            ("/b", false, true, 0),
            (r"/b\*", false, false, 0),
            ("/z*", true, false, 0)
        ]
    );
}

#[test]
fn an_image_that_does_not_say_its_layers() {
    let root = digest::sha256(b"index");
    let keys = |config: &str| image_keys(&root, &amd64(), None, config.as_bytes());
    let [by_name, by_layers] = keys(r#"{"rootfs":{"type":"other","diff_ids":["sha256:1"]}}"#);
    assert_eq!(by_name, by_layers);
    assert_eq!(keys("{}"), [by_name.clone(), by_name.clone()]);
    let [_, no_json] = image_preimages(&root, &amd64(), None, b"no JSON");
    assert_eq!(no_json, format!("buildkit.source.v0:{}", digest::sha256(b"no JSON")));
    let config = r#"{"rootfs":{"type":"layers","diff_ids":["sha256:1","sha256:2","sha256:3"]}}"#;
    let chain = |limit| image_preimages(&root, &amd64(), limit, config.as_bytes())[1].clone();
    assert_eq!(chain(Some(1)), "buildkit.source.v0:sha256:1", "a bottom layer is its own chain");
    let two = digest::sha256(b"sha256:1 sha256:2");
    assert_eq!(chain(Some(2)), format!("buildkit.source.v0:{two}"));
    let three = digest::sha256(format!("{two} sha256:3").as_bytes());
    assert_eq!(chain(None), format!("buildkit.source.v0:{three}"));
    assert_eq!(chain(Some(9)), chain(None));
}

#[test]
fn platforms_count_under_their_normal_names() {
    let on = |platform: &str| {
        let (os, architecture) = platform.split_once('/').unwrap();
        let platform =
            pb::Platform { os: os.to_owned(), architecture: architecture.to_owned(), ..Default::default() };
        keys(&base().platform(platform).run(["c"]).root()).preimage
    };
    assert!(on("Linux/aarch64").ends_with(r#","OS":"linux","Arch":"arm64"}"#));
    assert!(on("/armel").ends_with(r#","OS":"linux","Arch":"arm","Variant":"v6"}"#));
    assert_eq!(on("linux/X86-64"), keys(&base().run(["c"]).root()).preimage);
}

/// What is copied from an earlier step keeps its whole path in the key, since no selector has it.
#[test]
fn copies_from_earlier_steps() {
    let action = |input, secondary_input, output, action| pb::FileAction {
        input,
        secondary_input,
        output,
        action: Some(action),
    };
    let mkdir = pb::FileActionMkDir { path: "/p/q".to_owned(), ..Default::default() };
    let copy = pb::FileActionCopy { src: "/p/q".to_owned(), dest: "/x".to_owned(), ..Default::default() };
    let actions =
        vec![action(-1, -1, -1, pb::Action::MkDir(mkdir)), action(-1, 0, 0, pb::Action::Copy(copy))];
    let op =
        pb::Op { kind: Some(pb::Kind::File(pb::FileOp { actions })), ..Default::default() }.encode_to_vec();
    let result = pb::Input { digest: digest::sha256(&op).to_string(), index: 0 };
    let last = pb::Op { inputs: vec![result], ..Default::default() }.encode_to_vec();
    let bytes = pb::Definition { def: vec![op, last], ..Default::default() }.encode_to_vec();
    let definition = Definition::parse(&bytes).unwrap();
    let keys = OpKeys::of(&definition.vertices()[0], &amd64()).unwrap().unwrap();
    assert!(keys.preimage.contains(&fixture::base64(br#"{"src":"/p/q","dest":"/x"}"#)), "{}", keys.preimage);
    assert!(keys.preimage.ends_with(r#","indexes":[[-1,-1,-1],[-1,0,0]]}"#), "{}", keys.preimage);
}
