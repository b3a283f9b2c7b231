{{/* The file that PEERBOT_WORKER_POD names: the dispatcher makes workers' pods from it. */}}
{{- define "peerbot.workerPod" -}}
{{- $worker := .Values.worker -}}
{{- $pod := dict
    "image" (include "peerbot.image" (list . $worker.image))
    "imagePullPolicy" $worker.image.pullPolicy
    "serviceAccountName" (printf "%s-sandbox" (include "peerbot.account" .))
    "instance" .Release.Name
-}}
{{- $requests := dict -}}
{{- range $name, $quantity := omit $worker.resources.requests "cpu" "memory" }}
{{- $_ := set $requests $name (toString $quantity) -}}
{{- end -}}
{{- $limits := dict -}}
{{- range $name, $quantity := $worker.resources.limits }}
{{- $_ := set $limits $name (toString $quantity) -}}
{{- end -}}
{{- /* Neither the cluster's autoscaler nor Karpenter moves a worker to save a node: its turn would begin again. */ -}}
{{- $annotations := merge (deepCopy $worker.annotations) (dict
    "cluster-autoscaler.kubernetes.io/safe-to-evict" "false"
    "karpenter.sh/do-not-disrupt" "true"
) -}}
{{- /* It tells people what workers reach, and `peerbot doctor` that an open network is intended, and no fault. */ -}}
{{- $_ := set $annotations "peerbot.dev/network" (ternary .Values.networkPolicy.workers "open" .Values.networkPolicy.enabled) -}}
{{- if .Values.openshift.enabled }}{{ $_ := set $pod "fixedUser" false }}{{ end -}}
{{- $pullSecrets := list -}}
{{- range .Values.global.imagePullSecrets }}
{{- $pullSecrets = append $pullSecrets (include "peerbot.nameOf" .) -}}
{{- end -}}
{{- $optional := dict
    "imagePullSecrets" $pullSecrets
    "caBundle" .Values.trust.configMap
    "requests" $requests
    "limits" $limits
    "labels" $worker.labels
    "annotations" $annotations
    "nodeSelector" $worker.nodeSelector
    "tolerations" $worker.tolerations
    "affinity" $worker.affinity
    "priorityClassName" $worker.priorityClassName
    "runtimeClassName" $worker.runtimeClassName
    "extraEnv" $worker.extraEnv
    "extraVolumes" $worker.extraVolumes
    "extraVolumeMounts" $worker.extraVolumeMounts
    "services" $worker.services
-}}
{{- range $key, $value := $optional }}
{{- if $value }}{{ $_ := set $pod $key $value }}{{ end -}}
{{- end -}}
{{- toPrettyJson $pod -}}
{{- end -}}
