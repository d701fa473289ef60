//! Trees and changes at random: a layer between two trees makes the one of the other, and is the same every time.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use lazyblob_cache::layer::Form;
use lazyblob_cache::testing::Tree;
use proptest::prelude::*;
use rustix::fs::FileType;

use crate::support::tree::{file, set_time, set_xattr, sparse, special};
use crate::support::{
    Read, apply, apply_as, apply_with_gnu_tar, copy, diff, entries, is_root, remove, tar_of,
};

/// A file of any kind at a place, or what is done to what is there.
#[derive(Clone, Debug)]
enum Step {
    Dir,
    File(u8, usize),
    Sparse(u64, u64),
    Symlink(String),
    Fifo,
    Device(u32, u32),
    Link(PathBuf),
    Remove,
    Append(u8),
    Mode(u32),
    Time(i64, i64),
    Xattr(u8, u8),
    Owner(u32, u32),
    /// The same again, but another inode.
    Copy,
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-c]", 1 => "[a-b]{2}", 1 => Just("ü n".to_owned()), 1 => Just("l".repeat(120))]
}

fn path() -> impl Strategy<Value = PathBuf> {
    prop::collection::vec(name(), 1..=3).prop_map(|parts| parts.iter().collect())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Dir),
        4 => (any::<u8>(), prop_oneof![Just(0), Just(1), Just(511), Just(512), Just(513), 0..200_000_usize])
            .prop_map(|(byte, len)| Step::File(byte, len)),
        1 => (0..5_u64, 1..5_u64).prop_map(|(hole, data)| Step::Sparse(hole << 16, data << 12)),
        1 => "[a-c]{1,3}|/{0,1}(x/){40,60}y".prop_map(Step::Symlink),
        1 => Just(Step::Fifo),
        1 => (1..300_u32, 0..100_000_u32).prop_map(|(major, minor)| Step::Device(major, minor)),
        3 => path().prop_map(Step::Link),
    ]
}

fn change() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => step(),
        3 => Just(Step::Remove),
        1 => any::<u8>().prop_map(Step::Append),
        1 => (0..0o7777_u32).prop_map(|mode| Step::Mode(mode | 0o700)),
        1 => (-1_000_000_000..10_000_000_000_i64, 0..1_000_000_000_i64).prop_map(|(s, ns)| Step::Time(s, ns)),
        1 => (0..3_u8, any::<u8>()).prop_map(|(name, value)| Step::Xattr(name, value)),
        1 => (0..5_000_000_u32, 0..5_000_000_u32).prop_map(|(user, group)| Step::Owner(user, group)),
        1 => Just(Step::Copy),
    ]
}

fn take(root: &Path, name: &Path, step: &Step) {
    let path = root.join(name);
    let there = fs::symlink_metadata(&path).ok();
    let makes = matches!(
        step,
        Step::Dir
            | Step::File(..)
            | Step::Sparse(..)
            | Step::Symlink(_)
            | Step::Fifo
            | Step::Device(..)
            | Step::Link(_)
    );
    if makes {
        // Whatever is in the way goes, and what is missing on the way comes.
        let mut way = root.to_owned();
        for part in name.parent().unwrap().components() {
            way.push(part);
            if !fs::symlink_metadata(&way).is_ok_and(|meta| meta.is_dir()) {
                remove(&way);
                fs::create_dir(&way).unwrap();
            }
        }
        if let Step::Link(other) = step {
            let other = root.join(other);
            let Ok(meta) = fs::symlink_metadata(&other) else { return };
            if meta.is_dir() || other == path || other.starts_with(&path) {
                return;
            }
            remove(&path);
            fs::hard_link(&other, &path).unwrap();
            return;
        }
        remove(&path);
    } else if there.is_none() {
        return;
    }
    let plain = there.as_ref().is_some_and(fs::Metadata::is_file);
    let link = there.as_ref().is_some_and(fs::Metadata::is_symlink);
    match step {
        Step::Dir => fs::create_dir(&path).unwrap(),
        Step::File(byte, len) => file(&path, vec![*byte; *len]),
        Step::Sparse(hole, data) => {
            let bytes = vec![9; usize::try_from(*data).unwrap()];
            sparse(&path, hole * 2 + data, &[(*hole, &bytes)]);
        }
        Step::Symlink(target) => symlink(target, &path).unwrap(),
        Step::Fifo => special(&path, FileType::Fifo, (0, 0)),
        Step::Device(..) if !is_root() => {}
        Step::Device(major, minor) => special(&path, FileType::CharacterDevice, (*major, *minor)),
        Step::Link(_) => {}
        Step::Remove => remove(&path),
        Step::Append(byte) if plain => {
            OpenOptions::new().append(true).open(&path).unwrap().write_all(&[*byte]).unwrap();
        }
        Step::Mode(mode) if !link => fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap(),
        Step::Time(seconds, nanos) => set_time(&path, *seconds, *nanos),
        Step::Xattr(name, value) if plain || path.is_dir() && !link => {
            set_xattr(&path, &format!("user.{name}"), &[*value, 0, b'\n']);
        }
        Step::Owner(user, group) if is_root() => {
            std::os::unix::fs::lchown(&path, Some(*user), Some(*group)).unwrap();
        }
        Step::Copy if plain => {
            let other = root.join("copied");
            copy(&path, &other);
            fs::rename(&other, &path).unwrap();
        }
        Step::Append(_) | Step::Mode(_) | Step::Xattr(..) | Step::Owner(..) | Step::Copy => {}
    }
}

