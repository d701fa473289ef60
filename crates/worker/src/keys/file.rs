//! Keys of file operations.

use super::file_json;
use super::json::{Object, array, base64, string};
use super::{ContentSelector, DepKeys, OpKeys, dedupe};
use crate::llb::paths;
use crate::llb::pb::{Action, ChownOpt, FileAction, FileActionCopy, FileOp, User, UserOpt};

pub(super) fn keys(file: &FileOp, inputs: usize) -> OpKeys {
    let actions: Vec<String> = file.actions.iter().map(|action| written(action, inputs)).collect();
    let mut object = Object::new();
    object.always("Type", "buildkit.file.v0");
    let mut text = String::new();
    array(&mut text, &actions, |text, action| string(text, &base64(action.as_bytes())));
    object.raw("Actions", &text);
    if !is_default(&file.actions) {
        let mut text = String::new();
        array(&mut text, &file.actions, |text, a| {
            text.push_str(&format!("[{},{},{}]", a.input, a.secondary_input, a.output));
        });
        object.raw("indexes", &text);
    }
    OpKeys { preimage: object.finish(), deps: deps(&file.actions, inputs) }
}

/// One action. Of where something is copied from only the last element counts: the rest is in the selector.
fn written(action: &FileAction, inputs: usize) -> String {
    match &action.action {
        None => "{}".to_owned(),
        Some(Action::Copy(copy)) if input(action.secondary_input, inputs).is_some() => {
            let src = paths::base(&copy.src).to_owned();
            file_json::action(&Action::Copy(FileActionCopy { src, ..copy.clone() }))
        }
        Some(action) => file_json::action(action),
    }
}

/// Whether the numbers say what they said before they were part of the key: each action works on the one before. That they
/// are counted from the number of actions, where it is inputs that come first, is how it is.
fn is_default(actions: &[FileAction]) -> bool {
    let count = actions.len();
    actions.iter().enumerate().all(|(at, action)| {
        let input = if at == 0 { Some(0) } else { i64::try_from(count + at - 1).ok() };
        let output = if at + 1 == count { 0 } else { -1 };
        Some(action.input) == input && matches!(action.secondary_input, -1 | 1) && action.output == output
    })
}

fn input(number: i64, inputs: usize) -> Option<usize> {
    usize::try_from(number).ok().filter(|at| *at < inputs)
}

fn deps(actions: &[FileAction], inputs: usize) -> Vec<DepKeys> {
    let mut read: Vec<Vec<ContentSelector>> = vec![Vec::new(); inputs];
    let mut written = vec![false; inputs];
    for action in actions {
        if let Some(written) = input(action.input, inputs).and_then(|at| written.get_mut(at)) {
            *written = true;
        }
        let owner = match &action.action {
            Some(Action::Copy(copy)) => {
                if let Some(read) = input(action.secondary_input, inputs).and_then(|at| read.get_mut(at)) {
                    read.push(copied(copy));
                }
                copy.owner.as_ref()
            }
            Some(Action::MkFile(file)) => file.owner.as_ref(),
            Some(Action::MkDir(dir)) => dir.owner.as_ref(),
            Some(Action::Rm(_) | Action::Symlink(_)) | None => None,
        };
        if let Some(ChownOpt { user, group }) = owner {
            for (who, path) in [(user, "/etc/passwd"), (group, "/etc/group")] {
                if let Some(read) = known_by(who.as_ref(), inputs).and_then(|at| read.get_mut(at)) {
                    read.push(ContentSelector::path(path, true));
                }
            }
        }
    }
    read.into_iter().zip(written).map(|(read, written)| dep(read, written)).collect()
}

/// The input that knows a name.
fn known_by(who: Option<&UserOpt>, inputs: usize) -> Option<usize> {
    match who?.user.as_ref()? {
        User::ByName(named) => input(named.input, inputs),
        User::ById(_) => None,
    }
}

fn copied(copy: &FileActionCopy) -> ContentSelector {
    ContentSelector {
        path: copy.src.clone(),
        wildcard: copy.allow_wildcard && has_wildcard(&copy.src),
        follow_links: copy.follow_symlink,
        include_patterns: copy.include_patterns.clone(),
        exclude_patterns: copy.exclude_patterns.clone(),
        required_paths: copy.required_paths.clone(),
    }
}

fn has_wildcard(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

fn dep(read: Vec<ContentSelector>, written: bool) -> DepKeys {
    // What is written to is in the output as a whole.
    if read.is_empty() || written {
        return DepKeys::default();
    }
    let mut paths: Vec<String> = read.iter().map(|part| part.path.clone()).collect();
    paths.sort_unstable_by(|a, b| b.cmp(a));
    DepKeys { content: Some(parts(read)), ..DepKeys::reading(paths) }
}

fn parts(read: Vec<ContentSelector>) -> Vec<ContentSelector> {
    let (filtered, plain): (Vec<_>, Vec<_>) = read.into_iter().partition(ContentSelector::is_filtered);
    let (followed, plain): (Vec<_>, Vec<_>) = plain.into_iter().partition(|part| part.follow_links);
    let deduped = |parts: Vec<ContentSelector>, follow| {
        let paths = dedupe::dedupe(parts.into_iter().map(|part| part.path).collect());
        paths.into_iter().map(move |path| ContentSelector::path(path, follow))
    };
    let mut parts: Vec<_> = deduped(plain, false).chain(deduped(followed, true)).chain(filtered).collect();
    parts.sort_by(|a, b| a.path.cmp(&b.path));
    parts
}
