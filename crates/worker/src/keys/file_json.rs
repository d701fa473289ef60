//! File operations as Go writes them.

use super::json::Object;
use crate::llb::pb::{Action, ChownOpt, User, UserOpt};

/// One action, without the numbers of what it works on.
pub(super) fn action(action: &Action) -> String {
    let mut object = Object::new();
    let o = &mut object;
    match action {
        Action::Copy(copy) => {
            o.text("src", &copy.src);
            o.text("dest", &copy.dest);
            owner(o, copy.owner.as_ref());
            o.number("mode", copy.mode.into());
            o.flag("followSymlink", copy.follow_symlink);
            o.flag("dirCopyContents", copy.dir_copy_contents);
            o.flag("attemptUnpackDockerCompatibility", copy.attempt_unpack_docker_compatibility);
            o.flag("createDestPath", copy.create_dest_path);
            o.flag("allowWildcard", copy.allow_wildcard);
            o.flag("allowEmptyWildcard", copy.allow_empty_wildcard);
            o.number("timestamp", copy.timestamp);
            o.texts("include_patterns", &copy.include_patterns);
            o.texts("exclude_patterns", &copy.exclude_patterns);
            o.flag("alwaysReplaceExistingDestPaths", copy.always_replace_existing_dest_paths);
            o.text("modeStr", &copy.mode_str);
            o.texts("required_paths", &copy.required_paths);
        }
        Action::MkFile(file) => {
            o.text("path", &file.path);
            o.number("mode", file.mode.into());
            o.bytes("data", &file.data);
            owner(o, file.owner.as_ref());
            o.number("timestamp", file.timestamp);
        }
        Action::MkDir(dir) => {
            o.text("path", &dir.path);
            o.number("mode", dir.mode.into());
            o.flag("makeParents", dir.make_parents);
            owner(o, dir.owner.as_ref());
            o.number("timestamp", dir.timestamp);
        }
        Action::Rm(rm) => {
            o.text("path", &rm.path);
            o.flag("allowNotFound", rm.allow_not_found);
            o.flag("allowWildcard", rm.allow_wildcard);
        }
        Action::Symlink(link) => {
            o.text("oldpath", &link.oldpath);
            o.text("newpath", &link.newpath);
            owner(o, link.owner.as_ref());
            o.number("timestamp", link.timestamp);
        }
    }
    object.finish()
}

fn owner(object: &mut Object, owner: Option<&ChownOpt>) {
    object.object("owner", owner, |object, owner| {
        object.object("user", owner.user.as_ref(), who);
        object.object("group", owner.group.as_ref(), who);
    });
}

/// The field of a choice has the name of the choice, and is there even if nothing was chosen.
fn who(object: &mut Object, who: &UserOpt) {
    object.object("User", Some(who), |object, who| match &who.user {
        Some(User::ByName(named)) => object.object("byName", Some(named), |object, named| {
            object.text("name", &named.name);
            object.number("input", named.input);
        }),
        Some(User::ById(id)) => object.number("byId", (*id).into()),
        None => {}
    });
}
