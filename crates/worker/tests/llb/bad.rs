//! Definitions that cannot be: each is refused, by vertex and cause.

use lazyblob_remote::digest;
use lazyblob_worker::Error;
use lazyblob_worker::llb::{Definition, Fault, limits, pb};
use prost::Message as _;

use crate::fixture;

/// A definition of these ops, of which the last is built.
pub(crate) fn definition(ops: Vec<pb::Op>) -> Vec<u8> {
    let mut def: Vec<Vec<u8>> = ops.into_iter().map(pb::Op::encode_to_vec).collect();
    let inputs = def.last().map(|last| input(last, 0)).into_iter().collect();
    def.push(pb::Op { inputs, ..pb::Op::default() }.encode_to_vec());
    pb::Definition { def, ..pb::Definition::default() }.encode_to_vec()
}

fn input(op: &[u8], index: i64) -> pb::Input {
    pb::Input { digest: digest::sha256(op).to_string(), index }
}

fn op(kind: pb::Kind) -> pb::Op {
    pb::Op { kind: Some(kind), ..pb::Op::default() }
}

fn source(identifier: &str, attrs: &[(&str, &str)]) -> pb::Op {
    let attrs = attrs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    op(pb::Kind::Source(pb::SourceOp { identifier: identifier.to_owned(), attrs }))
}

fn image() -> pb::Op {
    source("docker-image://h.io/x:1", &[])
}

fn on(inputs: &[&pb::Op], kind: pb::Kind) -> pb::Op {
    let inputs = inputs.iter().map(|&op| input(&op.clone().encode_to_vec(), 0)).collect();
    pb::Op { inputs, ..op(kind) }
}

fn mount(input: i64, dest: &str, output: i64) -> pb::Mount {
    pb::Mount { input, dest: dest.to_owned(), output, ..pb::Mount::default() }
}

fn exec(mounts: Vec<pb::Mount>) -> pb::Kind {
    let meta = pb::Meta { args: vec!["true".to_owned()], ..pb::Meta::default() };
    pb::Kind::Exec(Box::new(pb::ExecOp { meta: Some(meta), mounts, ..pb::ExecOp::default() }))
}

/// An exec with a mount at `/` and this one, on one input.
fn mounting(mount: pb::Mount) -> Vec<pb::Op> {
    vec![image(), on(&[&image()], exec(vec![self::mount(0, "/", 0), mount]))]
}

fn mkdir(path: &str) -> pb::Action {
    pb::Action::MkDir(pb::FileActionMkDir { path: path.to_owned(), ..Default::default() })
}

fn action(input: i64, secondary_input: i64, output: i64) -> pb::FileAction {
    pb::FileAction { input, secondary_input, output, action: Some(mkdir("/a")) }
}

fn file(actions: Vec<pb::FileAction>) -> pb::Kind {
    pb::Kind::File(pb::FileOp { actions })
}

fn one_action(action: pb::Action) -> Vec<pb::Op> {
    vec![op(file(vec![pb::FileAction { input: -1, secondary_input: -1, output: 0, action: Some(action) }]))]
}

fn error(ops: Vec<pb::Op>) -> Error {
    match Definition::parse(&definition(ops)) {
        Ok(_) => panic!("taken"),
        Err(error) => error,
    }
}

fn fault(ops: Vec<pb::Op>) -> Fault {
    match error(ops) {
        Error::Invalid { fault, .. } => fault,
        other => panic!("{other}"),
    }
}

#[test]
fn what_stands_here_as_good_is_taken() {
    let cache = pb::Mount {
        mount_type: pb::MountType::Cache.into(),
        cache_opt: Some(pb::CacheOpt::default()),
        ..mount(-1, "/cache", -1)
    };
    Definition::parse(&definition(mounting(cache))).unwrap();
    Definition::parse(&definition(mounting(mount(-1, "/new", 1)))).unwrap();
    Definition::parse(&definition(one_action(mkdir("/a/../b")))).unwrap();
    let later = vec![action(1, -1, 0), action(-1, -1, -1)];
    Definition::parse(&definition(vec![op(file(later))])).unwrap();
}

