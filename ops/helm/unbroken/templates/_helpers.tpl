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

{{- /* How many of a kind there may be: the sweep asks for as many. */ -}}
{{- define "unbroken.most" -}}
{{- if .root.Values.autoscaling.enabled }}{{ .of.maxReplicas }}{{ else }}{{ .of.fixed }}{{ end -}}
{{- end }}

{{- define "unbroken.env" -}}
{{- $secret := include "unbroken.secret" .root -}}
{{- range $name := list "DATABASE_URL" "REDIS_URL" "UNBROKEN_SECRET_KEYS" }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ $name }}}
{{- end }}
- name: UNBROKEN_DRAIN_PROCESSES
  value: {{ include "unbroken.most" (dict "root" .root "of" .root.Values.drain) | quote }}
- name: UNBROKEN_WEBHOOK_PROCESSES
  value: {{ include "unbroken.most" (dict "root" .root "of" .root.Values.webhooks) | quote }}
{{- range $name, $value := .root.Values.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- /* A pod of ours around one container. In: root, component, command, resources, grace, extra. */ -}}
{{- define "unbroken.pod" -}}
metadata:
  labels:
    {{- include "unbroken.labels" . | nindent 4 }}
spec:
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
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    seccompProfile: {type: RuntimeDefault}
  {{- if ne .component "migrate" }}
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
      image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
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
      {{- with .extra }}
      {{- . | nindent 6 }}
      {{- end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
{{- end }}
