"""The learning rate's course: linear warm-up, then cosine, linear or constant, down to a floor. A pure function of the step, so that a checkpoint need not
hold it.

Cosine as in Loshchilov and Hutter (2017), equation 5, over one cycle without restarts; the floor is a share of the peak (Med42, section 3: 10 %).
"""

from __future__ import annotations

from math import cos, pi

from medfinetune_api.choices import Schedule
from medfinetune_api.plan_training import SchedulerPlan


def learning_rate(peak: float, plan: SchedulerPlan, step: int, total_steps: int) -> float:
    """Learning rate of optimizer step `step` (from 1) of `total_steps`.

    It rises linearly over `warmup_steps` steps, the first of which has 1 / `warmup_steps` of the peak (a first step at zero would be wasted) and the last the
    peak itself; the step after it begins the fall at the peak, which would end at the floor one step after the last.
    """
    done = step - 1
    if done < plan.warmup_steps:
        return peak * step / plan.warmup_steps
    progress = (done - plan.warmup_steps) / max(1, total_steps - plan.warmup_steps)
    return peak * (plan.minimum_ratio + (1.0 - plan.minimum_ratio) * _share(plan.type, min(1.0, progress)))


def _share(schedule: Schedule, progress: float) -> float:
    match schedule:
        case Schedule.COSINE:
            return 0.5 * (1.0 + cos(pi * progress))
        case Schedule.LINEAR:
            return 1.0 - progress
        case Schedule.CONSTANT:
            return 1.0
