"""Hydra's work, done once: it parses each file of conf/ anew at every composition, and composes twice a command."""

import pickle
import sys
from functools import wraps
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigSource
from hydra.types import RunMode

SEVERAL = ("-m", "--multirun", "sweep=", "+sweep=", "hydra.", "hydra/")


def remember_files(folder: Path | None = None) -> None:
    """Let Hydra have a copy of what it read before, unless the file has changed; those of `folder` are read now."""
    # The class that Hydra found as a plugin: it executes the module anew, and an import gives another class.
    sources = Plugins.instance().discover(ConfigSource)
    (FileConfigSource,) = (source for source in sources if source.__name__ == "FileConfigSource")
    load, read = FileConfigSource.load_config, {}

    @wraps(load)
    def load_config(self: ConfigSource, config_path: str) -> Any:
        file = Path(self.path, self._normalize_file_name(config_path))
        if not file.is_file():
            return load(self, config_path)
        key = (self.provider, str(file), file.stat().st_mtime_ns)
        if key not in read:
            read[key] = pickle.dumps(load(self, config_path))
        return pickle.loads(read[key])

    FileConfigSource.load_config = load_config
    if folder is not None:
        source = FileConfigSource("main", f"file://{folder}")
        for file in folder.rglob("*.yaml"):
            source.load_config(file.relative_to(folder).as_posix())


def compose_once() -> None:
    """Let Hydra take a command for a single run where nothing on its line can say that it is several."""
    ask = Hydra.get_mode

    @wraps(ask)
    def get_mode(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        several = any(word.startswith(SEVERAL) for word in sys.argv)
        return ask(self, config_name, overrides) if several else RunMode.RUN

    Hydra.get_mode = get_mode
