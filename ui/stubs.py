"""Keeps gradio from writing type stubs for editors each time it is imported: half of its import goes into that.

It does so in `create_or_modify_pyi` of `gradio.component_meta`, for each of its components, by parsing their source. A
page needs none of it, and two pages that start at once would write the same files.
"""

import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

_MODULE, _FUNCTION = "gradio.component_meta", "create_or_modify_pyi"


class _Finder:
    """Finds that one module as usual, and replaces that one function as soon as the module is executed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def execute_without_stubs(module: ModuleType) -> None:
                execute(module)
                if hasattr(module, _FUNCTION):
                    setattr(module, _FUNCTION, lambda *arguments: None)

            spec.loader.exec_module = execute_without_stubs  # type: ignore[method-assign]
        return spec


def leave_out() -> None:
    """Take effect for an import of gradio that is still to come."""
    if _MODULE not in sys.modules:
        sys.meta_path.insert(0, _Finder())
