//! Debian's registry as the place images go to.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use lazyblob_cache::GetOptions;
use lazyblob_remote::Reference;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::installed;
use lazyblob_remote::transport::http::{HttpTransport, Settings};
use lazyblob_worker::export::image;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::support::{access, actions, client_through, close, known, made, part, plain, worker_at};

/// A registry that ends with this value.
struct Debian {
    host: String,
    _child: Child,
    _reader: JoinSet<()>,
    _dir: tempfile::TempDir,
}

impl Debian {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: \"127.0.0.1:0\", secret: fixed}}\n",
            dir.path().join("root").display()
        );
        let file = dir.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some((_, rest)) = line.split_once("listening on ") {
                    let is_host = |c: &char| c.is_ascii_digit() || matches!(c, '.' | ':');
                    return rest.chars().take_while(is_host).collect::<String>();
                }
            }
            panic!("the registry ended");
        };
        let host = tokio::time::timeout(Duration::from_secs(20), listening).await.unwrap();
        // The pipe is read to its end, or the registry would wait for somebody to do so.
        let mut reader = JoinSet::new();
        reader.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { host, _child: child, _reader: reader, _dir: dir }
    }

    fn name(&self, called: &str) -> Reference {
        format!("{}/{called}", self.host).parse().unwrap()
    }
}

/// testLazyImagePush, testLazyImagePush across repositories: tagged anew, put beside and built upon, an image is never
/// pulled.
#[tokio::test]
async fn a_lazy_image_goes_on_without_being_pulled() {
    if !installed("a_lazy_image_goes_on_without_being_pulled", &["docker-registry"]) {
        return;
    }
    let debian = Debian::start().await;
    let client = || client_through(Arc::new(HttpTransport::new(Settings::default())));
    let seeds = tempfile::tempdir().unwrap();
    let worker = worker_at(seeds.path(), &client()).await;
    let lower = made(&worker, None, "lower", 5).await;
    let upper = made(&worker, Some(&lower), "upper", 6).await;
    let seed = image(&worker, &[part(&upper, None)], &plain(), &access()).await.unwrap();
    seed.push(&worker, &[debian.name("app:1")], &access()).await.unwrap();
    let digest = seed.digest().clone();
    drop((lower, upper, seed));
    close(worker).await;

    let (dir, client) = (tempfile::tempdir().unwrap(), client());
    let worker = worker_at(dir.path(), &client).await;
    let (app, base) = known(&worker, &debian.name("app:1")).await;
    let before = client.stats().requests.of(Kind::BlobGet);
    let same = image(&worker, &[part(&app, Some(&base))], &plain(), &access()).await.unwrap();
    let pushed =
        same.push(&worker, &[debian.name("app:2"), debian.name("other/app:1")], &access()).await.unwrap();
    assert!(pushed.iter().all(|pushed| pushed.digest == digest), "{pushed:?}");
    assert_eq!(actions(&pushed[0]), ["present"; 3]);
    assert_eq!(actions(&pushed[1])[1..], ["mount"; 2]);
    let over = made(&worker, None, "over", 7).await;
    let stacked = worker.manager().merge(&[app.clone(), over], GetOptions::default()).await.unwrap().unwrap();
    let built = image(&worker, &[part(&stacked, Some(&base))], &plain(), &access()).await.unwrap();
    let pushed = built.push(&worker, &[debian.name("built:1")], &access()).await.unwrap();
    assert_eq!(actions(&pushed[0]), ["transfer", "mount", "mount", "transfer"]);
    assert_eq!(client.stats().requests.of(Kind::BlobGet), before, "nothing was pulled");
    assert!(app.is_lazy().await.unwrap());
    drop((app, base, same, stacked, built));
    close(worker).await;
}
