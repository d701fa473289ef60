//! What `lazyblob build` takes: buildctl's words.

use std::path::PathBuf;

use clap::Args;
use lazyblob::remote::copy::Platform;
use lazyblob::worker::cache_io::{ExportSpec, ImportSpec};
use lazyblob::worker::session::Entitlement;
use lazyblob::worker::spec::OutputSpec;

pub(crate) use super::commands::build::brought::{SecretSource, agent, named_directory, secret};

/// `build [DEFINITION]`
#[derive(Args, Debug)]
pub(crate) struct BuildArgs {
    /// The build definition (LLB), as BuildKit's clients write it; standard input without it.
    #[arg(value_name = "DEFINITION")]
    pub(crate) definition: Option<PathBuf>,
    /// A directory that the definition calls local://NAME.
    #[arg(long, value_name = "NAME=DIR", value_parser = named_directory)]
    pub(crate) local: Vec<(String, PathBuf)>,
    /// An OCI image layout that the definition calls oci-layout://NAME….
    #[arg(long, value_name = "NAME=DIR", value_parser = named_directory)]
    pub(crate) oci_layout: Vec<(String, PathBuf)>,
    /// What becomes of the result; several are made side by side. type=image,name=REF[,push=true] ·
    /// type=oci|docker|tar,dest=FILE (- is standard output) · type=local,dest=DIR.
    #[arg(short, long, value_name = "type=…", value_parser = str::parse::<OutputSpec>)]
    pub(crate) output: Vec<OutputSpec>,
    /// A cache to look in: type=registry,ref=REF · type=local,src=DIR. Only what is used of it is fetched.
    #[arg(long, value_name = "type=…", value_parser = str::parse::<ImportSpec>)]
    pub(crate) import_cache: Vec<ImportSpec>,
    /// Where the cache of this build goes: type=registry,ref=REF[,mode=max] · type=local,dest=DIR · type=inline.
    #[arg(long, value_name = "type=…", value_parser = str::parse::<ExportSpec>)]
    pub(crate) export_cache: Vec<ExportSpec>,
    /// Runs everything, whatever the cache has.
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// What it is built for where the definition does not say (several: an image of all of them).
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',')]
    pub(crate) platform: Vec<Platform>,
    /// A secret for commands that mount it: id=ID,src=FILE or id=ID,env=NAME. It ends up nowhere.
    #[arg(long, value_name = "id=ID,…", value_parser = secret)]
    pub(crate) secret: Vec<(String, SecretSource)>,
    /// An SSH agent for commands that mount it.
    #[arg(long, value_name = "ID[=SOCKET]", value_parser = agent)]
    pub(crate) ssh: Vec<(String, Option<PathBuf>)>,
    /// Allows what not every build may: network.host, security.insecure.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = str::parse::<Entitlement>)]
    pub(crate) allow: Vec<Entitlement>,
    /// Writes what was made to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Draws the graph of the build as it ended: Graphviz, or JSON for a name that ends in .json.
    #[arg(long, value_name = "FILE.dot|FILE.json")]
    pub(crate) graph: Option<PathBuf>,
    /// Says of each vertex that ran why it was not found in the cache.
    #[arg(long)]
    pub(crate) why: bool,
    /// The OCI runtime that runs commands; runc or crun where nothing is said.
    #[arg(long, value_name = "PROGRAM", env = "LAZYBLOB_RUNTIME")]
    pub(crate) runtime: Option<PathBuf>,
}
