"""Certificates in files: read, checked, watched for changes, and (for development) made."""

from moorage.tls.files import CertificateFiles, Pair, UnusableFileError
from moorage.tls.watch import Watched

__all__ = ["CertificateFiles", "Pair", "UnusableFileError", "Watched"]
