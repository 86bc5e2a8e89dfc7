"""A Postgres server for the tests of a team's ledger, if `TEST_POSTGRES` names one whose role may make schemas; and one
of a test's own, that it may stop."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = os.environ.get("TEST_POSTGRES", "")
NO_SERVER = "TEST_POSTGRES names no Postgres server, such as postgresql://me@127.0.0.1/postgres"


def team_ledger(name: str, server: str = SERVER) -> str:
    """The URL of a ledger of its own for each `name`."""
    return f"{server}?schema=test_{re.sub('[^a-z0-9]', '_', name.lower())}"


def postgres_programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`, where there are any."""
    found = shutil.which("initdb")
    places = [Path(found)] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return places[-1].parent if places else None


@dataclass
class Cluster:
    """A server that a test may stop as a power cut would, and start again."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://tests@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        self.run("pg_ctl", "-l", str(self.folder / "log"), "-w", "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-m", "immediate", "stop")

    def run(self, program: str, *arguments: str) -> None:
        """A program of the server; root, who may not be one, lets the user `postgres` do it."""
        programs = postgres_programs()
        assert programs
        somebody = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*somebody, str(programs / program), "-D", str(self.folder / "data"), *arguments]
        subprocess.run(command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def cluster_of_our_own() -> Iterator[Cluster]:
    """A server that waits for its disk, as those of Debian's packages do."""
    with tempfile.TemporaryDirectory(prefix="kubeez-postgres-") as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        cluster = Cluster(Path(folder), free.getsockname()[1])
        free.close()
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        cluster.run("initdb", "--auth=trust", "--username=tests")
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
