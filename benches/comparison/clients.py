"""How each client is told to copy, from loopback hosts that speak plain HTTP."""

import subprocess


# From registry to registry: SRC and DST are HOST/REPO:TAG.
def lazyblob(binary):
    def command(source, target, retag):
        return [binary, "--progress", "quiet", "retag" if retag else "copy", source, target]
    return command


def skopeo(source, target, _retag):
    insecure = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    return ["skopeo", "--insecure-policy", "copy", "-q", *insecure, f"docker://{source}", f"docker://{target}"]


def crane(source, target, retag):
    return ["crane", "tag", source, target.rpartition(":")[2]] if retag else ["crane", "copy", source, target]


def regctl(source, target, _retag):
    hosts = {place.partition("/")[0] for place in (source, target)}
    plain = [word for host in sorted(hosts) for word in ("--host", f"reg={host},tls=disabled")]
    return ["regctl", *plain, "image", "copy", source, target]


# From a registry into an OCI layout.
def lazyblob_to_layout(binary):
    def command(source, directory, name):
        return [binary, "--progress", "quiet", "copy", source, f"oci:{directory}:{name}"]
    return command


def skopeo_to_layout(source, directory, name):
    return ["skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", f"docker://{source}", f"oci:{directory}:{name}"]


VERSIONS = {
    "skopeo": ["skopeo", "--version"],
    "crane": ["crane", "version"],
    "regctl": ["regctl", "version"],
    "ctr": ["ctr", "--version"],
    "podman": ["podman", "--version"],
    "umoci": ["umoci", "--version"],
}


def version(words):
    """The first line of what a client says of its version."""
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    return said.splitlines()[0] if said else words[0]
