"""`python -m self1e`: the command, for launchers that start modules, such as `torchrun -m self1e train`."""

from self1e.cli import main

if __name__ == "__main__":
    main()
