{{/* Rights: rules of roles, and who holds them. docs/security.md says what is left out on purpose. */}}

{{/* What the operator may do where runs are. */}}
{{- define "medfinetune.operatorRules" -}}
# Runs are seen. What was asked for is its author's: the operator cannot change it, start a run, or remove one.
- apiGroups: [medfinetune.io]
  resources: [medfinetunes]
  verbs: [get, list, watch]
# What is seen is written over the status that was read; a patch would not say which that was.
- apiGroups: [medfinetune.io]
  resources: [medfinetunes/status]
  verbs: [update]
# To own children that block the run's deletion: OpenShift refuses every child without it. No finalizer is ever set.
- apiGroups: [medfinetune.io]
  resources: [medfinetunes/finalizers]
  verbs: [update]
# One Job an attempt, made and removed, never changed: Kueue alone writes `suspend`.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
# How each pod ended, on which node, at which address it reports. Pods are made by the Job controller.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# The plan of a run, immutable. Not watched: the resync lists those with the product's label.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create, delete]
# The gang's headless Service: made, then kept by server-side apply, which is a patch.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, create, patch, delete]
# The run's NetworkPolicy, kept likewise.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, create, patch, delete]
# Whether claims exist and can be shared; the output claim of a template. Not delete: results outlive the run.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create]
# What has changed is told in Events; that quota or admission refuse the pods of a Job is told nowhere else.
- apiGroups: [""]
  resources: [events]
  verbs: [list, create]
{{- end }}

{{/* What the operator may do in the release's namespace. */}}
{{- define "medfinetune.leaseRules" -}}
# The Lease that keeps two operators apart. RBAC cannot bind `create` to a name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
# Renewed, and seen through a watch that it was: what /healthz proves.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "medfinetune.operator" . }}]
  verbs: [get, list, watch, update]
# Whether the pod that holds the Lease still exists; if not, the Lease is taken over at once.
- apiGroups: [""]
  resources: [pods]
  verbs: [get]
{{- end }}

{{/* What who looks at runs may do. A run tells its spec, status and results; logs are read by those who work on it. */}}
{{- define "medfinetune.viewerRules" -}}
- apiGroups: [medfinetune.io]
  resources: [medfinetunes]
  verbs: [get, list, watch]
# What `kubectl describe` tells at its end.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
{{- end }}

{{/* What who works on runs may do. Status is the operator's alone; `release` is for those who judge runs. */}}
{{- define "medfinetune.editorRules" -}}
- apiGroups: [medfinetune.io]
  resources: [medfinetunes]
  verbs: [get, list, watch, create, update, patch, delete]
# `medfinetune logs`: which pods there are, and what they say. RBAC cannot bind it to the pods of runs.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
# What `kubectl describe` tells at its end, and why a pod waits.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
{{- end }}

{{/* What who releases quarantined runs may do: see them, and set the two annotations that the policy holds against this verb. */}}
{{- define "medfinetune.releaserRules" -}}
- apiGroups: [medfinetune.io]
  resources: [medfinetunes]
  verbs: [get, list, watch, patch, release]
{{- end }}

{{/* The role (dict "root" $ "name" NAME "rules" TEMPLATE "namespaces" NAMESPACES), a Role in each of these, or a ClusterRole where that is (list ""). */}}
{{- define "medfinetune.role" -}}
{{- range .namespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "Role" "ClusterRole" (ne . "") }}
metadata:
  name: {{ $.name }}
  {{- with . }}
  namespace: {{ . | quote }}
  {{- end }}
  labels:
    {{- include "medfinetune.labels" $.root | nindent 4 }}
    {{- with $.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
rules:
  {{- include $.rules $.root | nindent 2 }}
{{- end }}
{{- end }}

{{/* Binds the operator, in (dict "root" $ "namespace" NAMESPACE, or "" everywhere), to the role of its name. */}}
{{- define "medfinetune.operatorBinding" -}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "RoleBinding" "ClusterRoleBinding" (ne .namespace "") }}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . | quote }}
  {{- end }}
  labels:
    {{- include "medfinetune.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ ternary "Role" "ClusterRole" (ne .namespace "") }}
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "medfinetune.serviceAccount" .root | quote }}
    namespace: {{ .root.Release.Namespace | quote }}
{{- end }}
