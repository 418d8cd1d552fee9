{{/* One operator for each run: two would fight over it, each with a Lease of its own. The cluster is asked, so `helm template` does not see it; nor are bindings seen that were made by hand. */}}

{{/* Fails where the operator of another release carries runs that this one is to carry. */}}
{{- define "medfinetune.alone" -}}
{{- range $namespace := default (list "") .Values.watchNamespaces -}}
{{- include "medfinetune.unbound" (dict "root" $ "kind" "RoleBinding" "namespace" $namespace) -}}
{{- end -}}
{{- if or .Values.rbac.listClusterRoleBindings (not .Values.watchNamespaces) -}}
{{- include "medfinetune.unbound" (dict "root" . "kind" "ClusterRoleBinding" "namespace" "") -}}
{{- end -}}
{{- end }}

{{/* Fails at the first binding, of (dict "root" $ "kind" KIND "namespace" NAMESPACE), of another release's operator. A release is known by its name and the namespace of its account. */}}
{{- define "medfinetune.unbound" -}}
{{- $release := .root.Release -}}
{{- $asked := ternary "rbac.listClusterRoleBindings: found true, where you may not list ClusterRoleBindings. An administrator of the cluster looks for you, then set it to false: docs/install.md" "watchNamespaces: found a namespace (or none, which means all) whose RoleBindings you may not list. Take namespaces in which you have the role admin: docs/install.md" (eq .kind "ClusterRoleBinding") -}}
{{- range dig "items" list (include $asked . | fromJson) -}}
{{- $labels := default dict .metadata.labels -}}
{{- $other := dig "app.kubernetes.io/instance" "" $labels -}}
{{- $home := dig "namespace" "" (first (default (list dict) .subjects)) -}}
{{- if and (eq (dig "app.kubernetes.io/part-of" "" $labels) "medfinetune") (hasSuffix "-operator" .metadata.name) (or (ne $other $release.Name) (ne $home $release.Namespace)) -}}
{{- fail (printf "release %s: found that release %s of namespace %s carries runs %s already; expected one operator for each run. Upgrade that release, uninstall it, or give each its own watchNamespaces." $release.Name $other $home (ternary "everywhere" (printf "in namespace %s" .metadata.namespace) (empty .metadata.namespace))) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Helm cannot ask whether it may ask, and no template can catch a refusal: it prints the name of the one that was refused. So these are called what there is to say. */}}

{{- define "rbac.listClusterRoleBindings: found true, where you may not list ClusterRoleBindings. An administrator of the cluster looks for you, then set it to false: docs/install.md" -}}
{{- lookup "rbac.authorization.k8s.io/v1" .kind .namespace "" | toJson -}}
{{- end }}

{{- define "watchNamespaces: found a namespace (or none, which means all) whose RoleBindings you may not list. Take namespaces in which you have the role admin: docs/install.md" -}}
{{- lookup "rbac.authorization.k8s.io/v1" .kind .namespace "" | toJson -}}
{{- end }}

{{- define "crds.enabled: found false, where the release has the CustomResourceDefinition, at which you may not look. Leave it true, or let an administrator of the cluster upgrade" -}}
{{- lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "medfinetunes.medfinetune.io" | toJson -}}
{{- end }}
