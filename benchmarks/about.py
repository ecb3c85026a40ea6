"""What figures depend on, to be kept beside them: the machine, the versions, the settings."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.programs import program
from gateway import __version__


def about(folder: Path, workers: int) -> dict[str, Any]:
    """`folder`: where both sides keep their mail."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "file system": _said("stat", "-f", "-c", "%T", str(folder)),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "gateway": __version__,
        "workers": workers,
        "postfix": _said(program("postconf"), "-h", "mail_version"),
        "dovecot": _said(program("dovecot"), "--version"),
    }


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    return found[1] if found else "unknown"


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
