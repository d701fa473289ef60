"""Images of random bytes in an OCI layout, and whether a copy of one is whole."""

import dataclasses
import gzip
import hashlib
import io
import json
import os
import tarfile

OCI = "application/vnd.oci.image"
NAME = "org.opencontainers.image.ref.name"


@dataclasses.dataclass(frozen=True)
class Image:
    """An image as it was made: what a copy of it must have."""

    name: str
    digest: str
    config: str
    layers: tuple

    def whole(self, intact):
        """Whether `intact` holds of its manifest, its config and every layer."""
        return all(intact(digest) for digest in (self.digest, self.config, *self.layers))


class Layout:
    """An OCI layout under construction."""

    def __init__(self, directory):
        self.directory = directory
        self.blobs = directory / "blobs" / "sha256"
        self.blobs.mkdir(parents=True)
        self.entries = []
        self.diff_ids = {}
        (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        (self.blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def layer(self, name, size):
        """A gzip layer with one file of `size` random bytes: its descriptor."""
        entry = tarfile.TarInfo(name)
        entry.size = size
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            archive.addfile(entry, io.BytesIO(os.urandom(size)))
        # Stored, not deflated: random bytes do not shrink.
        layer = self.blob(gzip.compress(tar.getvalue(), 0), f"{OCI}.layer.v1.tar+gzip")
        self.diff_ids[layer["digest"]] = "sha256:" + hashlib.sha256(tar.getbuffer()).hexdigest()
        return layer

    def image(self, name, layers):
        """An image `name` of these layers, entered in the index."""
        diff_ids = [self.diff_ids[layer["digest"]] for layer in layers]
        # The name is in it, so that no two images are one.
        # Some builders find nothing again that stands on an image without its history.
        created = "2023-11-14T22:13:20Z"
        history = [{"created": created, "created_by": "made for a benchmark"} for _ in layers]
        config = {
            "created": created, "architecture": "amd64", "os": "linux", "config": {"Labels": {"name": name}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history,
        }
        config = self.blob(json.dumps(config).encode(), f"{OCI}.config.v1+json")
        manifest = {"schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json", "config": config, "layers": layers}
        entry = self.blob(json.dumps(manifest).encode(), f"{OCI}.manifest.v1+json")
        self.entries.append({**entry, "annotations": {NAME: name}})
        (self.directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self.entries}))
        return Image(name, entry["digest"], config["digest"], tuple(layer["digest"] for layer in layers))


def image(directory, layers, size):
    """An OCI layout `directory` with an image `v1` of gzip layers that hold `size` random bytes each."""
    layout = Layout(directory)
    return layout.image("v1", [layout.layer(f"data-{number}", size) for number in range(layers)])


def overlapping(directory, count, shared, own, size):
    """An OCI layout with `count` images, named after the directory: `shared` layers that all have, and `own` that one has."""
    layout = Layout(directory)
    base = [layout.layer(f"shared-{number}", size) for number in range(shared)]
    return [
        layout.image(f"{directory.name}-{image}", base + [layout.layer(f"own-{image}-{number}", size) for number in range(own)])
        for image in range(1, count + 1)
    ]


def intact_below(blobs):
    """A test of whether the directory `blobs` has a digest, with the content that has it; it reads each blob once."""
    known = {}

    def intact(digest):
        if digest not in known:
            try:
                with open(blobs / digest.partition(":")[2], "rb") as blob:
                    known[digest] = f"sha256:{hashlib.file_digest(blob, 'sha256').hexdigest()}" == digest
            except FileNotFoundError:
                known[digest] = False
        return known[digest]

    return intact


def whole_in_layout(directory, images):
    """How many of the images the layout has under their names and whole."""
    try:
        entries = json.loads((directory / "index.json").read_text())["manifests"]
    except (FileNotFoundError, ValueError):
        return 0
    named = {(entry.get("annotations", {}).get(NAME), entry["digest"]) for entry in entries}
    intact = intact_below(directory / "blobs" / "sha256")
    return sum((image.name, image.digest) in named and image.whole(intact) for image in images)
