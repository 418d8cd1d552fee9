{{/* One operator for each run: two would fight over it, each with a Lease of its own. The cluster is asked, so `helm template` does not see it. */}}

{{/* Fails where the operator of another release carries runs that this one is to carry. */}}
{{- define "medfinetune.alone" -}}
{{- range $namespace := default (list "") .Values.watchNamespaces -}}
{{- include "medfinetune.unbound" (dict "root" $ "kind" "RoleBinding" "namespace" $namespace) -}}
{{- end -}}
{{- if not .Values.watchNamespaces -}}
{{- include "medfinetune.unbound" (dict "root" . "kind" "ClusterRoleBinding" "namespace" "") -}}
{{- end -}}
{{- end }}

{{/* Fails at the first binding, of (dict "root" $ "kind" KIND "namespace" NAMESPACE), of another release's operator. */}}
{{- define "medfinetune.unbound" -}}
{{- $release := .root.Release.Name -}}
{{- range dig "items" list (lookup "rbac.authorization.k8s.io/v1" .kind .namespace "") -}}
{{- $labels := default dict .metadata.labels -}}
{{- $other := dig "app.kubernetes.io/instance" "" $labels -}}
{{- if and (eq (dig "app.kubernetes.io/part-of" "" $labels) "medfinetune") (hasSuffix "-operator" .metadata.name) (ne $other $release) -}}
{{- fail (printf "release %s: found that release %s carries runs %s already; expected one operator for each run. Upgrade that release, uninstall it, or give each its own watchNamespaces." $release $other (ternary "everywhere" (printf "in namespace %s" .metadata.namespace) (empty .metadata.namespace))) -}}
{{- end -}}
{{- end -}}
{{- end }}
