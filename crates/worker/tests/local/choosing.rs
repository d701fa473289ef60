//! Which files are sent.

use std::os::unix::fs::symlink;
use std::sync::Arc;

use lazyblob_worker::llb::LocalSource;

use crate::support::{Bench, Reads, Wanted, context, session, write};

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

/// The paths that are sent.
async fn sent(bench: &Bench, dir: &std::path::Path, local: LocalSource) -> Vec<String> {
    let tree = bench.build(local, session(dir, &Arc::default())).await.unwrap();
    let listed = bench.listing(&tree).await;
    listed.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn patterns_choose() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["a.go", "a.md", "d/b.go", "d/b.md", "d/e/c.go", "d/e/README.md", "n/m/x", "n/y"] {
        write(dir.path(), path, path);
    }
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let bench = Bench::new(Wanted::Plain).await;
    let all = ["a.go", "a.md", "d/", "d/b.go", "d/b.md", "d/e/", "d/e/README.md", "d/e/c.go", "empty/", "n/"];
    for (include, exclude, wanted) in [
        (&[][..], &["n/*"][..], &all[..]),
        (&["*.go"], &[], &["a.go"]),
        (&["**/*.go"], &[], &["a.go", "d/", "d/b.go", "d/e/", "d/e/c.go"]),
        (&["d"], &[], &["d/", "d/b.go", "d/b.md", "d/e/", "d/e/README.md", "d/e/c.go"]),
        (&["d/e"], &["**/*.md"], &["d/", "d/e/", "d/e/c.go"]),
        (&["d/e/c.go", "n/y"], &[], &["d/", "d/e/", "d/e/c.go", "n/", "n/y"]),
        (&[], &["**", "!a.go"], &["a.go"]),
        (&[], &["**", "!d/e"], &["d/", "d/e/", "d/e/README.md", "d/e/c.go"]),
        (&[], &["d", "!d/e/*.go", "n", "*.md", "empty"], &["a.go", "d/", "d/e/", "d/e/c.go"]),
        (
            &[],
            &["**/*.md", "!**/README.md", "n"],
            &["a.go", "d/", "d/b.go", "d/e/", "d/e/README.md", "d/e/c.go", "empty/"],
        ),
        (&["d", "!d/e"], &[], &["d/", "d/b.go", "d/b.md"]),
        (&["d/*", "!d/e"], &[], &["d/", "d/b.go", "d/b.md"]),
        (&["empty"], &[], &["empty/"]),
        (&["nothing"], &[], &[]),
        (&["/a.go"], &[], &[]),
        (&[" ./a.go "], &[], &["a.go"]),
    ] {
        let local =
            LocalSource { include_patterns: texts(include), exclude_patterns: texts(exclude), ..context() };
        assert_eq!(sent(&bench, dir.path(), local).await, wanted, "{include:?} {exclude:?}");
    }
    bench.close().await;
}

#[tokio::test]
async fn what_links_lead_to_is_sent_as_well() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["real/one", "real/two", "other/three", "unasked"] {
        write(dir.path(), path, path);
    }
    let link = |target: &str, name: &str| symlink(target, dir.path().join(name)).unwrap();
    link("real", "dir");
    link("/other/three", "abs");
    link("../../../../../other", "escapes");
    link("round", "round");
    link("dir/two", "far");
    link("../unasked", "real/up");
    let bench = Bench::new(Wanted::Plain).await;
    for (follow, wanted) in [
        (&["real/one"][..], &["real/", "real/one"][..]),
        (&["dir/one"], &["dir", "real/", "real/one"]),
        (&["abs"], &["abs", "other/", "other/three"]),
        (&["escapes/three"], &["escapes", "other/", "other/three"]),
        (&["round"], &["round"]),
        (&["far"], &["dir", "far", "real/", "real/two"]),
        (&["f*", "nothing/at/all"], &["dir", "far", "real/", "real/two"]),
        (&["dir/up"], &["dir", "real/", "real/up", "unasked"]),
        (&["../../unasked"], &["unasked"]),
    ] {
        let local = LocalSource { follow_paths: texts(follow), ..context() };
        assert_eq!(sent(&bench, dir.path(), local).await, wanted, "{follow:?}");
    }
    let all = sent(&bench, dir.path(), LocalSource { follow_paths: texts(&["."]), ..context() }).await;
    assert!(all.contains(&"unasked".to_owned()), "the directory itself leaves nothing out: {all:?}");
    let both =
        LocalSource { follow_paths: texts(&["abs"]), include_patterns: texts(&["unasked"]), ..context() };
    assert_eq!(sent(&bench, dir.path(), both).await, ["abs", "other/", "other/three", "unasked"]);
    bench.close().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a", "a");
    let bench = Bench::new(Wanted::Plain).await;
    let fails = async |local, path: &std::path::Path| {
        bench.build(local, session(path, &Arc::<Reads>::default())).await.unwrap_err()
    };
    let bad = LocalSource { exclude_patterns: texts(&["a["]), ..context() };
    let said = fails(bad, dir.path()).await;
    assert!(said.contains("context") && said.contains("\"a[\""), "{said}");
    let said = fails(context(), &dir.path().join("missing")).await;
    assert!(said.contains("context") && said.contains("/missing") && said.contains("No such file"), "{said}");
    let said = fails(context(), &dir.path().join("a")).await;
    assert!(said.contains("context") && said.contains("Not a directory"), "{said}");
    let other = LocalSource { name: "other".into(), ..LocalSource::default() };
    let said = fails(other, dir.path()).await;
    assert!(said.contains("add `--local other=DIR`"), "{said}");
    bench.close().await;
}
