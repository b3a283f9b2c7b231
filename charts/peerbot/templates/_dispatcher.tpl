{{/* The parts that the dispatcher's pods and the pod of `helm test` share, and the dispatcher's grace period. */}}

{{/* A replica waits this long before it is asked to end, until Services have stopped sending to it. */}}
{{- define "peerbot.preStopSeconds" -}}5{{- end -}}

{{/* The grace period: the wait above, the drain, and the longest time that closing sockets and connections takes. */}}
{{- define "peerbot.graceSeconds" -}}
{{- add (include "peerbot.preStopSeconds" . | int) (.Values.dispatcher.drainSeconds | int) 15 -}}
{{- end -}}

{{- define "peerbot.podSecurity" -}}
runAsNonRoot: true
{{- if not .Values.openshift.enabled }}
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "peerbot.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end -}}

{{- define "peerbot.imagePullSecrets" -}}
{{- with .Values.global.imagePullSecrets -}}
imagePullSecrets:
{{- range . }}
  - name: {{ include "peerbot.nameOf" . }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* A name that stands alone, or in an object as Kubernetes has it. */}}
{{- define "peerbot.nameOf" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ .name }}{{ end -}}
{{- end -}}

{{/* The dispatcher's settings. docs/settings.md describes each. */}}
{{- define "peerbot.env" -}}
{{- $secret := include "peerbot.secretName" . -}}
# enableServiceLinks is off, because Kubernetes' variables for services would look like PeerBot's settings.
{{- range $name, $key := include "peerbot.secretVariables" . | fromYaml }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ $key }}
{{- end }}
{{- range $name, $value := include "peerbot.settings" . | fromYaml }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with .Values.dispatcher.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Some settings' variables have names that other programs know, too. */}}
{{- define "peerbot.wayOut" -}}
{{- with .Values.proxy.url }}
HTTPS_PROXY: {{ . | quote }}
NO_PROXY: {{ join "," $.Values.proxy.except | quote }}
{{- end }}
{{- if .Values.trust.configMap }}
PEERBOT_CA_FILE: "/etc/peerbot/ca/ca.crt"
{{- end }}
{{- end -}}

{{- define "peerbot.secretVariables" -}}
SLACK_BOT_TOKEN: slack-bot-token
SLACK_APP_TOKEN: slack-app-token
GITHUB_TOKEN: github-token
ANTHROPIC_API_KEY: anthropic-api-key
{{- if .Values.sessionPage.publicUrl }}
SLACK_CLIENT_SECRET: slack-client-secret
{{- end }}
{{- end -}}

{{- define "peerbot.settings" -}}
SLACK_TRIGGER_PHRASE: {{ .Values.slack.triggerPhrase | quote }}
SLACK_ALLOW_DIRECT_MESSAGES: {{ .Values.slack.allowDirectMessages | quote }}
SLACK_ALLOW_PRIVATE_CHANNELS: {{ .Values.slack.allowPrivateChannels | quote }}
SLACK_ENABLE_STATUS_REACTIONS: {{ .Values.slack.enableStatusReactions | quote }}
SLACK_ENABLE_PROGRESS_UPDATES: {{ .Values.slack.enableProgressUpdates | quote }}
{{- with .Values.config.allowedUsers }}
PEERBOT_ALLOWED_USERS: {{ join "," . | quote }}
{{- end }}
{{- with .Values.config.allowedChannels }}
PEERBOT_ALLOWED_CHANNELS: {{ join "," . | quote }}
{{- end }}
{{- with .Values.config.allowedApps }}
PEERBOT_ALLOWED_APPS: {{ join "," . | quote }}
{{- end }}
{{- with .Values.config.repositories }}
PEERBOT_REPOSITORIES: {{ join "," . | quote }}
{{- end }}
{{- with .Values.config.models }}
PEERBOT_MODELS: {{ join "," . | quote }}
{{- end }}
GITHUB_ORGANIZATION: {{ .Values.config.githubOrganization | quote }}
PEERBOT_BRANCH_PREFIX: {{ .Values.config.branchPrefix | quote }}
{{- if .Values.config.store }}
PEERBOT_STORE: {{ .Values.config.store | quote }}
{{- else }}
GCS_BUCKET_NAME: {{ .Values.config.gcsBucketName | quote }}
{{- end }}
{{- with .Values.config.gcsProjectId }}
GCS_PROJECT_ID: {{ . | quote }}
{{- end }}
{{- with .Values.config.model }}
PEERBOT_MODEL: {{ . | quote }}
{{- end }}
{{- with .Values.config.serverTools }}
PEERBOT_SERVER_TOOLS: {{ . | quote }}
{{- end }}
PEERBOT_RUN_BUDGET_USD: {{ .Values.config.runBudgetUsd | quote }}
{{- with .Values.config.threadBudgetUsd }}
PEERBOT_THREAD_BUDGET_USD: {{ . | quote }}
{{- end }}
{{- with .Values.config.personMonthBudgetUsd }}
PEERBOT_PERSON_MONTH_BUDGET_USD: {{ . | quote }}
{{- end }}
{{- with .Values.config.channelMonthBudgetUsd }}
PEERBOT_CHANNEL_MONTH_BUDGET_USD: {{ . | quote }}
{{- end }}
{{- with .Values.config.monthBudgetUsd }}
PEERBOT_MONTH_BUDGET_USD: {{ . | quote }}
{{- end }}
SESSION_TIMEOUT_MINUTES: {{ .Values.config.sessionTimeoutMinutes | quote }}
{{- if ne (toString .Values.config.questionMinutes) "" }}
PEERBOT_QUESTION_MINUTES: {{ .Values.config.questionMinutes | quote }}
{{- end }}
PEERBOT_QUESTIONS_FOR: {{ .Values.config.questionsFor | quote }}
{{- with .Values.sessionPage.publicUrl }}
PEERBOT_PUBLIC_URL: {{ . | quote }}
SLACK_CLIENT_ID: {{ $.Values.sessionPage.slackClientId | quote }}
{{- with $.Values.sessionPage.operators }}
PEERBOT_SESSION_OPERATORS: {{ join "," . | quote }}
{{- end }}
{{- end }}
{{- include "peerbot.wayOut" . }}
PEERBOT_TOKENS_DIR: "/etc/peerbot/tokens"
LOG_LEVEL: {{ .Values.config.logLevel | quote }}
PEERBOT_RUNTIME: "kubernetes"
PEERBOT_WORKER_POD: "/etc/peerbot/worker-pod.json"
PEERBOT_GATEWAY_URL: "http://{{ include "peerbot.fullname" . }}-gateway:3001"
PEERBOT_DRAIN_SECONDS: {{ .Values.dispatcher.drainSeconds | int | quote }}
WORKER_CPU: {{ .Values.worker.resources.requests.cpu | quote }}
WORKER_MEMORY: {{ .Values.worker.resources.requests.memory | quote }}
WORKER_IDLE_SECONDS: {{ .Values.worker.job.idleSeconds | quote }}
WORKER_MAX_CONCURRENT: {{ .Values.worker.maxConcurrent | int | quote }}
{{- end -}}

{{- define "peerbot.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
# By subPath, so that a replica keeps the file that it was started with during an upgrade.
- name: config
  mountPath: /etc/peerbot/worker-pod.json
  subPath: worker-pod.json
  readOnly: true
# To see that a token has changed: the variables stay what they were at the start.
- name: tokens
  mountPath: /etc/peerbot/tokens
  readOnly: true
{{- if .Values.trust.configMap }}
- name: ca
  mountPath: /etc/peerbot/ca
  readOnly: true
{{- end }}
{{- with .Values.dispatcher.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "peerbot.volumes" -}}
- name: tmp
  emptyDir: {}
- name: config
  configMap:
    name: {{ include "peerbot.fullname" . }}-config
- name: tokens
  secret:
    secretName: {{ include "peerbot.secretName" . }}
    defaultMode: 0440
    optional: true  # a key that is missing is told by the variable that needs it
    items:
      {{- range $_, $key := include "peerbot.secretVariables" . | fromYaml }}
      - key: {{ $key }}
        path: {{ $key }}
      {{- end }}
{{- with .Values.trust.configMap }}
- name: ca
  configMap:
    name: {{ . }}
{{- end }}
{{- with .Values.dispatcher.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
