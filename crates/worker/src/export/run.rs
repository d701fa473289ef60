//! One output of a build, as its spec says.

use std::collections::BTreeMap;
use std::io::Write;

use lazyblob_cache::Extracted;
use lazyblob_remote::{Access, Digest, Reference};
use serde_json::{Value, json};

use super::archive::Scratch;
use super::base::Part;
use super::files::{self, NewFile};
use super::image::image;
use super::layers::wanted;
use super::options::ImageOptions;
use super::push::Pushed;
use crate::error::{Error, Result};
use crate::spec::{Dest, OutputKind, OutputSpec};
use crate::worker::Worker;

/// What became of an output.
#[derive(Clone, Debug, Default)]
pub struct Exported {
    /// The image's digest; nothing for files.
    pub digest: Option<Digest>,
    /// Where it was pushed, and what became of its blobs there.
    pub pushed: Vec<Pushed>,
    /// What there was of files in a directory.
    pub files: Option<Extracted>,
    /// What is told of it under BuildKit's keys: `containerimage.digest`, `containerimage.config.digest`,
    /// `containerimage.descriptor`, `image.name`.
    pub response: BTreeMap<String, Value>,
}

/// Makes of `parts` what `spec` says. `stdout` takes what goes to standard output.
///
/// # Errors
/// [`Error::Failed`] for what goes to standard output and has none; [`Error::Cache`] where what is to be read is gone, and
/// those of [`image`] and of the place it goes to. Nothing partial has the final name then.
pub async fn export(
    worker: &Worker,
    spec: &OutputSpec,
    mut parts: Vec<Part>,
    stdout: Option<Box<dyn Write + Send>>,
    access: &Access,
) -> Result<Exported> {
    give_configs(spec, &mut parts);
    // Boxed: callers hold it inside futures of their own.
    Box::pin(Run { worker, parts: &parts, access }.run(spec, stdout)).await
}

/// Makes the blobs of the layers that have none, as an image that `spec` asks for wants them; nothing for files. To be done
/// before anybody else has any made of the same layers: a layer keeps the blob that it gets first.
///
/// # Errors
/// Those of [`ImmutableRef::make_blobs`](lazyblob_cache::ImmutableRef::make_blobs).
pub async fn make_blobs(worker: &Worker, spec: &OutputSpec, parts: &[Part], access: &Access) -> Result<()> {
    let (OutputKind::Image { options, .. }
    | OutputKind::Oci { options, .. }
    | OutputKind::Docker { options, .. }) = &spec.kind
    else {
        return Ok(());
    };
    for part in parts {
        if let Some(tree) = part.result.tree() {
            tree.make_blobs(&wanted(worker, options), access).await?;
        }
    }
    Ok(())
}

/// Parts that have no config get that of the spec: their platform's, or else the one for all.
fn give_configs(spec: &OutputSpec, parts: &mut [Part]) {
    for part in parts {
        if part.config.is_none() {
            let own = spec.configs.iter().find(|(platform, _)| platform.as_ref() == Some(&part.platform));
            let general = spec.configs.iter().find(|(platform, _)| platform.is_none());
            part.config = own.or(general).map(|(_, config)| config.clone());
        }
    }
}

struct Run<'a> {
    worker: &'a Worker,
    parts: &'a [Part],
    access: &'a Access,
}

#[derive(Clone, Copy)]
enum Form {
    Layout,
    Oci,
    Docker,
}

impl Run<'_> {
    async fn run(&self, spec: &OutputSpec, stdout: Option<Box<dyn Write + Send>>) -> Result<Exported> {
        let Self { worker, parts, access } = *self;
        match &spec.kind {
            OutputKind::Image { options, names, push, push_by_digest, store, name_canonical, unpack } => {
                let image = image(worker, parts, options, access).await?;
                // In the registry first: a name here that was to be elsewhere as well would look like success.
                let pushed = match push {
                    true if *push_by_digest => {
                        let mut repositories: Vec<_> =
                            names.iter().map(|name| name.repository().clone()).collect();
                        repositories.dedup();
                        image.push_by_digest(worker, &repositories, access).await?
                    }
                    true => image.push(worker, names, access).await?,
                    false => Vec::new(),
                };
                if *store && !names.is_empty() && !push_by_digest {
                    image.store(worker, names, *name_canonical, access).await?;
                }
                if *unpack {
                    image.unpack(access).await?;
                }
                let mut response = image.response();
                if !names.is_empty() {
                    response.insert("image.name".to_owned(), listed(names));
                }
                Ok(Exported { digest: Some(image.digest().clone()), pushed, files: None, response })
            }
            OutputKind::Oci { options, names, dest, tar } => {
                self.archive(options, names, dest, if *tar { Form::Oci } else { Form::Layout }, stdout).await
            }
            OutputKind::Docker { options, names, dest } => {
                self.archive(options, names, dest, Form::Docker, stdout).await
            }
            OutputKind::Local { dest, platform_split } => {
                let files = files::directory(worker, parts, dest, *platform_split, access).await?;
                Ok(Exported { files: Some(files), ..Exported::default() })
            }
            OutputKind::Tar { dest, platform_split, epoch } => {
                self.tar(dest, *platform_split, *epoch, stdout).await?;
                Ok(Exported::default())
            }
        }
    }

    async fn archive(
        &self,
        options: &ImageOptions,
        names: &[Reference],
        dest: &Dest,
        form: Form,
        stdout: Option<Box<dyn Write + Send>>,
    ) -> Result<Exported> {
        let Self { worker, parts, access } = *self;
        let out = match dest {
            Dest::Stdout => Some(needed(stdout)?),
            Dest::Path(_) => None,
        };
        let image = image(worker, parts, options, access).await?;
        // Archives are written in no order; only a file can be.
        let (scratch, file) = match dest {
            Dest::Path(file) => (None, file.clone()),
            Dest::Stdout => {
                let scratch = Scratch::new(worker, access).await?;
                let file = scratch.file();
                (Some(scratch), file)
            }
        };
        match form {
            Form::Layout => image.to_layout(worker, &file, names, access).await?,
            Form::Oci => image.to_oci_archive(worker, &file, names, access).await?,
            Form::Docker => image.to_docker_archive(worker, &file, names, access).await?,
        }
        if let (Some(scratch), Some(out)) = (scratch, out) {
            scratch.send(worker, out).await?;
        }
        let mut response = image.response();
        if !names.is_empty() {
            response.insert("image.name".to_owned(), listed(names));
        }
        Ok(Exported { digest: Some(image.digest().clone()), response, ..Exported::default() })
    }

    async fn tar(
        &self,
        dest: &Dest,
        split: Option<bool>,
        epoch: Option<u64>,
        stdout: Option<Box<dyn Write + Send>>,
    ) -> Result<()> {
        let Self { worker, parts, access } = *self;
        match dest {
            Dest::Stdout => {
                files::tar(worker, parts, needed(stdout)?, split, epoch, access).await?;
                Ok(())
            }
            Dest::Path(file) => {
                let (named, out) = NewFile::create(file)?;
                let out = files::tar(worker, parts, out, split, epoch, access).await?;
                match worker.exports().spawn_blocking(move || named.finish(out)).await {
                    Ok(finished) => finished,
                    Err(error) => Err(Error::failed("export to", file.display(), error)),
                }
            }
        }
    }
}

fn needed(stdout: Option<Box<dyn Write + Send>>) -> Result<Box<dyn Write + Send>> {
    stdout.ok_or_else(|| Error::failed("export to", "standard output", "there is none: say `dest`"))
}

fn listed(names: &[Reference]) -> Value {
    json!(names.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}
