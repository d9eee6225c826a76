"""`python -m deepfood`: the command line."""

from deepfood.cli import main

main()
