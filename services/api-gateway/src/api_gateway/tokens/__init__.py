"""The registry as its own token service: `auth.token.server`.

`forms` and `scopes` are what clients ask with and for, and `acl` who may have it; `keys` and `issuing` make
the tokens; `accounts` knows the passwords. `service` puts them together, `route` speaks the protocol,
`controller` believes the tokens, and `listing` is the part of the catalog that each caller sees. `build` says
whether there is a token service, and `serving` is one.
"""
