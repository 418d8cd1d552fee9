"""Names, labels and ports of what belongs to a run on a cluster: the operator makes these objects, the command line finds them."""

from __future__ import annotations

from medfinetune_api.choices import Stage

DOMAIN = "medfinetune.io"
RUN_LABEL = f"{DOMAIN}/run"
"""Name of the run; on every object and pod of it."""
UID_LABEL = f"{DOMAIN}/run-uid"
"""Uid of the run: two runs of one name, one deleted, are told apart."""
STAGE_LABEL = f"{DOMAIN}/stage"
ATTEMPT_LABEL = f"{DOMAIN}/attempt"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
"""Kubernetes' own: the pod's place in its Job, which is the node's rank in the gang."""
RELEASE_ANNOTATION = f"{DOMAIN}/release"
"""On a quarantined run: why it is to be released. Who may set it, an admission policy of the chart decides (admissionPolicies.release)."""
RELEASED_BY_ANNOTATION = f"{DOMAIN}/released-by"
"""Who set it; the same policy holds it against the user that the API server knows."""
REQUESTER_ANNOTATION = f"{DOMAIN}/requester"
"""Who asked for the run; an admission policy of the chart (admissionPolicies.requester) holds it against the user that the API server knows."""
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"

CONTAINER = "trainer"
METRICS_PORT, METRICS_PORT_NAME = 9400, "metrics"
"""`/metrics` and `/status` of every pod."""
RENDEZVOUS_PORT = 29500
PLAN_FILE = "plan.json"
PLAN_FOLDER = "/etc/medfinetune"
SIGNING_FOLDER, SIGNING_KEY = "/etc/medfinetune-signing", "key.pem"
"""Where pods that sign see the site's Secret, and the key in it."""
MODELS_FOLDER, DATA_FOLDER, OUTPUT_FOLDER = "/medfinetune/models", "/medfinetune/data", "/medfinetune/output"
"""Where pods see the three volumes."""


def job_name(run: str, stage: Stage, number: int) -> str:
    """Name of an attempt's Job: `<run>-<stage>-a<number>`."""
    return f"{run}-{stage}-a{number}"
