"""The table of copies and retags, one process at a time."""

import statistics
import sys


class Results:
    """The runs of every operation by every client."""

    def __init__(self):
        self.runs = {}

    def add(self, operation, client, usage, requests, got):
        self.runs.setdefault(operation, {}).setdefault(client, []).append((*usage, requests, got))
        print(f"  {operation}, {client}: {usage[0] * 1000:.1f} ms, {usage[1]:.3f} CPU s, {usage[2]:.1f} MB, "
              f"{requests} requests, {got / 1e6:.1f} MB of blobs read", file=sys.stderr)

    def table(self, missing):
        lines = [
            "| operation | client | runs | wall ms (min–max) | CPU s | peak MB | requests | blob MB read | wall ÷ ours | CPU ÷ ours |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        for operation, clients in self.runs.items():
            ours = [statistics.median(column) for column in zip(*clients["lazyblob"])]
            for client, runs in clients.items():
                columns = list(zip(*runs))
                wall, cpu = (statistics.median(column) for column in columns[:2])
                walls = f"{wall * 1000:.1f} ({min(columns[0]) * 1000:.1f}–{max(columns[0]) * 1000:.1f})"
                few, many = min(columns[3]), max(columns[3])
                requests = str(few) if few == many else f"{few}–{many}"
                got = f"{statistics.median(columns[4]) / 1e6:.1f}"
                ratios = f"{wall / ours[0]:.2f} | {cpu / ours[1]:.2f}"
                lines.append(f"| {operation} | {client} | {len(runs)} | {walls} | {cpu:.3f} | {max(columns[2]):.1f} "
                             f"| {requests} | {got} | {ratios} |")
        lines += [f"| all | {client} | not run: not on PATH |" + " |" * 7 for client in missing]
        return "\n".join(lines + self.distances())

    def distances(self):
        """What lazyblob takes beyond the floor, where that was run."""
        lines = []
        for operation, clients in self.runs.items():
            if "floor" in clients:
                ours, floor = ([statistics.median(column) for column in zip(*clients[name])] for name in ("lazyblob", "floor"))
                wall, cpu = ((ours[at] / floor[at] - 1) * 100 for at in (0, 1))
                lines += ["", f"Above the floor of \"{operation}\": {wall:+.0f} % wall, {cpu:+.0f} % CPU."]
        return lines
