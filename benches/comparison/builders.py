"""Who builds, each with a storage of its own: lazyblob, BuildKit's client, and those that build of a Dockerfile.

A builder tells the command of a build; the same storage is built in again for a warm run. What it says of a finished build
is its output, where those that can say that a step was cached do.
"""

import os
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path

from .clients import version
from .stores import CONTAINERS, NotRun, last_line

POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'
CACHED = re.compile(r"^#\d+ CACHED$", re.MULTILINE)


class Builder:
    """What they have in common. `daemons` are ids of processes that work for the command."""

    daemons = ()

    def __init__(self, place, env):
        place.mkdir(parents=True)
        self.place, self.env = place, env

    def close(self):
        """Ends what runs; the files stay, for removing them slows down the next run."""


class Lazyblob(Builder):
    """One root, and a process for each build."""

    def __init__(self, place, env, binary):
        super().__init__(place, env)
        self.binary = binary

    def command(self, job):
        return [self.binary, "--root", str(self.place / "root"), "--progress", "plain", "build", str(job.definition)]

    def is_cached(self, said, job):
        return len(CACHED.findall(said)) >= job.cached


class BuildKit(Builder):
    """The daemon that `$BUILDCTL` talks to; its whole cache is removed where a storage is to be empty."""

    def __init__(self, place, env, words):
        super().__init__(place, env)
        self.words = words
        pruned = subprocess.run([*words, "prune", "--all"], env=env, capture_output=True, text=True, check=False)
        if pruned.returncode != 0:
            raise NotRun(f"its cache cannot be emptied: {last_line(pruned.stderr)}")

    def command(self, job):
        build = shlex.join([*self.words, "build", "--progress=plain"])
        return ["/bin/sh", "-c", f"exec {build} <{shlex.quote(str(job.definition))}"]

    def is_cached(self, said, job):
        return len(CACHED.findall(said)) >= job.cached


class Buildah(Builder):
    """buildah, or podman, which builds with it. It begins a process a build, as lazyblob does."""

    def __init__(self, place, env, program):
        files = {"CONTAINERS_CONF": place / "containers.conf", "REGISTRY_AUTH_FILE": place / "auth.json"}
        super().__init__(place, {**env, "TMPDIR": str(place), **{name: str(path) for name, path in files.items()}})
        files["CONTAINERS_CONF"].write_text(CONTAINERS)
        files["REGISTRY_AUTH_FILE"].write_text("{}")
        (place / "policy.json").write_text(POLICY)
        places = [f"--root={place / 's'}", f"--runroot={place / 'r'}", "--storage-driver=overlay"]
        # podman keeps more than images, and build is what buildah calls bud.
        self.words = ["podman", *places, f"--tmpdir={place / 't'}", "build"] if program == "podman" else ["buildah", *places, "bud"]

    def command(self, job):
        return [*self.words, "--layers", "--network=host", "--tls-verify=false", f"--signature-policy={self.place / 'policy.json'}",
                "--tag", "built", str(job.context)]

    def is_cached(self, said, _job):
        return "Using cache" in said


class Docker(Builder):
    """A dockerd of its own, with or without BuildKit in it."""

    def __init__(self, place, env, buildkit):
        super().__init__(place, {**env, "DOCKER_BUILDKIT": "1" if buildkit else "0"})
        self.socket, log = place / "d.sock", place / "log"
        where = ["--data-root", place / "data", "--exec-root", place / "exec", "--pidfile", place / "pid", "--host", f"unix://{self.socket}"]
        # No network of its own: commands run in the host's.
        alone = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=overlay2"]
        with open(log, "wb") as output:
            words = [dockerd(), *map(str, where), *alone]
            self.process = subprocess.Popen(words, env=self.env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        deadline = time.monotonic() + 60
        while b"API listen on" not in log.read_bytes():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise NotRun(f"dockerd does not start: {last_line(log.read_text())}")
            time.sleep(0.05)
        self.daemons = (self.process.pid,)

    def command(self, job):
        return [docker(), "--host", f"unix://{self.socket}", "build", "--network=host", "--tag=built", str(job.context)]

    def is_cached(self, said, _job):
        return "Using cache" in said or bool(CACHED.search(said))

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def dockerd():
    return shutil.which("dockerd") or shutil.which("dockerd", path="/usr/sbin:/usr/local/sbin")


def docker():
    """The client that came with the daemon, if there are several: newer ones want a plugin for BuildKit."""
    beside = Path(dockerd() or "/usr/sbin/dockerd").parent.parent / "bin" / "docker"
    return str(beside) if beside.exists() else shutil.which("docker")


def peers():
    """What builds of a Dockerfile here: names, and what makes them, or why they are not run."""
    root = None if os.geteuid() == 0 else NotRun("it needs root")
    found = {}
    for buildkit, name in ((False, "docker build"), (True, "docker build, BuildKit")):
        missing = None if dockerd() and docker() else NotRun("docker is not installed")
        found[name] = root or missing or (lambda place, env, buildkit=buildkit: Docker(place, env, buildkit))
    for program in ("buildah", "podman"):
        missing = None if shutil.which(program) else NotRun(f"{program} is not installed")
        found[f"{program} build"] = root or missing or (lambda place, env, program=program: Buildah(place, env, program))
    return found


def versions(binary, buildctl):
    """What those who are here say of their versions, one line each."""
    words = [[binary, "version"], [docker(), "--version"], ["buildah", "--version"], ["podman", "--version"]]
    words += [[buildctl[0], "--version"]] if buildctl else []
    return [version(known) for known in words if known[0] and shutil.which(known[0])]
