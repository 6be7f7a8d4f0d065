"""What an operator gives a cluster, and a client of its registry."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

import bcrypt
import httpx

from support.client import V2Client
from support.pods import Cluster, Pod
from support.processes import run
from support.registry import clean_environment

ACCOUNT = ("ada", "correct horse")


def secrets_of_an_operator() -> dict[str, dict[str, bytes]]:
    """The Secrets that docs/kubernetes.md has an operator make."""
    password = bcrypt.hashpw(ACCOUNT[1].encode(), bcrypt.gensalt(4)).decode()
    return {
        "moorage": {
            "http-secret": secrets.token_hex(24).encode(),
            "nats-password": b"n" + secrets.token_hex(12).encode(),
            "redis-password": b"r" + secrets.token_hex(12).encode(),
        },
        "moorage-accounts": {"htpasswd": f"{ACCOUNT[0]}:{password}\n".encode()},
    }


def client_of(cluster: Cluster, pod: Pod) -> V2Client:
    """A client elsewhere in the cluster, with an account, of one gateway."""
    client = V2Client(f"http://{pod.address}:5000")
    client.http.close()
    client.http = httpx.Client(
        base_url=client.url,
        auth=ACCOUNT,
        timeout=60,
        transport=httpx.HTTPTransport(local_address=cluster.client),
    )
    return client


def certificates_of_services(folder: Path) -> dict[str, dict[str, bytes]]:
    """The Secrets of the component services-tls, by `moorage certs`."""
    run(Path(sys.executable).with_name("moorage"), "certs", folder, env=clean_environment())
    return {
        f"moorage-tls-{service}": {
            "tls.crt": (folder / f"{service}.crt").read_bytes(),
            "tls.key": (folder / f"{service}.key").read_bytes(),
            "ca.crt": (folder / "ca.crt").read_bytes(),
        }
        for service in ("gateway", "blob", "metadata", "notifier")
    }
