"""Where a pulled image is unpacked: the stores of those who fetch and unpack, each made empty for one run."""

import os
import shlex
import stat

from .stores import Containerd, Store


class Unpacking(Store):
    """What they have in common: the files that are there afterwards are counted, and their bytes."""

    form = "layered"

    def trees(self):
        """The directories that have the unpacked files, and nothing else that is large."""
        return [self.place]

    def whole(self, pulled):
        """Whether as many files and bytes are there as the image has: every run is to do all of the work."""
        return int(files_below(self.trees()) == pulled.contents[self.form])


class OneRoot(Unpacking):
    """One root of lazyblob, into which every process pulls and unpacks. `tasks`: one process that does so as often."""

    def __init__(self, place, env, binary, processes=1, tasks=None):
        super().__init__(place, env)
        self.binary, self.processes, self.tasks = binary, processes, tasks

    def commands(self, host, image):
        root, reference = str(self.place / "root"), f"{host}/{image.name}:1"
        if self.tasks:
            return [[self.binary, str(self.tasks), root, reference]]
        return [[self.binary, "--root", root, "--progress", "quiet", "pull", "--unpack", reference]] * self.processes

    def trees(self):
        return list((self.place / "root" / "snapshots").glob("*/fs")) or [self.place / "root" / "snapshots"]


class ContainerdUnpacked(Containerd, Unpacking):
    """A containerd of its own, with `ctr images pull`: fetched, and unpacked by its overlayfs snapshotter."""

    def __init__(self, place, env, processes=1):
        super().__init__(place, env)
        self.processes = processes

    def commands(self, host, image):
        pull = ["ctr", "--debug", *self.ctr("images", "pull", "--plain-http")[1:], f"{host}/{image.name}:1"]
        return [pull] * self.processes

    def trees(self):
        return list((self.place / "root" / "io.containerd.snapshotter.v1.overlayfs" / "snapshots").glob("*/fs"))

    whole = Unpacking.whole


class SkopeoUmoci(Unpacking):
    """An OCI layout by skopeo, unpacked by umoci: two processes, one after the other."""

    form = "tree"

    def commands(self, host, image):
        layout, bundle = str(self.place / "oci"), str(self.place / "bundle")
        copy = ["skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", f"docker://{host}/{image.name}:1", f"oci:{layout}:real"]
        unpack = ["umoci", "unpack", "--image", f"{layout}:real", bundle]
        return [["/bin/sh", "-c", f"{shlex.join(copy)} && {shlex.join(unpack)}"]]

    def trees(self):
        return [self.place / "bundle" / "rootfs"]


class Floor(Unpacking):
    """What `benches/floor.rs` writes: see there."""

    def __init__(self, place, env, binary, mode):
        super().__init__(place, env)
        self.binary, self.mode = binary, mode

    def commands(self, host, image):
        return [[self.binary, self.mode, f"http://{host}", image.name, str(self.place / "out")]]

    def trees(self):
        return list((self.place / "out").glob("*/fs"))


def files_below(trees):
    """How many files are below these directories, each name of a hard link being one, and how many bytes they have.

    Markers of whiteouts are none: the floor leaves them where they are, and others have devices or attributes instead.
    """
    files = size = 0
    waiting = [str(tree) for tree in trees]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    continue
                about = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(about.st_mode) and not entry.name.startswith(".wh."):
                    files += 1
                    size += about.st_size
    return {"files": files, "bytes": size}
