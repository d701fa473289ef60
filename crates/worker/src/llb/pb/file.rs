//! File operations.

/// Copies, makes and removes files, one action after another.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FileOp {
    /// What is done.
    #[prost(message, repeated, tag = "2")]
    pub actions: Vec<FileAction>,
}

/// One step of a file op. Positions number the inputs of the op and, after them, its actions.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FileAction {
    /// What it is done to; -1 is an empty tree.
    #[prost(int64, tag = "1")]
    pub input: i64,
    /// What is copied from; -1 is nothing.
    #[prost(int64, tag = "2")]
    pub secondary_input: i64,
    /// Which output of the op this is; -1 is none.
    #[prost(int64, tag = "3")]
    pub output: i64,
    /// What is done; absent where it is unknown.
    #[prost(oneof = "Action", tags = "4, 5, 6, 7, 8")]
    pub action: Option<Action>,
}

/// What a step of a file op does.
#[derive(Clone, PartialEq, prost::Oneof)]
#[non_exhaustive]
pub enum Action {
    /// Copies from one tree to another.
    #[prost(message, tag = "4")]
    Copy(FileActionCopy),
    /// Makes a file.
    #[prost(message, tag = "5")]
    MkFile(FileActionMkFile),
    /// Makes a directory.
    #[prost(message, tag = "6")]
    MkDir(FileActionMkDir),
    /// Removes.
    #[prost(message, tag = "7")]
    Rm(FileActionRm),
    /// Makes a symbolic link.
    #[prost(message, tag = "8")]
    Symlink(FileActionSymlink),
}

/// Copies from one tree to another.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FileActionCopy {
    /// What is copied.
    #[prost(string, tag = "1")]
    pub src: String,
    /// Where to; a trailing slash means into.
    #[prost(string, tag = "2")]
    pub dest: String,
    /// Whose the copies are.
    #[prost(message, optional, tag = "3")]
    pub owner: Option<ChownOpt>,
    /// Permission bits of the copies; -1 keeps them.
    #[prost(int32, tag = "4")]
    pub mode: i32,
    /// Whether a symbolic link at `src` is followed.
    #[prost(bool, tag = "5")]
    pub follow_symlink: bool,
    /// Whether of a directory only what is in it is copied.
    #[prost(bool, tag = "6")]
    pub dir_copy_contents: bool,
    /// Whether archives are unpacked, as `ADD` does.
    #[prost(bool, tag = "7")]
    pub attempt_unpack_docker_compatibility: bool,
    /// Whether the directories above `dest` are made.
    #[prost(bool, tag = "8")]
    pub create_dest_path: bool,
    /// Whether `src` is a pattern.
    #[prost(bool, tag = "9")]
    pub allow_wildcard: bool,
    /// Whether a pattern may match nothing.
    #[prost(bool, tag = "10")]
    pub allow_empty_wildcard: bool,
    /// Modification time of the copies in nanoseconds since 1970; -1 keeps it.
    #[prost(int64, tag = "11")]
    pub timestamp: i64,
    /// What is copied, if not everything.
    #[prost(string, repeated, tag = "12")]
    pub include_patterns: Vec<String>,
    /// What is left out.
    #[prost(string, repeated, tag = "13")]
    pub exclude_patterns: Vec<String>,
    /// Whether what is in the way is replaced, whatever it is.
    #[prost(bool, tag = "14")]
    pub always_replace_existing_dest_paths: bool,
    /// Permission bits as `chmod` takes them, `u+x` say.
    #[prost(string, tag = "15")]
    pub mode_str: String,
    /// What must be there.
    #[prost(string, repeated, tag = "16")]
    pub required_paths: Vec<String>,
}

/// Makes a file.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FileActionMkFile {
    /// Where.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Permission bits.
    #[prost(int32, tag = "2")]
    pub mode: i32,
    /// What is in it.
    #[prost(bytes = "vec", tag = "3")]
    pub data: Vec<u8>,
    /// Whose it is.
    #[prost(message, optional, tag = "4")]
    pub owner: Option<ChownOpt>,
    /// Modification time in nanoseconds since 1970; -1 is now.
    #[prost(int64, tag = "5")]
    pub timestamp: i64,
}

/// Makes a directory.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FileActionMkDir {
    /// Where.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Permission bits.
    #[prost(int32, tag = "2")]
    pub mode: i32,
    /// Whether the directories above it are made, too.
    #[prost(bool, tag = "3")]
    pub make_parents: bool,
    /// Whose it is.
    #[prost(message, optional, tag = "4")]
    pub owner: Option<ChownOpt>,
    /// Modification time in nanoseconds since 1970; -1 is now.
    #[prost(int64, tag = "5")]
    pub timestamp: i64,
}

/// Removes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FileActionRm {
    /// What.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Whether it may be absent.
    #[prost(bool, tag = "2")]
    pub allow_not_found: bool,
    /// Whether `path` is a pattern.
    #[prost(bool, tag = "3")]
    pub allow_wildcard: bool,
}

/// Makes a symbolic link.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FileActionSymlink {
    /// What it points at, as it is.
    #[prost(string, tag = "1")]
    pub oldpath: String,
    /// Where it is.
    #[prost(string, tag = "2")]
    pub newpath: String,
    /// Whose it is.
    #[prost(message, optional, tag = "3")]
    pub owner: Option<ChownOpt>,
    /// Modification time in nanoseconds since 1970; -1 is now.
    #[prost(int64, tag = "4")]
    pub timestamp: i64,
}

/// An owner.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChownOpt {
    /// The user; absent keeps it.
    #[prost(message, optional, tag = "1")]
    pub user: Option<UserOpt>,
    /// The group; absent keeps it.
    #[prost(message, optional, tag = "2")]
    pub group: Option<UserOpt>,
}

/// A user or a group.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UserOpt {
    /// Who; absent is number 0.
    #[prost(oneof = "User", tags = "1, 2")]
    pub user: Option<User>,
}

/// How a user or a group is said.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum User {
    /// By name.
    #[prost(message, tag = "1")]
    ByName(NamedUserOpt),
    /// By number.
    #[prost(uint32, tag = "2")]
    ById(u32),
}

/// A name and who knows it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NamedUserOpt {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The input whose `/etc/passwd` or `/etc/group` has it; -1 is none.
    #[prost(int64, tag = "2")]
    pub input: i64,
}
