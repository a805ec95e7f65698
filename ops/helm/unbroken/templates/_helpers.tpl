{{- define "unbroken.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "unbroken.selector" -}}
app.kubernetes.io/name: unbroken
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "unbroken.labels" -}}
{{ include "unbroken.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "unbroken.secret" -}}
{{- required "existingSecret is missing: name a Secret with DATABASE_URL, REDIS_URL and UNBROKEN_SECRET_KEYS" .Values.existingSecret -}}
{{- end }}

{{- /* A value as text. A number of a values file is a float: 1000000 would become 1e+06. */ -}}
{{- define "unbroken.plain" -}}
{{- if kindIs "float64" . }}{{ toJson . }}{{ else }}{{ . }}{{ end -}}
{{- end }}

{{- /* Another one whenever the Secret is written; empty where no cluster is asked. */ -}}
{{- define "unbroken.secretVersion" -}}
{{- $found := lookup "v1" "Secret" .Release.Namespace (include "unbroken.secret" .) -}}
{{- with $found }}{{ .metadata.resourceVersion }}{{ end -}}
{{- end }}

{{- /* The most connections to Postgres at once: every role with the pod that a rollout adds. */ -}}
{{- define "unbroken.connections" -}}
{{- $api := mul (add .Values.api.replicas 1) 2 (add .Values.api.connections 4) -}}
{{- $workers := 0 -}}
{{- range $role := list "drain" "webhooks" }}
{{- $workers = add $workers 2 (mul 2 (include "unbroken.most" (dict "root" $ "of" (index $.Values $role)) | int64)) -}}
{{- end -}}
{{- $workers = add $workers (mul 2 (add .Values.upkeep.fixed 1)) -}}
{{- add $api $workers 2 1 1 -}}{{- /* two of metrics, the migration, and KEDA or an operator's command */ -}}
{{- end }}

{{- define "unbroken.checkConnections" -}}
{{- $most := .Values.postgres.maxConnections | int64 -}}
{{- $needed := include "unbroken.connections" . | int64 -}}
{{- if and $most (gt $needed (sub $most 3)) -}}
{{- fail (printf "postgres.maxConnections: a rollout of these replicas takes up to %d connections, and %d less the 3 of superusers are fewer. Lower api.connections or replicas, or raise max_connections of your Postgres and say it here (0: do not check)" $needed $most) -}}
{{- end -}}
{{- end }}

{{- /* How many of a kind there may be: the sweep asks for as many. */ -}}
{{- define "unbroken.most" -}}
{{- if .root.Values.autoscaling.enabled }}{{ toJson .of.maxReplicas }}{{ else }}{{ toJson .of.fixed }}{{ end -}}
{{- end }}

{{- /* The keys of the Secret that a role needs; passwords apart from the URLs where there are any. */ -}}
{{- define "unbroken.secrets" -}}
{{- if ne .component "beat" }}DATABASE_URL DATABASE_PASSWORD {{ end -}}
{{- if ne .component "migrate" }}REDIS_URL REDIS_PASSWORD {{ end -}}
{{- if has .component (list "api" "webhooks") }}UNBROKEN_SECRET_KEYS{{ end -}}
{{- end }}

{{- define "unbroken.env" -}}
{{- $secret := include "unbroken.secret" .root -}}
{{- range $name := include "unbroken.secrets" . | trim | splitList " " }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ $name }}{{ if hasSuffix "_PASSWORD" $name }}, optional: true{{ end }}}
{{- end }}
- name: UNBROKEN_DRAIN_PROCESSES
  value: {{ include "unbroken.most" (dict "root" .root "of" .root.Values.drain) | quote }}
- name: UNBROKEN_WEBHOOK_PROCESSES
  value: {{ include "unbroken.most" (dict "root" .root "of" .root.Values.webhooks) | quote }}
- name: UNBROKEN_API_CONNECTIONS
  value: {{ toJson .root.Values.api.connections | quote }}
{{- range $name, $value := .root.Values.settings }}
- name: {{ $name }}
  value: {{ include "unbroken.plain" $value | quote }}
{{- end }}
{{- with .root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* A pod of ours around one container. In: root, component, command, resources, grace, extra. */ -}}
{{- define "unbroken.pod" -}}
metadata:
  labels:
    {{- include "unbroken.labels" . | nindent 4 }}
    {{- with .root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    secret-version: {{ printf "%s-%s" (include "unbroken.secretVersion" .root) .root.Values.secretRevision | quote }}
    {{- with .root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- with .root.Values.serviceAccountName }}
  serviceAccountName: {{ . }}
  {{- end }}
  automountServiceAccountToken: false
  enableServiceLinks: false  # they would set UNBROKEN_… of their own
  terminationGracePeriodSeconds: {{ .grace }}
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets: {{- range . }}
    - name: {{ . }}
  {{- end }}
  {{- end }}
  {{- with .root.Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .root.Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    seccompProfile: {type: RuntimeDefault}
  {{- if .root.Values.topologySpreadConstraints }}
  topologySpreadConstraints: {{- toYaml .root.Values.topologySpreadConstraints | nindent 4 }}
  {{- else if ne .component "migrate" }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      matchLabelKeys: [pod-template-hash]
      labelSelector:
        matchLabels:
          {{- include "unbroken.selector" $ | nindent 10 }}
    {{- end }}
  {{- end }}
  {{- if eq .component "migrate" }}
  restartPolicy: Never
  {{- end }}
  containers:
    - name: {{ .component }}
      {{- with .root.Values.image }}
      image: "{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.root.Chart.AppVersion }}{{ end }}"
      {{- end }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command: {{ .command | toJson }}
      env:
        {{- include "unbroken.env" . | trim | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      resources: {{- toYaml .resources | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- with .root.Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .extra }}
      {{- . | nindent 6 }}
      {{- end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- with .root.Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- /* What follows the name and labels of a Deployment. */ -}}
{{- define "unbroken.deploymentAnnotations" -}}
{{- with .Values.deploymentAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
