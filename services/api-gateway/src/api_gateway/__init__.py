"""The gateway: Moorage's edge, the V2 API over HTTP."""