#[test]
fn paths_that_lead_outside() {
    let escapes = |fault| matches!(fault, Fault::Escapes { .. });
    assert!(escapes(fault(mounting(mount(0, "/../etc", -1)))));
    assert!(escapes(fault(mounting(mount(0, "/a/../../etc", -1)))));
    let selector = "../..".to_owned();
    assert!(escapes(fault(mounting(pb::Mount { selector, ..mount(0, "/m", -1) }))));
    assert!(escapes(fault(one_action(mkdir("..")))));
    let copy = |src: &str, dest: &str| {
        let (src, dest) = (src.to_owned(), dest.to_owned());
        one_action(pb::Action::Copy(pb::FileActionCopy { src, dest, ..Default::default() }))
    };
    assert!(escapes(fault(copy("/a/../../b", "/"))));
    assert!(escapes(fault(copy("/a", "x/../.."))));
    let rm = pb::FileActionRm { path: "/../x".to_owned(), ..Default::default() };
    assert!(escapes(fault(one_action(pb::Action::Rm(rm)))));
    assert!(matches!(fault(one_action(mkdir("/a\0b"))), Fault::Path { .. }));
    assert!(matches!(fault(one_action(mkdir(&"a/".repeat(3000)))), Fault::Path { .. }));
}

#[test]
fn outputs_and_inputs_out_of_range() {
    assert_eq!(fault(mounting(mount(0, "/m", 0))), Fault::DuplicateOutput(0));
    assert_eq!(fault(mounting(mount(0, "/m", 7))), Fault::Index { what: "output", index: 7, count: 2 });
    assert_eq!(
        fault(mounting(mount(0, "/m", i64::MIN))),
        Fault::Index { what: "output", index: i64::MIN, count: 2 }
    );
    for wrong in [1, -2, i64::MAX] {
        let what = "input of the mount";
        assert_eq!(fault(mounting(mount(wrong, "/m", -1))), Fault::Index { what, index: wrong, count: 1 });
    }
    let twice = vec![action(-1, -1, 0), action(0, -1, 0)];
    assert_eq!(fault(vec![op(file(twice))]), Fault::DuplicateOutput(0));
    let beyond = vec![action(1, -1, 0)];
    assert!(matches!(fault(vec![op(file(beyond))]), Fault::Index { index: 1, count: 1, .. }));
    assert_eq!(fault(vec![op(file(vec![action(-1, -1, -1)]))]), Fault::Missing("output of an action"));
    // The second output of an image.
    let second = input(&image().encode_to_vec(), 1);
    let user = pb::Op { inputs: vec![second], ..op(file(vec![action(0, -1, 0)])) };
    assert!(matches!(fault(vec![image(), user]), Fault::NoSuchOutput { input: 0, index: 1, count: 1, .. }));
    let owner = pb::NamedUserOpt { name: "me".to_owned(), input: 3 };
    let user = Some(pb::UserOpt { user: Some(pb::User::ByName(owner)) });
    let owner = Some(pb::ChownOpt { user, group: None });
    let dir = pb::FileActionMkDir { path: "/a".to_owned(), owner, ..Default::default() };
    assert!(matches!(fault(one_action(pb::Action::MkDir(dir))), Fault::Index { index: 3, count: 0, .. }));
}

#[test]
fn actions_that_wait_for_themselves() {
    assert_eq!(fault(vec![op(file(vec![action(0, -1, 0)]))]), Fault::ActionLoop(0));
    let ring = vec![action(-1, -1, -1), action(0, 2, -1), action(1, -1, 0)];
    assert_eq!(fault(vec![op(file(ring))]), Fault::ActionLoop(1));
}

