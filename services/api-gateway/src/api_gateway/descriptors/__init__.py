"""The descriptor table: every route of the API, what it takes and what it answers.

From it come the router (`routing.py`), the reference page `docs/spec/api.md` (`spec.py`), the OpenAPI
document (`openapi.py`) and the test that each documented response is exercised.
"""

from api_gateway.descriptors.blobs import BLOB
from api_gateway.descriptors.listings import BASE, CATALOG, REFERRERS, TAGS
from api_gateway.descriptors.manifests import MANIFEST
from api_gateway.descriptors.model import Route
from api_gateway.descriptors.uploads import BLOB_UPLOAD, BLOB_UPLOAD_CHUNK

TABLE: tuple[Route, ...] = (BASE, TAGS, MANIFEST, BLOB, BLOB_UPLOAD, BLOB_UPLOAD_CHUNK, CATALOG, REFERRERS)

__all__ = ["TABLE", "Route"]
