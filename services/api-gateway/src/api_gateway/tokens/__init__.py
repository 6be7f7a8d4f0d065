"""The registry as its own token service: `auth.token.server`.

`forms` and `scopes` are what clients ask with and for, `acl` who may have it, `keys` and `issuing` make the
tokens, `accounts` and `attempts` are about passwords, `service` puts them together, `route` speaks the protocol,
and `controller` believes the tokens. `listing` is for the catalog, which shows each caller its own part.
"""