#[test]
fn merges_and_diffs_out_of_order() {
    let layers = |inputs: &[i64]| {
        pb::Kind::Merge(pb::MergeOp {
            inputs: inputs.iter().map(|&input| pb::MergeInput { input }).collect(),
        })
    };
    let (one, two) = (image(), source("docker-image://h.io/y", &[]));
    let merge = |inputs: &[i64]| fault(vec![one.clone(), two.clone(), on(&[&one, &two], layers(inputs))]);
    assert!(matches!(merge(&[1, 0]), Fault::Order { position: 0, index: 1, .. }));
    assert!(matches!(merge(&[0]), Fault::Order { position: 1, .. }));
    assert!(matches!(merge(&[0, 2]), Fault::Index { index: 2, count: 2, .. }));
    assert_eq!(merge(&[]), Fault::Missing("inputs of the merge"));
    let side = |input| Some(pb::DiffInput { input });
    let diff =
        |lower, upper| fault(vec![one.clone(), on(&[&one], pb::Kind::Diff(pb::DiffOp { lower, upper }))]);
    assert_eq!(diff(None, side(0)), Fault::Missing("lower side of the diff"));
    assert!(matches!(diff(side(0), side(1)), Fault::Index { .. }));
    assert!(matches!(diff(side(-1), side(-1)), Fault::Order { .. }));
}

#[test]
fn values_nobody_knows() {
    let known = pb::Mount { mount_type: 9, ..mount(0, "/m", -1) };
    assert_eq!(fault(mounting(known)), Fault::UnknownValue { what: "mount type", value: 9 });
    let cache = pb::Mount { mount_type: pb::MountType::Cache.into(), ..mount(0, "/m", -1) };
    assert_eq!(fault(mounting(cache.clone())), Fault::Missing("settings of the cache mount"));
    let sharing = Some(pb::CacheOpt { id: String::new(), sharing: -3 });
    let cache = pb::Mount { cache_opt: sharing, ..cache };
    assert_eq!(fault(mounting(cache)), Fault::UnknownValue { what: "sharing of the cache", value: -3 });
    let content = pb::Mount {
        content_cache: pb::MountContentCache::On.into(),
        selector: "/part".to_owned(),
        ..mount(0, "/m", 1)
    };
    assert_eq!(fault(mounting(content)), Fault::ContentCache("/m".to_owned()));
    assert_eq!(fault(vec![op(exec(vec![mount(-1, "/x", 0)]))]), Fault::Missing("mount at /"));
    assert_eq!(fault(vec![op(exec(Vec::new()))]), Fault::Missing("mount at /"));
    let platform = Some(pb::Platform { os: "linux".to_owned(), ..Default::default() });
    assert!(matches!(fault(vec![pb::Op { platform, ..image() }]), Fault::Platform(_)));
}

#[test]
fn sources_that_cannot_be() {
    for bad in ["", "alpine", "docker-image://UP", "docker-image://", "oci-layout://x:1", "local://"] {
        assert!(matches!(fault(vec![source(bad, &[])]), Fault::Source { .. }), "{bad}");
    }
    let image = |name, value| fault(vec![source("docker-image://x", &[(name, value)])]);
    assert!(matches!(image("image.layerlimit", "0"), Fault::Attribute { .. }));
    assert!(matches!(image("image.layerlimit", "many"), Fault::Attribute { .. }));
    assert!(matches!(image("image.resolvemode", "push"), Fault::Attribute { .. }));
    let local = fault(vec![source("local://x", &[("local.includepattern", "[1")])]);
    assert!(matches!(local, Fault::Attribute { name: "local.includepattern", .. }));
    for (scheme, what) in [
        ("git://h/r", "git sources"),
        ("https://h/f", "https sources"),
        ("docker-image+blob://x", "docker-image+blob sources"),
        ("made-up://x", "made-up sources"),
    ] {
        let error = error(vec![source(scheme, &[])]);
        assert!(matches!(&error, Error::Unsupported { what: found, .. } if found == what), "{error}");
    }
    let passthrough = error(vec![op(pb::Kind::Passthrough(Vec::new()))]);
    assert!(matches!(passthrough, Error::Unsupported { .. }), "{passthrough}");
}

