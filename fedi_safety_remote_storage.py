#!/usr/bin/env python3
"""The predecessor's script name: runs the launcher beside it with the old options. See docs/migrating.md."""

import os
import sys
from pathlib import Path

launcher = Path(__file__).resolve().parent / "fedi-safety"
os.execv(launcher, [str(launcher), "fedi_safety_remote_storage", *sys.argv[1:]])
