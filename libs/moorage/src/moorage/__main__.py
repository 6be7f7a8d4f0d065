"""`python -m moorage`: the `moorage` command."""

from moorage.cli import main

main()
