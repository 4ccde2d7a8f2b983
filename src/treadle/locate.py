"""Where an object lives, as `module:attribute`, and the way back.

A child process builds the application from such a target.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from treadle.errors import AppNotFound, suggestion


def module_name(name: str) -> str:
    """The name under which another process can import a module; `__main__` by its spec or its file.

    Returns `__main__` unchanged where there is neither, as in an interactive session.
    """
    if name != "__main__":
        return name
    main = sys.modules["__main__"]
    spec = main.__spec__
    if spec is not None:
        return spec.name
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else name


def target_of(wanted: object) -> str | None:
    """The first `module:attribute` among the imported modules that is this very object; `__main__` comes last."""
    for name, module in sorted(sys.modules.items(), key=lambda item: item[0] == "__main__"):
        # multiprocessing makes `__mp_main__` another name of the main module.
        if isinstance(module, ModuleType) and name != "__mp_main__":
            for attribute, value in tuple(vars(module).items()):
                if value is wanted:
                    return f"{module_name(name)}:{attribute}"
    return None


def importable_module(target: str) -> str | None:
    """The module of `module:attribute`, or of `module` alone; None where a file is named, as `flask --app` may."""
    name = target.partition(":")[0]
    is_dotted = all(part.isidentifier() for part in name.split("."))
    return name if is_dotted and not name.endswith(".py") else None


def is_imported(module: str) -> bool:
    """Whether this process has a module under this name, and not as its main program, which other processes lack."""
    found = sys.modules.get(module)
    return found is not None and found is not sys.modules["__main__"]


def load_target(target: str) -> Any:
    """The object named `module:attribute`, or what `module:factory()` returns.

    Raises AppNotFound with what is missing.
    """
    name, _, wanted = target.partition(":")
    attribute = wanted.removesuffix("()")
    if not name or not attribute:
        raise AppNotFound(f"{target!r} is not of the form 'module:attribute'")
    module = import_here(name)
    if not hasattr(module, attribute):
        raise AppNotFound(f"module {name!r} has no {attribute!r}{suggestion(attribute, vars(module))}")
    found = getattr(module, attribute)
    return found() if wanted.endswith("()") else found


def import_here(name: str) -> ModuleType:
    """Import a module, looking into the current folder too, as `python -m` would."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise AppNotFound(f"there is no module {name!r} on sys.path or in {Path.cwd()}") from error
        raise
