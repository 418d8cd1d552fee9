"""Values reach what they are for: settings, pods, monitors, rules, dashboards; what Artifact Hub is told is what is rendered."""

from __future__ import annotations

import json
from typing import Any

import yaml
from medfinetune_api.objects import ATTEMPT_LABEL, INDEX_LABEL, METRICS_PORT_NAME, RUN_LABEL, STAGE_LABEL, UID_LABEL
from medfinetune_api.spec import MedFineTune
from medfinetune_operator.settings import Settings
from support.chart import CHART, SITES, Manifest, only, pods, render, settings, site

CRD = CHART.parents[1] / "crds" / "medfinetune.io_medfinetunes.yaml"
PART = "app.kubernetes.io"
EVERYTHING = SITES["everything"]


def test_the_settings_are_complete_and_name_the_release() -> None:
    found = settings(render(release="trial", namespace="research"))
    assert found.lease_name == "trial-medfinetune-operator"
    assert found.lease_namespace == "research"
    assert found.operator_namespace_selector["matchLabels"] == {"kubernetes.io/metadata.name": "research"}
    times = {name for name in Settings.model_fields if name.endswith("_seconds")}
    assert set(Settings.model_fields) - times <= found.model_fields_set
    named = {"trainer_image": "medfinetune/trainer:0.1.0", "lease_name": "medfinetune-operator"}
    assert settings(site("defaults")) == Settings.model_validate(named)


def test_values_reach_the_settings() -> None:
    found = settings(site("everything"))
    assert found.trainer_image == f"registry.hospital.example:5000/mirror/medfinetune/trainer@{EVERYTHING['trainer']['image']['digest']}"
    assert found.image_pull_policy == "Always"
    assert json.loads(found.allowed.to_json()) == EVERYTHING["allowed"]
    assert json.loads(found.defaults.to_json()) == EVERYTHING["trainer"]["defaults"]
    assert (found.release, found.requester, found.signing_secret) == (True, True, "site-key")
    assert (found.stop_seconds, found.lease_seconds) == (900, 30)
    assert settings(site("namespaces")).watch_namespaces == ("ward-1", "ward-2")
    dns = SITES["openshift"]["networkPolicy"]["dnsEgress"]
    assert settings(site("openshift")).model_dump()["dns_egress"] == dns


def test_other_settings_are_another_pod_and_equal_ones_the_same() -> None:
    def template(**values: Any) -> Manifest:
        return dict(pods(render(values))[0])

    before = pods(site("defaults"))[0]
    assert template(serviceMonitor={"enabled": True}) == before
    changed = template(operator={"times": {"resyncSeconds": 60}})
    assert changed["spec"] == before["spec"]
    assert changed["metadata"]["annotations"] != before["metadata"]["annotations"]


def test_ids_that_are_null_are_left_to_the_platform_and_long_ones_are_written_out() -> None:
    for pod in pods(site("openshift")):
        assert set(pod["spec"]["securityContext"]) == {"runAsNonRoot", "seccompProfile"}
    assert settings(site("openshift")).pod_security == {}
    ids = {"runAsUser": 1000680000, "runAsGroup": 1000680001}
    found = render({"operator": ids, "trainer": ids | {"fsGroup": 1000680002}})
    assert all(ids.items() <= pod["spec"]["securityContext"].items() for pod in pods(found))
    assert settings(found).pod_security == ids | {"fsGroup": 1000680002}


SUMMED = {"operator": {"podAnnotations": {"checksum/settings": "x"}}}
"""Would keep the pod as it is when its settings change."""


