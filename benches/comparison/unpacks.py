"""A real image pulled and unpacked: contestants in turn, twenty at once, and their tables."""

import contextlib
import functools
import itertools
import shutil
import statistics
import subprocess
import sys

from . import clients, debian
from .measure import at_once
from .registry import blob_bytes, crossings
from .stores import NotRun, last_line
from .unpacked import ContainerdUnpacked, Floor, OneRoot, SkopeoUmoci

MANY = 20  # How many pull at once.
DISK_FOR_IMAGE, DISK_FOR_ROUND = 1_000_000_000, 10_000_000_000  # Bytes, about: with the packages; blobs and files of each contestant.
OURS, TWENTY, TASKS = "lazyblob", f"lazyblob, {MANY} processes", f"lazyblob, {MANY} tasks of one process"
FLOOR, DURABLE = "floor", "floor, and on disk"
HEADER = """| client | runs | wall ms (min–max) | CPU s | peak MB, largest process | peak MB, sum | requests | blob MB served | GETs per layer | whole | wall ÷ ours | CPU ÷ ours |
|---|---|---|---|---|---|---|---|---|---|---|---|"""


class Unpacks:
    """Runs them all, and keeps what they took."""

    def __init__(self, directory, env, binary, source, examples, kept=None):
        self.directory, self.env, self.binary, self.source = directory, env, binary, source
        self.layout = kept or directory / "real"
        self.real = debian.real_image(self.layout)
        crowd, floor = (str(examples / name) for name in ("crowd", "floor"))
        self.contestants = {
            OURS: functools.partial(OneRoot, binary=binary),
            "ctr images pull": self.needing(ContainerdUnpacked, "containerd", "ctr"),
            "skopeo copy, umoci unpack": self.needing(SkopeoUmoci, "skopeo", "umoci"),
            FLOOR: self.needing(functools.partial(Floor, binary=floor, mode="unpack"), floor),
            DURABLE: self.needing(functools.partial(Floor, binary=floor, mode="unpack-sync"), floor),
            TWENTY: functools.partial(OneRoot, binary=binary, processes=MANY),
            TASKS: self.needing(functools.partial(OneRoot, binary=crowd, tasks=MANY), crowd),
        }
        self.runs = {name: [] for name in self.contestants}
        self.refused, self.notes = {}, []

    def needing(self, store, *programs):
        missing = [program for program in programs if not shutil.which(program)]
        return NotRun(f"{missing[0]} is not installed") if missing else store

    def run(self, rounds):
        """All once a round, each round beginning with another."""
        subprocess.run([self.binary, "--progress", "quiet", "copy", f"oci:{self.layout}:real", f"{self.source.host}/real:1"],
                       check=True, env=self.env, stdout=subprocess.DEVNULL)
        self.refused = {name: why for name, why in self.contestants.items() if isinstance(why, NotRun)}
        numbers = itertools.count(1)
        for number in range(rounds):
            names = [name for name in self.contestants if name not in self.refused]
            for at in range(len(names)):
                name = names[(at + number) % len(names)]
                try:
                    self.runs[name].append(self.one(name, next(numbers)))
                except NotRun as why:
                    if name == OURS:
                        raise SystemExit(f"lazyblob: {why}") from None
                    self.refused[name] = why

    def one(self, name, number):
        image = self.real.image
        with contextlib.closing(self.contestants[name](self.directory / f"unpacked-{number}", self.env)) as store:
            commands = store.commands(self.source.host, image)
            self.source.answers()
            try:
                usage = at_once(commands, store.env, store.daemons)
            except TimeoutError:
                raise NotRun("it did not end") from None
            answers = self.source.answers()
            whole = store.whole(self.real)
        crossed = crossings(answers, set(image.layers))
        if usage.failures:
            self.notes.append(f"{name}: {len(usage.failures)} of {len(commands)} processes failed, one with "
                              f"\"{last_line(usage.failures[0])}\".")
        print(f"  {name}: {usage.wall * 1000:.0f} ms, {usage.cpu:.2f} CPU s, {max(usage.peaks):.1f} MB, {sum(usage.peaks):.0f} MB "
              f"in all, {blob_bytes(answers) / 1e6:.1f} MB of blobs, a layer {min(crossed)} to {max(crossed)} times, "
              f"{'whole' if whole else 'NOT WHOLE'}", file=sys.stderr)
        return {
            "wall": usage.wall, "cpu": usage.cpu, "largest": max(usage.peaks), "sum": sum(usage.peaks), "requests": len(answers),
            "blobs": blob_bytes(answers), "few": min(crossed), "many": max(crossed), "whole": whole,
        }

    def median(self, name, column):
        return statistics.median(run[column] for run in self.runs[name])

    def table(self):
        """The image, the table and what follows from it."""
        contents = self.real.contents
        sizes = ", ".join(f"{size / 1e6:.1f}" for size in contents["layers"])
        lines = [
            f"The image: {sum(contents['layers']) / 1e6:.0f} MB in {len(contents['layers'])} layers of {sizes} MB, "
            f"{contents['layered']['files']} files of {contents['layered']['bytes'] / 1e6:.0f} MB, of "
            f"{len(contents['packages'])} packages; {self.real.image.digest}.", "", HEADER,
        ]
        for name, runs in self.runs.items():
            if name in self.refused:
                lines.append(f"| {name} | not run: {self.refused[name]} |" + " |" * 10)
                continue
            walls = [run["wall"] * 1000 for run in runs]
            cells = [
                name, len(runs), f"{statistics.median(walls):.0f} ({min(walls):.0f}–{max(walls):.0f})", f"{self.median(name, 'cpu'):.2f}",
                f"{max(run['largest'] for run in runs):.1f}", f"{max(run['sum'] for run in runs):.0f}",
                extremes(runs, "requests", "requests"), f"{self.median(name, 'blobs') / 1e6:.1f}", extremes(runs, "few", "many"),
                f"{sum(run['whole'] for run in runs)} of {len(runs)}",
                *(f"{self.median(name, column) / self.median(OURS, column):.2f}" for column in ("wall", "cpu")),
            ]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
        for name in (FLOOR, DURABLE):
            if name not in self.refused:
                wall, cpu = ((self.median(OURS, column) / self.median(name, column) - 1) * 100 for column in ("wall", "cpu"))
                lines += ["", f"Above the {name}: {wall:+.0f} % wall, {cpu:+.0f} % CPU."]
        return "\n".join(lines + [f"\n{note}" for note in self.notes])


def extremes(runs, low, high):
    few, many = min(run[low] for run in runs), max(run[high] for run in runs)
    return str(few) if few == many else f"{few}–{many}"
