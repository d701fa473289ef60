//! What the commands take that work on trees and on the cache as a whole.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lazyblob::cache::prune::Filter;
use lazyblob::remote::Reference;
use lazyblob::remote::copy::Platform;

/// An image of the cache, pulled lazily if it is not there.
#[derive(Args, Debug)]
pub(crate) struct ImageArgs {
    /// Asks the registry again what the name stands for.
    #[arg(long)]
    pub(crate) refresh: bool,
    /// The platform whose files they are; this machine's if not said.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
    /// Blobs under way at once.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = super::args::concurrency)]
    pub(crate) concurrency: usize,
}

/// `extract REF DIR`
#[derive(Args, Debug)]
pub(crate) struct ExtractArgs {
    /// The image in the cache; pulled lazily if it is not there.
    #[arg(value_name = "REF", value_parser = super::args::stored)]
    pub(crate) reference: Reference,
    /// Where its files are to be: absent, or an empty directory.
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) image: ImageArgs,
    /// Ends with 7 if something was left out that this user may not make.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Keeps the setuid and setgid bits, which otherwise only root does.
    #[arg(long)]
    pub(crate) keep_setuid: bool,
}

/// `mount [REF DIR]`
#[derive(Args, Debug)]
pub(crate) struct MountArgs {
    /// The image in the cache; pulled lazily if it is not there.
    #[arg(value_name = "REF", value_parser = super::args::stored, requires = "dir")]
    pub(crate) reference: Option<Reference>,
    /// Where: an empty directory, or made if it does not exist.
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) image: ImageArgs,
    /// May be written to; what is written goes with the mount.
    #[arg(long)]
    pub(crate) rw: bool,
    /// Lets set-user-ID programs and devices of the image work.
    #[arg(long)]
    pub(crate) trusted: bool,
}

/// `unmount DIR`
#[derive(Args, Debug)]
pub(crate) struct UnmountArgs {
    /// Where it is mounted.
    pub(crate) dir: PathBuf,
    /// Out of sight at once, even while somebody uses it.
    #[arg(long)]
    pub(crate) lazy: bool,
}

/// `prune`
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// What images with a name consist of, too: they become lazy again.
    #[arg(long)]
    pub(crate) all: bool,
    /// Only what was not used for so long: 90s, 5m, 1h, 7d.
    #[arg(long, value_name = "D", value_parser = age)]
    pub(crate) older_than: Option<Duration>,
    /// Keeps so many bytes of what was used last: 500M, 10G.
    #[arg(long, value_name = "N", value_parser = bytes)]
    pub(crate) keep_bytes: Option<u64>,
    /// Only what this is true of (several: all of them). Keys: id, parent, description (a part of it), type, and mutable,
    /// inuse, shared (some name needs it), lazy, which are true or false.
    #[arg(long, value_name = "KEY=VALUE", value_parser = str::parse::<Filter>)]
    pub(crate) filter: Vec<Filter>,
    /// Looks and tells, and removes nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `verify`
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Mends what can be mended: what is known to be elsewhere becomes lazy, what can be made anew is removed.
    #[arg(long)]
    pub(crate) repair: bool,
}

fn age(text: &str) -> Result<Duration, String> {
    match text.strip_suffix('d').map(str::parse::<u32>) {
        Some(Ok(days)) => Ok(Duration::from_secs(u64::from(days) * 24 * 60 * 60)),
        _ => super::args::duration(text),
    }
}

/// A size, as in `10G`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size, as in 500M or 10G");
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let shift = match unit.trim_end_matches(['B', 'b', 'i']).to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_have_units() {
        assert_eq!((bytes("17"), bytes("2K"), bytes("10GiB")), (Ok(17), Ok(2048), Ok(10 << 30)));
        assert!(
            bytes("-1").is_err()
                && bytes("G").is_err()
                && bytes("1X").is_err()
                && bytes("99999999T").is_err()
        );
        assert_eq!(age("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(age("90"), Ok(Duration::from_secs(90)));
        assert!(age("soon").is_err() && age("-1d").is_err());
    }
}
