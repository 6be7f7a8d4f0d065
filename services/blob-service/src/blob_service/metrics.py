"""What the blob service counts, beside what the drivers and the RPC server do."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

UPLOAD_BYTES = Counter("moorage_upload_bytes_total", "Bytes that uploads received and stored.")
BLOB_READ_BYTES = Counter("moorage_blob_read_bytes_total", "Bytes of blobs that were read for a caller.")
UPLOADS_OPEN = Gauge("moorage_uploads_open", "Uploads that a call is writing to, committing or cancelling.")
UPLOAD_REHASHES = Counter(
    "moorage_upload_rehash_total", "Commits that had to read stored bytes again to know their digest."
)
LOANS = Counter("moorage_channel_loans_total", "Loans of the data channel.", ["work", "outcome"])
LOAN_BYTES = Counter(
    "moorage_channel_bytes_total", "Bytes of blobs that loans of the data channel moved.", ["work"]
)
LOANS_OPEN = Gauge("moorage_channel_loans_open", "Loans of the data channel under way.")
SLOW_CLIENTS = Counter(
    "moorage_channel_slow_clients_total",
    "Loans that ended because the client moved less than http.limits.minimumrate.",
    ["work"],
)
CORRUPT_BLOBS = Counter(
    "moorage_blob_corrupt_total", "Reads of small blobs whose content did not match its digest."
)
UPLOADS_PURGED = Counter("registry_storage_uploads_purged_total", "Uploads that purging removed.")
UPLOAD_PURGE_FAILURES = Counter(
    "registry_storage_upload_purge_failures_total",
    "Uploads that purging could not look at or remove, and runs that could not look for them.",
)
UPLOAD_PURGES = Counter(
    "registry_storage_upload_purges_total", "Runs of the purging of uploads.", ["outcome"]
)
