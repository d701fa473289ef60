//! What the command line takes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use lazyblob::cache::prune::Filter;
use lazyblob::remote::buildcache::Form;
use lazyblob::remote::copy::Platform;
use lazyblob::remote::{Location, Reference, RepositoryName};

pub(crate) use super::build_args::BuildArgs;
pub(crate) use super::store_args::{ExtractArgs, MountArgs, PruneArgs, UnmountArgs, VerifyArgs};

/// Retags, copies and serves container images and build caches, moving no byte it need not move.
#[derive(Debug, Parser)]
#[command(name = "lazyblob", version, max_term_width = 110)]
#[command(
    after_help = "LOCATIONS: HOST/REPO[:TAG][@DIGEST] (a name without a host is Docker Hub's), oci:DIR[:TAG], \
                        oci-archive:FILE[:TAG], docker-archive:FILE[:TAG], store:REF (this machine's cache); a copy to an archive replaces the file\n\
                        EXIT CODES: 0 done, 1 failed, 2 usage, 3 not authorised, 4 not found, 5 rate limited, \
                        6 size or digest wrong, 7 partly done, 130/143 interrupted"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(flatten)]
    pub(crate) hosts: HostArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// How progress is shown on standard error.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "MODE")]
    pub(crate) progress: ProgressMode,
    /// Ends with one JSON line on standard error: requests by kind, bytes, blobs.
    #[arg(long, global = true)]
    pub(crate) stats: bool,
    /// Writes one JSON document to standard output.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Where the cache is; without it `lazyblob` in the XDG data directory, /var/lib/lazyblob for root.
    #[arg(long, global = true, value_name = "DIR", env = "LAZYBLOB_ROOT")]
    pub(crate) root: Option<PathBuf>,
    /// What a cache's rows are kept with.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "ENGINE", hide = true)]
    pub(crate) metadata: MetadataEngine,
    /// What a new cache's unpacked layers are kept as.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "KIND", hide = true)]
    pub(crate) snapshotter: SnapshotterKind,
    /// Logs to standard error: error, warn, info, debug, trace, or a filter such as `lazyblob_remote=debug`.
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
    /// Writes every request and event to FILE, one JSON object a line.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Gives up after this time: 90, 90s, 5m, 1h.
    #[arg(long, global = true, value_name = "T", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Sends no request; what would need one fails.
    #[arg(long, global = true)]
    pub(crate) offline: bool,
    /// Takes layers of up to SIZE (500M, 10G) uncompressed, however far they were compressed; without it up to 1T, and
    /// beyond 4G up to 200 times the compressed size.
    #[arg(long, global = true, value_name = "SIZE", value_parser = super::store_args::bytes)]
    pub(crate) max_layer_size: Option<u64>,
    /// Tries of a request that fails for a passing reason.
    #[arg(long, global = true, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tries: u32,
}

/// How hosts are reached, and with which credentials.
#[derive(Args, Debug)]
#[command(next_help_heading = "Hosts and credentials")]
pub(crate) struct HostArgs {
    /// Speaks plain HTTP to HOST[:PORT]; loopback hosts need no such word.
    #[arg(long, global = true, value_name = "HOST")]
    pub(crate) plain_http: Vec<String>,
    /// Speaks TLS to HOST[:PORT]; only loopback hosts need such a word.
    #[arg(long, global = true, value_name = "HOST")]
    pub(crate) tls: Vec<String>,
    /// Accepts any certificate of HOST[:PORT].
    #[arg(long, global = true, value_name = "HOST")]
    pub(crate) insecure_skip_verify: Vec<String>,
    /// Trusts the authorities of this PEM file beside the system's.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca: Vec<PathBuf>,
    /// Client certificate, PEM.
    #[arg(long, global = true, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// Key of the client certificate, PEM.
    #[arg(long, global = true, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Directory of containerd's `HOST/hosts.toml` files: mirrors, certificates.
    #[arg(long, global = true, value_name = "DIR", env = "LAZYBLOB_HOSTS_DIR")]
    pub(crate) hosts_dir: Vec<PathBuf>,
    /// Asks mirrors only, never the registry behind them.
    #[arg(long, global = true)]
    pub(crate) no_upstream: bool,
    /// User for a host; its password comes from --password-file or --password-stdin.
    #[arg(long, global = true, value_name = "HOST=USER", value_parser = pair)]
    pub(crate) creds: Vec<(String, String)>,
    /// File with the password for a host of --creds.
    #[arg(long, global = true, value_name = "HOST=FILE", value_parser = pair)]
    pub(crate) password_file: Vec<(String, String)>,
    /// Reads the one password that has no --password-file from standard input.
    #[arg(long, global = true)]
    pub(crate) password_stdin: bool,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// Bars on a terminal, lines otherwise.
    #[default]
    Auto,
    /// Bars.
    Tty,
    /// Lines, now and then.
    Plain,
    /// One JSON object a line.
    Json,
    /// Nothing but warnings and errors.
    Quiet,
}

