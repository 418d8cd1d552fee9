{{/* Which requests the admission policies look at: runs made or changed, with watchNamespaces in these alone. */}}
{{- define "medfinetune.matchConstraints" -}}
{{- with .Values.watchNamespaces }}
namespaceSelector:
  matchExpressions:
    - {key: kubernetes.io/metadata.name, operator: In, values: {{ toJson . }}}
{{- end }}
resourceRules:
  - apiGroups: [medfinetune.io]
    apiVersions: ["*"]
    operations: [CREATE, UPDATE]
    resources: [medfinetunes]
{{- end }}

{{/* The binding of the policy (dict "root" $ "name" NAME). */}}
{{- define "medfinetune.policyBinding" -}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "medfinetune.labels" .root | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
{{- end }}
