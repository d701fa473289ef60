//! The definitions of the fixtures, made with our builder.

use lazyblob_worker::llb::{
    self, CacheSharing, Copy, Files, ImageOptions, LocalSource, Mkdir, Mkfile, Mount, Owner, Rm, State,
    Symlink, pb,
};

fn base() -> State {
    llb::image("localhost:5000/base:1")
}

fn base_5200() -> State {
    llb::image("localhost:5200/base:1")
}

fn odd() -> State {
    llb::image("localhost:5200/odd:1")
}

fn sh(base: &State, script: &str) -> llb::Exec {
    base.run(["sh", "-c", script])
}

fn one_file(path: &str, data: &str) -> State {
    llb::scratch().file(Mkfile::new(path, 0o644, data))
}

/// The tree most of them copy from.
fn tree() -> State {
    let files = Files::new()
        .then(Mkdir::new("/d", 0o755))
        .then(Mkdir::new("/d/sub", 0o700))
        .then(Mkfile::new("/d/a.txt", 0o644, "A"))
        .then(Mkfile::new("/d/b.txt", 0o600, "BB"))
        .then(Mkfile::new("/d/sub/c.txt", 0o755, "CCC"))
        .then(Mkfile::new("/d/sub.x", 0o644, ""))
        .then(Mkfile::new("/top.go", 0o644, "go"))
        .then(Symlink::new("/d/a.txt", "/lnk"))
        .then(Symlink::new("sub", "/d/ls"));
    llb::scratch().file(files)
}

fn copied(from: &State, src: &str, dest: &str) -> State {
    llb::scratch().file(Copy::new(from, src, dest))
}

fn local(name: &str, unique: &str, include: &[&str]) -> State {
    llb::local_with(LocalSource {
        name: name.to_owned(),
        unique: Some(unique.to_owned()),
        include_patterns: include.iter().map(|&pattern| pattern.to_owned()).collect(),
        ..LocalSource::default()
    })
}

fn plain(name: &str) -> Option<State> {
    Some(match name {
        "image-only" => base(),
        "exec-echo" => sh(&base(), "echo hello > /hello").root(),
        "chain-50" => {
            let chain = |state: State, at| sh(&state, &format!("echo {at} >> /log")).root();
            (0..50).fold(base(), chain)
        }
        "scratch-file" => llb::scratch()
            .file(Files::new().then(Mkdir::new("/a", 0o755)).then(Mkfile::new("/a/b", 0o644, "data\n"))),
        "copy-from-image" => copied(&base(), "/etc/os-release", "/os-release"),
        "copy-lazy-two-images" => {
            let big = llb::image("localhost:5000/big:1");
            base().file(Copy::new(&big, "/usr/lib/os-release", "/from-big").create_dest_path())
        }
        "diff" => llb::diff(&base(), &sh(&base(), "echo a > /a").root()),
        "merge" => {
            let part = |name| llb::diff(&base(), &sh(&base(), &format!("echo {name} > /{name}")).root());
            llb::merge([&base(), &part("a"), &part("b")])
        }
        "local-copy" => copied(&local("context", "c9fa1f53v6rgrprz36atf75po", &["src/**"]), "/src", "/src"),
        _ => return None,
    })
}

