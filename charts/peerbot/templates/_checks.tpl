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
{{- if not (or $v.config.store $v.config.gcsBucketName) }}
{{- fail "config.gcsBucketName and config.store are both empty: name a bucket, where PeerBot keeps conversations." }}
{{- end }}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) }}
{{- fail (printf "autoscaling.minReplicas (%d) is above autoscaling.maxReplicas (%d)." (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) }}
{{- end }}
{{- $least := int (ternary $v.autoscaling.minReplicas $v.dispatcher.replicaCount $v.autoscaling.enabled) -}}
{{- $available := $v.podDisruptionBudget.minAvailable -}}
{{- if and $v.podDisruptionBudget.enabled (not (kindIs "string" $available)) (ge (int $available) $least) }}
{{- fail (printf "podDisruptionBudget.minAvailable (%d) is not below the number of replicas (%d): no node could ever be drained. Raise dispatcher.replicaCount (or autoscaling.minReplicas)." (int $available) $least) }}
{{- end }}
{{- end -}}

{{/*
The secret's data. If a value is empty, the chart takes it from the cluster: `lookup` finds it on an upgrade. If there
is no cluster to ask (helm template, GitOps tools), `lookup` finds nothing.
*/}}
{{- define "peerbot.secretData" -}}
{{- $name := include "peerbot.secretName" . -}}
{{- $there := (lookup "v1" "Secret" .Release.Namespace $name).data | default dict -}}
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
{{- fail (printf "Not set: %s, and the cluster's secret %s/%s has no value to keep: add %s, or name a secret of your own with --set secrets.existingSecret=NAME." (join ", " .) $.Release.Namespace $name (include "peerbot.howToSet" .)) }}
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