/// What a cache's rows are kept with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum MetadataEngine {
    /// sled.
    #[default]
    Sled,
    /// redb.
    Redb,
}

/// What a cache's unpacked layers are kept as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum SnapshotterKind {
    /// What the cache has; in a new one overlay where that works, else plain.
    #[default]
    Auto,
    /// For overlayfs.
    Overlay,
    /// Plain directories.
    Plain,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Builds a definition (LLB): images and files out of images, directories and commands.
    Build(Box<BuildArgs>),
    /// Brings an image's name, manifest and config into the cache; its layers come when somebody reads them.
    Pull(PullArgs),
    /// Copies an image of the cache elsewhere: mounts or skips what is there, fetches only what nobody has.
    Push(PushArgs),
    /// Lists the images of the cache.
    Ls,
    /// Takes names out of the cache.
    Rm(RmArgs),
    /// Says what the cache takes, what of it no name needs, and what is not here.
    Du(DuArgs),
    /// Gives an image further names in its registry: one GET, and one PUT a name.
    Retag(RetagArgs),
    /// Copies an image or a build cache from any location to any other.
    Copy(CopyArgs),
    /// Lists the tags of a repository.
    Tags(TagsArgs),
    /// Shows a manifest without pulling anything.
    Inspect(InspectArgs),
    /// Serves images to this machine and, if told so, to others.
    Serve(ServeArgs),
    /// Extracts the files of an image to a directory that is absent or empty.
    Extract(ExtractArgs),
    /// Mounts the files of an image; without arguments, lists the mounts.
    #[command(override_usage = "lazyblob mount [OPTIONS] [REF DIR]")]
    Mount(MountArgs),
    /// Takes a mount away, and what was written there.
    Unmount(UnmountArgs),
    /// Removes what nobody needs from the cache.
    Prune(PruneArgs),
    /// Reads the whole cache and says what is damaged.
    Verify(VerifyArgs),
    /// Checks credentials and stores them where docker keeps them.
    Login(LoginArgs),
    /// Removes the stored credentials of a host.
    Logout(LogoutArgs),
    /// Prints the version.
    Version,
    /// Prints a completion script.
    Completion {
        /// The shell to complete for.
        shell: clap_complete::Shell,
    },
}

/// `pull REF`
#[derive(Args, Debug)]
pub(crate) struct PullArgs {
    /// The image: HOST/REPO[:TAG][@DIGEST].
    #[arg(value_name = "REF", value_parser = in_registry)]
    pub(crate) reference: Reference,
    /// The platform whose manifest and config come along; this machine's if not said.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
    /// Brings its layers, too.
    #[arg(long)]
    pub(crate) unlazy: bool,
    /// Brings its layers and unpacks them.
    #[arg(long)]
    pub(crate) unpack: bool,
    /// Blobs under way at once.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = concurrency)]
    pub(crate) concurrency: usize,
}

/// `push REF DST`
#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    /// The image in the cache; pulled lazily if it is not there.
    #[arg(value_name = "REF", value_parser = stored)]
    pub(crate) source: Reference,
    /// Where it shall be.
    #[arg(value_name = "DST")]
    pub(crate) target: Location,
    /// Asks the registry again what the name stands for.
    #[arg(long)]
    pub(crate) refresh: bool,
    #[command(flatten)]
    pub(crate) how: CopyOptions,
}

/// `rm REF…`
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// Names in the cache.
    #[arg(required = true, value_name = "REF", value_parser = stored)]
    pub(crate) references: Vec<Reference>,
}

/// `du`
#[derive(Args, Debug)]
pub(crate) struct DuArgs {
    /// Lists records, the one used last in the first place.
    #[arg(long)]
    pub(crate) records: bool,
    /// Only records that this is true of (several: all of them). Keys: id, parent, description (a part of it), type, and
    /// mutable, inuse, shared (some name needs it), lazy, which are true or false.
    #[arg(long, value_name = "KEY=VALUE", value_parser = str::parse::<Filter>)]
    pub(crate) filter: Vec<Filter>,
}

/// `retag SRC DST…`
#[derive(Args, Debug)]
pub(crate) struct RetagArgs {
    /// The image: HOST/REPO[:TAG][@DIGEST], or store:REF.
    pub(crate) source: Location,
    /// New names: `:TAG` in the same repository, or a reference of the same registry; store:REF of one in the cache.
    #[arg(required = true, value_name = "DST")]
    pub(crate) targets: Vec<String>,
    /// Blobs under way at once, where another repository is named.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = concurrency)]
    pub(crate) concurrency: usize,
}

/// `copy SRC DST`
#[derive(Args, Debug)]
pub(crate) struct CopyArgs {
    /// Where the image is.
    pub(crate) source: Location,
    /// Where it shall be.
    pub(crate) target: Location,
    #[command(flatten)]
    pub(crate) how: CopyOptions,
}

