//! A file system that loses its power on demand.
//!
//! ext4 in a file, mounted by a loop device. [`cut`](PowerCut::cut) is `FS_IOC_SHUTDOWN` without a flush of its log: what
//! was not synced is gone when it is mounted again. Sectors that were half written, and disks that lie about their cache,
//! are not simulated.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lazyblob_remote::testing::{installed, not_run};
use tempfile::TempDir;

/// `_IOR('X', 125, u32)`, and `FS_SHUTDOWN_FLAGS_NOLOGFLUSH`: no safe crate has them.
const SHUTDOWN: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// A mounted file system. It goes with this value.
#[derive(Debug)]
pub struct PowerCut {
    dir: TempDir,
    mounted: bool,
}

impl PowerCut {
    /// Makes one of so many MiB, at least 16; nothing where this user or this machine cannot, which is noted as `what` not
    /// being run.
    ///
    /// # Panics
    /// Where the directory or the file for it cannot be made.
    #[must_use]
    pub fn new(what: &str, mebibytes: u64) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            not_run(what, "only root may mount");
            return None;
        }
        if !installed(what, &["mkfs.ext4", "mount", "umount", "python3"]) {
            return None;
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut cut = Self { dir, mounted: false };
        fs::create_dir(cut.root()).expect("a mount point");
        let image = fs::File::create(cut.image()).expect("an image");
        image.set_len(mebibytes << 20).expect("an image");
        let made = run(Command::new("mkfs.ext4").arg("-q").arg("-F").arg(cut.image()));
        assert!(made.status.success(), "mkfs.ext4: {}", said(&made));
        let mounted = cut.mount();
        if !mounted.status.success() {
            not_run(what, &format!("mount: {}", said(&mounted)));
            return None;
        }
        Some(cut)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Cuts the power: from now on everything fails with `EIO`, and what was not durable is gone.
    ///
    /// # Panics
    /// Where the system does not do it.
    pub fn cut(&self) {
        let done = run(Command::new("python3").args(["-c", SHUTDOWN]).arg(self.root()));
        assert!(done.status.success(), "FS_IOC_SHUTDOWN: {}", said(&done));
    }

    /// Turns the power on again. Nobody may have anything open there any more.
    ///
    /// # Panics
    /// Where it cannot be unmounted or mounted.
    pub fn remount(&mut self) {
        let gone = run(Command::new("umount").arg(self.root()));
        assert!(gone.status.success(), "umount: {}", said(&gone));
        self.mounted = false;
        let mounted = self.mount();
        assert!(mounted.status.success(), "mount: {}", said(&mounted));
    }

    fn mount(&mut self) -> Output {
        let done =
            run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(self.image()).arg(self.root()));
        self.mounted = done.status.success();
        done
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }
}

impl Drop for PowerCut {
    fn drop(&mut self) {
        if self.mounted {
            // Lazily: a test that fails may have left something open.
            let _ = run(Command::new("umount").arg("-l").arg(self.root()));
        }
    }
}

fn run(command: &mut Command) -> Output {
    let program = Path::new(command.get_program()).to_owned();
    command.output().unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}
