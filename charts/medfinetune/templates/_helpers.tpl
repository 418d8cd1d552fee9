{{/* Names, labels and images that the templates share. */}}

{{- define "medfinetune.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "medfinetune.fullname" -}}
{{- $name := printf "%s-%s" .Release.Name (include "medfinetune.name" .) -}}
{{- if .Values.fullnameOverride -}}
{{- $name = .Values.fullnameOverride -}}
{{- else if contains (include "medfinetune.name" .) .Release.Name -}}
{{- $name = .Release.Name -}}
{{- end -}}
{{- if not (regexMatch "^[a-z][-a-z0-9]*$" $name) -}}
{{- fail (printf "release name: found %s; expected lower-case letters, digits and dashes, a letter first: it begins the name of a Service. Take another name, or set fullnameOverride." .Release.Name) -}}
{{- end -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* The operator's objects: Deployment, ServiceAccount, roles, Lease. */}}
{{- define "medfinetune.operator" -}}
{{ include "medfinetune.fullname" . }}-operator
{{- end }}

{{- define "medfinetune.selectorLabels" -}}
app.kubernetes.io/name: {{ include "medfinetune.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end }}

{{/* The site's own labels come last in rank: they may add to the chart's, and change none. */}}
{{- define "medfinetune.labels" -}}
{{- include "medfinetune.labelsWith" (dict "root" . "more" dict) -}}
{{- end }}

{{/* The labels of one kind of object, of (dict "root" $ "more" .Values.podMonitor.labels): `more` comes before those of every object. */}}
{{- define "medfinetune.labelsWith" -}}
{{- $more := .more -}}
{{- with .root -}}
{{- $chart := dict "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{- $_ := set $chart "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $_ := set $chart "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $chart "app.kubernetes.io/part-of" "medfinetune" -}}
{{- merge $chart (include "medfinetune.selectorLabels" . | fromYaml) $more .Values.commonLabels | toYaml -}}
{{- end -}}
{{- end }}

{{- define "medfinetune.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "medfinetune.operator" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: found none, with serviceAccount.create false; expected the name of a ServiceAccount that exists in the release's namespace." .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* An image's reference, of (dict "root" $ "image" .Values.operator.image). */}}
{{- define "medfinetune.image" -}}
{{- $repository := .image.repository -}}
{{- with .root.Values.imageRegistry -}}
{{- if regexMatch "^([^/]*[.:][^/]*|localhost)/" $repository -}}
{{- fail (printf "operator.image.repository or trainer.image.repository: found %s, which names a registry, beside imageRegistry %s; expected one of them. Name the registry in imageRegistry, or nowhere else than here." $repository .) -}}
{{- end -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}
{{- end -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .root.Chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end }}

{{/* Security of a pod of the chart: the restricted level. Ids that are null are left to the platform. */}}
{{- define "medfinetune.podSecurity" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- with include "medfinetune.ids" (dict "of" .Values.operator "names" (list "runAsUser" "runAsGroup")) }}
{{ . }}
{{- end }}
{{- end }}

{{- define "medfinetune.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The ids among `names` that `of` has, a line each; int64, for OpenShift's have ten digits and Helm's numbers would be written 1.00068e+09. */}}
{{- define "medfinetune.ids" -}}
{{- $lines := list -}}
{{- range .names -}}
{{- $id := get $.of . -}}
{{- if not (has (kindOf $id) (list "invalid" "string")) }}{{ $lines = append $lines (printf "%s: %d" . (int64 $id)) }}{{ end -}}
{{- end -}}
{{- join "\n" $lines -}}
{{- end }}

{{- define "medfinetune.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Where the scheduler may put a pod of the chart. */}}
{{- define "medfinetune.placement" -}}
{{- range $field := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" }}
{{- with get $.Values.operator $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
