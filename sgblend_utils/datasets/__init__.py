"""The data room: where the data lie, reading and fetching them, the bundled grammar, batching.

Only the light part is imported here; `hub`, `fetch`, `grammar` and `text` are imported by name.
"""

import os
from pathlib import Path

__all__ = ["data_root"]


def data_root() -> Path:
    """Folder of the task folders: `$SGBLEND_DATA`, else `data/cache` of the checkout or of the cwd.

    The folder need not exist yet.
    """
    chosen = os.environ.get("SGBLEND_DATA")
    if chosen:
        return Path(chosen).expanduser()
    checkout = Path(__file__).resolve().parents[2]
    home = checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()
    return home / "data" / "cache"
