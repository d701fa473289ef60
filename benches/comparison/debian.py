"""A real image, made of Debian packages: layers of uneven size with hard links, symbolic links, setuid files, file
capabilities and whiteouts.

The packages come by `apt-get download`, for the release and the mirror the machine has; nothing is installed. Of the same
packages it makes the same bytes. Their scripts do not run, but for what two of them do to the tree: the links of a merged
/usr, and the capability of `ping`.
"""

import concurrent.futures
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import zlib
from dataclasses import dataclass

from .images import OCI, Image, Layout

LAYERS = {
    "base": """base-files base-passwd bash coreutils dash debconf debianutils diffutils dpkg findutils gcc-12-base grep gzip
        hostname init-system-helpers libc-bin libc6 libgcc-s1 libssl3 libstdc++6 locales login mount ncurses-base ncurses-bin
        passwd perl-base sed sysvinit-utils tar tzdata util-linux apt""",
    "tools": "ca-certificates curl git iputils-ping openssh-client sudo",
    "perl": "libperl5.36 perl perl-doc perl-modules-5.36",
    "python": "libpython3.11-dev libpython3.11-minimal libpython3.11-stdlib python3.11 python3.11-doc python3.11-minimal",
    "compilers": "binutils-x86-64-linux-gnu cpp-12 g++-12 gcc-12 libc6-dev libgcc-12-dev libstdc++-12-dev linux-libc-dev",
    "go": "golang-1.19-go golang-1.19-src",
    "documents": "git-doc manpages manpages-dev",
}
FEWER = ("base", "perl", "compilers", "go")  # With the top layer about 244 MiB compressed, in five layers.
# What the top layer takes away, as the last line of a Dockerfile does. The first is a directory that is emptied.
OPAQUE, GONE = "usr/share/doc/git", ["usr/share/doc/gcc-12-base", "usr/share/locale/de", "usr/share/doc/perl/Changes.gz"]
MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
PING, CAPABILITY = "usr/bin/ping", "\x01\0\0\x02\0\x20\0\0" + "\0" * 12  # cap_net_raw=ep, as revision 2 has it.


class Contents:
    """What unpacking must give: the files (a hard link is one, too) and their bytes, of each layer and of the tree they make."""

    def __init__(self):
        self.entries, self.layered, self.tree = 0, {}, {}

    def add(self, number, members):
        """The next layer: first what it takes away, then what it has."""
        for member in members:
            parent, _, name = member.name.rpartition("/")
            if name.startswith(".wh."):
                gone = f"{parent}/" if name == ".wh..wh..opq" else f"{parent}/{name[4:]}"
                self.tree = {known: size for known, size in self.tree.items() if not f"{known}/".startswith(f"{gone.rstrip('/')}/")}
        sizes = {}
        for member in members:
            self.entries += 1
            if member.islnk():
                sizes[member.name] = sizes[member.linkname]
            elif member.isreg() and not member.name.rpartition("/")[2].startswith(".wh."):
                sizes[member.name] = member.size
        self.layered |= {(number, name): size for name, size in sizes.items()}
        self.tree |= sizes

    def numbers(self):
        return {
            "entries": self.entries,
            "layered": {"files": len(self.layered), "bytes": sum(self.layered.values())},
            "tree": {"files": len(self.tree), "bytes": sum(self.tree.values())},
        }


@dataclass(frozen=True)
class Real:
    """The image, in a layout."""

    image: Image
    contents: dict


def real_image(directory, names=tuple(LAYERS)):
    """The image `real` in the layout `directory`, made of the layers of these names if it is not there."""
    made = directory / "contents.json"
    if not made.exists():
        for needed in ("apt-get", "dpkg-deb"):
            if not shutil.which(needed):
                raise SystemExit(f"the image is made of Debian packages, and {needed} is not here")
        contents = build(directory, names)
        made.write_text(json.dumps(contents))
    contents = json.loads(made.read_text())
    entry, = json.loads((directory / "index.json").read_text())["manifests"]
    manifest = json.loads((directory / "blobs" / "sha256" / entry["digest"].partition(":")[2]).read_text())
    layers = tuple(layer["digest"] for layer in manifest["layers"])
    return Real(Image("real", entry["digest"], manifest["config"]["digest"], layers), contents)


