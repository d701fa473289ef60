//! Whose something is.

use crate::llb::pb::{ChownOpt, NamedUserOpt, User, UserOpt};

/// Whose something is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner(pub(super) ChownOpt);

/// A user or a group: by number, or by a name that the tree knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// By number.
    Id(u32),
    /// By name.
    Name(String),
}

impl From<u32> for Who {
    fn from(id: u32) -> Self {
        Self::Id(id)
    }
}

impl From<&str> for Who {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl Owner {
    /// A user; nothing is said of the group.
    #[must_use]
    pub fn user(who: impl Into<Who>) -> Self {
        Self(ChownOpt { user: Some(opt(who.into())), group: None })
    }

    /// And a group.
    #[must_use]
    pub fn group(mut self, who: impl Into<Who>) -> Self {
        self.0.group = Some(opt(who.into()));
        self
    }
}

fn opt(who: Who) -> UserOpt {
    let user = match who {
        Who::Id(id) => User::ById(id),
        Who::Name(name) => User::ByName(NamedUserOpt { name, input: -1 }),
    };
    UserOpt { user: Some(user) }
}
