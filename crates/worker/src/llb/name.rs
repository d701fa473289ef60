//! What people call a vertex that its author gave no name.

use super::Source;
use super::pb::{Action, FileOp};
use super::vertex::Op;

/// The key under which clients give names.
pub(super) const CUSTOM_NAME: &str = "llb.customname";
/// Enough for a line.
const LONGEST: usize = 160;

/// What an op does, in one line.
pub(super) fn of(op: &Op) -> String {
    let text = match op {
        Op::Source { identifier, source: Source::Other { .. } } => without_user(identifier),
        Op::Source { identifier, .. } => identifier.clone(),
        Op::Exec(exec) => exec.meta.as_ref().map(|meta| meta.args.join(" ")).unwrap_or_default(),
        Op::File(file) => actions(file),
        Op::Merge(_) => "merge".to_owned(),
        Op::Diff(_) => "diff".to_owned(),
        Op::Build => "nested build".to_owned(),
        Op::Passthrough => "passthrough".to_owned(),
    };
    let one_line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST + 1).collect();
    match one_line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &one_line[..end]),
        None => one_line,
    }
}

/// A URL may have a password in it, which is nobody's business.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("{scheme}://{}{path}", host.rsplit('@').next().unwrap_or(host))
}

fn actions(file: &FileOp) -> String {
    let words = file.actions.iter().take(8).map(|action| match &action.action {
        Some(Action::Copy(copy)) => format!("copy {} {}", copy.src, copy.dest),
        Some(Action::MkFile(file)) => format!("mkfile {}", file.path),
        Some(Action::MkDir(dir)) => format!("mkdir {}", dir.path),
        Some(Action::Rm(rm)) => format!("rm {}", rm.path),
        Some(Action::Symlink(link)) => format!("symlink {} -> {}", link.newpath, link.oldpath),
        None => "unknown action".to_owned(),
    });
    words.collect::<Vec<_>>().join(", ")
}
