"""What the tests of embedded models and pages share: node, Chromium, and a static server of a folder."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aae_zoo.export.pages.explore import serve

SUPPORT = Path(__file__).parent
NODE_MODULES = SUPPORT / "node_modules"


def node(program: str, *arguments: object) -> dict[str, Any]:
    """Run a program of tests/support/browser: the JSON that it prints."""
    assert NODE_MODULES.is_dir(), "tests/support/node_modules is missing: make install-engines installs it"
    command = ["node", str(SUPPORT / "browser" / program), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    printed: dict[str, Any] = json.loads(result.stdout)
    return printed


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a static server of `folder` on loopback."""
    with serve(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
