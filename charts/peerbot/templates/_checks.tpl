{{/* Checks of the values that a schema can't make. Each mistake has its own message. */}}
{{- define "peerbot.checks" -}}
{{- $v := .Values -}}
{{- $own := compact (list $v.secrets.slackBotToken $v.secrets.slackAppToken $v.secrets.githubToken $v.secrets.anthropicApiKey $v.secrets.slackClientSecret) -}}
{{- if and $v.secrets.existingSecret $v.externalSecret.enabled }}
{{- fail "Set secrets.existingSecret or externalSecret.enabled, not both: the tokens come from one place." }}
{{- end }}
{{- if and $own (or $v.secrets.existingSecret $v.externalSecret.enabled) }}
{{- fail "A token is set under secrets, but secrets.existingSecret or externalSecret.enabled says that the tokens come from elsewhere. Remove one of the two." }}
{{- end }}
{{- /* Not in the schema, because Helm's message about a schema error shows the value. */ -}}
{{- range $name, $prefix := dict "slackBotToken" "xoxb-" "slackAppToken" "xapp-" }}
{{- $token := index $v.secrets $name }}
{{- if and $token (not (hasPrefix $prefix $token)) }}
{{- fail (printf "secrets.%s is the wrong kind of token: set the one that begins with %s." $name $prefix) }}
{{- end }}
{{- end }}
{{- include "peerbot.workerChecks" . }}
{{- if contains "@" $v.proxy.url }}
{{- fail "proxy.url holds a password, which everybody who may read Deployments would see: set HTTPS_PROXY in dispatcher.extraEnv from a secret." }}
{{- end }}
{{- range $v.dispatcher.extraVolumes }}
{{- if has .name (list "tmp" "config" "tokens" "ca") }}
{{- fail (printf "dispatcher.extraVolumes: the volume %s has the name of one of the dispatcher's own: give it another." .name) }}
{{- end }}
{{- end }}
{{- range $name, $_ := $v.dispatcher.labels }}
{{- if has $name (list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component") }}
{{- fail (printf "dispatcher.labels: the chart sets %s itself." $name) }}
{{- end }}
{{- end }}
{{- range $name, $_ := $v.worker.labels }}
{{- if has $name (list "argocd.argoproj.io/instance" "app.kubernetes.io/instance" "app.kubernetes.io/name" "app.kubernetes.io/component" "app.kubernetes.io/managed-by" "kustomize.toolkit.fluxcd.io/name" "helm.toolkit.fluxcd.io/name") }}
{{- fail (printf "worker.labels: %s would say that workers belong to somebody else, who could remove them." $name) }}
{{- end }}
{{- end }}
{{- $page := $v.sessionPage -}}
{{- if and $page.publicUrl (not $page.slackClientId) }}
{{- fail "sessionPage.publicUrl is set, and sessionPage.slackClientId is not: nobody could sign in. Slack shows it under Basic Information." }}
{{- end }}
{{- if and (or $page.ingress.enabled $page.httpRoute.enabled) (not $page.publicUrl) }}
{{- fail "sessionPage.ingress or sessionPage.httpRoute is enabled, and sessionPage.publicUrl is empty: set the address, as https://peerbot.example.com." }}
{{- end }}
{{- if and $page.httpRoute.enabled (not $page.httpRoute.parentRefs) }}
{{- fail "sessionPage.httpRoute.parentRefs is empty: name the gateway that the route belongs to." }}
{{- end }}
{{- if and $v.metrics.podMonitor.enabled $v.networkPolicy.enabled (not $v.metrics.from) }}
{{- fail "metrics.podMonitor is enabled, and metrics.from is empty: no Prometheus could reach port 3002. Name its pods there, as in a NetworkPolicy." }}
{{- end }}
{{- if not (or $v.config.store $v.config.gcsBucketName) }}
{{- fail "config.gcsBucketName and config.store are both empty: name a bucket, where PeerBot keeps conversations." }}
{{- end }}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) }}
{{- fail (printf "autoscaling.minReplicas (%d) is above autoscaling.maxReplicas (%d)." (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) }}
{{- end }}
{{- $least := int (ternary $v.autoscaling.minReplicas $v.dispatcher.replicaCount $v.autoscaling.enabled) -}}
{{- $available := $v.podDisruptionBudget.minAvailable -}}
{{- $unavailable := toString $v.podDisruptionBudget.maxUnavailable -}}
{{- if and $v.podDisruptionBudget.enabled (has $unavailable (list "0" "0%")) }}
{{- fail "podDisruptionBudget.maxUnavailable is 0: no node could ever be drained." }}
{{- end }}
{{- if and $v.podDisruptionBudget.enabled (eq $unavailable "") (not (kindIs "string" $available)) (ge (int $available) $least) }}
{{- fail (printf "podDisruptionBudget.minAvailable (%d) is not below the number of replicas (%d): no node could ever be drained. Raise dispatcher.replicaCount (or autoscaling.minReplicas)." (int $available) $least) }}
{{- end }}
{{- end -}}

{{/*
The secret's data. If a value is empty, the chart takes it from the cluster: `lookup` finds it on an upgrade. If there
is no cluster to ask (helm template, GitOps tools), `lookup` finds nothing.
*/}}
{{- define "peerbot.secretData" -}}
{{- $name := include "peerbot.secretName" . -}}
{{- $there := (lookup "v1" "Secret" (include "peerbot.namespace" .) $name).data | default dict -}}
{{- $values := dict
    "slack-bot-token" "slackBotToken"
    "slack-app-token" "slackAppToken"
    "github-token" "githubToken"
    "anthropic-api-key" "anthropicApiKey"
    "slack-client-secret" "slackClientSecret"
-}}
{{- $data := dict -}}
{{- $missing := list -}}
{{- $keys := list "slack-bot-token" "slack-app-token" "github-token" "anthropic-api-key" -}}
{{- if .Values.sessionPage.publicUrl }}
{{- $keys = append $keys "slack-client-secret" }}
{{- end -}}
{{- range $key := $keys }}
{{- $value := index $values $key }}
{{- with index $.Values.secrets $value }}
{{- $_ := set $data $key (b64enc .) }}
{{- else with index $there $key }}
{{- $_ := set $data $key . }}
{{- else }}
{{- $missing = append $missing (printf "secrets.%s" $value) }}
{{- end }}
{{- end -}}
{{- with $missing }}
{{- fail (printf "Not set: %s, and the cluster's secret %s/%s has no value to keep: add %s, or name a secret of your own with --set secrets.existingSecret=NAME." (join ", " .) (include "peerbot.namespace" $) $name (include "peerbot.howToSet" .)) }}
{{- end -}}
{{- toYaml $data -}}
{{- end -}}

{{- define "peerbot.howToSet" -}}
{{- $flags := list -}}
{{- range . }}
{{- $flags = append $flags (printf "--set %s=\"$%s\"" . (trimPrefix "secrets." . | snakecase | upper)) }}
{{- end -}}
{{- join " " $flags -}}
{{- end -}}
