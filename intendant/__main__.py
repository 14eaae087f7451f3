"""`python -m intendant`: the command line."""

from intendant.cli import main

main()
