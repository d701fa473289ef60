"""Images pulled by many processes at once, and an image of many layers: contestants in turn, and their table."""

import contextlib
import functools
import itertools
import shutil
import statistics
import subprocess
import sys

from . import clients, images
from .measure import at_once
from .registry import blob_bytes, crossings
from .stores import Containerd, LayoutEach, NotRun, OneLayout, OtherRegistry, Podman, last_line, podman_driver

HEADER = """| operation | client | runs | wall ms (min–max) | CPU s | peak MB, largest process | peak MB, sum | requests | blob MB served | GETs per shared layer | images whole | wall ÷ ours | CPU ÷ ours |
|---|---|---|---|---|---|---|---|---|---|---|---|---|"""


SHARED, OWN = 5, 5  # Layers that every image of the crowd has, and that each has for itself.


class Pulls:
    """Runs operations and keeps what they took, one table row for each contestant."""

    def __init__(self, directory, env, binary, source):
        self.directory, self.env, self.binary, self.source = directory, env, binary, source
        self.rows, self.notes = [], []
        self.numbers = itertools.count(1)

    def crowd(self, count, kib, rounds):
        """Images that share layers, pulled by one process each, all at once, into one store."""
        pulled = self.seeded("crowd", lambda layout: images.overlapping(layout, count, SHARED, OWN, kib * 1024))
        operation = f"{count} images of {SHARED} shared and {OWN} own layers of {kib} KiB at once"
        self.run(operation, self.to_stores(many=True), pulled, rounds)

    def many_layers(self, rounds):
        """One image of many layers, each so small that the requests are what takes the time."""
        pulled = self.seeded("layers", lambda layout: images.overlapping(layout, 1, 200, 0, 10 * 1024))
        self.run("200 layers of 10 KiB to a local store", self.to_stores(many=False), pulled, rounds)
        self.run("200 layers of 10 KiB to another registry", self.to_registry(), pulled, rounds)

    def seeded(self, name, make):
        """The images `make` writes into a layout `name`, copied to the source registry under their names."""
        layout = self.directory / name
        made = make(layout)
        for image in made:
            subprocess.run([self.binary, "--progress", "quiet", "copy", f"oci:{layout}:{image.name}", f"{self.source.host}/{image.name}:1"],
                           check=True, env=self.env, stdout=subprocess.DEVNULL)
        return made

    @functools.cached_property
    def podman(self):
        """A store of podman's, or why there can be none: its driver is found with an image of one layer."""
        try:
            probe, = self.seeded("probe", lambda layout: images.overlapping(layout, 1, 1, 0, 1000))
            driver = podman_driver(self.directory, self.env, self.source.host, probe)
        except NotRun as why:
            return "podman", why
        return f"podman ({driver}, unpacks)", lambda place, env: Podman(place, env, driver)

    def needing(self, program, store):
        return store if shutil.which(program) else NotRun(f"{program} is not installed")

    def to_stores(self, many):
        """Every contestant that pulls into a store of its own. skopeo is asked twice if there are many images: once for
        all of them in one layout, and once for what it supports, a layout each.
        """
        skopeo = functools.partial(OneLayout, copy=clients.skopeo_to_layout)
        contestants = {"lazyblob": functools.partial(OneLayout, copy=clients.lazyblob_to_layout(self.binary))}
        if many:
            each = functools.partial(LayoutEach, copy=clients.skopeo_to_layout)
            contestants |= {"skopeo, one layout": self.needing("skopeo", skopeo), "skopeo, a layout each": self.needing("skopeo", each)}
        else:
            contestants["skopeo"] = self.needing("skopeo", skopeo)
        daemon = self.needing("containerd", Containerd)
        contestants["ctr content fetch"] = daemon if isinstance(daemon, NotRun) else self.needing("ctr", Containerd)
        return contestants | dict([self.podman])

    def to_registry(self):
        """Every contestant that copies to another registry."""
        contestants = {"lazyblob": functools.partial(OtherRegistry, copy=clients.lazyblob(self.binary))}
        for name, copy in {"skopeo": clients.skopeo, "crane": clients.crane, "regctl": clients.regctl}.items():
            contestants[name] = self.needing(name, functools.partial(OtherRegistry, copy=copy))
        return contestants

    def run(self, operation, contestants, pulled, rounds):
        """All contestants once a round, each round beginning with another; adds their rows to the table."""
        runs = {name: [] for name, store in contestants.items() if not isinstance(store, NotRun)}
        refused = {name: why for name, why in contestants.items() if name not in runs}
        for number in range(rounds):
            names = [name for name in runs if name not in refused]
            for at in range(len(names)):
                name = names[(at + number) % len(names)]
                try:
                    runs[name].append(self.one(operation, name, contestants[name], pulled))
                except NotRun as why:
                    if name == "lazyblob":
                        raise SystemExit(f"{operation}, lazyblob: {why}") from None
                    refused[name] = why
        self.rows += rows(operation, {name: taken for name, taken in runs.items() if taken}, len(pulled))
        self.rows += [f"| {operation} | {name} | not run: {why} |" + " |" * 10 for name, why in refused.items()]

    def one(self, operation, name, store, pulled):
        """One run by one contestant: a table's columns as numbers."""
        with contextlib.closing(store(self.directory / f"run-{next(self.numbers)}", self.env)) as store:
            commands = store.commands(self.source.host, pulled)
            self.source.answers()
            try:
                usage = at_once(commands, store.env, store.daemons)
            except TimeoutError:
                raise NotRun("it did not end") from None
            answers = self.source.answers()
            requests = len(answers) + sum(len(registry.answers()) for registry in store.registries)
            whole = store.whole(pulled)
        common = set.intersection(*(set(image.layers) for image in pulled))
        crossed = crossings(answers, common)
        if usage.failures:
            self.notes.append(f"{operation}, {name}: {len(usage.failures)} of {len(commands)} processes failed, one with "
                              f"\"{last_line(usage.failures[0])}\".")
        print(f"  {operation}, {name}: {usage.wall * 1000:.0f} ms, {usage.cpu:.2f} CPU s, {max(usage.peaks):.1f} MB, "
              f"{sum(usage.peaks):.0f} MB in all, {blob_bytes(answers) / 1e6:.1f} MB of blobs, a shared layer "
              f"{min(crossed)} to {max(crossed)} times, {whole} of {len(pulled)} images whole", file=sys.stderr)
        return {
            "wall": usage.wall, "cpu": usage.cpu, "largest": max(usage.peaks), "sum": sum(usage.peaks), "requests": requests,
            "blobs": blob_bytes(answers), "few": min(crossed), "many": max(crossed), "whole": whole,
        }

    def table(self):
        return "\n".join([HEADER, *self.rows, *(f"\n{note}" for note in self.notes)])


