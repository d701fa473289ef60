//! What the other process does.

use std::path::Path;

use lazyblob_cache::layer::{Algorithm, Compression, Family, LayerType};
use lazyblob_cache::manager::NewLayer;
use lazyblob_cache::metadata::Space;
use lazyblob_cache::prune::PruneOptions;
use lazyblob_cache::record::Retention;
use lazyblob_cache::refs::BlobOptions;
use lazyblob_cache::snapshot::Keep;
use lazyblob_cache::{GetOptions, ImmutableRef, Manager};
use lazyblob_remote::{Access, Registry};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::oracle::{Deed, Fact, Said, What};
use crate::other::{Role, SAYS, TASK, Task};
use crate::support::{IMAGES, MOVING, http, keys, manager, pull};

pub(crate) const GZIP: BlobOptions = BlobOptions {
    layer: LayerType { family: Family::Oci, algorithm: Algorithm::Gzip, foreign: false },
    compression: Compression::GZIP,
    threads: 1,
};

/// In an ordinary run of the tests there is no other process.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else { return };
    let task: Task = serde_json::from_str(&task).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let client = http();
        let manager = manager(&task.root, task.kind, &client).await;
        match task.role.clone() {
            Role::Work { seed, workers, of } => {
                let workers = workers.into_iter().map(|number| Worker {
                    number,
                    of,
                    task: task.clone(),
                    manager: manager.clone(),
                    client: client.clone(),
                    random: fastrand::Rng::with_seed(seed.wrapping_add(number as u64)),
                    held: Vec::new(),
                });
                let mut working: JoinSet<()> = workers.map(Worker::go_on).collect();
                // One that panics takes all with it, at once: to be killed must not come in between.
                while let Some(ended) = working.join_next().await {
                    if let Err(error) = ended {
                        say(0, What::Failed(error.to_string()));
                        std::process::abort();
                    }
                }
            }
            Role::Extract { repository, blobs, to } => {
                extract(&task, &manager, &client, &repository, blobs, to.as_deref()).await;
            }
            Role::Show { repository } => show(&task, &manager, &client, &repository).await,
            Role::Busy => busy(&manager).await,
        }
    });
}

fn say(worker: usize, what: What) {
    println!("\n{SAYS}{}", serde_json::to_string(&Said::now(worker, what)).unwrap());
}

/// Says that something was done.
fn done() {
    say(0, What::Begin(Deed::Other));
    say(0, What::End(None));
}

async fn extract(
    task: &Task,
    manager: &Manager,
    client: &Registry,
    repository: &str,
    blobs: bool,
    to: Option<&Path>,
) {
    let access = Access::anonymous();
    let image = pull(manager, client, &task.host, repository, "1", None).await.image;
    let top = image.top.as_ref().unwrap();
    done();
    if blobs {
        top.unlazy(&access).await.unwrap();
    } else {
        top.extract(&access).await.unwrap();
    }
    done();
    let Some(to) = to else { return std::future::pending().await };
    manager.snapshots().assemble(&keys(top), to, Keep::as_able(), &CancellationToken::new()).unwrap();
    drop(image);
    manager.close().await.unwrap();
}

/// Until it is killed.
async fn show(task: &Task, manager: &Manager, client: &Registry, repository: &str) {
    let (access, options) = (Access::anonymous(), GetOptions::default());
    let top = pull(manager, client, &task.host, repository, "1", None).await.image.top.unwrap();
    let seen = top.view(&access).await.unwrap();
    let options = GetOptions { retention: Retention::Retain, ..options };
    let mutable = manager.new_mutable(Some(&top), &access, options).await.unwrap();
    let tree = mutable.tree().await.unwrap();
    std::fs::write(tree.path().join("made"), "made").unwrap();
    manager.settle().await.unwrap();
    done();
    std::future::pending::<()>().await;
    drop((seen, tree));
}

/// Eight at once, a hundred entries each.
async fn busy(manager: &Manager) {
    const ROWS: Space = Space::recoverable("busy");
    let mut writers = JoinSet::new();
    for writer in 0..8_u64 {
        let database = manager.database().clone();
        writers.spawn(async move {
            for round in 0_u64.. {
                let write = database.write(move |rows| {
                    for row in 0..100_u64 {
                        let key = format!("{writer}/{row}");
                        rows.put(&ROWS, key.as_bytes(), round.to_le_bytes())?;
                    }
                    Ok(())
                });
                write.await.unwrap();
                if writer == 0 && round == 0 {
                    done();
                }
            }
        });
    }
    writers.join_all().await;
}

/// One of those that work at once. Each has names of its own; layers and snapshots are everybody's.
struct Worker {
    number: usize,
    /// So many there are, in all processes.
    of: usize,
    task: Task,
    manager: Manager,
    client: Registry,
    random: fastrand::Rng,
    /// Handles that are kept for a while.
    held: Vec<ImmutableRef>,
}

impl Worker {
    async fn go_on(mut self) {
        loop {
            match self.random.u32(..17) {
                0..2 => drop(self.pull().await),
                2..4 => self.unlazy().await,
                4..8 => self.extract().await,
                8 => self.import().await,
                9..12 => self.make().await,
                12..14 => self.remove().await,
                14 => self.prune(false).await,
                15 => self.compose().await,
                _ => self.prune(true).await,
            }
            if self.held.len() > 2 || self.random.u32(..4) == 0 {
                self.held.clear();
            }
        }
    }

    fn begin(&self, deed: Deed) {
        say(self.number, What::Begin(deed));
    }

    fn end(&self, fact: Option<Fact>) {
        say(self.number, What::End(fact));
    }

    /// Pulls one of its images, under a name that is always its own; returns its top and the digest of its manifest.
    async fn pull(&mut self) -> (ImmutableRef, String) {
        let host = self.task.host.clone();
        let own = self.random.usize(..IMAGES / self.of) * self.of + self.number;
        let (repository, tag, name) = if self.number == 0 && self.random.bool() {
            (MOVING.to_owned(), own.to_string(), Some(format!("{host}/{MOVING}:latest")))
        } else {
            (format!("app{own}"), "1".to_owned(), None)
        };
        let digest = self.task.images[own].clone();
        let called = name.clone().unwrap_or_else(|| format!("{host}/{repository}:{tag}"));
        self.begin(Deed::Pull { name: called, digest: digest.clone() });
        let pulled = pull(&self.manager, &self.client, &host, &repository, &tag, name.as_deref()).await;
        self.end(None);
        assert_eq!(pulled.image.root.digest().as_ref(), digest);
        (pulled.image.top.unwrap(), digest)
    }

    async fn unlazy(&mut self) {
        let (top, image) = self.pull().await;
        self.begin(Deed::Other);
        top.unlazy(&Access::anonymous()).await.unwrap();
        self.end(Some(Fact::Local { image }));
        self.held.push(top);
    }

    async fn extract(&mut self) {
        let (top, image) = self.pull().await;
        self.begin(Deed::Other);
        top.extract(&Access::anonymous()).await.unwrap();
        self.end(Some(Fact::Unpacked { image }));
        self.held.push(top);
    }

    /// A ref of some layers of an image, which no name stands for.
    async fn import(&mut self) {
        let (top, _) = self.pull().await;
        let layers: Vec<NewLayer> = top.layers()[1..]
            .iter()
            .map(|layer| NewLayer { blob: layer.blob().unwrap(), sources: layer.record().sources.clone() })
            .collect();
        self.begin(Deed::Other);
        let options = GetOptions { handlers: top.handlers().clone(), ..GetOptions::default() };
        let made = self.manager.import(layers, None, options).await.unwrap();
        let chain = made.chain().unwrap().to_string();
        self.end(Some(Fact::Imported { id: made.id().to_string(), chain }));
        self.held.push(made);
    }

    /// A tree changed, committed, kept, made a blob of: up to some point.
    async fn make(&mut self) {
        let (top, image) = self.pull().await;
        let (access, content) = (Access::anonymous(), self.random.u64(..).to_string());
        self.begin(Deed::Other);
        let mutable = self.manager.new_mutable(Some(&top), &access, GetOptions::default()).await.unwrap();
        std::fs::write(mutable.directory().await.unwrap().join("made"), &content).unwrap();
        if self.random.u32(..5) == 0 {
            self.end(None);
            return;
        }
        let made = mutable.commit().await.unwrap();
        let id = made.id().to_string();
        self.manager.settle().await.unwrap();
        self.end(Some(Fact::Committed { id: id.clone(), image: image.clone(), content: content.clone() }));
        if self.random.u32(..4) > 0 {
            self.begin(Deed::Other);
            made.finalize().await.unwrap();
            self.end(Some(Fact::Finalized { id: id.clone(), image, content }));
        }
        if self.random.bool() {
            self.begin(Deed::Other);
            made.make_blobs(&GZIP, &access).await.unwrap();
            let blob = made.layers().last().unwrap().blob().unwrap();
            self.end(Some(Fact::Blob { id, blob: blob.descriptor.digest().to_string() }));
        }
        self.held.push(made);
    }

    /// What two images differ in, or one on top of the other.
    async fn compose(&mut self) {
        let ((one, _), (other, _)) = (self.pull().await, self.pull().await);
        let (access, options) = (Access::anonymous(), GetOptions::default);
        self.begin(Deed::Other);
        let made = if self.random.bool() {
            self.manager.diff(Some(&one), Some(&other), options()).await.unwrap()
        } else {
            let diff = self.manager.diff(None, Some(&one), options()).await.unwrap();
            self.manager.merge(&[other, diff], options()).await.unwrap().unwrap()
        };
        if self.random.bool() {
            made.extract(&access).await.unwrap();
        }
        self.manager.settle().await.unwrap();
        self.end(Some(Fact::Composed { id: made.id().to_string() }));
        self.held.push(made);
    }

    async fn remove(&mut self) {
        let names = self.manager.names().await.unwrap();
        let own: Vec<_> = names.into_iter().filter(|named| self.owns(&named.reference.to_string())).collect();
        let Some(named) = self.random.choice(own) else { return };
        self.begin(Deed::Remove { name: named.reference.to_string() });
        self.manager.remove_name(&named.reference).await.unwrap();
        self.end(None);
    }

    fn owns(&self, name: &str) -> bool {
        if name.contains(MOVING) {
            return self.number == 0;
        }
        (0..IMAGES).any(|own| own % self.of == self.number && name.contains(&format!("/app{own}:")))
    }

    async fn prune(&mut self, all: bool) {
        self.begin(Deed::Prune { all });
        let options = PruneOptions { all, ..PruneOptions::default() };
        self.manager.prune(&options, &CancellationToken::new()).await.unwrap();
        self.end(None);
    }
}
