"""Debian's docker-registry as both ends of the copies, and what its access log says."""

import re
import subprocess
import time

ACCESS = re.compile(r'"(GET|HEAD|POST|PUT|PATCH|DELETE) (/v2/\S*) HTTP/[\d.]+" (\d{3}) (\d+)')
CONFIG = """version: 0.1
log: {{level: info}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}, maintenance: {{uploadpurging: {{enabled: false}}}}}}
http: {{addr: "127.0.0.1:0", secret: fixed}}
"""


class Registry:
    """A docker-registry on a free loopback port, with storage of its own."""

    def __init__(self, directory):
        directory.mkdir(parents=True)
        config, self.log = directory / "config.yml", directory / "log"
        config.write_text(CONFIG.format(root=directory / "storage"))
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["docker-registry", "serve", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.read = 0
        deadline = time.monotonic() + 20
        while not (found := re.search(r"listening on 127\.0\.0\.1:(\d+)", self.log.read_text())):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise SystemExit(f"docker-registry does not start:\n{self.log.read_text()}")
            time.sleep(0.02)
        self.host = f"127.0.0.1:{found[1]}"

    def answers(self):
        """The requests logged since the last call: verb, path, status and the bytes answered, one tuple each."""
        text = self.log.read_bytes()
        while True:  # A request is logged after its answer has left; the log is complete once it stops growing.
            time.sleep(0.05)
            if (longer := self.log.read_bytes()) == text:
                break
            text = longer
        lines = ACCESS.findall(text[self.read :].decode(errors="replace"))
        self.read = len(text)
        return [(verb, path, int(status), int(size)) for verb, path, status, size in lines]

    def requests(self):
        """The requests logged since the last call: how many, and the blob bytes that GETs among them returned."""
        answers = self.answers()
        return len(answers), blob_bytes(answers)

    def stop(self):
        self.process.kill()
        self.process.wait()


def blob_bytes(answers):
    """The bytes of blobs that left the registry."""
    return sum(size for verb, path, _, size in answers if verb == "GET" and "/blobs/" in path)


def crossings(answers, digests):
    """How often each of these blobs was asked for and sent: one count a digest.

    An answer without a body (a redirect, an error) is no crossing; one of a range is, and `blob_bytes` shows its length.
    """
    counts = dict.fromkeys(digests, 0)
    for verb, path, status, _ in answers:
        digest = path.partition("?")[0].rpartition("/blobs/")[2]
        if verb == "GET" and status in (200, 206) and digest in counts:
            counts[digest] += 1
    return list(counts.values())
