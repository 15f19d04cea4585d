{{/* What the pods of all tiers have in common. Each takes (dict "root" $ "tier" ... "own" the values of the tier). */}}

{{- define "persia.podSpec" -}}
{{- $values := .root.Values -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
tolerations:
{{- range list "not-ready" "unreachable" }}
  - key: node.kubernetes.io/{{ . }}
    operator: Exists
    effect: NoExecute
    tolerationSeconds: {{ $values.unreachableSeconds }}
{{- end }}
{{- with .own.tolerations }}
{{ toYaml . | indent 2 }}
{{- end }}
topologySpreadConstraints:
  - topologyKey: kubernetes.io/hostname
    maxSkew: 1
    whenUnsatisfiable: {{ $values.spread.hosts }}
    labelSelector:
      matchLabels:
        {{- include "persia.selector" . | nindent 8 }}
    {{- if semverCompare ">=1.26-0" .root.Capabilities.KubeVersion.Version }}
    nodeTaintsPolicy: Honor
    {{- end }}
  - topologyKey: topology.kubernetes.io/zone
    maxSkew: 1
    whenUnsatisfiable: {{ $values.spread.zones }}
    labelSelector:
      matchLabels:
        {{- include "persia.selector" . | nindent 8 }}
volumes:
  - name: config
    configMap: {name: {{ .root.Release.Name }}-{{ .config }}}
  - name: scratch
    emptyDir: {sizeLimit: {{ .own.scratch }}}
{{- with $values.security.tls.secret }}
  - name: tls
    secret: {secretName: {{ . }}, defaultMode: 0400}
{{- end }}
{{- with $values.security.tokens.secret }}
  - name: tokens
    secret: {secretName: {{ . }}, defaultMode: 0400}
{{- end }}
{{- if eq .tier "models" }}
{{- with .own.keysSecret }}
  - name: keys
    secret: {secretName: {{ . }}, defaultMode: 0400}
{{- end }}
{{- end }}
{{- range $values.volumes }}
  - name: {{ .name }}
    {{- toYaml .source | nindent 4 }}
{{- end }}
{{- end }}

{{- define "persia.container" -}}
{{- $values := .root.Values -}}
image: {{ include "persia.image" . }}
imagePullPolicy: {{ $values.image.pullPolicy }}
workingDir: /tmp
env:
  - {name: HOME, value: /tmp}
  - {name: PERSIA_GLOBAL_CONFIG, value: /etc/persia/config/global_config.yaml}
  {{- if ne .tier "models" }}
  - {name: PERSIA_EMBEDDING_CONFIG, value: /etc/persia/config/embedding_config.yml}
  {{- else }}
  - name: EMBEDDING_WORKER_SERVICE
    value: {{ include "persia.host" (dict "root" .root "name" (printf "%s-middleware" .root.Release.Name)) }}:8887
  {{- end }}
  - {name: LOG_FORMAT, value: {{ $values.logFormat }}}
  {{- range $name, $value := $values.environment }}
  - name: {{ $name }}
    {{- if kindIs "map" $value }}
    valueFrom: {secretKeyRef: {name: {{ $value.secret }}, key: {{ $value.key }}}}
    {{- else }}
    value: {{ include "persia.text" $value | quote }}
    {{- end }}
  {{- end }}
{{- with $values.environmentSecrets }}
envFrom:
{{- range . }}
  - secretRef: {name: {{ . }}}
{{- end }}
{{- end }}
resources:
  {{- toYaml .own.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: config, mountPath: /etc/persia/config, readOnly: true}
  - {name: scratch, mountPath: /tmp}
{{- if $values.security.tls.secret }}
  - {name: tls, mountPath: /etc/persia/tls, readOnly: true}
{{- end }}
{{- if $values.security.tokens.secret }}
  - {name: tokens, mountPath: /etc/persia/tokens, readOnly: true}
{{- end }}
{{- if and (eq .tier "models") .own.keysSecret }}
  - {name: keys, mountPath: /etc/persia/keys, readOnly: true}
{{- end }}
{{- range $values.volumes }}
  - {name: {{ .name }}, mountPath: {{ .mountPath }}, readOnly: {{ .readOnly | default false }}}
{{- end }}
{{- end }}

{{- define "persia.podLabels" -}}
{{ include "persia.selector" . }}
{{- with .own.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "persia.podAnnotations" -}}
checksum/config: {{ .checksum }}
{{- with .own.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Whether the pod serves. Kubernetes' own probe knows neither TLS nor tokens, and is there from 1.24 on. */}}
{{- define "persia.asksReadiness" -}}
{{- $security := .root.Values.security -}}
{{- $plain := not (or $security.tls.secret $security.tokens.secret (and (eq .tier "models") .own.keysSecret)) -}}
{{- if and $plain (semverCompare ">=1.24-0" .root.Capabilities.KubeVersion.Version) -}}
grpc: {port: {{ .port }}}
{{- else -}}
exec: {command: {{ include "persia.healthCommand" . }}}
{{- end }}
{{- end }}

{{/* Whether it answers at all, also that it does not serve. A `grpc` probe cannot ask that. */}}
{{- define "persia.asksLiveness" -}}
exec: {command: {{ include "persia.healthCommand" (merge (dict "live" true) .) }}}
{{- end }}

{{- define "persia.healthCommand" -}}
{{- $command := list "persia-launcher" "health" (printf "127.0.0.1:%d" (int .port)) "--timeout" "4" }}
{{- if .live }}{{ $command = append $command "--live" }}{{ end }}
{{- if and (eq .tier "models") .own.keysSecret }}{{ $command = concat $command (list "--token-file" "/etc/persia/keys/key_file.json") }}{{ end }}
{{- toJson $command }}
{{- end }}
