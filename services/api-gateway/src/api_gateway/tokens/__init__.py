"""The registry as its own token service: `auth.token.server`.

`forms` and `scopes` are what clients ask with and for, `acl` who may have it, `keys` and `issuing` make the tokens, `attempts` slows
down who guesses passwords, `service` puts them together and `route` speaks the protocol. `listing` is for the
catalog, which shows each caller its own part.
"""
