"""Functions and classes of the user's own, named as "package.module:name" in the configuration."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from porepatch_lib.errors import PorePatchError


def import_plugin(module_name: str, what: str) -> ModuleType:
    """Import a module that may also lie in the current folder; `what` begins the error sentence.

    Raises:
        PorePatchError: if it cannot be imported, whatever the reason.
    """
    folder = str(Path.cwd())
    added = folder not in sys.path
    if added:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        raise PorePatchError(f"{what} cannot be imported: {type(error).__name__}: {error}; correct the module.") from error
    finally:
        if added:
            sys.path.remove(folder)
