"""What an operator gives a cluster, and a client of its registry."""

from __future__ import annotations

import secrets
from pathlib import Path

from support.accounts import account_line
from support.client import V2Client
from support.pods import Cluster, Pod
from support.processes import run
from support.registry import MOORAGE, SERVICES

ACCOUNT = ("ada", "correct horse")


def secrets_of_an_operator() -> dict[str, dict[str, bytes]]:
    """The Secrets that docs/kubernetes.md has an operator make."""
    return {
        "moorage": {
            "http-secret": secrets.token_hex(24).encode(),
            "nats-password": b"n" + secrets.token_hex(12).encode(),
            "redis-password": b"r" + secrets.token_hex(12).encode(),
        },
        "moorage-accounts": {"htpasswd": account_line(*ACCOUNT).encode()},
    }


def client_of(cluster: Cluster, pod: Pod) -> V2Client:
    """A client elsewhere in the cluster, with an account, of one gateway."""
    client = V2Client(f"http://{pod.address}:5000", source=cluster.client)
    client.http.auth = ACCOUNT
    return client


def certificates_of_services(folder: Path) -> dict[str, dict[str, bytes]]:
    """The Secrets of the component services-tls, by `moorage certs`."""
    run(MOORAGE, "certs", folder)
    return {
        f"moorage-tls-{service}": {
            "tls.crt": (folder / f"{service}.crt").read_bytes(),
            "tls.key": (folder / f"{service}.key").read_bytes(),
            "ca.crt": (folder / "ca.crt").read_bytes(),
        }
        for service in SERVICES
    }