/// A layer that was unpacked by itself gives the same layer again, and needs nothing of those below but the directories
/// it does not name.
fn check_alone(tar: &[u8], dir: &Path) {
    for form in [Form::Plain, Form::Overlay] {
        if form == Form::Overlay && !is_root() {
            continue;
        }
        let alone = dir.join(format!("{form:?}"));
        fs::create_dir(&alone).unwrap();
        let applied = apply_as(tar, &alone, form);
        assert!(applied.pending.links.is_empty(), "links lead to files of the same layer");
        let (again, _) = tar_of(&alone, form);
        let implied =
            |path: &Path| path == "." || applied.pending.implied.iter().any(|implied| implied == path);
        let all = |tar: &[u8], all: bool| {
            let said = |entry: Read| (entry.path.clone(), entry.kind, entry.target, entry.pax, entry.content);
            let kept = entries(tar).into_iter().filter(|entry| all || !implied(&entry.path));
            kept.map(said).collect::<Vec<_>>()
        };
        let named_root = entries(tar).first().is_some_and(|entry| entry.name == "./");
        assert_eq!(all(&again, false), all(tar, false), "{form:?}");
        if named_root && applied.pending.implied.is_empty() {
            assert!(again == tar, "{form:?}: {:?} {:?}", all(&again, true), all(tar, true));
        }
    }
}

type Steps = Vec<(PathBuf, Step)>;

fn check(first: &Steps, second: &Steps, quiet: bool) {
    let dir = tempfile::tempdir().unwrap();
    let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
    fs::create_dir(&lower).unwrap();
    for (name, step) in first {
        take(&lower, name, step);
    }
    copy(&lower, &upper);
    assert!(diff(Some(&lower), &upper).1.is_empty());
    for (name, step) in second {
        take(&upper, name, step);
    }
    if quiet {
        // Directories keep their times, whatever happened in them: the layer must not need to name them.
        for (name, _) in first {
            for dir in name.ancestors() {
                let real = |root: &Path| fs::symlink_metadata(root.join(dir)).is_ok_and(|meta| meta.is_dir());
                if real(&lower) && real(&upper) {
                    let time = fs::metadata(lower.join(dir)).unwrap().modified().unwrap();
                    File::open(upper.join(dir)).unwrap().set_modified(time).unwrap();
                }
            }
        }
    }
    let expected = Tree::of(&upper).unwrap();
    let (tar, done) = diff(Some(&lower), &upper);
    assert_eq!(done.is_empty(), Tree::of(&lower).unwrap() == expected);
    let elsewhere = dir.path().join("elsewhere");
    copy(&upper, &elsewhere);
    assert!(diff(Some(&lower), &elsewhere).0 == tar, "the same tree elsewhere");

    let other = dir.path().join("other");
    copy(&lower, &other);
    apply_with_gnu_tar(&tar, &other);
    assert_eq!(Tree::of(&other).unwrap(), expected, "as GNU tar reads it");
    assert!(diff(Some(&other), &upper).1.is_empty());
    apply(&tar, &lower);
    assert_eq!(Tree::of(&lower).unwrap(), expected, "as we read it");

    check_alone(&tar, dir.path());
    let whole = dir.path().join("whole");
    fs::create_dir(&whole).unwrap();
    apply(&diff(None, &upper).0, &whole);
    assert_eq!(Tree::of(&whole).unwrap(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_layer_between_two_trees_makes_the_one_of_the_other(
        first in prop::collection::vec((path(), step()), 0..25),
        second in prop::collection::vec((path(), change()), 0..15),
        quiet in any::<bool>(),
    ) {
        check(&first, &second, quiet);
    }
}
