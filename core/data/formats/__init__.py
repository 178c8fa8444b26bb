"""Kinds of files, one module each: `sniff(path)` looks at the content, never the name; `parse(path, …)` reads.

A new kind of file is a module and a word here, before `delimited`, which takes any text.
"""

from importlib import import_module
from pathlib import Path

from core.data.building import Parsed
from core.data.options import ReadOptions
from core.errors import UserError
from core.settings import Limits

# Asked in this order.
FORMATS = ("compressed", "parquet", "excel", "archive", "gettext", "tmx", "json_text", "delimited")


def parse_any(path: Path, limits: Limits, options: ReadOptions) -> Parsed:
    """The table in a file of any kind.

    Raises:
        UserError: `file_empty` and what the format's reader raises.
    """
    if path.stat().st_size == 0:
        raise UserError("file_empty")
    for name in FORMATS:
        module = import_module(f"core.data.formats.{name}")
        if module.sniff(path):
            parsed: Parsed = module.parse(path, limits, options)
            return parsed
    raise UserError("file_is_binary")
