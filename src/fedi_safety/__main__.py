"""Entry point of the program: `fedi-safety`, `python -m fedi_safety`."""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # while the imports below last there is nobody who says that it ended

from fedi_safety.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