fn with_cache(name: &str) -> Option<State> {
    let ro = |tree: &State, path: &str| Mount::bind(tree).select(path).read_only();
    let contents = |from: &State, src: &str| Copy::new(from, src, "/x").contents_only().create_dest_path();
    let wild = |from: &State, src: &str| Copy::new(from, src, "/x/").wildcard(false).create_dest_path();
    Some(match name {
        "file1" => tree(),
        "file2" => {
            let owner = Owner::user(5).group(6);
            one_file("/a", "x")
                .file(Mkdir::new("/q/w", 0o711).parents())
                .file(Rm::new("/a"))
                .file(Mkfile::new("/own", 0o400, [0, 1, 255]).owner(owner))
                .file(Symlink::new("x<y", "/sl"))
        }
        "exec1" => sh(&base_5200(), "echo '<a&b>' > /hi; echo \u{2028} café").root(),
        "exectwo" => sh(&base_5200(), "cat /x/a.txt /y > /out")
            .mount("/y", ro(&tree(), "/d/b.txt"))
            .mount("/x", ro(&tree(), "/d"))
            .root(),
        "execcache" => sh(&base_5200(), "true")
            .mount("/c", Mount::cache("ns//c").seeded(&one_file("/seed", "s")))
            .mount("/c2", Mount::cache("zz").sharing(CacheSharing::Private))
            .root(),
        "execrosel" => sh(&base_5200(), "cat /in/a.txt > /out").mount("/in", ro(&tree(), "/d")).root(),
        "execrwsel" => {
            let run =
                sh(&base_5200(), "echo x > /w/new").mount("/w", Mount::bind(&tree()).select("/d")).done();
            run.mounted("/w")?
        }
        "execnocc" => {
            let mount = Mount::bind(&one_file("/f", "data")).read_only().content_keys(false);
            sh(&base_5200(), "cat /in/f > /out").mount("/in", mount).root()
        }
        "execplat" => {
            let run =
                sh(&base_5200(), "true").read_only_root().mount("/o", Mount::bind(&llb::scratch())).done();
            run.mounted("/o")?
        }
        "execlocalrw" => {
            let ctx = local("ctx", "mmmbjqqzaibjl7secuguerum1", &[]);
            let run = sh(&base_5200(), "echo y > /out").mount("/in", Mount::bind(&ctx).select("/d")).root();
            copied(&run, "/out", "/g")
        }
        "copylocal" => llb::scratch().file(wild(&local("ctx", "0v22f86ujri8dj3iejc7xhmuh", &[]), "/f*")),
        "copyimg" => copied(&base_5200(), "/bin/busybox", "/bb"),
        "copyroot" => copied(&tree(), "/", "/x"),
        "copythru" => copied(&tree(), "/d/ls/c.txt", "/x"),
        "copydir" => llb::scratch().file(contents(&tree(), "/d")),
        "copyinc" => {
            llb::scratch().file(contents(&tree(), "/").include(["d/**/*.txt"]).exclude(["**/b.txt"]))
        }
        "copywild1" => llb::scratch().file(wild(&tree(), "/d/a.*")),
        "copywildf" => llb::scratch().file(wild(&tree(), "/l*").follow_symlink()),
        "copyug" => base_5200().file(Copy::new(&tree(), "/d/a.txt", "/y").owner(Owner::user(0).group(0))),
        "copymulti" => {
            let copy = |src, dest| Copy::new(&tree(), src, dest);
            let files = Files::new()
                .then(copy("/d/sub", "/x"))
                .then(copy("/d/a.txt", "/y"))
                .then(copy("/d/sub/c.txt", "/z"))
                .then(copy("/top.go", "/t").follow_symlink());
            base_5200().file(files)
        }
        "diff" => llb::diff(&base_5200(), &sh(&base_5200(), "echo d > /d").root()),
        "limit" => {
            let options = ImageOptions { layer_limit: Some(1), ..ImageOptions::default() };
            copied(&llb::image_with("localhost:5200/odd:1", options), "/t/gone", "/x")
        }
        "idxarm" => {
            let arm = llb::image("localhost:5200/idx:1").platform("linux/arm/v7".parse().ok()?);
            copied(&arm, "/etc/os-release", "/x")
        }
        "a64" => {
            // Not its normal name; it is written as it is given.
            let platform = pb::Platform {
                architecture: "aarch64".to_owned(),
                os: "linux".to_owned(),
                variant: "v8".to_owned(),
                ..pb::Platform::default()
            };
            copied(&llb::image("localhost:5200/a64:1").platform(platform), "/etc/os-release", "/x")
        }
        "odddir" => copied(&odd(), "/t", "/x"),
        "oddthru" => copied(&odd(), "/l1/up/deep/er", "/x"),
        "oddxa" => copied(&odd(), "/t/xa", "/x"),
        "oddinc" => llb::scratch().file(contents(&odd(), "/t/a").include(["deep", "!deep/zz"])),
        "oddneg" => {
            llb::scratch().file(contents(&odd(), "/t").exclude(["*", "!a", "!z*", "a/deep", " suid "]))
        }
        "oddq" => llb::scratch().file(wild(&odd(), "/t/[a-e]?b")),
        "oddwild" => llb::scratch().file(wild(&odd(), "/t/a*")),
        _ => return None,
    })
}

/// The state of a fixture, if it can be said with the builder.
pub(crate) fn state(folder: &str, name: &str) -> Option<State> {
    if folder == "llb" { plain(name) } else { with_cache(name) }
}
