{{- /* "flaas.selector" (list $ "api"): what tells one part's pods from all others. */ -}}
{{- define "flaas.selector" -}}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "flaas.labels" -}}
{{ include "flaas.selector" . }}
app.kubernetes.io/name: flaas
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
{{- end }}

{{- define "flaas.image" -}}
{{ (index . 0).Values.image.registry }}/flaas-{{ index . 1 }}:{{ (index . 0).Values.image.tag | default (index . 0).Chart.AppVersion }}
{{- end }}

{{- /* The restricted Pod Security Standard, and no token of the cluster. */ -}}
{{- define "flaas.pod" -}}
serviceAccountName: {{ .Release.Name }}-flaas
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "flaas.container" -}}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- /* "flaas.env" .Values.node: entries of its own environment. */ -}}
{{- define "flaas.env" -}}
{{- range $name, $value := .env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- /* "flaas.envFrom" .Values.node */ -}}
{{- define "flaas.envFrom" -}}
{{- with .envSecret }}
envFrom: [{secretRef: {name: {{ . }}}}]
{{- end }}
{{- end }}

{{- /* "flaas.join" (list $ .Values.node "node"): the step that becomes a member once, and leaves the volume alone after. */ -}}
{{- define "flaas.join" -}}
- name: join
  image: {{ include "flaas.image" (list (index . 0) (index . 2)) }}
  {{- include "flaas.container" (index . 0) | nindent 2 }}
  command: [sh, -euc]
  args:
    - |
      [ ! -e joined ] || exit 0
      [ -e node.json ] || flaas node init --name "$NAME"
      flaas node join --url "$URL" --organisation "$ORGANISATION" --project "$PROJECT" --domain-key "$DOMAIN_KEY" \
        ${CA_FINGERPRINT:+--ca-fingerprint "$CA_FINGERPRINT"} --enrolment < /run/enrolment/secret
      touch joined
  env:
    {{- with index . 1 }}
    - {name: NAME, value: {{ required "name" .name | quote }}}
    - {name: URL, value: {{ required "apiUrl" .apiUrl | quote }}}
    - {name: ORGANISATION, value: {{ required "organisation" .organisation | quote }}}
    - {name: PROJECT, value: {{ required "project" .project | quote }}}
    - {name: DOMAIN_KEY, value: {{ required "domainKey" .domainKey | quote }}}
    - {name: CA_FINGERPRINT, value: {{ .caFingerprint | quote }}}
    {{- include "flaas.env" . | nindent 4 }}
  {{- include "flaas.envFrom" . | nindent 2 }}
    {{- end }}
  volumeMounts:
    - {name: home, mountPath: /var/lib/flaas}
    - {name: tmp, mountPath: /tmp}
    - {name: enrolment, mountPath: /run/enrolment, readOnly: true}
  resources:
    requests: {cpu: 100m, memory: 512Mi}
    limits: {memory: 2Gi}
{{- end }}

{{- /* "flaas.claim" .Values.node.storage */ -}}
{{- define "flaas.claim" -}}
accessModes: [ReadWriteOnce]
{{- with .className }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests: {storage: {{ .size }}}
{{- end }}