#[test]
fn graphs_that_are_none() {
    let malformed = |bytes: &[u8]| matches!(Definition::parse(bytes), Err(Error::Malformed { .. }));
    assert!(malformed(b""), "nothing");
    assert!(malformed(b"FROM alpine\n"), "something else");
    let whole = fixture::definition("llb", "merge");
    assert!(malformed(&whole[..whole.len() - 1]), "cut short");
    // A field of an op that nobody has heard of.
    let error_of = |def: Vec<Vec<u8>>| {
        Definition::parse(&pb::Definition { def, ..Default::default() }.encode_to_vec()).unwrap_err()
    };
    let unknown = vec![0x4a, 0];
    let last = |op: &[u8]| pb::Op { inputs: vec![input(op, 0)], ..Default::default() }.encode_to_vec();
    let error = error_of(vec![unknown.clone(), last(&unknown)]);
    assert!(matches!(error, Error::Invalid { fault: Fault::UnknownKind(Some(9)), .. }), "{error}");
    let none = last(&image().encode_to_vec());
    let error = error_of(vec![image().encode_to_vec(), none.clone(), last(&none)]);
    assert!(matches!(error, Error::Invalid { fault: Fault::UnknownKind(None), .. }), "{error}");
    // The last vertex does something, or has no input, or one that is not there.
    let error = error_of(vec![image().encode_to_vec()]);
    assert!(matches!(error, Error::Invalid { fault: Fault::Missing(_), .. }), "{error}");
    let error = error_of(vec![pb::Op::default().encode_to_vec()]);
    assert!(matches!(error, Error::Invalid { fault: Fault::Index { .. }, .. }), "{error}");
    let error = error_of(vec![last(b"elsewhere")]);
    assert!(matches!(error, Error::MissingInput { input: 0, .. }), "{error}");
    let user = on(&[&image()], file(vec![action(0, -1, 0)]));
    let error = self::error(vec![user]);
    assert!(matches!(&error, Error::MissingInput { input: 0, .. }), "{error}");
    let nonsense = pb::Input { digest: "sha256:zz".to_owned(), index: 0 };
    let error = self::error(vec![pb::Op { inputs: vec![nonsense], ..op(file(vec![action(0, -1, 0)])) }]);
    assert!(matches!(&error, Error::MissingInput { missing, .. } if missing.contains("zz")), "{error}");
}

#[test]
fn what_is_absurdly_large_is_refused_before_it_is_read() {
    let too_large = |bytes: &[u8]| match Definition::parse(bytes) {
        Err(Error::TooLarge { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(too_large(&vec![0; limits::DEFINITION_BYTES + 1]), "bytes");
    assert_eq!(too_large(&[0x0a, 0].repeat(limits::VERTICES + 1)), "vertices");
    assert_eq!(too_large(&[0x12, 0].repeat(limits::VERTICES + 1)), "vertices with metadata");
    let wrapped = |outer: u8, body: Vec<u8>| {
        let mut bytes = vec![outer];
        let mut length = body.len();
        while length >= 0x80 {
            bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        bytes.push(u8::try_from(length).unwrap());
        bytes.extend(body);
        bytes
    };
    // Mounts of two bytes each would be gigabytes once they are read.
    let mounts = wrapped(0x0a, wrapped(0x12, [0x12, 0].repeat(limits::PARTS + 1)));
    assert_eq!(too_large(&mounts), "inputs, mounts and actions");
    // Nor does it help to hide them behind a group, which readers skip.
    let hidden = [vec![0x7b, 0x7c], wrapped(0x12, [0x12, 0].repeat(limits::PARTS + 1))].concat();
    assert_eq!(too_large(&wrapped(0x0a, hidden)), "inputs, mounts and actions");
    let inputs = wrapped(0x0a, [0x0a, 0].repeat(limits::PARTS + 1));
    assert_eq!(too_large(&inputs), "inputs, mounts and actions");
    let args = wrapped(0x0a, wrapped(0x12, wrapped(0x0a, [0x0a, 0].repeat(limits::FIELDS + 1))));
    assert_eq!(too_large(&args), "fields");
    let patterns = wrapped(0x22, wrapped(0x12, wrapped(0x22, [0x62, 0].repeat(limits::FIELDS + 1))));
    assert_eq!(too_large(&wrapped(0x0a, patterns)), "fields");
    // What is in a file is not counted, whatever it looks like.
    let data = vec![b' '; 3 * limits::FIELDS];
    let file = pb::FileActionMkFile { path: "/a".to_owned(), data, ..Default::default() };
    Definition::parse(&definition(one_action(pb::Action::MkFile(file)))).unwrap();
}
