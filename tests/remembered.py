"""Files of conf/, read once: Hydra parses each anew at every composition, a third of whose time that is."""

import copy
from functools import wraps
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.file_config_source import FileConfigSource


def remember_files() -> None:
    """Let Hydra have a copy of what it read before, unless the file has changed."""
    load, read = FileConfigSource.load_config, {}

    @wraps(load)
    def load_config(self: FileConfigSource, config_path: str) -> Any:
        file = Path(self.path, self._normalize_file_name(config_path))
        if not file.is_file():
            return load(self, config_path)
        key = (self.provider, str(file), file.stat().st_mtime_ns)
        if key not in read:
            read[key] = load(self, config_path)
        return copy.deepcopy(read[key])

    FileConfigSource.load_config = load_config
