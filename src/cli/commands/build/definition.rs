//! What is read for a build before it begins.

use std::io::Read as _;
use std::path::Path;

use lazyblob::remote::copy::Platform;
use lazyblob::worker;
use lazyblob::worker::llb::{Definition, limits, pb};
use lazyblob::worker::spec::{OutputKind, OutputSpec};

use crate::cli::exit::Failure;

/// The largest image config that is read, in bytes.
const CONFIG: u64 = 8 << 20;

/// Reads a definition: a file, or standard input for `-` or nothing.
pub(super) async fn read(path: Option<&Path>) -> Result<Definition, Failure> {
    let path = path.filter(|path| *path != Path::new("-")).map(Path::to_owned);
    if path.is_none() && std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        let usage = "no definition: name a file, or pipe one in (as `buildctl build` takes it)";
        return Err(Failure::Usage(usage.to_owned()));
    }
    let reading = tokio::task::spawn_blocking(move || {
        let (name, input): (String, Box<dyn std::io::Read>) = match &path {
            Some(path) => {
                let failed = |error| Failure::Local(format!("read definition: {}: {error}", path.display()));
                (path.display().to_string(), Box::new(std::fs::File::open(path).map_err(failed)?))
            }
            None => ("standard input".to_owned(), Box::new(std::io::stdin())),
        };
        let mut bytes = Vec::new();
        // One more than is taken: what is too large says so itself.
        let limit = u64::try_from(limits::DEFINITION_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        let read = input.take(limit).read_to_end(&mut bytes);
        read.map_err(|error| Failure::Local(format!("read definition: {name}: {error}")))?;
        Definition::parse(&bytes).map_err(|error| match error {
            // What is said of a vertex does not need the file's name.
            worker::Error::Malformed { .. } => Failure::Local(format!(
                "read definition: {name}: {error}: is it what `buildctl build` takes (LLB, in protobuf)?"
            )),
            error => error.into(),
        })
    });
    reading.await.map_err(|error| Failure::Local(format!("read definition: {error}")))?
}

/// The platform in a definition's terms.
pub(super) fn platform(platform: &Platform) -> Result<pb::Platform, Failure> {
    platform.to_string().parse().map_err(|error| Failure::Usage(format!("--platform {platform}: {error}")))
}

/// Reads the image config that a spec names by its file.
pub(super) fn read_config(spec: &mut OutputSpec) -> Result<(), Failure> {
    let Some(path) = spec.config_file.take() else { return Ok(()) };
    let failed = |reason: &dyn std::fmt::Display| {
        Failure::Local(format!("read image config: {}: {reason}", path.display()))
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(&path).map_err(|error| failed(&error))?;
    file.take(CONFIG + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() as u64 > CONFIG {
        return Err(failed(&format_args!("it has more than {CONFIG} bytes")));
    }
    spec.configs.push((None, bytes.into()));
    Ok(())
}

/// Times that no output is later than where its spec says none: those of `$SOURCE_DATE_EPOCH`, in seconds since 1970
/// (reproducible-builds.org).
pub(super) fn date(spec: &mut OutputSpec, variable: Option<&str>) -> Result<(), Failure> {
    let Some(text) = variable.filter(|text| !text.is_empty()) else { return Ok(()) };
    let seconds = text.parse().map_err(|_| {
        Failure::Usage(format!("$SOURCE_DATE_EPOCH: `{text}` is no number of seconds since 1970"))
    })?;
    let epoch = match &mut spec.kind {
        OutputKind::Image { options, .. }
        | OutputKind::Oci { options, .. }
        | OutputKind::Docker { options, .. } => &mut options.epoch,
        OutputKind::Tar { epoch, .. } => epoch,
        _ => return Ok(()),
    };
    epoch.get_or_insert(seconds);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_dates_what_has_no_date() {
        let epoch = |spec: &str, variable: Option<&str>| {
            let mut spec: OutputSpec = spec.parse().unwrap();
            date(&mut spec, variable).map(|()| match spec.kind {
                OutputKind::Oci { options, .. } => options.epoch,
                OutputKind::Tar { epoch, .. } => epoch,
                _ => None,
            })
        };
        assert_eq!(epoch("type=oci,dest=f", Some("7")).unwrap(), Some(7));
        assert_eq!(epoch("type=tar,dest=f", Some("7")).unwrap(), Some(7));
        assert_eq!(epoch("type=oci,dest=f,source-date-epoch=3", Some("7")).unwrap(), Some(3));
        assert_eq!(epoch("type=oci,dest=f", None).unwrap(), None);
        assert_eq!(epoch("type=oci,dest=f", Some("")).unwrap(), None);
        assert!(epoch("type=oci,dest=f", Some("today")).is_err());
    }
}
