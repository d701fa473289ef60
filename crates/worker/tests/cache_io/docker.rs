//! The same at Debian's docker-registry.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::testing::installed;
use lazyblob_remote::transport::{HttpTransport, Settings};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::ops::{Does, Made, Step};
use crate::support::{Bench, MAX, client_over, learned};

struct Registry {
    host: String,
    _child: Child,
    _reader: JoinSet<()>,
    _dir: TempDir,
}

/// Starts one and waits until it listens.
async fn start() -> Registry {
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: \"127.0.0.1:0\", secret: fixed}}\n",
        dir.path().join("root").display()
    );
    std::fs::write(dir.path().join("config.yml"), config).unwrap();
    let mut child = Command::new("docker-registry")
        .arg("serve")
        .arg(dir.path().join("config.yml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let host = tokio::time::timeout(Duration::from_secs(20), async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, rest)) = line.split_once("listening on ") {
                let end = rest.find(['"', ' ', ',']).unwrap_or(rest.len());
                return rest[..end].to_owned();
            }
        }
        panic!("docker-registry has ended");
    });
    let host = host.await.expect("it listens soon");
    let mut reader = JoinSet::new();
    reader.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Registry { host, _child: child, _reader: reader, _dir: dir }
}

async fn bench() -> Bench {
    Bench::over(client_over(Arc::new(HttpTransport::new(Settings::default())), Hosts::default())).await
}

fn ops(bench: &Bench) -> [Step; 2] {
    let layer = |name: &str| Does::Layer(bench.worker.clone(), Box::new(Made::new(name)));
    let base = Step::new("base", Does::Scratch);
    let run = Step::new("run", layer("run")).on(&base);
    [base, run]
}

#[tokio::test]
async fn a_cache_goes_to_a_real_registry_and_back() {
    if !installed("exporting to a real registry", &["docker-registry"]) {
        return;
    }
    let registry = start().await;
    for (form, rest) in [
        ("manifest", ""),
        ("index", ",image-manifest=false"),
        ("docker", ",image-manifest=false,oci-mediatypes=false"),
    ] {
        let spec = format!("type=registry,ref={}/cache:{form}{rest}", registry.host);
        let first = bench().await;
        let [base, run] = ops(&first);
        let (job, _) = first.build(&[], &[&base, &run]).await;
        let exported = learned(&job, &run.edge(), MAX).await;
        let report = first.export(&exported, &spec).await.unwrap();
        let again = first.export(&exported, &spec).await.unwrap();
        assert_eq!(report.manifest, again.manifest);
        assert!(again.unchanged && !report.unchanged, "{form}");
        drop((exported, job));
        first.close().await;

        let fresh = bench().await;
        let [base, run] = ops(&fresh);
        let import = fresh.import(&format!("type=registry,ref={}/cache:{form}", registry.host));
        let (job, result) = fresh.build(&[import], &[&base, &run]).await;
        assert_eq!([base.execs(), run.execs()], [0, 0], "{form}");
        let tree = result.tree().unwrap();
        assert!(tree.is_lazy().await.unwrap());
        tree.extract(&lazyblob_remote::Access::anonymous()).await.unwrap();
        drop((result, job));
        fresh.close().await;
    }
}
