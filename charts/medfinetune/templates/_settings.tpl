{{/* The operator's settings file: every key that operator/medfinetune_operator/settings.py reads, but for times left to its defaults. */}}
{{- define "medfinetune.settings" -}}
trainerImage: {{ include "medfinetune.image" (dict "root" . "image" .Values.trainer.image) | quote }}
imagePullPolicy: {{ .Values.trainer.image.pullPolicy }}
# What runs may ask for. Empty refuses.
allowed:
  {{- toYaml .Values.allowed | nindent 2 }}
# What runs get that do not say otherwise.
defaults:
  {{- toYaml .Values.trainer.defaults | nindent 2 }}
watchNamespaces: {{ toJson .Values.watchNamespaces }}
release: {{ .Values.admissionPolicies.release.enabled }}
requester: {{ .Values.admissionPolicies.requester.enabled }}
signingSecret: {{ .Values.trainer.signingSecret | quote }}
{{- with include "medfinetune.ids" (dict "of" .Values.trainer "names" (list "runAsUser" "runAsGroup" "fsGroup")) }}
podSecurity:
  {{- . | nindent 2 }}
{{- else }}
podSecurity: {}
{{- end }}
metricsPort: {{ include "medfinetune.port" . }}
leaseNamespace: {{ .Release.Namespace | quote }}
leaseName: {{ include "medfinetune.operator" . }}
# Who reaches the pods of runs, and how they reach DNS: parts of each run's NetworkPolicy.
operatorNamespaceSelector:
  matchLabels: {kubernetes.io/metadata.name: {{ .Release.Namespace | quote }}}
scraperNamespaceSelector:
  {{- include "medfinetune.scrapers" . | nindent 2 }}
dnsEgress:
  {{- toYaml .Values.networkPolicy.dnsEgress | nindent 2 }}
{{- with .Values.operator.times }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Where Prometheus is. Not a default of values.yaml: Helm would merge it with what a site sets, and the two together match nothing. */}}
{{- define "medfinetune.scrapers" -}}
{{- default (dict "matchLabels" (dict "kubernetes.io/metadata.name" "monitoring")) .Values.networkPolicy.scraperNamespaceSelector | toYaml -}}
{{- end }}

{{/* Where the operator serves /metrics, /healthz and /readyz. */}}
{{- define "medfinetune.port" -}}
8080
{{- end }}
