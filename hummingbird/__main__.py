"""`python -m hummingbird` is the command `hummingbird`."""

from hummingbird.cli import main

main()
