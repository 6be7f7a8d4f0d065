"""Certificates for tests: an authority in a folder, as `moorage certs` makes it."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import yaml

from moorage.config import parse
from moorage.rpc import Security
from moorage.rpc.security import identity
from moorage.tls.authority import Authority


class Certificates:
    """An authority and what it has issued."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._authority = Authority.in_folder(folder, 1)

    @property
    def ca(self) -> Path:
        """The authority's own certificate."""
        return self.folder / "ca.crt"

    def issue(self, name: str, *hosts: str, days: int = 1) -> tuple[Path, Path]:
        """The files of a new certificate and its key."""
        self._authority.issue(self.folder, name, hosts or ("127.0.0.1", "localhost"), days)
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"

    def renew(self, name: str, *hosts: str, days: int = 1) -> None:
        """Put another certificate in the place of one, as an operator does: file by file."""
        certificate, key = self.issue(f"new-{name}", *hosts, days=days)
        os.replace(key, self.folder / f"{name}.key")
        os.replace(certificate, self.folder / f"{name}.crt")

    def of_services(self, *names: str) -> None:
        """A certificate for each service that is named."""
        for name in names:
            self.issue(name, identity(name))

    def http(self, name: str = "listener") -> dict[str, str]:
        """What `http.tls` says for the certificate with this name."""
        return {"certificate": f"{self.folder}/{name}.crt", "key": f"{self.folder}/{name}.key"}

    def services(self) -> dict[str, str]:
        """What `services.tls` says."""
        pair = {"certificate": f"{self.folder}/{{service}}.crt", "key": f"{self.folder}/{{service}}.key"}
        return {**pair, "ca": str(self.ca)}

    def security(self, service: str) -> Security:
        """What a service makes of its certificate. Raises ConfigurationError."""
        document = {"version": 0.1, "storage": "inmemory", "services": {"tls": self.services()}}
        found = Security.of(parse(yaml.safe_dump(document), {}), service)
        assert found is not None
        return found

    def client(self, name: str | None = None) -> ssl.SSLContext:
        """What a client of this authority's servers uses; with a name, it shows that certificate."""
        context = ssl.create_default_context(cafile=self.ca)
        if name is not None:
            context.load_cert_chain(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        return context
