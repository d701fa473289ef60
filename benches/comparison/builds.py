"""Builds, cold and warm, by all who can run them, and their tables."""

import contextlib
import dataclasses
import itertools
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from . import debian
from .builders import BuildKit, Lazyblob, NotRun, peers
from .measure import at_once
from .stores import last_line
from .unpacked import Floor

OURS, LIMIT, DURABLE, BUILDKIT = "lazyblob", "the limit", "the limit, and on disk", "buildctl"
DISK_FOR_IMAGE, DISK_FOR_RUN = 1_000_000_000, 1_500_000_000  # Bytes, about: with the packages; blobs and files of one builder.
EXEC = "exec on an image"
HEADER = "| build | builder | cold ms (min–max) | ÷ ours | warm ms (min–max) | ÷ ours | cold runs |\n|---|---|---|---|---|---|---|"


@dataclasses.dataclass(frozen=True)
class Job:
    """What is built: a definition, for some the same as a directory with a Dockerfile, and how many vertices the cache has
    when it is built again."""

    name: str
    definition: Path
    cached: int
    context: Path = None


class Builds:
    """Runs them all, and keeps what they took."""

    def __init__(self, directory, env, binary, examples, registry, buildctl, alone=False):
        self.directory, self.env, self.registry = directory, env, registry
        self.graphs, self.floor = str(examples / "graphs"), str(examples / "floor")
        self.binary = binary
        self.ours = {OURS: lambda place, env: Lazyblob(place, env, binary)}
        self.buildctl = {BUILDKIT: lambda place, env: BuildKit(place, env, buildctl)} if buildctl else {BUILDKIT: NotRun("$BUILDCTL is not set")}
        self.runs, self.refused, self.real = {}, {}, None
        self.peers = {} if alone else peers()
        self.numbers = itertools.count(1)

    def graph(self, *words):
        """A definition as `benches/graphs.rs` writes it."""
        path = self.directory / ("-".join(words).replace("/", "_") + ".llb")
        path.write_bytes(subprocess.run([self.graphs, *words], check=True, stdout=subprocess.PIPE).stdout)
        return path

    def files(self, rounds, chains, fan):
        """Chains of so many files, each on top of the last, and a fan of files that are merged: no image."""
        jobs = [Job(f"chain of {count} files", self.graph("chain", str(count)), count) for count in chains]
        jobs.append(Job(f"fan of {fan} files, merged", self.graph("fan", str(fan)), fan + 1))
        for job in jobs:
            self.turns(job, rounds, {**self.ours, **self.buildctl})

    def exec(self, rounds, layout):
        """One command on a real image that nobody has, and the limit under it."""
        self.real = debian.real_image(layout, debian.FEWER)
        subprocess.run([self.binary, "--progress", "quiet", "copy", f"oci:{layout}:real", f"{self.registry.host}/real:1"],
                       check=True, env=self.env, stdout=subprocess.DEVNULL)
        context = self.directory / "context"
        context.mkdir()
        (context / "Dockerfile").write_text(f"FROM {self.registry.host}/real:1\nRUN echo 1 > /made\n")
        # The image has no step of its own that is cached: it is resolved, and then CACHED if its layers are not asked for.
        job = Job(EXEC, self.graph("exec", f"{self.registry.host}/real:1", "1"), 1, context)
        limits = {LIMIT: "unpack", DURABLE: "unpack-sync"} if shutil.which(self.floor) else {}
        self.turns(job, rounds, {**self.ours, **self.peers, **self.buildctl}, limits)

    def turns(self, job, rounds, builders, limits=()):
        """All once a round, each round beginning with another: cold, and then warm several times."""
        for name, why in builders.items():
            if isinstance(why, NotRun):
                self.refused[job.name, name] = why
        names = [name for name in (*builders, *limits)]
        for number in range(rounds):
            at = number % len(names)
            for name in (name for name in names[at:] + names[:at] if (job.name, name) not in self.refused):
                try:
                    if name in limits:
                        self.limit(job, name, limits[name])
                    else:
                        self.one(job, name, builders[name])
                except NotRun as why:
                    if name == OURS:
                        raise SystemExit(f"lazyblob: {why}") from None
                    self.refused[job.name, name] = why

    def limit(self, job, name, mode):
        with contextlib.closing(Floor(self.directory / f"limit-{next(self.numbers)}", self.env, self.floor, mode)) as store:
            usage = self.measured(store, store.commands(self.registry.host, self.real.image))
            if not store.whole(self.real):
                raise NotRun("it did not write all of the files")
            self.keep(job, name, "cold", usage)

    def one(self, job, name, builder):
        place = self.directory / f"b{next(self.numbers)}"  # Short: podman takes no more than 50 characters of a path below.
        with contextlib.closing(builder(place, self.env)) as store:
            command = store.command(job)
            usage = self.measured(store, [command])
            if store.is_cached(usage.said[0], job):
                raise NotRun("it had the result of a cold build")
            self.keep(job, name, "cold", usage)
            for _ in range(3):
                usage = self.measured(store, [command])
                if not store.is_cached(usage.said[0], job):
                    raise NotRun(f"it does not find what it has built: {last_line(usage.said[0])}")
                self.keep(job, name, "warm", usage)

    def measured(self, store, commands):
        try:
            usage = at_once(commands, store.env, store.daemons)
        except TimeoutError:
            raise NotRun("it did not end") from None
        if usage.failures:
            raise NotRun(f"it failed: {last_line(usage.failures[0])}")
        return usage

    def keep(self, job, name, when, usage):
        self.runs.setdefault((job.name, name), {}).setdefault(when, []).append(usage.wall * 1000)
        print(f"  {job.name}, {name}, {when}: {usage.wall * 1000:.0f} ms, {usage.cpu:.2f} CPU s", file=sys.stderr)

    def table(self):
        """The image, the table and how far from the limit we are."""
        lines = []
        if self.real:
            sizes, tree = self.real.contents["layers"], self.real.contents["layered"]
            lines += [f"The image: {sum(sizes) / 2**20:.0f} MiB compressed in {len(sizes)} layers, "
                      f"{tree['files']} files of {tree['bytes'] / 1e6:.0f} MB.", ""]
        lines.append(HEADER)
        jobs = dict.fromkeys(job for job, _ in (*self.runs, *self.refused))
        for job in jobs:
            builders = dict.fromkeys(name for of, name in (*self.runs, *self.refused) if of == job)
            for name in builders:
                if (job, name) in self.refused:
                    lines.append(f"| {job} | {name} | not run: {self.refused[job, name]} |" + " |" * 4)
                    continue
                runs, ours = self.runs[job, name], self.runs[job, OURS]
                cells = [job, name]
                for when in ("cold", "warm"):
                    cells += both(runs.get(when, []), ours[when])
                lines.append("| " + " | ".join([*cells, str(len(runs["cold"]))]) + " |")
        for name in (LIMIT, DURABLE):
            if (EXEC, name) in self.runs:
                ratio = statistics.median(self.runs[EXEC, OURS]["cold"]) / statistics.median(self.runs[EXEC, name]["cold"])
                lines += ["", f"{EXEC}, cold: {ratio:.2f} × {name}."]
        return "\n".join(lines)


def both(walls, ours):
    """The median with its extremes, and its ratio to ours."""
    if not walls:
        return ["", ""]
    median = statistics.median(walls)
    return [f"{median:.0f} ({min(walls):.0f}–{max(walls):.0f})", f"{median / statistics.median(ours):.2f}"]