def test_placement_pulling_and_labels_reach_both_pods() -> None:
    asked = EVERYTHING["operator"]
    for pod in pods(site("everything")):
        placed = {name: pod["spec"][name] for name in ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints")}
        assert placed == {name: asked[name] for name in placed}
        assert pod["spec"]["imagePullSecrets"] == [{"name": "mirror"}]
        assert pod["spec"]["containers"][0]["image"] == f"registry.hospital.example:5000/mirror/medfinetune/operator@{asked['image']['digest']}"
        assert pod["metadata"]["labels"]["cost-center"] == "radiology"
    operator = pods(site("everything"))[0]
    assert operator["spec"]["priorityClassName"] == "system-cluster-critical"
    assert operator["metadata"]["labels"]["team"] == "platform"
    assert operator["metadata"]["annotations"]["reviewed"] == "2026"
    (own,) = {pod["metadata"]["annotations"]["checksum/settings"] for pod in (pods(site("defaults"))[0], pods(render(SUMMED))[0])}
    assert len(own) == 64
    assert only(render({"serviceAccount": {"annotations": {"reviewed": "2026"}}}), "ServiceAccount")["metadata"]["annotations"] == {"reviewed": "2026"}
    always = pods(render({"operator": {"image": {"pullPolicy": "Always"}}}))
    assert [pod["spec"]["containers"][0]["imagePullPolicy"] for pod in (*always, operator)] == ["Always", "Always", "IfNotPresent"]
    assert operator["spec"]["containers"][0]["resources"] == only(site("defaults"), "Deployment")["spec"]["template"]["spec"]["containers"][0]["resources"]


def test_a_sites_labels_change_none_of_the_charts() -> None:
    labels = {f"{PART}/name": "other", f"{PART}/component": "other", "helm.sh/chart": "other"}
    taken = render({"commonLabels": labels, "operator": {"podLabels": labels}, "serviceMonitor": {"enabled": True, "labels": labels}})
    plain = render({"serviceMonitor": {"enabled": True}})
    assert [each["metadata"].get("labels") for each in taken] == [each["metadata"].get("labels") for each in plain]
    assert pods(taken)[0]["metadata"] == pods(plain)[0]["metadata"]
    found = render({"commonLabels": {"team": "all", "grafana_dashboard": "0"}, "operator": {"podLabels": {"team": "own"}}, "dashboards": {"enabled": True}})
    assert pods(found)[0]["metadata"]["labels"]["team"] == "own"
    assert {"team": "all", "grafana_dashboard": "1"}.items() <= only(found, "ConfigMap", "medfinetune-dashboard-run")["metadata"]["labels"].items()


def test_a_sites_selector_of_the_scraper_replaces_the_usual_one() -> None:
    for selector in ({"matchLabels": {"team": "monitoring"}}, {"matchExpressions": [{"key": "team", "operator": "Exists"}]}):
        found = render({"networkPolicy": {"scraperNamespaceSelector": selector}})
        assert settings(found).scraper_namespace_selector == selector
        assert only(found, "NetworkPolicy")["spec"]["ingress"][0]["from"][0] == {"namespaceSelector": selector}


def test_the_definition_is_the_repositorys_own_kept_by_default() -> None:
    expected = yaml.load(CRD.read_text(), yaml.CSafeLoader)
    for keep in (True, False):
        found = only(render({"crds": {"keep": keep}}), "CustomResourceDefinition")
        assert (found["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep") is keep
        assert {**found, "metadata": {"name": found["metadata"]["name"]}} == expected
    assert "CustomResourceDefinition" not in {each["kind"] for each in site("namespaces")}


def test_prometheus_finds_runs_and_operator() -> None:
    monitor = only(site("everything"), "PodMonitor")["spec"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    named = {each["targetLabel"]: each["sourceLabels"] for each in endpoint["relabelings"]}
    labels = {"run": RUN_LABEL, "uid": UID_LABEL, "stage": STAGE_LABEL, "attempt": ATTEMPT_LABEL, "index": INDEX_LABEL}
    assert named == {name: ["__meta_kubernetes_pod_label_" + label.translate(str.maketrans("./-", "___"))] for name, label in labels.items()}
    assert monitor["selector"]["matchExpressions"] == [{"key": RUN_LABEL, "operator": "Exists"}]
    assert (endpoint["port"], endpoint["interval"]) == (METRICS_PORT_NAME, "15s")
    assert monitor["namespaceSelector"] == {"any": True}
    assert only(site("namespaces"), "PodMonitor")["spec"]["namespaceSelector"] == {"matchNames": ["ward-1", "ward-2"]}
    service, watcher = only(site("everything"), "Service"), only(site("everything"), "ServiceMonitor")["spec"]
    assert watcher["namespaceSelector"] == {"matchNames": [service["metadata"]["namespace"]]}
    assert [endpoint["interval"] for endpoint in watcher["endpoints"]] == ["30s"]
    assert watcher["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [endpoint["honorLabels"] for endpoint in watcher["endpoints"] if endpoint["port"] == service["spec"]["ports"][0]["name"]] == [True]


def test_rules_and_dashboards_are_the_charts_files() -> None:
    files = [yaml.safe_load(path.read_text()) for path in sorted((CHART / "rules").glob("*.yaml"))]
    groups = [group for file in files for group in file["groups"]]
    assert groups
    moved = json.loads(json.dumps(groups).replace("docs/runbooks/", EVERYTHING["prometheusRule"]["runbookUrlPrefix"]))
    assert moved != groups
    assert only(site("everything"), "PrometheusRule")["spec"]["groups"] == moved
    assert only(render({"prometheusRule": {"enabled": True}}), "PrometheusRule")["spec"]["groups"] == groups
    shown = {
        name: text
        for each in site("everything")
        if each["kind"] == "ConfigMap" and "grafana_dashboard" in each["metadata"]["labels"]
        for name, text in each["data"].items()
    }
    expected = {path.name: json.loads(path.read_text()) for path in (CHART / "dashboards").glob("*.json")}
    assert expected
    assert {name: json.loads(text) for name, text in shown.items()} == expected


def test_what_artifact_hub_is_told_is_true() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    told = {name.removeprefix("artifacthub.io/"): yaml.safe_load(text) for name, text in chart["annotations"].items()}
    images = {each["image"] for each in told["images"]}
    assert images == {pods(site("defaults"))[0]["spec"]["containers"][0]["image"], settings(site("defaults")).trainer_image}
    definition = only(site("defaults"), "CustomResourceDefinition")
    assert [(each["kind"], each["name"], each["version"]) for each in told["crds"]] == [
        (definition["spec"]["names"]["kind"], definition["metadata"]["name"], definition["spec"]["versions"][0]["name"])
    ]
    assert [MedFineTune.model_validate(each).kind for each in told["crdsExamples"]] == ["MedFineTune"]
