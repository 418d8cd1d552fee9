"""Pipelines: what presidio takes a text apart with. The site's spaCy pipeline for languages that it names, a blank one for all others.

A pipeline is read from the models volume as `spacy.Language.to_disk` leaves it: configuration, and weights in msgpack, which runs no code. Its components are
those of the installed packages: one that is not installed is refused, nothing is downloaded, and Python files in the folder are refused, not run.

The blank pipeline is not asked for tokens: every rule brings its own labels, and splitting texts into tokens took longer than all rules together.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medfinetune_api.errors import InvalidModel
from medfinetune_api.plan_screening import NameModelPlan
from medfinetune_api.results_privacy import PersonalData

from medfinetune_trainer.data.volume import inside
from medfinetune_trainer.privacy.presidio import Language, NerModelConfiguration, NlpArtifacts, SpacyNlpEngine, spacy

FIELD = "spec.data.privacy.nameModels"
PERSONS = ("PERSON", "PER", "PS")
"""What pipelines call persons: OntoNotes, CoNLL, and the Korean KLUE."""
_EXPECTED = "a spaCy pipeline as Language.to_disk leaves it"
_REMEDY = "Save it with this version of spaCy: nlp.to_disk(FOLDER)."


class Pipelines(SpacyNlpEngine):
    """presidio's engine on pipelines that are loaded already."""

    def __init__(self, languages: tuple[str, ...], models: Mapping[str, Language]) -> None:
        ignored = {label for model in models.values() for label in labels(model)} - set(PERSONS)
        mapping = dict.fromkeys(PERSONS, PersonalData.PERSON.value)
        super().__init__(ner_model_configuration=NerModelConfiguration(model_to_presidio_entity_mapping=mapping, labels_to_ignore=ignored))
        blank = spacy.blank("xx")
        self.nlp = {language: models.get(language, blank) for language in languages}  # type: ignore[assignment]  # None to presidio, until it is loaded
        self._nothing = self._doc_to_nlp_artifact(blank(""), languages[0])
        self._models = models

    def load(self) -> None:
        """Nothing is to be loaded: presidio's own would ask for a GPU, and download."""

    def process_text(self, text: str, language: str) -> NlpArtifacts:
        """What the language's model finds in `text`; nothing where it has none."""
        return super().process_text(text, language) if language in self._models else self._nothing


def models_of(plans: tuple[NameModelPlan, ...], languages: tuple[str, ...], mount: Path) -> dict[str, Language]:
    """The model of each language that has one: its own, or that of its primary subtag (`en` serves `en-US`).

    Raises InvalidModel where a folder is no pipeline, or recognises no persons.
    """
    loaded = {plan.language: load_pipeline(plan.path, mount, f"{FIELD}[{number}].path") for number, plan in enumerate(plans)}
    named = {language: loaded.get(language) or loaded.get(language.split("-")[0]) for language in languages}
    return {language: model for language, model in named.items() if model is not None}


def load_pipeline(path: str, mount: Path, where: str) -> Language:
    """The pipeline in the folder `path` of the volume at `mount`. Raises InvalidModel at the field `where`."""
    folder = inside(mount, path, where, InvalidModel)
    if not (folder / "config.cfg").is_file() or not (folder / "meta.json").is_file():
        raise InvalidModel(where, found="a folder without config.cfg and meta.json", expected=_EXPECTED, remedy=_REMEDY)
    _refuse_strangers(folder, mount, where)
    try:
        pipeline = spacy.load(folder)
    except Exception as error:  # of spaCy, thinc, srsly or a component: whatever stands in the folder
        found = f"a pipeline that does not load ({type(error).__name__})"
        raise InvalidModel(where, found=found, expected=_EXPECTED, remedy=f"{_REMEDY} Its components must be installed in the image.") from error
    if not labels(pipeline) & set(PERSONS):
        found = f"a pipeline that recognises {', '.join(sorted(labels(pipeline))[:8]) or 'nothing'}"
        raise InvalidModel(where, found=found, expected=f"one whose entities include {' or '.join(PERSONS)}", remedy="Name a model for names.")
    return pipeline


def labels(pipeline: Language) -> set[str]:
    """Labels of the entities that its components give."""
    return {label for _, component in pipeline.pipeline for label in getattr(component, "labels", ()) if isinstance(label, str)}


def _refuse_strangers(folder: Path, mount: Path, where: str) -> None:
    for file in folder.rglob("*"):
        if not file.resolve().is_relative_to(mount.resolve()):
            raise InvalidModel(where, found="a symbolic link out of the volume", expected="files within it", remedy="Copy what it points to into the volume.")
        if file.suffix in (".py", ".pkl", ".pickle", ".so"):
            raise InvalidModel(where, found=f"a {file.suffix} file", expected="configuration and weights, no code", remedy="Remove it from the folder.")
