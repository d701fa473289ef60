//! `lazyblob completion SHELL`

use clap::CommandFactory as _;

use crate::cli::args::Cli;
use crate::cli::exit::Failure;
use crate::cli::output;

/// Prints the script.
pub(super) fn run(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lazyblob", &mut script);
    output::write(&script)
}
