{{/* What things are called. */}}

{{- define "persia.name" -}}
{{ .root.Release.Name }}-{{ .tier }}
{{- end }}

{{/* Labels of a selector: they never change. */}}
{{- define "persia.selector" -}}
app.kubernetes.io/name: persia-serve
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .tier }}
{{- if hasKey . "shard" }}
persia-serve/shard: {{ .shard | quote }}
{{- end }}
{{- end }}

{{/* Labels of everything but pods, which would begin anew with each version of the chart. */}}
{{- define "persia.labels" -}}
{{ include "persia.selector" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The host of a Service, as a certificate or a resolver has it. */}}
{{- define "persia.host" -}}
{{ .name }}.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}
{{- end }}

{{/* The release that has the embedding servers, and how many shards it has. */}}
{{- define "persia.embeddingRelease" -}}
{{ .Values.embeddingTier.release | default .Release.Name }}
{{- end }}
{{- define "persia.embeddingShards" -}}
{{ if .Values.embeddingTier.release }}{{ .Values.embeddingTier.shards }}{{ else }}{{ .Values.shards.count }}{{ end }}
{{- end }}

{{- define "persia.image" -}}
{{- $image := mergeOverwrite (deepCopy .root.Values.image) .own.image -}}
{{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "persia.podDisruptionBudgetVersion" -}}
{{ semverCompare ">=1.21-0" .Capabilities.KubeVersion.Version | ternary "policy/v1" "policy/v1beta1" }}
{{- end }}
{{- define "persia.autoscalerVersion" -}}
{{ semverCompare ">=1.23-0" .Capabilities.KubeVersion.Version | ternary "autoscaling/v2" "autoscaling/v2beta2" }}
{{- end }}