def crowd_layers(count, rounds):
    """How many layers `Pulls.crowd` writes to disk: one of each for the images, the registry and, in every round, each
    contestant, except that one of them stores the shared layers with every image.
    """
    return (2 + 4 * rounds) * (SHARED + OWN * count) + rounds * (SHARED + OWN) * count


def rows(operation, contestants, images):
    """The rows of an operation: medians, memory at its highest, counts from the lowest to the highest."""

    def median(runs, column):
        return statistics.median(run[column] for run in runs)

    def extremes(runs, low, high):
        few, many = min(run[low] for run in runs), max(run[high] for run in runs)
        return str(few) if few == many else f"{few}–{many}"

    ours = contestants["lazyblob"]
    lines = []
    for name, runs in contestants.items():
        walls = [run["wall"] * 1000 for run in runs]
        cells = [
            operation, name, len(runs), f"{statistics.median(walls):.0f} ({min(walls):.0f}–{max(walls):.0f})",
            f"{median(runs, 'cpu'):.2f}", f"{max(run['largest'] for run in runs):.1f}", f"{max(run['sum'] for run in runs):.0f}",
            extremes(runs, "requests", "requests"), f"{median(runs, 'blobs') / 1e6:.1f}", extremes(runs, "few", "many"),
            f"{extremes(runs, 'whole', 'whole')} of {images}",
            *(f"{median(runs, column) / median(ours, column):.2f}" for column in ("wall", "cpu")),
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines
