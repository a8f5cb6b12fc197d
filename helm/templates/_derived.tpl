{{- /* What follows from the values; each says yes with a non-empty text. */ -}}

{{- define "sluice.shared" -}}
{{- if .Values.sharedStore.url }}yes{{ end -}}
{{- end -}}

{{- /* Budgets and limits are kept for all pods together. */ -}}
{{- define "sluice.redis" -}}
{{- if or .Values.sharedStore.redis.url .Values.sharedStore.redis.urlEnv }}yes{{ end -}}
{{- end -}}

{{- define "sluice.manyPods" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1) }}yes{{ end -}}
{{- end -}}

{{- /* More than one pod may mount the state: it is an emptyDir of each, or a claim that many nodes can write. */ -}}
{{- define "sluice.stateForMany" -}}
{{- if or (not .Values.persistence.enabled) (has "ReadWriteMany" .Values.persistence.accessModes) }}yes{{ end -}}
{{- end -}}

{{- define "sluice.offline" -}}
{{- if eq (dig "residency" "mode" "online" (fromToml .Values.config)) "offline" }}yes{{ end -}}
{{- end -}}

{{- /* From the deletion of a pod to its last byte, at most. */ -}}
{{- define "sluice.drainTotal" -}}
{{- add (int .Values.drain.preStopSeconds) (int .Values.drain.minimumDelaySeconds) (int .Values.drain.seconds) -}}
{{- end -}}

{{- define "sluice.grace" -}}
{{- $given := .Values.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $given -}}
{{- add (int (include "sluice.drainTotal" .)) 10 -}}
{{- else -}}
{{- int $given -}}
{{- end -}}
{{- end -}}

{{- /* The names of the environment variables that a parsed configuration refers to, one a line. */ -}}
{{- define "sluice.envNames" -}}
{{- if kindIs "map" . -}}
{{- range $key, $value := . -}}
{{- if and (hasSuffix "_env" $key) (kindIs "string" $value) }}
{{ $value }}
{{- else }}
{{- include "sluice.envNames" $value }}
{{- end -}}
{{- end -}}
{{- else if kindIs "slice" . -}}
{{- range . }}{{ include "sluice.envNames" . }}{{ end -}}
{{- end -}}
{{- end -}}

{{- /* The environment that has to agree with the manifests. It comes before the file, as Sluice reads them. */ -}}
{{- define "sluice.ownEnv" -}}
XDG_CACHE_HOME: /var/lib/sluice/cache
HF_HOME: /var/lib/sluice/cache/huggingface
SLUICE__TIMEOUTS__DRAIN: {{ printf "%ds" (int .Values.drain.seconds) }}
SLUICE__TIMEOUTS__DRAIN_DELAY: {{ printf "%ds" (int .Values.drain.minimumDelaySeconds) }}
{{- if include "sluice.shared" . }}
SLUICE__LEDGER__URL: {{ .Values.sharedStore.url | quote }}
{{- else }}
SLUICE__LEDGER__PATH: /var/lib/sluice/sluice.db
{{- end }}
{{- with .Values.sharedStore.redis.url }}
SLUICE__REPLICAS__URL: {{ . | quote }}
{{- end }}
{{- with .Values.sharedStore.redis.urlEnv }}
SLUICE__REPLICAS__URL_ENV: {{ . | quote }}
{{- end }}
{{- end -}}

{{- /* Where one entry of secretEnv comes from. Takes a list: the root, the entry. */ -}}
{{- define "sluice.secretRef" -}}
{{- $root := index . 0 -}}
{{- $entry := index . 1 -}}
name: {{ $entry.secret | default $root.Values.existingSecret }}
key: {{ $entry.key }}
{{- end -}}
