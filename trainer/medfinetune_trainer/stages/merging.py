"""The merged model: made beside the adapter of a run that may be used, whole or not at all."""

from __future__ import annotations

from medfinetune_api.plan import RunPlan
from medfinetune_api.results_evaluation import EvaluationSummary

from medfinetune_trainer.artifacts.files import new_folder, remove_unfinished
from medfinetune_trainer.model.folder import model_folder
from medfinetune_trainer.model.lora import LowRank
from medfinetune_trainer.model.merge import merge
from medfinetune_trainer.model.tuned import tuning_of
from medfinetune_trainer.stages.telling import put_card


def deliver_merged(plan: RunPlan, summary: EvaluationSummary) -> None:
    """Merge the released adapter into its base as `model/`, with its card.

    Raises InvalidModel where the base cannot be used; OutputConflict where the adapter cannot be read, or as `fence.check`; Diverged as `merge`; StorageFailed.
    """
    tuning = tuning_of(plan)
    assert isinstance(tuning, LowRank), "the manifest's rules let nothing else be merged"
    remove_unfinished(plan.folder.model)
    with new_folder(plan.folder.model) as folder:
        merge(model_folder(plan), tuning, plan.folder.released(plan.tuning.method), folder)
        put_card(plan, summary, folder, whole=True)
