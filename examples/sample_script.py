"""A script for `execute_python`: prints its arguments, and fails without any."""

import platform
import sys

if len(sys.argv) < 2:
    sys.exit("usage: sample_script.py WORD...")
print(f"sample_script.py got {' '.join(sys.argv[1:])} on Python {platform.python_version()}")
