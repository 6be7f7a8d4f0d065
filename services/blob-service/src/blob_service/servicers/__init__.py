"""The contract's servicers: they parse what came over the wire and call what does the work."""
