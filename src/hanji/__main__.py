"""`python -m hanji` is the `hanji` command."""

from hanji.cli.app import main

if __name__ == "__main__":
    main()
