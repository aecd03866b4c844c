"""A fresh Debian of its own, made with debootstrap from the archive that this machine uses.

It lives on a tmpfs in mount and process namespaces that end with the `with` block, and
everything in them does too."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import psutil

from tests.support.command import ROOT
from tests.support.waiting import wait_until

SUITE = "bookworm"
SOURCE = "/vagrant"
"""Where a copy of this checkout is in the new Debian, read-only."""
USER = "vagrant"
_CERTIFICATES = "/etc/lab-certificates.pem"
_MAKE_S, _RUN_S = 300, 300


def archive() -> str | None:
    """The archive that apt gets Debian from here, if it gets this suite from one."""
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    found = [line.split() for line in told.splitlines()]
    return next((uri for uri, *rest in found if rest == [SUITE, "main"]), None)


class Debian:
    """`with Debian(directory)`: an installed minimal system in that empty directory."""

    def __init__(self, directory: Path) -> None:
        self._root = directory
        self._stack = ExitStack()

    def __enter__(self) -> Debian:
        try:
            self._make()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, *words: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        """Run a command in it, as after a login of that user."""
        before = ["su", "-", user, "-c", 'exec "$0" "$@"', "--"] if user != "root" else []
        return self._inside("chroot", str(self._root), *before, *words)

    def read(self, path: str) -> str:
        """A file of it."""
        done = self.run("cat", path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _make(self) -> None:
        words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation=private"]
        holder = subprocess.Popen([*words, "sleep", "infinity"])
        self._stack.callback(holder.wait)
        self._stack.callback(holder.kill)
        found = wait_until(
            lambda: [one for one in _children(holder.pid) if one.name() == "sleep"],
            "the namespaces are there",
        )
        self._enter = ["nsenter", "-m", "-p", "-t", str(found[0].pid), "--"]
        mirror = archive()
        assert mirror is not None, f"apt has no source for {SUITE} here"
        root = self._root
        self._mount("-t", "tmpfs", "-o", "mode=755", "lab", str(root))
        variant = ["--variant=minbase", "--include=sudo", SUITE, str(root), mirror]
        self._must("debootstrap", *variant)
        self._copy_checkout(f"{root}{SOURCE}")
        self._mount("-t", "proc", "lab", f"{root}/proc")
        self._mount("-t", "sysfs", "lab", f"{root}/sys")
        self._mount("--rbind", "/dev", f"{root}/dev")
        self._mount("-t", "tmpfs", "lab", f"{root}/run")
        self._take_along()
        self.run("useradd", "--create-home", "--shell", "/bin/bash", USER)
        self._write("/etc/sudoers.d/lab", f"{USER} ALL=(ALL) NOPASSWD: ALL\n")

    def _copy_checkout(self, place: str) -> None:
        """As Vagrant does, but read-only: who provisions has no business in there."""
        without = " ".join(f"--exclude=./{name}" for name in (".git", ".venv", "build"))
        self._must("mkdir", "-p", place)
        self._must("sh", "-c", f"tar -C {ROOT} {without} -cf - . | tar -C {place} -xf -")
        self._mount("--bind", place, place)
        self._mount("-o", "remount,bind,ro", place)

    def _take_along(self) -> None:
        """How this machine reaches what it installs from."""
        for name in ("/etc/resolv.conf", "/etc/hosts"):
            self._write(name, Path(name).read_text())
        told = subprocess.run(
            ["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=True
        )
        self._write("/etc/apt/apt.conf.d/99lab", told.stdout)
        self._write("/etc/dpkg/dpkg.cfg.d/lab", "force-unsafe-io\n")
        lines = ["[global]"]
        for name, value in _settings_of_pip():
            if name == "cert":
                self._write(_CERTIFICATES, Path(value).read_text())
                value = _CERTIFICATES
            lines.append(f"{name} = {value}")
        self._write("/etc/pip.conf", "\n".join(lines) + "\n")

    def _mount(self, *words: str) -> None:
        self._must("mount", *words)

    def _write(self, path: str, text: str) -> None:
        done = self._inside("tee", f"{self._root}{path}", stdin=text)
        assert done.returncode == 0, done.stderr

    def _must(self, *words: str) -> None:
        done = self._inside(*words)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr

    def _inside(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        proxies = {name: value for name, value in os.environ.items() if name.endswith("_proxy")}
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return subprocess.run(
            [*self._enter, *words],
            env={**proxies, "PATH": path, "HOME": "/root", "LC_ALL": "C.UTF-8"},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_RUN_S,
            check=False,
        )


def _settings_of_pip() -> list[tuple[str, str]]:
    """Where pip finds packages here. The last of a name counts: what the environment
    says, else a file."""
    told = subprocess.run(
        ["python3", "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    found = re.findall(r"^(:env:|global)\.(cert|index-url)='(.*)'$", told.stdout, re.MULTILINE)
    return list({name: value for _, name, value in sorted(found, reverse=True)}.items())


def _children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def possible() -> str | None:
    """Why a Debian can not be made here; None if it can."""
    if os.geteuid() != 0:
        return "only root makes a Debian"
    if shutil.which("debootstrap") is None:
        return "debootstrap is not installed"
    return None
