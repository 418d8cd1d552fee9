{{/* Names, labels and images that the templates share. */}}

{{- define "medfinetune.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "medfinetune.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "medfinetune.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "medfinetune.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* The operator's objects: Deployment, ServiceAccount, roles, Lease. */}}
{{- define "medfinetune.operator" -}}
{{ include "medfinetune.fullname" . }}-operator
{{- end }}

{{- define "medfinetune.selectorLabels" -}}
app.kubernetes.io/name: {{ include "medfinetune.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "medfinetune.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "medfinetune.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: medfinetune
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
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
{{- with .root.Values.imageRegistry }}{{ $repository = printf "%s/%s" (trimSuffix "/" .) $repository }}{{ end -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .root.Chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end }}
