{{/* One operator for each run: two would fight over it, each with a Lease of its own. The cluster is asked, so `helm template` does not see it; nor are bindings seen that were made by hand. */}}

{{/* Fails where the operator of another release carries runs that this one is to carry. */}}
{{- define "medfinetune.alone" -}}
{{- range $namespace := default (list "") .Values.watchNamespaces -}}
{{- include "medfinetune.unbound" (dict "root" $ "kind" "RoleBinding" "namespace" $namespace) -}}
{{- end -}}
{{- /* Helm cannot ask whether it may ask: who may not list these is refused, and may leave it out where it matters only with other releases. */ -}}
{{- if or .Values.rbac.listClusterRoleBindings (not .Values.watchNamespaces) -}}
{{- include "medfinetune.unbound" (dict "root" . "kind" "ClusterRoleBinding" "namespace" "") -}}
{{- end -}}
{{- end }}

{{/* Fails at the first binding, of (dict "root" $ "kind" KIND "namespace" NAMESPACE), of another release's operator. A release is known by its name and the namespace of its account. */}}
{{- define "medfinetune.unbound" -}}
{{- $release := .root.Release -}}
{{- range dig "items" list (lookup "rbac.authorization.k8s.io/v1" .kind .namespace "") -}}
{{- $labels := default dict .metadata.labels -}}
{{- $other := dig "app.kubernetes.io/instance" "" $labels -}}
{{- $home := dig "namespace" "" (first (default (list dict) .subjects)) -}}
{{- if and (eq (dig "app.kubernetes.io/part-of" "" $labels) "medfinetune") (hasSuffix "-operator" .metadata.name) (or (ne $other $release.Name) (ne $home $release.Namespace)) -}}
{{- fail (printf "release %s: found that release %s of namespace %s carries runs %s already; expected one operator for each run. Upgrade that release, uninstall it, or give each its own watchNamespaces." $release.Name $other $home (ternary "everywhere" (printf "in namespace %s" .metadata.namespace) (empty .metadata.namespace))) -}}
{{- end -}}
{{- end -}}
{{- end }}
