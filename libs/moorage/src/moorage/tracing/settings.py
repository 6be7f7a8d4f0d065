"""Whether to trace, and where to: the part of OTEL_* that is decided here. The rest the SDK reads itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from moorage.config.errors import ConfigurationError

EXPORTERS = ("none", "otlp", "console")
PROTOCOLS = ("http/protobuf", "grpc")

_EXPORTER = "OTEL_TRACES_EXPORTER"
_PROTOCOL_NAMES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_ENDPOINT_NAMES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

_PACKAGES = {
    "console": "opentelemetry.sdk",
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http",
    "grpc": "opentelemetry.exporter.otlp.proto.grpc",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Where spans go: nowhere, to a collector by one of PROTOCOLS, or to standard output."""

    exporters: tuple[str, ...] = ()
    protocol: str = "http/protobuf"
    warnings: tuple[str, ...] = ()

    @property
    def enabled(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.exporters)


def checked(environ: Mapping[str, str]) -> Settings:
    """What the environment asks for.

    As in distribution 3.1, nothing is exported unless OTEL_TRACES_EXPORTER says where to. Raises
    ConfigurationError for a word that is unknown, and when the packages are not installed.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Settings()
    words = [word.strip() for word in environ.get(_EXPORTER, "").split(",") if word.strip()]
    for word in words:
        if word not in EXPORTERS:
            raise ConfigurationError(_EXPORTER, f"must be one of {', '.join(EXPORTERS)}, not {word!r}")
    exporters = tuple(dict.fromkeys(word for word in words if word != "none"))
    if not exporters:
        endpoint = next((name for name in _ENDPOINT_NAMES if environ.get(name)), None)
        unused = f"{endpoint}: not used, as {_EXPORTER} is not otlp"
        return Settings(warnings=(unused,) if endpoint and not words else ())
    name = next((name for name in _PROTOCOL_NAMES if environ.get(name)), _PROTOCOL_NAMES[-1])
    protocol = environ.get(name, "").strip() or PROTOCOLS[0]
    if protocol not in PROTOCOLS:
        raise ConfigurationError(name, f"must be one of {', '.join(PROTOCOLS)}, not {protocol!r}")
    for exporter in exporters:
        if not _installed(_PACKAGES[protocol if exporter == "otlp" else exporter]):
            raise ConfigurationError(
                _EXPORTER, f"{exporter} needs packages that are not installed: pip install 'moorage[tracing]'"
            )
    return Settings(exporters, protocol)


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
