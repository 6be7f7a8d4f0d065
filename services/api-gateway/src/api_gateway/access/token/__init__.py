"""`auth.token`: signed tokens (JWT) of a token server.

From the outside in: `controller.py` answers requests, `verifier.py` says what a token is good for, by
`compact.py` (its form), `keys.py` and `chains.py` (who may have signed it) and `claims.py` (what it says).
"""
