"""Entry point of the program: `fedi-safety`, `python -m fedi_safety`."""

import gc
import signal

# What is imported stays. Looking through it for garbage again and again takes a tenth of the time that a short command
# has; with this bound it is looked at as often as the work itself leaves so many objects behind.
gc.set_threshold(20_000, 10, 10)
signal.signal(signal.SIGINT, signal.SIG_DFL)  # while the imports below last there is nobody who says that it ended

from fedi_safety.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
