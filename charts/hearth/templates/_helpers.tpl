{{/* Labels of every object; call with (dict "root" $ "component" "gateway"). */}}
{{- define "hearth.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: hearth
{{ include "hearth.selector" . }}
{{- end }}

{{/* Labels that select a component's Pods. They never change. */}}
{{- define "hearth.selector" -}}
app.kubernetes.io/name: hearth-{{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{/* An image reference; call with (dict "root" $ "image" .Values.gateway.image). */}}
{{- define "hearth.image" -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* The restricted Pod security profile, for a Pod. */}}
{{- define "hearth.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* The restricted Pod security profile, for a container. */}}
{{- define "hearth.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The ConfigMap of source.extraCA.pem. Another text has another name, so that Pods
that read the old one are replaced. */}}
{{- define "hearth.extraCAName" -}}
hearth-extra-ca-{{ .pem | sha256sum | trunc 10 }}
{{- end }}

{{/* Whether extra certificate authorities are given, and by which volume. */}}
{{- define "hearth.extraCAVolume" -}}
{{- with .Values.source.extraCA }}
{{- if .secretName }}
secret: {secretName: {{ .secretName | quote }}, items: [{key: {{ .key | quote }}, path: ca.crt}]}
{{- else if .configMapName }}
configMap: {name: {{ .configMapName | quote }}, items: [{key: {{ .key | quote }}, path: ca.crt}]}
{{- else if .pem }}
configMap: {name: {{ include "hearth.extraCAName" . }}, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- end }}
{{- end }}

{{/* The model store of Workers that the controller makes. */}}
{{- define "hearth.store" -}}
size: {{ .Values.worker.store.size | quote }}
{{- with .Values.worker.store.storageClass }}
storageClass: {{ . | quote }}
{{- end }}
{{- end }}

{{/* The controller's configuration, one JSON document. */}}
{{- define "hearth.config" -}}
{{- $w := .Values.worker -}}
{{- $extraCA := include "hearth.extraCAVolume" . | trim -}}
{{- $extra := dict -}}
{{- if $extraCA }}{{- $extra = fromYaml $extraCA }}{{- end -}}
{{- dict
  "instance" .Release.Name
  "imagePullSecrets" .Values.imagePullSecrets
  "worker" (dict
    "image" (include "hearth.image" (dict "root" . "image" $w.image))
    "pullPolicy" $w.image.pullPolicy
    "log" $w.log
    "compute" $w.compute
    "simulatedDevices" $w.simulatedDevices
    "resourceName" $w.resourceName
    "runtimeClassName" $w.runtimeClassName
    "reserve" $w.reserve
    "store" (include "hearth.store" . | fromYaml)
    "resources" $w.resources
    "tolerations" $w.tolerations
    "terminationGracePeriodSeconds" (int $w.terminationGracePeriodSeconds)
    "extraCA" $extra)
  "cpuNodes" .Values.cpuNodes
  "cpu" .Values.cpu
  "release" .Values.release
  "modelClaims" .Values.modelClaims
  "source" (dict
    "allowPrivate" .Values.source.allowPrivate
    "hubEndpoint" .Values.source.hubEndpoint)
  | toPrettyJson -}}
{{- end }}
