"""`python -m streamkit` is the command `streamkit`."""

from streamkit.cli import main  # noqa: TID253 - this is nothing but the command line

main()
