{{/* What things are called. */}}

{{- define "persia.name" -}}
{{ .root.Release.Name }}-{{ .tier }}
{{- end }}

{{/* Labels of a selector: they never change. */}}
{{- define "persia.selector" -}}
app.kubernetes.io/name: persia-serve
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
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

{{/* A digest belongs to its repository and tag: whoever names others for a tier does not mean that image. */}}
{{- define "persia.image" -}}
{{- $common := deepCopy .root.Values.image }}
{{- if or .own.image.repository .own.image.tag }}{{ $_ := unset $common "digest" }}{{ end }}
{{- $image := mergeOverwrite $common .own.image -}}
{{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* A number or a text of values, as a text. Numbers are floats to Helm, which writes 100000000 as 1e+08. */}}
{{- define "persia.text" -}}
{{ kindIs "float64" . | ternary (int64 .) . }}
{{- end }}

{{/* A quantity of Kubernetes as a number, which can be compared. */}}
{{- define "persia.quantity" -}}
{{- $unit := regexFind "[A-Za-z]+$" (toString .) }}
{{- $factors := dict "" 1.0 "m" 1e-3 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 }}
{{- mulf (trimSuffix $unit (toString .) | float64) (get $factors $unit) }}
{{- end }}

{{/* How pods with a section `security` speak: those that differ in it do not understand each other. */}}
{{- define "persia.speech" -}}
{{ if .certificate }}TLS{{ if .client_ca }} with certificates of clients{{ end }}{{ else }}plain text{{ end }} {{ if .tokens }}with{{ else }}without{{ end }} tokens
{{- end }}

{{- define "persia.podDisruptionBudgetVersion" -}}
{{ semverCompare ">=1.21-0" .Capabilities.KubeVersion.Version | ternary "policy/v1" "policy/v1beta1" }}
{{- end }}
{{- define "persia.autoscalerVersion" -}}
{{ semverCompare ">=1.23-0" .Capabilities.KubeVersion.Version | ternary "autoscaling/v2" "autoscaling/v2beta2" }}
{{- end }}