/// How images are copied.
#[derive(Args, Clone, Debug)]
pub(crate) struct CopyOptions {
    /// Keeps this platform only (several: an index of those). The digest changes unless one image is picked.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',')]
    pub(crate) platform: Vec<Platform>,
    /// Takes signatures, attestations and other referrers along.
    #[arg(long)]
    pub(crate) referrers: bool,
    /// Converts a BuildKit cache to this form: manifest (which every registry takes) or index.
    #[arg(long, value_name = "FORM")]
    pub(crate) cache_form: Option<Form>,
    /// Looks and tells, and changes nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Blobs under way at once.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = concurrency)]
    pub(crate) concurrency: usize,
    /// Writes digest and blobs to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
}

/// `tags REPO`
#[derive(Args, Debug)]
pub(crate) struct TagsArgs {
    /// The repository: HOST/REPO.
    pub(crate) repository: RepositoryName,
}

/// `inspect LOCATION`
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// The image.
    pub(crate) location: Location,
    /// Prints the manifest's bytes as they are.
    #[arg(long, conflicts_with = "json")]
    pub(crate) raw: bool,
    /// Lists referrers, too.
    #[arg(long)]
    pub(crate) referrers: bool,
}

/// `serve [DIR]`
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// An OCI image layout to serve and to push to; without it everything is kept in memory.
    #[arg(conflicts_with = "store")]
    pub(crate) dir: Option<PathBuf>,
    /// Serves the cache, for reading alone: each image as HOST/REPO, and as REPO where no other host has one of that name.
    #[arg(long)]
    pub(crate) store: bool,
    /// Fetches layers that are asked for and not in the cache, with the credentials of this machine. Others get them, too.
    #[arg(long, requires = "store")]
    pub(crate) lazy_upstream: bool,
    /// Address to listen on. One that is not loopback demands --htpasswd or --anonymous.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5000")]
    pub(crate) addr: SocketAddr,
    /// Users and bcrypt passwords, as `htpasswd -B` writes them.
    #[arg(long, value_name = "FILE", conflicts_with = "anonymous")]
    pub(crate) htpasswd: Option<PathBuf>,
    /// Lets anybody read, and write unless it is the cache that is served (--store).
    #[arg(long)]
    pub(crate) anonymous: bool,
    /// Certificate chain, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Key of the certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

/// `login HOST`
#[derive(Args, Debug)]
pub(crate) struct LoginArgs {
    /// HOST[:PORT]; docker.io is Docker Hub.
    pub(crate) host: String,
    /// User name; asked for on a terminal.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) username: Option<String>,
}

/// `logout HOST`
#[derive(Args, Debug)]
pub(crate) struct LogoutArgs {
    /// HOST[:PORT]; docker.io is Docker Hub.
    pub(crate) host: String,
}

/// Parses the command line once more, to say of each command how it is used without the options that happen to have been
/// given, or to come from the environment.
pub(super) fn with_plain_usage() -> Result<Cli, clap::Error> {
    let mut built = Cli::command();
    built.build();
    let mut command = Cli::command();
    // The one for help is made by building, and is in `built` alone.
    for each in built.get_subcommands_mut().filter(|each| each.get_name() != "help") {
        let usage = each.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").trim_end().to_owned();
        command = command.mut_subcommand(each.get_name(), |own| own.override_usage(usage));
    }
    Cli::from_arg_matches(&command.try_get_matches()?)
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    let number: f64 = number.parse().map_err(|_| format!("`{text}` is not a time, as in 90s or 5m"))?;
    let seconds = match unit {
        "" | "s" => number,
        "ms" => number / 1000.0,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(format!("`{unit}` is not a unit of time (ms, s, m, h)")),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("`{text}` is too long"))
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((host, value)) if !host.is_empty() && !value.is_empty() => {
            Ok((host.to_owned(), value.to_owned()))
        }
        _ => Err("it must be HOST=VALUE".to_owned()),
    }
}

/// A name in the cache, with or without the word for it.
pub(super) fn stored(text: &str) -> Result<Reference, String> {
    if is_local(text) {
        return Err(format!(
            "`{text}` is not in the cache: `lazyblob copy {text} store:REF` brings it there"
        ));
    }
    parsed(text.strip_prefix("store:").unwrap_or(text))
}

/// A name in a registry.
fn in_registry(text: &str) -> Result<Reference, String> {
    if let Some(name) = text.strip_prefix("store:") {
        return Err(format!(
            "`{name}` is named as one that is in the cache already, and pulls come from registries: `lazyblob pull {name}`"
        ));
    }
    if is_local(text) {
        return Err(format!(
            "pulls come from registries: `lazyblob copy {text} store:REF` brings it into the cache"
        ));
    }
    parsed(text)
}

/// Whether it is written as a layout or an archive.
fn is_local(text: &str) -> bool {
    ["oci:", "oci-archive:", "docker-archive:"].iter().any(|kind| text.starts_with(kind))
}

fn parsed(text: &str) -> Result<Reference, String> {
    text.parse().map_err(|error: lazyblob::remote::Error| error.to_string())
}

pub(super) fn concurrency(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=256) => Ok(number),
        _ => Err("it must be a number from 1 to 256".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("soon").is_err() && duration("5y").is_err() && duration("-1").is_err());
    }
}
