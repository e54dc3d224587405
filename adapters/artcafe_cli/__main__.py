"""`python -m artcafe_cli`."""

from artcafe_cli.main import main

main()
