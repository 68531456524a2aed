"""Entry point of the program: `fedi-safety`, `python -m fedi_safety`."""

from fedi_safety.cli import main

if __name__ == "__main__":
    main()
