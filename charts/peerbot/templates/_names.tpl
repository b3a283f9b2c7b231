{{/* The names and labels of the chart's objects. */}}

{{- define "peerbot.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "peerbot.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace -}}
{{- end -}}

{{/* The dispatcher's account: the guide binds claude-worker to a Google account. The workers' account follows from it. */}}
{{- define "peerbot.account" -}}
{{- .Values.serviceAccount.name | default "claude-worker" -}}
{{- end -}}

{{/* The secret that the dispatcher reads: made by the chart, by the External Secrets Operator or by the installer. */}}
{{- define "peerbot.secretName" -}}
{{- .Values.secrets.existingSecret | default (printf "%s-secrets" (include "peerbot.fullname" .)) -}}
{{- end -}}

{{- define "peerbot.labels" -}}
{{ include "peerbot.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: peerbot
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "peerbot.selector" -}}
app.kubernetes.io/name: peerbot
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "peerbot.dispatcherSelector" -}}
{{ include "peerbot.selector" . }}
app.kubernetes.io/component: dispatcher
{{- end -}}

{{/* Workers have another name, so that a network policy for the dispatcher's pods never opens theirs. */}}
{{- define "peerbot.workerSelector" -}}
app.kubernetes.io/name: peerbot-worker
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: worker
{{- end -}}

{{/* An image's whole name. The argument is a list: the root context and the image's values. */}}
{{- define "peerbot.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- with $root.Values.global.imageRegistry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- printf "%s:%s" $image.repository ($image.tag | default $root.Chart.AppVersion) -}}
{{- end -}}