def build(directory, layers):
    """Downloads the packages and writes the layout: what it holds, in numbers."""
    packages = directory / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    words = [LAYERS[name] for name in layers]
    names = [name for packed in words for name in packed.split() if not list(packages.glob(f"{name}_*.deb"))]
    # apt's own user may not write here; the option is what it says it does instead.
    if names:
        subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *names], cwd=packages, check=True, stdout=subprocess.DEVNULL)
    layout = Layout(directory)
    with concurrent.futures.ProcessPoolExecutor(2) as processes:
        layers = list(processes.map(layer, [(packages, packed.split()) for packed in words]))
    layers.append(top())
    descriptors, contents = [], Contents()
    for number, (data, diff_id, members) in enumerate(layers):
        contents.add(number, members)
        descriptor = layout.blob(data, f"{OCI}.layer.v1.tar+gzip")
        layout.diff_ids[descriptor["digest"]] = diff_id
        descriptors.append(descriptor)
    layout.image("real", descriptors)
    return {
        "layers": [len(data) for data, _, _ in layers], **contents.numbers(),
        "packages": sorted(path.name for path in packages.iterdir()),
    }


def layer(of):
    """One layer of packages: its compressed bytes, its diffID and its members."""
    packages, names = of
    tars, members = [], {}
    for name in names:
        package, = packages.glob(f"{name}_*.deb")
        data = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True).stdout
        tars.append(tarfile.open(fileobj=io.BytesIO(data)))
        for member in tars[-1]:
            member.name = merged(member.name)
            if member.islnk():
                member.linkname = merged(member.linkname)
            if member.name and not (member.isdir() and member.name in members):
                members[member.name] = (member, tars[-1])
    if "base-files" in names:
        for name in MERGED:
            link = tarfile.TarInfo(name)
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, f"usr/{name}", 0o777
            members[name] = (link, None)
    ordered = sorted(members.values(), key=lambda entry: order(entry[0]))
    return write((member, tar.extractfile(member).read() if member.isreg() else b"") for member, tar in ordered)


def top():
    """The layer above: an application, a changed setting, and what it takes away."""
    entries = []

    def add(name, data=b"", mode=0o644, kind=tarfile.REGTYPE):
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.type, entry.mtime = len(data), mode, kind, 1_700_000_000
        entries.append((entry, data))

    add("app", mode=0o755, kind=tarfile.DIRTYPE)
    add("app/main.py", b"print('ready')\n" * 200)
    add("etc/motd", b"made of packages\n")
    add(f"{OPAQUE}/.wh..wh..opq")
    add(f"{OPAQUE}/README", b"the rest is in git-doc\n")
    for gone in GONE:
        parent, _, name = gone.rpartition("/")
        add(f"{parent}/.wh.{name}")
    return write(entries)


def write(entries):
    """A tar of entries with their data, compressed as builders do, with gzip at level 6: bytes, diffID, members."""
    packer, uncompressed, out, members = zlib.compressobj(6, wbits=31), hashlib.sha256(), bytearray(), []

    class Sink(io.RawIOBase):
        def write(self, data):
            uncompressed.update(data)
            out.extend(packer.compress(data))
            return len(data)

    with tarfile.open(fileobj=Sink(), mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20) as archive:
        for member, data in entries:
            member.pax_headers = {"SCHILY.xattr.security.capability": CAPABILITY} if member.name == PING else {}
            archive.addfile(member, io.BytesIO(data))
            members.append(member)
    out.extend(packer.flush())
    return bytes(out), f"sha256:{uncompressed.hexdigest()}", members


def order(member):
    """Names in the order of a walk; the name that a hard link is to comes before it, as tar and dpkg have it."""
    return (member.islnk(), member.name.split("/"))


def merged(name):
    """The name in a tree whose /bin, /lib and so on are links into /usr."""
    name = name.removeprefix("./").strip("/")
    if name == ".":
        return ""
    return f"usr/{name}" if name.partition("/")[0] in MERGED else name
