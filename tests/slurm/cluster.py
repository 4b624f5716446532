"""A Slurm of one node on this machine, for as long as a test needs it.

Keys, sockets, state and logs lie in one temporary folder; ports are free ones of the loopback device. What changes
outside it: Debian's packages are installed (and those that were not there before are purged at the end), which while
they are installed brings a munge user, /etc/munge and, where systemd is running, a munge service of its own.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
NODE, PARTITION, CPUS = "worker", "cells", 2
# Task and process tracking are those that need no cgroups. A requeued job waits for `cred_expire` (120 s unless set).
CONF = """
ClusterName=auxlearn
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
GresTypes=gpu
KillWait=5
MinJobAge=3600
ReturnToService=2
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=64000 State=UNKNOWN
NodeName=absent NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cpus} RealMemory=64000 Gres=gpu:1 State=DOWN
PartitionName={partition} Nodes={node} State=UP
PartitionName=closed Nodes=absent Default=YES State=DOWN
"""


def why_not() -> str:
    """Why Slurm cannot be set up here; empty where it can."""
    if os.environ.get("AUXLEARN_SLURM") != "install":
        return "installs packages and starts daemons: `make slurm` asks for that (AUXLEARN_SLURM=install)"
    if not Path("/etc/debian_version").is_file() or not shutil.which("apt-get"):
        return "needs Debian's packages"
    return "" if os.geteuid() == 0 else "needs root, to install packages and start jobs"


@contextmanager
def installed() -> Iterator[None]:
    """Debian's Slurm and munge; what was not there before is gone afterwards."""
    before = _packages()
    try:
        if not set(PACKAGES) <= before:
            _apt("update")
            _apt("install", "--no-install-recommends", *PACKAGES)
        yield
    finally:
        if added := sorted(_packages() - before):
            _apt("purge", *added)


@contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """A controller, an idle node, and one with a GPU that is never up; the environment for Slurm's commands."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    conf = folder / "slurm.conf"
    host, ports = socket.gethostname().split(".")[0], _free_ports(3)
    conf.write_text(CONF.format(folder=folder, host=host, ports=ports, node=NODE, partition=PARTITION, cpus=CPUS))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    files = [f"--{name}-file={folder}/munged.{name}" for name in ("pid", "log", "seed")]
    # The plugin takes SLURM_CONF away from the srun of its jobs, and no file of ours belongs into /etc/slurm.
    srun = folder / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec /usr/bin/srun "$@"\n')
    srun.chmod(0o755)
    environment = os.environ | {"SLURM_CONF": str(conf), "PATH": f"{srun.parent}:{os.environ['PATH']}"}
    started: list[subprocess.Popen] = []
    with open(folder / "daemons.log", "w") as log:
        try:
            for command in (
                ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket", *files],
                ["slurmctld", "-D", "-c"],
                ["slurmd", "-D", "-c", "-N", NODE],
            ):
                command = ["setpriv", "--pdeathsig", "TERM", *command]  # a killed test leaves no daemon
                started.append(
                    subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
                )
                time.sleep(0.5)
            until(lambda: _idle(environment), 180, f"the node did not come up; see {folder}/*.log")
            yield environment
        finally:
            subprocess.run(["scancel", "--user=root"], env=environment, capture_output=True, timeout=60)
            for daemon in reversed(started):
                daemon.terminate()
            for daemon in reversed(started):
                try:
                    daemon.wait(30)
                except subprocess.TimeoutExpired:
                    daemon.kill()
            for pid in processes(SLURM_CONF=str(conf)):
                kill(pid)


def processes(**wanted: str) -> list[int]:
    """Processes other than this one whose environment holds these values."""
    found = []
    lines = {f"{name}={value}" for name, value in wanted.items()}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if lines <= set((entry / "environ").read_bytes().decode(errors="replace").split("\0")):
                found.append(int(entry.name))
        except OSError:  # it has ended
            continue
    return found


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def until(found, seconds: float, otherwise: str):
    """What `found()` returns once it is true."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, otherwise
        time.sleep(0.2)
    return value


def _idle(environment: dict[str, str]) -> bool:
    asked = subprocess.run(
        ["sinfo", "--noheader", f"--partition={PARTITION}", "--format=%T"],
        env=environment,
        capture_output=True,
        text=True,
    )
    return asked.stdout.strip() == "idle"


def _packages() -> set[str]:
    asked = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package}\n"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.split()[1] for line in asked.stdout.splitlines() if line.startswith("ii")}


def _apt(*arguments: str) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(["apt-get", "--yes", *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"apt-get {' '.join(arguments)}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    print(f"apt-get {' '.join(arguments)}", file=sys.stderr)


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for each in held:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports
