{{- /*
What the schema cannot say: values that are right one by one and wrong together. Included by the Deployment, so a chart
that renders has passed.
*/ -}}

{{- /* Takes a list: where the text stands, the text. */ -}}
{{- define "sluice.refuseSecret" -}}
{{- $where := index . 0 -}}
{{- $text := index . 1 -}}
{{- $looks := list
  (list "a provider's key" `\bsk-[A-Za-z0-9_-]{16,}`)
  (list "a cloud access key" `\b(AKIA|ASIA)[0-9A-Z]{16}\b`)
  (list "a cloud API key" `\bAIza[0-9A-Za-z_-]{30,}`)
  (list "a bearer token" `(?i)\bbearer\s+[a-z0-9._~+/-]{16,}`)
  (list "a private key" `-----BEGIN [A-Z ]*PRIVATE KEY-----`)
  (list "a password in a URL" `[a-z][a-z0-9+.-]*://[^\s/@:"']*:[^\s/@"']+@`)
  (list "a password in a URL" `(?i)[?&](password|passwd|sslpassword)=`)
-}}
{{- range $looks -}}
{{- if regexMatch (index . 1) $text -}}
{{- fail (printf "%s holds %s. Secrets come by reference only: put it in a Secret and name it in secretEnv." $where (index . 0)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sluice.checks" -}}
{{- $values := .Values -}}
{{- $shared := include "sluice.shared" . -}}

{{- /* Money: two ledgers would each think that they have the whole budget. */ -}}
{{- if and (include "sluice.manyPods" .) (not $shared) -}}
{{- if $values.autoscaling.enabled -}}
{{- fail "autoscaling.enabled needs a shared store: without sharedStore.url the ledger is a file that one pod owns, and budgets would be kept once per pod." -}}
{{- end -}}
{{- fail (printf "replicaCount is %d, but without a shared store it must be 1: the ledger is a file that one pod owns, and budgets would be kept once per pod. Set sharedStore.url to a PostgreSQL database first." (int $values.replicaCount)) -}}
{{- end -}}
{{- $redis := $values.sharedStore.redis -}}
{{- if and (include "sluice.manyPods" .) (not (include "sluice.redis" .)) -}}
{{- fail "more than one pod needs sharedStore.redis.url (or urlEnv) beside sharedStore.url: through it pods share budgets and rate limits, which each would keep for itself otherwise." -}}
{{- end -}}
{{- if and $redis.url $redis.urlEnv -}}
{{- fail "sharedStore.redis.url and sharedStore.redis.urlEnv are both set." -}}
{{- end -}}
{{- if and (include "sluice.redis" .) (not $shared) -}}
{{- fail "sharedStore.redis needs sharedStore.url: budgets are shared over one ledger only." -}}
{{- end -}}
{{- if and $redis.urlEnv (not (hasKey $values.secretEnv $redis.urlEnv)) -}}
{{- fail (printf "sharedStore.redis.urlEnv is %s, which secretEnv does not say where to find." $redis.urlEnv) -}}
{{- end -}}
{{- if and $redis.urlEnv (dig $redis.urlEnv "optional" false $values.secretEnv) -}}
{{- fail (printf "secretEnv.%s must not be optional: without the address Sluice does not start." $redis.urlEnv) -}}
{{- end -}}
{{- if and (include "sluice.manyPods" .) (not (include "sluice.stateForMany" .)) -}}
{{- fail "more than one pod cannot share a ReadWriteOnce claim: put ReadWriteMany in persistence.accessModes, or set persistence.enabled=false (the ledger is in the shared store; each pod then keeps its own cache of models)." -}}
{{- end -}}
{{- if and (not $shared) (not $values.persistence.enabled) (not $values.persistence.allowEphemeralLedger) -}}
{{- fail "without persistence and without sharedStore.url the ledger dies with the pod: enable one of them, or say persistence.allowEphemeralLedger=true." -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas." -}}
{{- end -}}

{{- /* Leaving. */ -}}
{{- if lt (int $values.drain.preStopSeconds) (int $values.drain.minimumDelaySeconds) -}}
{{- fail (printf "drain.preStopSeconds (%d) is less than drain.minimumDelaySeconds (%d)." (int $values.drain.preStopSeconds) (int $values.drain.minimumDelaySeconds)) -}}
{{- end -}}
{{- $total := int (include "sluice.drainTotal" .) -}}
{{- $grace := int (include "sluice.grace" .) -}}
{{- if le $grace (add $total 5 | int) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d; it has to be more than preStop + minimum delay + drain + 5 s = %d, or answers are cut." $grace (add $total 5)) -}}
{{- end -}}

{{- /* The configuration. */ -}}
{{- $config := fromToml $values.config -}}
{{- if hasKey $config "Error" -}}
{{- fail (printf "config is not TOML: %s" $config.Error) -}}
{{- end -}}
{{- $listen := dig "server" "listen" "" $config | toString -}}
{{- if not (regexMatch `^(0\.0\.0\.0|\[::\]):8080$` $listen) -}}
{{- fail (printf "config: server.listen is %q; in a pod it has to be \"0.0.0.0:8080\" (or \"[::]:8080\"), or nobody reaches it." $listen) -}}
{{- end -}}
{{- $adminListen := dig "server" "admin_listen" "" $config | toString -}}
{{- $adminLoopback := regexMatch `^(127\.0\.0\.1|\[::1\]|localhost):8081$` $adminListen -}}
{{- if not (or $adminLoopback (regexMatch `^(0\.0\.0\.0|\[::\]):8081$` $adminListen)) -}}
{{- fail (printf "config: server.admin_listen is %q; it has to be \"0.0.0.0:8081\" (or \"[::]:8081\"), or \"127.0.0.1:8081\" when only kubectl port-forward uses it." $adminListen) -}}
{{- end -}}
{{- $tokenEnv := dig "server" "admin_token_env" "" $config | toString -}}
{{- $signIn := dig "server" "admin_identity_header" "" $config | toString -}}
{{- if and (not $adminLoopback) (not $tokenEnv) (not $signIn) -}}
{{- fail "config: server.admin_token_env is missing; Sluice does not open an admin listener to the network without a token or a proxy that signs people in (server.admin_identity_header)." -}}
{{- end -}}
{{- if $signIn -}}
{{- range list "admin_trusted_proxies" "admin_identities" -}}
{{- if not (hasKey (dig "server" (dict) $config) .) -}}
{{- fail (printf "config: server.%s is missing; without it nobody is signed in by server.admin_identity_header." .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (not $adminLoopback) (not $tokenEnv) -}}
{{- if not $values.admin.service.enabled -}}
{{- fail "without server.admin_token_env only the proxy lets people in, and it needs admin.service.enabled to reach the admin listener." -}}
{{- end -}}
{{- if and $values.networkPolicy.enabled (not $values.networkPolicy.admin.from) -}}
{{- fail "without server.admin_token_env only the proxy lets people in: it has to be among networkPolicy.admin.from." -}}
{{- end -}}
{{- end -}}
{{- if and (not $adminLoopback) $tokenEnv (dig $tokenEnv "optional" false $values.secretEnv) -}}
{{- fail (printf "secretEnv.%s must not be optional: without the admin token Sluice does not start." $tokenEnv) -}}
{{- end -}}
{{- range list "path" "url" "url_env" -}}
{{- if hasKey (dig "ledger" (dict) $config) . -}}
{{- fail (printf "config: remove ledger.%s; the place of the ledger comes from persistence or from sharedStore.url." .) -}}
{{- end -}}
{{- end -}}
{{- range list "url" "url_env" -}}
{{- if hasKey (dig "replicas" (dict) $config) . -}}
{{- fail (printf "config: remove replicas.%s; what pods share comes from sharedStore.redis." .) -}}
{{- end -}}
{{- end -}}
{{- range list "drain" "drain_delay" -}}
{{- if hasKey (dig "timeouts" (dict) $config) . -}}
{{- fail (printf "config: remove timeouts.%s; it comes from drain, so that it agrees with terminationGracePeriodSeconds." .) -}}
{{- end -}}
{{- end -}}
{{- range $name := include "sluice.envNames" $config | splitList "\n" | uniq -}}
{{- if and $name (not (hasKey $values.secretEnv $name)) -}}
{{- fail (printf "config refers to the environment variable %s, which secretEnv does not say where to find." $name) -}}
{{- end -}}
{{- end -}}

{{- /* Secrets by reference only. */ -}}
{{- include "sluice.refuseSecret" (list "config" $values.config) -}}
{{- include "sluice.refuseSecret" (list "sharedStore.url" $values.sharedStore.url) -}}
{{- include "sluice.refuseSecret" (list "sharedStore.redis.url" $redis.url) -}}
{{- range $name, $value := $values.env -}}
{{- if regexMatch `((^|_)(KEY|TOKEN|SECRET|CREDENTIALS?|DSN)|PASSWORD|PASSWD)$` $name -}}
{{- fail (printf "env.%s is named like a secret. Secrets come by reference only: put it in a Secret and name it in secretEnv." $name) -}}
{{- end -}}
{{- include "sluice.refuseSecret" (list (printf "env.%s" $name) $value) -}}
{{- end -}}
{{- $own := include "sluice.ownEnv" . | fromYaml -}}
{{- range $name := concat (keys $values.env) (keys $values.secretEnv) | sortAlpha -}}
{{- if or (hasKey $own $name) (has $name (list "SLUICE__LEDGER__PATH" "SLUICE__LEDGER__URL" "SLUICE__LEDGER__URL_ENV" "SLUICE__REPLICAS__URL" "SLUICE__REPLICAS__URL_ENV" "SLUICE__SERVER__LISTEN" "SLUICE__SERVER__ADMIN_LISTEN" "SLUICE__SERVER__ADMIN_TOKEN_ENV")) -}}
{{- fail (printf "%s is not for env or secretEnv: the chart decides it, or the config says it." $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $entry := $values.secretEnv -}}
{{- if hasKey $values.env $name -}}
{{- fail (printf "%s is in env and in secretEnv." $name) -}}
{{- end -}}
{{- if not ($entry.secret | default $values.existingSecret) -}}
{{- fail (printf "secretEnv.%s names no Secret, and existingSecret is empty." $name) -}}
{{- end -}}
{{- end -}}

{{- /* Pods. */ -}}
{{- range $where, $tag := dict "image.tag" $values.image.tag "tests.image.tag" $values.tests.image.tag -}}
{{- if eq $tag "latest" -}}
{{- fail (printf "%s is latest, which is another image tomorrow: name a version." $where) -}}
{{- end -}}
{{- end -}}
{{- range $name := keys $values.podLabels | sortAlpha -}}
{{- if regexMatch `^app\.kubernetes\.io/(name|instance|component)$` $name -}}
{{- fail (printf "podLabels may not set %s: the selectors use it." $name) -}}
{{- end -}}
{{- end -}}
{{- if hasKey $values.podAnnotations "checksum/config" -}}
{{- fail "podAnnotations may not set checksum/config: it makes new pods when the config changes." -}}
{{- end -}}

{{- /* Doors. */ -}}
{{- if and $values.admin.service.enabled $adminLoopback -}}
{{- fail "admin.service.enabled needs server.admin_listen = \"0.0.0.0:8081\" in the config; on loopback the service would lead nowhere." -}}
{{- end -}}
{{- if $values.serviceMonitor.enabled -}}
{{- if not $values.admin.service.enabled -}}
{{- fail "serviceMonitor.enabled needs admin.service.enabled: metrics are on the admin listener." -}}
{{- end -}}
{{- if not $tokenEnv -}}
{{- fail "serviceMonitor.enabled needs server.admin_token_env: Prometheus shows the admin token. Beside it a proxy may sign people in, too." -}}
{{- end -}}
{{- if and $values.networkPolicy.enabled (not $values.networkPolicy.admin.from) -}}
{{- fail "serviceMonitor.enabled needs Prometheus among networkPolicy.admin.from, or every scrape is dropped." -}}
{{- end -}}
{{- end -}}
{{- if and $values.ingress.enabled (not $values.ingress.hosts) -}}
{{- fail "ingress.enabled needs at least one entry in ingress.hosts." -}}
{{- end -}}
{{- if and $values.httpRoute.enabled (not $values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled needs at least one entry in httpRoute.parentRefs." -}}
{{- end -}}
{{- end -}}
