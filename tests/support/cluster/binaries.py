"""Kubernetes' programs: those in $KUBERNETES_BIN, or else built from the sources that Debian has.

Debian 12 is the last one with all of Kubernetes' sources, of 1.20.2, and with a Go that compiles them (1.19). Its packages hold
kubectl alone, and no registry of ours has the programs of a newer one. The build takes ten minutes of two processors, once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
VERSION = "1.20.2"
VARIABLE = "KUBERNETES_BIN"
_SUITE = "bookworm"
_GO = ("golang-1.19-go", "golang-1.19-src")
_LINKED = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
_SAID = {"gitVersion": f"v{VERSION}", "gitMajor": "1", "gitMinor": "20", "gitTreeState": "clean", "gitCommit": "debian"}


class NoKubernetesError(Exception):
    """There are no programs, or not all of them."""


def find_kubernetes(build: Path) -> Path:
    """The directory with the programs. Raises NoKubernetesError, which says how to get them."""
    named = os.environ.get(VARIABLE)
    directory = Path(named) if named else build / "bin"
    missing = [name for name in PROGRAMS if not os.access(directory / name, os.X_OK)]
    if missing and named:
        raise NoKubernetesError(f"{VARIABLE} is {directory}, which has no program {', '.join(missing)}")
    if missing:
        raise NoKubernetesError(
            f"Kubernetes' programs are not there: set {VARIABLE} to a directory with {', '.join(PROGRAMS)}, "
            "or run `make kubernetes`, which builds them in ten minutes"
        )
    return directory


def build_kubernetes(directory: Path) -> None:
    """Into its folder `bin`; sources, compiler and caches are below the directory, and nothing is installed."""
    (directory / "bin").mkdir(parents=True, exist_ok=True)
    go, sources = _fetch_go(directory), _fetch_sources(directory)
    workspace = directory / "go" / "src" / "k8s.io"
    workspace.mkdir(parents=True, exist_ok=True)
    link = workspace / "kubernetes"
    link.unlink(missing_ok=True)
    link.symlink_to(sources)
    environment = {
        **os.environ,
        "GOROOT": str(go),
        "GOPATH": str(directory / "go"),
        "GOCACHE": str(directory / "cache"),
        "GO111MODULE": "off",
        "GOPROXY": "off",
        "GOFLAGS": "",
        "PATH": f"{go / 'bin'}:{os.environ['PATH']}",
        "PWD": str(link),  # Go finds packages by the name of the directory that it is in, and takes that name from here
    }
    _write_open_api(link, directory, environment)
    for program in PROGRAMS:
        print(f"compiling {program}", flush=True)
        # The kubelet's cAdvisor needs C.
        with_c = {"CGO_ENABLED": "1" if program == "kubelet" else "0"}
        output = directory / "bin" / f"{program}.part"
        flags = ("-p", "2", "-ldflags", _linker_flags(), "-o", str(output), f"./cmd/{program}")
        _call("go", "build", *flags, at=link, environment=environment | with_c)
        output.rename(directory / "bin" / program)


def _linker_flags() -> str:
    """Without the version the programs are of v0.0.0, and Helm refuses them."""
    said = [f"-X k8s.io/kubernetes/vendor/{package}.{name}={value}" for package in _LINKED for name, value in _SAID.items()]
    return " ".join(["-s -w", *said])


def _fetch_go(directory: Path) -> Path:
    root = directory / "compiler"
    if not (root / "usr").exists():
        packages = directory / "packages"
        packages.mkdir(exist_ok=True)
        _call("apt-get", "download", "--quiet", *_GO, at=packages)
        for package in sorted(packages.glob("golang-*.deb")):
            _call("dpkg-deb", "--extract", str(package), str(root), at=packages)
        # The compiler's package has links to where the other one is installed.
        go, share = root / "usr/lib/go-1.19", root / "usr/share/go-1.19"
        for name in ("src", "api", "misc", "test"):
            if (link := go / name).is_symlink():
                link.unlink()
                link.symlink_to(share / name)
    return root / "usr/lib/go-1.19"


def _fetch_sources(directory: Path) -> Path:
    """With apt's own checks of signatures, but lists and settings of its own: the machine's may have no sources."""
    place = directory / f"kubernetes-{VERSION}"
    if not place.exists():
        apt = directory / "apt"
        for name in ("lists/partial", "cache/archives/partial"):
            (apt / name).mkdir(parents=True, exist_ok=True)
        key = "/usr/share/keyrings/debian-archive-keyring.gpg"
        (apt / "sources.list").write_text(f"deb-src [signed-by={key}] http://deb.debian.org/debian {_SUITE} main\n")
        settings = {
            "Dir::Etc::SourceList": apt / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::Lists": apt / "lists",
            "Dir::Cache": apt / "cache",
            "APT::Sandbox::User": "root",
        }
        options = [f"-o{name}={value}" for name, value in settings.items()]
        _call("apt-get", *options, "update", "--quiet", at=directory)
        _call("apt-get", *options, "source", "--quiet", "--download-only", "kubernetes", at=directory)
        (description,) = directory.glob("kubernetes_*.dsc")
        _call("dpkg-source", "--no-check", "--extract", str(description), str(place), at=directory)
    return place


def _write_open_api(sources: Path, directory: Path, environment: dict[str, str]) -> None:
    """What the API server says of its types, which the sources leave to a program that writes it."""
    print("generating the types of the API", flush=True)
    generator, output = str(directory / "openapi-gen"), "k8s.io/kubernetes/pkg/generated/openapi"
    without_c = environment | {"CGO_ENABLED": "0"}
    _call("go", "build", "-o", generator, "./vendor/k8s.io/kube-openapi/cmd/openapi-gen", at=sources, environment=without_c)
    packages = ",".join(sorted({_package_of(path, sources) for path in _described(sources)}))
    header = "hack/boilerplate/boilerplate.generatego.txt"
    flags = ("--logtostderr", "-i", packages, "-p", output, "-O", "zz_generated.openapi", "-h", header, "-r", "/dev/null")
    _call(generator, *flags, at=sources, environment=without_c)


def _described(sources: Path) -> list[Path]:
    """Files of packages whose types the API server describes. The folders of vendor/k8s.io are links."""
    mark = re.compile(r"^// *\+k8s:openapi-gen=true", re.MULTILINE)
    unwanted = re.compile(r"testing|/test|sample|_output|code-generator")
    found = []
    for folder in ("vendor/k8s.io", "pkg"):
        for root, _, names in os.walk(sources / folder, followlinks=True):
            paths = [Path(root, name) for name in names if name.endswith(".go")]
            found += [path for path in paths if not unwanted.search(str(path)) and mark.search(path.read_text())]
    return found


def _package_of(path: Path, sources: Path) -> str:
    name = str(path.parent.relative_to(sources))
    return name.removeprefix("vendor/") if name.startswith("vendor/") else f"k8s.io/kubernetes/{name}"


def _call(*command: str, at: Path, environment: dict[str, str] | None = None) -> None:
    program = shutil.which(command[0], path=(environment or os.environ)["PATH"]) or command[0]
    subprocess.run([program, *command[1:]], cwd=at, env=environment, check=True)
