{{/* global_config.yaml of a tier: each has what it reads, so that no pod begins anew for what it does not read. */}}

{{/* A section of the config. Its numbers are floats to Helm, as those of `persia.text`. */}}
{{- define "persia.section" -}}
{{- $section := dict }}
{{- range $key, $value := . }}
{{- $_ := set $section $key (kindIs "float64" $value | ternary (int64 $value) $value) }}
{{- end }}
{{- toYaml $section }}
{{- end }}

{{- define "persia.globalConfig" -}}
{{- $root := .root }}
{{- $values := $root.Values }}
{{- if ne .tier "models" }}
{{- $release := eq .tier "shards" | ternary $root.Release.Name (include "persia.embeddingRelease" $root) }}
common_config:
  deployment: {{ printf "%s/%s" $root.Release.Namespace $release | quote }}
  infer_config:
    servers:
    {{- range $shard := until (int (eq .tier "shards" | ternary $values.shards.count (include "persia.embeddingShards" $root))) }}
      - {{ include "persia.host" (dict "root" $root "name" (printf "%s-shard-%d" $release $shard)) }}:8888
    {{- end }}
    {{- if eq .tier "shards" }}
    embedding_checkpoint: {{ $values.checkpoint | quote }}
    {{- end }}
  {{- if eq .tier "shards" }}
  checkpointing_config:
    {{- include "persia.section" $values.settings.checkpointing_config | nindent 4 }}
  {{- end }}
{{- end }}
{{- if eq .tier "shards" }}
embedding_parameter_server_config:
  {{- $own := dict "local_buffer_dir" "/tmp" "enable_incremental_update" (ne $values.packets "") "enable_epochs" $values.epochs }}
  {{- with $values.packets }}{{ $_ := set $own "incremental_dir" . }}{{ end }}
  {{- include "persia.section" (merge $own ($values.settings.embedding_parameter_server_config | default dict)) | nindent 2 }}
{{- else }}
embedding_worker_config:
  {{- include "persia.section" $values.settings.embedding_worker_config | nindent 2 }}
{{- end }}
security:
  {{- include "persia.security" $root | nindent 2 }}
{{- end }}

{{- define "persia.security" -}}
{{- $security := .Values.security -}}
insecure: {{ $security.insecure }}
{{- with $security.tls.secret }}
certificate: /etc/persia/tls/tls.crt
key: /etc/persia/tls/tls.key
ca: /etc/persia/tls/ca.crt
server_name: {{ include "persia.serverName" $ | quote }}
{{- if $security.tls.mutual }}
client_ca: /etc/persia/tls/ca.crt
client_certificate: /etc/persia/tls/tls.crt
client_key: /etc/persia/tls/tls.key
{{- end }}
{{- end }}
{{- with $security.tokens.secret }}
tokens: /etc/persia/tokens/{{ $security.tokens.key }}
token: /etc/persia/tokens/{{ $security.tokens.key }}
{{- end }}
{{- end }}

{{- define "persia.serverName" -}}
{{ .Values.security.tls.serverName | default (printf "persia-serve.%s.svc" .Release.Namespace) }}
{{- end }}

{{/* config.properties. Of TorchServe what the values say: its launcher says the rest. Management is for `kubectl exec` alone. */}}
{{- define "persia.modelProperties" -}}
{{- if eq .Values.models.home "model-server" -}}
inference_address=http://0.0.0.0:8080
management_address=http://127.0.0.1:8081
metrics_address=http://0.0.0.0:8082
grpc_inference_address=0.0.0.0
grpc_inference_port=7070
grpc_management_address=127.0.0.1
grpc_management_port=7071
{{- if .Values.models.keysSecret }}
token_file=/etc/persia/keys/key_file.json
{{- else if not .Values.security.tokens.secret }}
disable_token_authorization=true
{{- end }}
{{- end }}
{{- range $key, $value := .Values.models.properties }}
{{ $key }}={{ include "persia.text" $value }}
{{- end }}
{{- end }}

{{/* Whether this release has the tier: a text, or nothing. */}}
{{- define "persia.has" -}}
{{- $values := .root.Values }}
{{- if eq .tier "shards" }}{{ if $values.shards.count }}yes{{ end }}{{ end }}
{{- if eq .tier "middleware" }}{{ if $values.middleware.replicas }}yes{{ end }}{{ end }}
{{- if eq .tier "models" }}{{ if $values.models.store }}yes{{ end }}{{ end }}
{{- end }}

{{/* What the ConfigMap of a tier has, of which a checksum is in its pods. */}}
{{- define "persia.files" -}}
global_config.yaml: |
  {{- include "persia.globalConfig" . | trim | nindent 2 }}
{{- if ne .tier "models" }}
embedding_config.yml: |
  {{- .root.Values.embeddingConfig | nindent 2 }}
{{- else }}
config.properties: |
  {{- include "persia.modelProperties" .root | trim | nindent 2 }}
{{- end }}
{{- end }}
