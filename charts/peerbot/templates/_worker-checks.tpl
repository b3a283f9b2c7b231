{{/*
Checks of what teams add to workers' pods. A run promises that the agent holds no token of the cluster and none of ours,
and that the worker's own mounts and variables are what it expects. A value that would break this is refused.
*/}}
{{- define "peerbot.workerChecks" -}}
{{- $worker := .Values.worker -}}
{{- $secret := include "peerbot.secretName" . -}}
{{- $volumes := dict "workspace" "" "home" "" "tmp" "" "bootstrap" "" "ca" "" -}}
{{- $own := keys $volumes -}}
{{- $kinds := list "configMap" "csi" "downwardAPI" "emptyDir" "ephemeral" "image" "persistentVolumeClaim" "projected" "secret" -}}
{{- include "peerbot.variableChecks" (dict "at" "worker.extraEnv" "variables" $worker.extraEnv "secret" $secret "own" true) }}
{{- range $worker.extraVolumes }}
{{- $at := printf "worker.extraVolumes: the volume %s" .name }}
{{- $kind := omit . "name" | keys | sortAlpha }}
{{- if has .name $own }}
{{- fail (printf "%s has the name of one of the worker's own volumes: give it another." $at) }}
{{- else if hasKey $volumes .name }}
{{- fail (printf "%s is there twice." $at) }}
{{- else if has "hostPath" $kind }}
{{- fail (printf "%s is a path of the host: the agent could leave its pod through it." $at) }}
{{- else if or (ne (len $kind) 1) (not (has (first $kind) $kinds)) }}
{{- fail (printf "%s has to be one of %s, as the standard `restricted` allows." $at (join ", " $kinds)) }}
{{- end }}
{{- $_ := set $volumes .name "" }}
{{- range ((.projected | default dict).sources | default list) }}
{{- if hasKey . "serviceAccountToken" }}
{{- fail (printf "%s holds a service account's token: an agent gets no token of the cluster." $at) }}
{{- end }}
{{- if eq ((.secret | default dict).name | default "") $secret }}
{{- fail (printf "%s is the secret %s with PeerBot's own tokens: an agent gets none of them." $at $secret) }}
{{- end }}
{{- end }}
{{- if eq ((.secret | default dict).secretName | default "") $secret }}
{{- fail (printf "%s is the secret %s with PeerBot's own tokens: an agent gets none of them." $at $secret) }}
{{- end }}
{{- end }}
{{- $added := omit $volumes "workspace" "home" "tmp" "bootstrap" "ca" -}}
{{- $paths := dict -}}
{{- range $worker.extraVolumeMounts }}
{{- $path := clean .mountPath }}
{{- $at := printf "worker.extraVolumeMounts: %s" .mountPath }}
{{- if not (hasKey $added .name) }}
{{- fail (printf "%s mounts %s, which is not among worker.extraVolumes." $at .name) }}
{{- else if hasKey $paths $path }}
{{- fail (printf "%s is there twice." $at) }}
{{- else if hasKey . "mountPropagation" }}
{{- fail (printf "%s has a mountPropagation: mounts of the host could get into the pod." $at) }}
{{- end }}
{{- $_ := set $paths $path "" }}
{{- range list "/workspace" "/run/peerbot" "/opt/peerbot" "/etc/peerbot" "/proc" "/sys" "/dev" "/run/secrets" "/var/run/secrets" "/home/worker/.claude" "/home/worker/.peerbot" "/home/worker/.gitconfig" }}
{{- if or (eq $path .) (hasPrefix (printf "%s/" .) $path) }}
{{- fail (printf "%s is in %s, which is the worker's own." $at .) }}
{{- end }}
{{- end }}
{{- range list "/workspace" "/run/peerbot" "/opt/peerbot" "/etc/peerbot" "/proc" "/sys" "/dev" "/var/run/secrets" "/home/worker/.claude" "/tmp" "/usr/bin" "/usr/local/bin" "/usr/lib" "/bin" "/lib" "/lib64" "/etc/ssl" "/etc/passwd" }}
{{- if or (eq $path .) (eq $path "/") (hasPrefix (printf "%s/" $path) .) }}
{{- fail (printf "%s would hide %s from the worker." $at .) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $worker.privilegedServices (not $worker.runtimeClassName) }}
{{- fail "worker.privilegedServices needs worker.runtimeClassName: a privileged service is on its node's own kernel without one." }}
{{- end }}
{{- $names := dict "worker" "" -}}
{{- range $worker.services }}
{{- $at := printf "worker.services: %s" .name }}
{{- if hasKey $names .name }}
{{- fail (printf "%s is a name that is taken." $at) }}
{{- end }}
{{- $_ := set $names .name "" }}
{{- include "peerbot.variableChecks" (dict "at" $at "variables" .env "secret" $secret "own" false) }}
{{- range .volumeMounts }}
{{- if not (or (hasKey $added .name) (eq .name "workspace")) }}
{{- fail (printf "%s mounts %s: a service mounts workspace and what is among worker.extraVolumes." $at .name) }}
{{- else if hasKey . "mountPropagation" }}
{{- fail (printf "%s has a mountPropagation: mounts of the host could get into the pod." $at) }}
{{- end }}
{{- end }}
{{- $security := .securityContext | default dict }}
{{- $safe := list "runAsUser" "runAsGroup" "readOnlyRootFilesystem" }}
{{- range $key, $value := $security }}
{{- if not (or $worker.privilegedServices (has $key $safe)) }}
{{- fail (printf "%s sets securityContext.%s: without worker.privilegedServices a service sets only %s." $at $key (join ", " $safe)) }}
{{- else if and (not $worker.privilegedServices) (eq $key "runAsUser") (lt (int $value) 1) }}
{{- fail (printf "%s runs as root: set a user above 0, or worker.privilegedServices." $at) }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "peerbot.variableChecks" -}}
{{- $seen := dict -}}
{{- range .variables }}
{{- if hasKey $seen .name }}
{{- fail (printf "%s: the variable %s is there twice." $.at .name) }}
{{- end }}
{{- $_ := set $seen .name "" }}
{{- if and $.own (or (has .name (list "HOME" "TMPDIR" "LOG_LEVEL" "IS_SANDBOX")) (regexMatch "^(PEERBOT|ANTHROPIC|CLAUDE|GIT)_" .name)) }}
{{- fail (printf "%s: PeerBot sets %s itself." $.at .name) }}
{{- end }}
{{- $from := .valueFrom | default dict }}
{{- if eq (($from.secretKeyRef | default dict).name | default "") $.secret }}
{{- fail (printf "%s: %s is from the secret %s with PeerBot's own tokens: an agent gets none of them." $.at .name $.secret) }}
{{- end }}
{{- end }}
{{- end -}}
