"""Where pulled images go: each contestant's own kind of store, made empty for one run and closed after it.

A store tells the commands that bring images in, all of which start at once (a client that takes many images in one
process has one command), and afterwards how many images it has whole.
"""

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request

from . import images as made
from .registry import Registry


class NotRun(Exception):
    """Why a contestant cannot run here."""


class Store:
    """What stores have in common. `daemons` are process ids, and `registries` are those but the source, that count too."""

    daemons = ()
    registries = ()

    def __init__(self, place, env):
        place.mkdir(parents=True)
        self.place, self.env = place, env

    def close(self):
        """Ends what runs; the files stay, for removing them slows down the next run."""

    def query(self, *command):
        """The lines a client of the store prints, once the clock has stopped."""
        return subprocess.run(command, env=self.env, capture_output=True, text=True, check=False).stdout.splitlines()


class OneLayout(Store):
    """One OCI layout, into which every process writes."""

    def __init__(self, place, env, copy):
        super().__init__(place, env)
        self.copy = copy

    def commands(self, host, images):
        return [self.copy(f"{host}/{image.name}:1", self.place / "oci", image.name) for image in images]

    def whole(self, images):
        return made.whole_in_layout(self.place / "oci", images)


class LayoutEach(OneLayout):
    """An OCI layout for every image, so that no process meets another."""

    def commands(self, host, images):
        return [self.copy(f"{host}/{image.name}:1", self.place / image.name, image.name) for image in images]

    def whole(self, images):
        return sum(made.whole_in_layout(self.place / image.name, [image]) for image in images)


class OtherRegistry(Store):
    """A fresh registry."""

    def __init__(self, place, env, copy):
        super().__init__(place, env)
        self.copy = copy
        self.registry = Registry(place / "registry")
        self.registries = (self.registry,)

    def commands(self, host, images):
        return [self.copy(f"{host}/{image.name}:1", f"{self.registry.host}/copy/{image.name}:1", False) for image in images]

    def whole(self, images):
        return sum(image.whole(lambda digest, image=image: self.has(image, digest)) for image in images)

    def has(self, image, digest):
        at = "manifests/1" if digest == image.digest else f"blobs/{digest}"
        request = urllib.request.Request(f"http://{self.registry.host}/v2/copy/{image.name}/{at}", method="HEAD")
        request.add_header("Accept", f"{made.OCI}.manifest.v1+json")
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.headers["Docker-Content-Digest"] == digest
        except urllib.error.HTTPError:
            return False

    def close(self):
        self.registry.stop()


CONTAINERD = """version = 2
root = {root}
state = {state}
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.restart"]
[grpc]
address = {socket}
"""


class Containerd(Store):
    """The content store of a containerd of its own, with `ctr content fetch`: fetched, not unpacked."""

    def __init__(self, place, env):
        if os.geteuid() != 0:
            raise NotRun("containerd needs root")
        super().__init__(place, env)
        self.socket = place / "sock"
        if len(os.fsencode(self.socket)) > 100:  # A socket's path ends at 108, and containerd adds to it.
            raise NotRun("the path of containerd's socket is too long; see --dir")
        paths = {"root": place / "root", "state": place / "state", "socket": self.socket}
        (place / "config.toml").write_text(CONTAINERD.format(**{key: json.dumps(str(path)) for key, path in paths.items()}))
        log = place / "log"
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                ["containerd", "--config", str(place / "config.toml")], env=env,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )
        self.daemons = (self.process.pid,)
        deadline = time.monotonic() + 20
        while b"successfully booted" not in log.read_bytes():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise NotRun(f"containerd does not start: {last_line(log.read_text())}")
            time.sleep(0.02)

    def ctr(self, *words):
        return ["ctr", "--address", str(self.socket), "--namespace", "bench", *words]

    def commands(self, host, images):
        self.host = host
        # ctr draws progress, for which it asks the daemon all the time, unless it logs: --debug is its only way to be quiet.
        fetch = ["ctr", "--debug", *self.ctr("content", "fetch", "--plain-http", "--all-platforms")[1:]]
        return [[*fetch, f"{host}/{image.name}:1"] for image in images]

    def whole(self, images):
        named = set(self.query(*self.ctr("images", "ls", "-q")))
        intact = made.intact_below(self.place / "root" / "io.containerd.content.v1.content" / "blobs" / "sha256")
        return sum(f"{self.host}/{image.name}:1" in named and image.whole(intact) for image in images)

    def close(self):
        self.process.kill()
        self.process.wait()


# Locks of its own: podman's usual ones are one file in /dev/shm for the whole machine.
CONTAINERS = """[engine]
lock_type = "file"
events_logger = "none"
cgroup_manager = "cgroupfs"
"""


class Podman(Store):
    """podman's storage under a root of its own. It unpacks what it pulls."""

    def __init__(self, place, env, driver):
        if os.geteuid() != 0:
            raise NotRun("podman without root cannot be given a private storage that this script could remove")
        files = {"CONTAINERS_CONF": str(place / "containers.conf"), "REGISTRY_AUTH_FILE": str(place / "auth.json")}
        super().__init__(place, {**env, **files})
        (place / "auth.json").write_text("{}")
        (place / "containers.conf").write_text(CONTAINERS)
        (place / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        # One letter, for podman takes no more than 50 characters of the run root.
        places = [f"--root={place / 's'}", f"--runroot={place / 'r'}", f"--tmpdir={place / 't'}"]
        self.podman = ["podman", *places, f"--storage-driver={driver}"]

    def commands(self, host, images):
        self.host = host
        pull = [*self.podman, "pull", "-q", f"--signature-policy={self.place / 'policy.json'}", "--tls-verify=false"]
        return [[*pull, f"{host}/{image.name}:1"] for image in images]

    def whole(self, images):
        """As podman says itself: it keeps no blob as it came, so there is none whose digest could be checked."""
        here = set(self.query(*self.podman, "images", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}}"))
        return sum(f"{self.host}/{image.name}:1 {image.digest}" in here for image in images)


def podman_driver(directory, env, host, image):
    """The storage driver podman can pull with here, found by pulling this image."""
    if not shutil.which("podman"):
        raise NotRun("podman is not installed")
    said = ""
    for driver in ("overlay", "vfs"):
        store = Podman(directory / f"probe-{driver}", env, driver)
        command, = store.commands(host, [image])
        try:
            pulled = subprocess.run(command, env=store.env, capture_output=True, text=True, check=False, timeout=60)
        except subprocess.TimeoutExpired:
            said = "a pull does not end"
            continue
        if pulled.returncode == 0:
            return driver
        said = last_line(pulled.stderr)
    raise NotRun(f"podman cannot pull here: {said}")


def last_line(text):
    return (text.strip().splitlines() or ["it says nothing"])[-1]


def unmount_below(directory):
    """Unmounts what storage drivers have left mounted, so that the directory can be removed."""
    with open("/proc/self/mounts") as mounts:
        points = [line.split()[1].encode().decode("unicode_escape") for line in mounts]
    for point in sorted(points, reverse=True):
        if point.startswith(f"{directory}/"):
            subprocess.run(["umount", "--lazy", point], stderr=subprocess.DEVNULL, check=False)
