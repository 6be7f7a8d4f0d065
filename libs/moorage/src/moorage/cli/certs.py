"""`moorage certs`: an authority, and certificates for the services and for the gateway's listener."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from moorage.cli.failures import FAILURE, complain, failures
from moorage.cli.options import AsJSON, print_json

# Services, and who else calls them.
_CALLERS = ("gateway", "blob", "metadata", "notifier", "operator")

_LISTENER = "listener"


def certs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where they go; made with mode 0700.")],
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host", metavar="NAME", help="A DNS name or an IP address by which clients know the registry."
        ),
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="How long they are valid.")] = 365,
    as_json: AsJSON = False,
) -> None:
    """Make a certificate authority, and certificates of it for each service and for the listener.

    For development, and for a private network. Nothing is overwritten: the authority that is in the folder is
    used again, and a certificate that is there stays; remove one, with its key, to have it issued anew.
    """
    # Imported here: every other verb does without.
    from moorage.rpc.security import identity
    from moorage.tls.authority import Authority

    hosts: dict[str, tuple[str, ...]] = {name: (identity(name),) for name in _CALLERS}
    hosts[_LISTENER] = tuple(host or ("localhost", "127.0.0.1"))
    with failures():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        missing = [name for name in hosts if not _is_there(folder, name)]
        if not missing:
            complain(f"every certificate is in {folder} already; remove those that are to be issued anew")
            raise typer.Exit(FAILURE)
        try:
            authority = Authority.in_folder(folder, days)
        except ValueError as error:
            complain(f"the authority in {folder} cannot be used: {error}")
            raise typer.Exit(FAILURE) from error
        for name in missing:
            authority.issue(folder, name, hosts[name], days)
    if as_json:
        print_json([_told(folder, name, hosts[name], made=name in missing) for name in hosts])
        return
    for name in hosts:
        typer.echo(f"{'made' if name in missing else 'kept'}  {folder}/{name}.crt  {', '.join(hosts[name])}")
    typer.echo(_configuration(os.path.abspath(folder)))


def _told(folder: Path, name: str, hosts: tuple[str, ...], *, made: bool) -> dict[str, object]:
    """One certificate for programs."""
    certificate = os.path.abspath(folder / f"{name}.crt")
    key = certificate.removesuffix(".crt") + ".key"
    return {"name": name, "certificate": certificate, "key": key, "hosts": list(hosts), "made": made}


def _is_there(folder: Path, name: str) -> bool:
    """Whether a certificate and its key are there; one without the other is an error."""
    there = [(folder / f"{name}.{suffix}").exists() for suffix in ("crt", "key")]
    if any(there) and not all(there):
        raise FileExistsError(f"{folder}/{name}.crt or .key is there without the other; remove it")
    return all(there)


def _configuration(folder: str) -> str:
    return f"""
For config.yml:

http:
  tls:
    certificate: {folder}/{_LISTENER}.crt
    key: {folder}/{_LISTENER}.key
services:
  tls:
    certificate: {folder}/{{service}}.crt
    key: {folder}/{{service}}.key
    ca: {folder}/ca.crt

Give each service its own certificate and key only, and {folder}/ca.key to none of them.
Clients need {folder}/ca.crt: docker looks for /etc/docker/certs.d/HOST:PORT/ca.crt."""
