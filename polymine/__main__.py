"""`python -m polymine`: the command line."""

from polymine.commands.main import main

main()
